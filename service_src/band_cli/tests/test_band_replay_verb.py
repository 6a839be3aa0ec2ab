"""Stored events once more in a shell: the whole way to a real listener, and how its progress is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from band_cli.output import Output, clock
from band_cli.verbs import events

SERVICE = """
from band import expose, start_server

@expose.listener(start="beginning")
async def broadcast(n, **event):
    pass

start_server(name="again")
"""


@pytest.fixture
def listener(redis_dsn: str, director: Any, here: Any, tmp_path: Path) -> Iterator[str]:
    """A listener in a process of its own that was given three events."""
    (tmp_path / "again.py").write_text(SERVICE)
    stream = redis.Redis.from_url(redis_dsn)
    stream.delete("events")
    for number in (1, 2, 3):
        event = {"key": "in.gen.pixel" if number == 2 else "in.gen.track", "n": number}
        stream.xadd("events", {"event": json.dumps(event)}, id=f"{number}000-0")
    env = {**os.environ, "REDIS_DSN": redis_dsn, "HOST": "127.0.0.1", "PORT": "0"}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "again.py"], cwd=tmp_path, env=env, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while here("replay", "again").code or stream.xinfo_groups("events")[0]["last-delivered-id"] != b"3000-0":
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.2)
        yield "again"
    finally:
        process.terminate()
        process.wait(30)
        stream.close()


def test_a_listener_gets_stored_events_once_more(here: Any, listener: str) -> None:
    """All, or those of a key and a time; --json is what the director says."""
    assert "No replay of" in here("replay", listener).out
    ran = here("replay", listener, "--from", "beginning")
    assert (ran.code, "again: replay done, 3 events replayed" in ran.out) == (0, True), ran
    found = json.loads(
        here("replay", listener, "--from", "1000-0", "--to", "2000-0", "--key", "in.gen.track", "--json").out
    )
    assert (found["state"], found["replayed"], found["left_out"]) == ("done", 1, 1)
    ran = here("replay", listener)
    assert f"replay done, 1 event replayed, 1 skipped, at {clock(2)} of {clock(1)} to {clock(2)}" in ran.out
    assert here("replay", listener, "--resume").code == 1
    assert here("replay", listener, "--stop").code == 0
    assert here("replay", listener, "--from", "yesterday").code == 1


def test_what_cannot_be_meant_is_refused(here: Any) -> None:
    """A range without a beginning, and a service that is none."""
    ran = here("replay", "x", "--key", "in.gen")
    assert (ran.code, "--from" in ran.err) == (2, True)
    ran = here("replay", "nobody", "--from", "beginning")
    assert (ran.code, "band ps" in ran.err) == (1, True)


class Told:
    """A director whose listener says these, one after the other."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.answers, self.asked = list(answers), []  # type: ignore[var-annotated]

    def post(self, path: str, body: Any = None, **_more: Any) -> Any:
        self.asked.append((path, body))
        return self.answers.pop(0)


def test_it_waits_until_the_listener_is_done_or_stops(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1 says that the listener stopped; whoever stops it himself gets 0; only to look does not wait."""
    monkeypatch.setattr(events, "FOLLOW_SECONDS", 0.0)
    running = {"state": "running", "start": "0-0", "end": "9000-0", "position": "2-0", "replayed": 1}
    stopped = {**running, "state": "stopped", "reason": "it is bad", "stopped_at": "3-0", "rejected": 2}
    asked: Any = Told({"started": True, **running}, running, stopped)
    assert events.replay(asked, Output(), "x", {"from": "1", "stop": False}) == 1
    assert asked.asked == [("/replay/x", {"from": "1"}), ("/replay/x", None), ("/replay/x", None)]
    said = capsys.readouterr().out
    where = f"at 3-0 of the beginning to {clock(9)}: it is bad"
    assert f"x: replay stopped, 1 event replayed, 2 rejected (dead letters), {where}" in " ".join(said.split())
    asked = Told(running, stopped)
    assert events.replay(asked, Output(), "x", {"stop": True}) == 0
    asked = Told(running)
    assert events.replay(asked, Output(), "x", {}) == 0
    asked = Told(running)
    assert events.replay(asked, Output(), "x", {"group": "crm"}) == 0
    asked = Told({"started": True, **running}, stopped)
    assert events.replay(asked, Output(), "x", {"from": "1", "group": "crm"}) == 1
    assert asked.asked == [("/replay/x", {"from": "1", "group": "crm"}), ("/replay/x", {"group": "crm"})]
    capsys.readouterr()
    asked = Told({"state": "stopped", "replayed": 1, "groups": {"x.crm": stopped, "x.lake": {"state": "none"}}})
    assert events.replay(asked, Output(), "x", {}) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith("x.crm: replay stopped, 1 event replayed")
    assert said.endswith("x.lake: no replay yet")
    asked = Told({"started": False, "why": "", **running})
    with pytest.raises(events.Refused, match="is already running"):
        events.replay(asked, Output(), "x", {"from": "1"})
