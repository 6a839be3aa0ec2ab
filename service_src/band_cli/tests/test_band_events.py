"""Events in a shell: the newest, those that come, and the path of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import Any

import pytest
import redis

from band_cli.client import Director
from band_cli.target import Target
from band_cli.verbs import events

TRACE = {
    "at": 1,
    "ms": 3.2,
    "enrichers": {"mmgeo": {"ms": 2.6, "status": "ok"}, "sxgeo": {"ms": 0, "status": "absent"}},
}


@pytest.fixture
def stream(redis_dsn: str) -> Any:
    """Redis with an empty stream of events."""
    found = redis.Redis.from_url(redis_dsn)
    found.delete("events")
    yield found
    found.close()


def add(stream: Any, number: int, key: str = "in.gen.track.hello", uid: str = "77", **data: Any) -> str:
    event_id = str((1795468772471 << 22) + number)
    event = {"id": event_id, "key": key, "uid": uid, "data": data}
    stream.xadd("events", {"event": json.dumps(event), "trace": json.dumps(TRACE)}, id=f"{1795468772471 + number}-0")
    return event_id


def test_events_shows_the_newest_last(here: Any, stream: Any) -> None:
    """As a log, and with --key only those that begin so."""
    add(stream, 1, mmgeo={"country_iso": "GB", "city_en": "London"})
    add(stream, 2, key="in.gen.pixel.x")
    lines = here("events").out.splitlines()
    assert "in.gen.track.hello" in lines[0]
    assert "London, GB" in lines[0]
    assert "in.gen.pixel.x" in lines[1]
    assert len(here("events", "--key", "in.gen.pixel").out.splitlines()) == 1
    assert len(here("events", "-n", "1").out.splitlines()) == 1
    found = json.loads(here("events", "-n", "1", "--json").out)
    assert found["event"]["key"] == "in.gen.pixel.x"


def test_events_of_a_key_a_visitor_and_a_time_are_asked_for(
    here: Any, stream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many others are newer: the director looks for them, page by page."""
    monkeypatch.setattr(events, "MOST", 2)
    for number in range(1, 6):
        add(stream, number, uid=str(number))
    for number in range(6, 1100):
        add(stream, number, key="in.gen.pixel.x")
    found = [json.loads(line) for line in here("events", "--key", "in.gen.track", "-n", "4", "--json").out.splitlines()]
    assert [row["event"]["uid"] for row in found] == ["2", "3", "4", "5"]
    assert "in.gen.track" in here("events", "--key", "in.gen.track.", "--uid", "3").out
    assert here("events", "--key", "in.gen.tr").out == ""
    of_time = here("events", "--from", "1795468772473-0", "--to", "1795468772474-0", "--json").out
    assert [json.loads(line)["event"]["uid"] for line in of_time.splitlines()] == ["2", "3"]
    ran = here("events", "-f", "--to", "now")
    assert (ran.code, "--to" in ran.err) == (2, True)


def test_following_gives_each_new_event_once(director: Any, stream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes is given in order, whatever was there before; others are left out."""
    monkeypatch.setattr(events, "FOLLOW_SECONDS", 0.05)
    add(stream, 1)
    feed = events.newest(Director(Target(director.url)), {"key": "in.gen.track"}, 10, follow=True)
    assert next(feed)["stream_id"].endswith("472-0")
    keys = {2: "in.gen.track.hello", 3: "in.gen.pixel", 4: "in.gen.track"}
    adding = threading.Timer(0.2, lambda: [add(stream, number, key) for number, key in keys.items()])
    adding.start()
    assert [next(feed)["stream_id"] for _ in range(2)] == ["1795468772473-0", "1795468772475-0"]
    adding.join()


def test_following_misses_none_of_many_and_says_when_it_does(
    director: Any, stream: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """More events in a second than the director gives at once are all given; a reader that slept is told of a gap."""
    monkeypatch.setattr(events, "FOLLOW_SECONDS", 0.01)
    monkeypatch.setattr(events, "MOST", 3)
    add(stream, 1)
    feed = events.newest(Director(Target(director.url)), {}, 10, follow=True)
    next(feed)
    for number in range(2, 12):
        add(stream, number)
    assert [next(feed)["stream_id"] for _ in range(10)] == [f"{1795468772471 + number}-0" for number in range(2, 12)]
    monkeypatch.setattr(events, "HELD", 5)
    for number in range(12, 22):
        add(stream, number)
    assert next(feed)["stream_id"] == f"{1795468772471 + 17}-0"
    assert "not shown" in capsys.readouterr().err


def test_a_reader_that_leaves_is_no_error(here: Any, director: Any, stream: Any) -> None:
    """`band events | head` ends without a traceback and with exit code 0, and so does a table."""
    for number in range(1, 200):
        add(stream, number, filling="x" * 500)
    for words in ("events --json -n 199 | head -n 1", "ps | true", "--help | true"):
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", f"{sys.executable} -m band_cli {words}"],
            env={**os.environ, "BAND_HOST": director.url},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), words


def test_trace_shows_enrichers_and_listeners(here: Any, stream: Any) -> None:
    """The path of an event: who enriched it, and that a listener has not got it yet."""
    event_id = add(stream, 5)
    stream.xgroup_create("events", "send_test", "0")
    ran = here("trace", event_id)
    assert ran.code == 0, ran.err
    words = ran.out.split()
    assert words[words.index("mmgeo") :][:3] == ["mmgeo", "2.6", "ok"]
    assert words[words.index("send_test") :][:2] == ["send_test", "waiting"]
    assert json.loads(here("trace", event_id, "--json").out)["id"] == event_id
    missing = here("trace", "1")
    assert (missing.code, "not in the stream" in missing.err) == (1, True)


def test_doctor_names_a_group_without_a_service(here: Any, stream: Any) -> None:
    """It holds back the stream, and the remedy names the command."""
    add(stream, 6)
    stream.xgroup_create("events", "gone", "0")
    said = " ".join(here("doctor").out.split())
    assert "group gone: no service consumes it, with 1 event waiting: the stream is not trimmed" in said
    assert "XGROUP DESTROY events gone" in said
