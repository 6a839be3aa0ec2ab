"""Each verb against a director, as typed in a shell. Builds and containers are real in tests/integration."""

from __future__ import annotations

import json
from typing import Any

import pytest

from band_cli.verbs.services import step_of


def services(here: Any) -> dict[str, Any]:
    return {row["name"]: row for row in json.loads(here("ps", "--json").out)}


def test_ps_lists_the_services_as_a_table_and_as_json(here: Any, director: Any) -> None:
    """`band ps` has a row a service; `--json` is what the director says."""
    ran = here("ps")
    assert ran.code == 0
    assert ran.out.split()[:3] == ["NAME", "STATE", "HEALTH"]
    rows = services(here)
    assert len(rows) >= 3
    assert all(name in ran.out for name in rows)
    assert {row["name"] for row in director.get("/list")[1]} == set(rows)


def test_a_narrow_terminal_gets_a_narrow_table(here: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No line is longer than the terminal, and names stay whole."""
    monkeypatch.setenv("COLUMNS", "50")
    ran = here("ps")
    assert max(map(len, ran.out.splitlines())) <= 50
    assert "CPU" not in ran.out
    assert all(name in ran.out for name in services(here))


def test_nothing_is_coloured_where_no_terminal_is(here: Any) -> None:
    """What a program reads has no escape sequences."""
    assert "\x1b" not in here("ps").out + here("status").out + here("doctor").out


def test_the_progress_of_a_build_says_what_is_done() -> None:
    """Not how BuildKit numbers its steps, nor that one has ended."""
    printed = ["#6 [3/3] COPY visits/ ./", "#7 1.52 Collecting x", "#7 DONE 0.2s", "#4 CACHED", "container 4f started"]
    shown = [step_of(line) for line in printed]
    assert shown == ["[3/3] COPY visits/ ./", "Collecting x", "", "", "container 4f started"]


def test_run_builds_starts_and_says_so(here: Any, director: Any) -> None:
    """`band run` answers with the container; --env arrives; -v shows the build; --dry-run does nothing."""
    director.image("fresh")
    would = here("run", "fresh", "--dry-run")
    assert (would.code, "would be built and started" in would.out) == (0, True)
    assert "fresh" not in services(here)
    ran = here("run", "fresh", "--env", "GREETING=a=b", "-v")
    assert (ran.code, "fresh is running, container " in ran.out) == (0, True), ran.err
    assert "building" in ran.err
    assert director.get("/show/fresh")[1]["env"]["GREETING"] == "a=b"
    again = json.loads(here("run", "fresh", "--json").out)
    assert set(again) == {"name", "short_id", "state"}


def test_a_run_that_fails_says_why_in_both_ways(here: Any, director: Any) -> None:
    """A crashing release is exit code 1 with the reason, with progress and without."""
    director.image("bad")
    for more in ((), ("-v",)):
        ran = here("run", "bad", "--env", "CRASH=1", *more)
        assert ran.code == 1
        assert "band: bad" in ran.err
        assert ran.out == ""
    ran = here("run", "bad", "--env", "CRASH=1", "--json")
    assert json.loads(ran.err)["error"]["code"] == "service_failed"


def test_stop_start_restart_and_rm_change_a_service(here: Any, director: Any) -> None:
    """Each verb does what the director's path of that name does; rm wants to be sure."""
    director.image("thing")
    assert here("run", "thing").code == 0
    assert here("stop", "thing").out.startswith("thing is exited")
    assert services(here)["thing"]["wanted"] == "stopped"
    assert here("start", "thing").out.startswith("thing is running, container ")
    before = services(here)["thing"]["short_id"]
    assert json.loads(here("restart", "thing", "--json").out)["short_id"] != before
    unsure = here("rm", "thing")
    assert (unsure.code, "--yes" in unsure.err) == (2, True)
    assert here("rm", "thing", "--yes").out == "thing is removed\n"
    assert "thing" not in services(here)


def test_releases_and_rollback(here: Any, director: Any) -> None:
    """`band releases` lists what was deployed; `band rollback` goes back, or says that it cannot."""
    director.image("back", "env: {A: '1'}")
    here("run", "back")
    assert here("rollback", "back").code == 1
    director.image("back", "env: {A: '2'}")
    here("run", "back")
    ran = here("releases", "back")
    assert ran.out.split()[:6] == ["ID", "SPEC", "STATE", "AT", "BY", "NOTE"]
    assert "current" in ran.out
    assert "good" in ran.out
    assert "would be rolled back to release" in here("rollback", "back", "--dry-run").out
    assert "with release" in here("rollback", "back").out
    assert director.get("/show/back")[1]["env"]["A"] == "1"


def test_logs_are_the_services_output(here: Any, director: Any) -> None:
    """`band logs` writes the lines; with --json an object a line."""
    name = next(iter(services(here)))
    text = director.request("GET", f"/logs/{name}")[1]
    assert here("logs", name).out == text
    first = json.loads(here("logs", name, "--json").out.splitlines()[0])
    assert first == {"service": name, "line": text.splitlines()[0]}


def test_call_gives_typed_arguments_and_writes_json(here: Any) -> None:
    """key=text is a text, key:=json is JSON; an argument may be called name."""
    name = next(iter(services(here)))
    ran = here("call", name, "echo", "a=1", "b:=[1, 2]", "name=x")
    assert ran.code == 0, ran.err
    answer = json.dumps(json.loads(ran.out))
    assert '"a": "1"' in answer
    assert '"b": [1, 2]' in answer
    assert '"name": "x"' in answer
    assert here("call", name, "echo", "nonsense").code == 2
    assert here("call", name, "echo", "a:=nonsense").code == 2
    twice = here("call", name, "echo", "a=1", "a:=2")
    assert (twice.code, "'a' is given twice" in twice.err) == (2, True)


def test_unknown_names_are_an_error_with_a_hint(here: Any) -> None:
    """What the director refuses is exit code 1, its hint in words of this command."""
    ran = here("logs", "nobody")
    assert ran.code == 1
    assert "no service 'nobody'" in ran.err
    assert "band ps" in ran.err
    assert "GET" not in ran.err


def test_status_tells_how_all_is_by_its_exit_code(here: Any, director: Any) -> None:
    """0 when the platform is ok, 4 otherwise, and the facts either way."""
    ran = here("status", "--json")
    facts = json.loads(ran.out)
    assert ran.code == (0 if facts["status"] == "ok" else 4)
    assert {row["name"] for row in facts["list"]} == set(services(here))
    text = here("status").out
    assert "director" in text
    assert f"{facts['services']['running']} of {facts['services']['total']} running" in text


def test_doctor_says_what_is_wrong_and_what_to_do(here: Any) -> None:
    """Without front no event is accepted, and this Redis keeps no file: both are said, with a remedy; exit code 4."""
    ran = here("doctor")
    assert ran.code == 4
    assert "front: it is not running, so no events are accepted" in ran.out
    assert "→ band run front" in ran.out
    assert "append-only file" in ran.out
    found = json.loads(here("doctor", "--json").out)
    assert not found["ok"]
    assert {"level", "about", "problem", "remedy"} == set(found["findings"][0])


def test_version_tells_both(here: Any, director: Any) -> None:
    """`band version` asks the director for its own; `--version` asks nobody."""
    found = json.loads(here("version", "--json").out)
    assert found["director"] == director.get("/health")[1]["director"]["version"]
    assert here("--version").out == f"band {found['band']}\n"
    away = here("version", "--host", "http://127.0.0.1:1")
    assert (away.code, "does not respond" in away.out) == (0, True)
