"""band_services: states that are reached once, rollbacks, and check mode."""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ansible_modules import ROOT, one, prepared, run
from plays import ansible


def test_check_mode_knows_what_new_sources_will_change(director: Any, docker: Path) -> None:
    """The host's sources are the old ones then: images and services of changed folders are said to be built."""
    image = {
        "name": "rockstat/redis",
        "context": [{"text": "FROM scratch", "dest": "Dockerfile"}],
        "sources_changed": True,
    }
    told = run("band_image", image, check=True, path=docker)
    assert (told["changed"], told["image"]) == (True, "rockstat/redis:changed")
    args = prepared(director, "band_services", {})
    wanted = [{"name": name, "env": {"OLD": "1"}} for name in ("front", "uaparser")]
    given = {**args, "services": wanted, "sources_changed": ["uaparser"]}
    run("band_services", given)
    director.asked.clear()
    assert run("band_services", given, check=True)["actions"] == {"front": "nothing", "uaparser": "build"}
    assert director.changing == []
    assert run("band_services", given)["actions"] == {"front": "nothing", "uaparser": "nothing"}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ([], []),
        (["band_images/base"], ["front", "sxgeo"]),
        (["service_src/band", "service_src/front"], ["front", "sxgeo"]),
        (["band_images/base_ts"], ["mine", "send_webhook"]),
        (["service_src/rock_me_ts"], ["mine", "send_webhook"]),
        (["service_src/send_webhook"], ["send_webhook"]),
        (["service_src/front"], ["front"]),
        (["service_src/band", "service_src/rock_me_ts"], ["front", "mine", "send_webhook", "sxgeo"]),
    ],
)
def test_check_mode_knows_which_base_a_service_has(tmp_path: Path, changed: list[str], said: list[str]) -> None:
    """That of Python or that of TypeScript, of folders built in and of the operator's own."""
    shutil.copytree(ROOT / "band_images", tmp_path / "source" / "band_images")
    mine = tmp_path / "images" / "user" / "mine"
    mine.mkdir(parents=True)
    (mine / "Dockerfile").write_text("ARG BASE_CONTAINER=rockstat/band-base-ts:latest\nFROM ${BASE_CONTAINER}\n")
    role = {"name": "rockstat.band.services", "tasks_from": "typescript", "public": True}
    told = {
        "ansible.builtin.debug": {
            "msg": "said: {{ _band_services_by_name | intersect(_band_services_affected) | sort | join(' ') }}."
        }
    }
    play = {"hosts": "localhost", "gather_facts": False, "tasks": [{"ansible.builtin.include_role": role}, told]}
    (tmp_path / "play.yml").write_text(json.dumps([play]), encoding="utf-8")
    services = ["front", "sxgeo", "send_webhook", "mine"]
    given = {"band_services_home": str(tmp_path), "band_services": services, "_band_changed_folders": changed}
    done = ansible("ansible-playbook", str(tmp_path / "play.yml"), "--check", "-e", json.dumps(given))
    assert f"msg: 'said: {' '.join(said)}.'" in done.stdout, done.stdout + done.stderr


def test_a_second_run_finds_nothing_to_do(director: Any) -> None:
    """Running, stopped and absent are states: reached once, they are left alone."""
    for state in ("running", "stopped", "absent"):
        args = one(director, state, env={"LOG_LEVEL": "DEBUG"})
        assert run("band_services", args)["changed"] is True
        assert run("band_services", args)["changed"] is False


def test_a_service_that_runs_elsewhere_is_none_of_the_hosts(director: Any) -> None:
    """One that only announces itself is absent already, and is not told to stop."""
    args = one(director, "absent")
    director.services["front"] = {"name": "front", "state": "external", "wanted": "unknown", "health": "ok"}
    assert run("band_services", args)["changed"] is False
    assert director.changing == []


def test_a_rollback_goes_where_the_director_says_and_no_further(director: Any) -> None:
    """It chooses, in check mode too; the current release is nothing to do, an unknown one an error."""
    args = one(director, "rolled_back")
    checked = run("band_services", args, check=True)
    assert director.changing == []
    done = run("band_services", args)
    for told in (checked, done):
        assert told["before"] == {"front": "aaaaaaaaaaaa (0123456789ab)"}
        assert told["after"] == {"front": "aaaaaaaaaaaa (ba9876543210)"}
    assert director.changing == ["/rollback/front"]

    def named(release: str) -> dict[str, Any]:
        return {**args, "services": [{"name": "front", "state": "rolled_back", "release": release}]}

    assert run("band_services", named("ba9876543210"))["changed"] is False
    assert "has no release" in run("band_services", named("ffffffffffff"))["msg"]


def test_a_rollback_never_goes_forward(director: Any) -> None:
    """The release before the current one went bad, a later one is good: there is nothing to go back to."""
    args = one(director, "rolled_back")
    director.current["front"] = "ba9876543210"
    assert "no earlier good release" in run("band_services", args)["msg"]
    assert director.current["front"] == "ba9876543210"


def test_check_mode_shows_the_services_of_a_host_without_a_director() -> None:
    """A first set-up's diff names each service that would run, with the names of its settings and no value."""
    wanted = [{"name": "front", "env": {"KEY": "canary-value"}}, {"name": "old", "state": "absent"}]
    done = run("band_services", {"url": "http://127.0.0.1:1", "services": wanted}, check=True)
    assert done["actions"] == {"front": "start", "old": "nothing"}
    assert [one["before_header"] for one in done["diff"]] == ["front"]
    assert "env: KEY" in done["diff"][0]["after"]
    assert "canary" not in done["_text"]


def test_services_before_a_failed_one_go_back(director: Any) -> None:
    """What this call replaced returns to its release, and the error carries the failed one's last words."""
    args = prepared(director, "band_services", {})
    director.current["front"] = "ba9876543210"
    director.broken.add("mmgeo")
    wanted = [{"name": "front", "env": {"NEW": "2"}}, {"name": "mmgeo", "env": {"NEW": "2"}}, {"name": "uaparser"}]
    done = run("band_services", {**args, "services": wanted, "rollback": True})
    assert done["failed"]
    assert "its last word" in done["msg"]
    assert "front was rolled back to release aaaaaaaaaaaa (ba9876543210)" in done["msg"]
    assert director.current["front"] == "ba9876543210"
    assert not any(path.startswith("/run/uaparser") for path in director.changing)


def followed(director: Any, timeout: float) -> list[Any]:
    """Run front over the modules' client, with progress and without; return both results or errors, and the lines."""
    sys.path.insert(0, str(ROOT / "collections"))
    from ansible_collections.rockstat.band.plugins.module_utils.director import Director, DirectorError

    told: list[str] = []
    client, found = Director(director.url), []
    for way in (partial(client.follow, tell=told.append), client.post):
        try:
            found.append(way("/run/front", {}, timeout=timeout))
        except DirectorError as error:
            found.append((str(error), error.status, error.log))
    return [*found, told]


def test_the_steps_of_a_run_are_told_as_they_come(director: Any) -> None:
    """Result and error are those of a run without progress."""
    director.told = ["building rockstat/front:1", "#7 0.3 Collecting x", "database: downloading from dbip, 1 of 3 MB"]
    result, plain, told = followed(director, 5.0)
    assert result == plain == {"name": "front", "short_id": "0123456789ab", "state": "running"}
    assert told == director.told
    director.broken.add("front")
    error, plain, told = followed(director, 5.0)
    assert error == plain == ("POST /run/front answered 502: it ended", 502, ["its last word"])
    assert told == director.told


def test_a_run_that_tells_much_ends_when_its_time_is_over(director: Any) -> None:
    """The time is that of the whole, however often a line comes; a director that ends meanwhile is an error too."""
    director.told = [0.3, "one", 0.3, "two", 0.3, "three"]
    error, _, told = followed(director, 0.7)
    assert error == (f"The director at {director.url} does not answer POST /run/front: timed out", 0, [])
    assert told[:2] == ["one", "two"]
    director.told, director.cut = ["one"], True
    error, _, told = followed(director, 5.0)
    assert error[1:] == (0, [])
    assert "does not answer POST /run/front: Remote end closed connection without response" in error[0]


def test_the_last_line_of_the_terminal_names_the_service(director: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is told of one that has nothing to do."""
    sys.path.insert(0, str(ROOT / "collections"))
    from ansible_collections.rockstat.band.plugins.module_utils import service
    from ansible_collections.rockstat.band.plugins.module_utils.director import Director

    shown: list[str] = []
    monkeypatch.setattr(service, "progress_lines", lambda: nullcontext(shown.append))
    director.told = ["#7 0.3 Collecting x"]
    args = {"name": "front", "state": "running", "env": {}, "limits": {}, "pos": None, "release": ""}
    one = service.Service(Director(director.url), args, check=False, timeout=5.0, wait=False)
    assert [one.ensure()["changed"], one.ensure()["changed"]] == [True, False]
    assert shown == ["front: #7 0.3 Collecting x"]


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("rolled back by request", "front: release 3f2a was rolled back by request, so it is not deployed again until"),
        ("exited with code 3", "front: release 3f2a was rolled back (exited with code 3), so it is not deployed again"),
    ],
)
def test_a_release_that_was_rolled_back_is_told_of_once(director: Any, reason: str, said: str) -> None:
    """setup leaves it alone and says in a sentence why, and until when."""
    args = prepared(director, "band_services", {})
    director.held["front"] = {"id": "3f2a", "reason": reason}
    done = run("band_services", {**args, "services": [{"name": "front"}]})
    assert said in done["_text"]
    assert director.changing == []
