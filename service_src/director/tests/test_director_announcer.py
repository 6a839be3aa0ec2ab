"""How the director learns how services are: heartbeats, a front that says nothing new, silence."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from director.discovery.announcer import UNHEARD_SECONDS, Announcer
from director.discovery.probe import Prober
from director.discovery.registrations import Registrations
from director.engine.interface import Container

STATUS = {"app_state": "running", "register": [{"method": "enrich", "role": "enricher", "options": {}}]}


def how(word: str) -> dict[str, Any]:
    """Return the health of a service in that word."""
    return {"health": {"status": word, "checks": {"stream": {"status": word, "reason": "full"}}}}


class Bus:
    """Redis with services on it: each request is answered by the function of its addressee, or by nobody."""

    connected = True
    reconnects = 0

    def __init__(self, **services: Any) -> None:
        self.services = services
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.prober = Prober(self, "probe")

    def publish(self, channel: str, payload: bytes, on_reply: Any = None, *, keep: bool = False) -> bool:
        loop, message = asyncio.get_running_loop(), msgspec.json.decode(payload)
        self.sent.append((channel, message["params"]))
        if channel in self.services:
            answer = {"jsonrpc": "2.0", "id": message["id"], "result": self.services[channel](message["params"])}
            loop.call_soon(self.prober.on_message, "probe", msgspec.json.encode(answer))
        if on_reply is not None:
            loop.call_soon(on_reply, int(channel in self.services))
        return True

    async def command(self, *_words: Any) -> Any:
        return b"OK"


class Picture:
    """What runs."""

    def __init__(self, *names: str, **more: Any) -> None:
        self.ready = asyncio.Event()
        self.ready.set()
        self.containers = [Container(id=name, name=name, service=name, **more) for name in names]

    def primaries(self) -> dict[str, Container]:
        return {item.service: item for item in self.containers}

    def ended(self, _stopped: Any) -> frozenset[str]:
        return frozenset()

    def stopped(self) -> frozenset[str]:
        return frozenset()


class Front:
    """A front as ours or the original's: null to a hash that it has, else how it is."""

    def __init__(self, *, tells_health: bool = True) -> None:
        self.word = "ok"
        self.hash: Any = None
        self._tells_health = tells_health

    def __call__(self, params: dict[str, Any]) -> Any:
        if params["state_hash"]:
            if params["state_hash"] == self.hash:
                return None
            self.hash = params["state_hash"]
        return {"app_state": "running", "methods": [], **(how(self.word) if self._tells_health else {})}


def announcer(bus: Any, picture: Any) -> tuple[Announcer, Registrations]:
    """Return an announcer and what it knows; every service could have been heard for an hour."""
    found = Registrations()
    found._began = time.time() - 3600
    return Announcer(bus, bus.prober, found, picture, picture), found


@pytest.fixture
async def running() -> AsyncIterator[Any]:
    """A function that has an announcer work until the end of the test."""
    tasks: list[asyncio.Task[Any]] = []
    yield lambda one: tasks.append(asyncio.create_task(one.run()))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def until(check: Any, seconds: float = 10.0) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not check():
        assert asyncio.get_running_loop().time() < deadline, "it did not come to be"
        await asyncio.sleep(0.01)


async def test_a_front_that_becomes_unwell_is_known_to_be_with_its_next_heartbeat(running: Any) -> None:
    """It has the registrations and answers null to them: it is asked for its status all the same."""
    front = Front()
    bus = Bus(front=front, geo=lambda _: STATUS)
    found, known = announcer(bus, Picture("front", "geo"))
    running(found)
    await until(lambda: front.hash is not None and (known.status("front") or {}).get("health"))
    front.word = "failing"
    await found.heard("front")
    status = known.status("front")
    assert status is not None
    assert status["health"]["status"] == "failing"
    assert bus.sent[-1] == ("front", {"register": [], "state_hash": ""})


async def test_a_front_of_the_original_is_there_though_it_says_nothing_of_its_health(running: Any) -> None:
    """Its null counts as a sign of life, and what it says without a hash is a status as well."""
    front = Front(tells_health=False)
    bus = Bus(front=front, geo=lambda _: STATUS)
    found, known = announcer(bus, Picture("front", "geo"))
    running(found)
    await until(lambda: front.hash is not None)
    known._seen.clear()
    await found.heard("front")
    assert known.status("front") == {"app_state": "running", "methods": []}
    assert known.silent_for("front", 0.0, time.time()) < 5


async def test_a_front_that_answers_null_to_everything_is_there(running: Any) -> None:
    """Whatever it is: null is a sign of life."""
    bus = Bus(front=lambda _: None)
    found, known = announcer(bus, Picture("front"))
    running(found)
    await until(lambda: found._swept)
    await found.heard("front")
    assert known.status("front") == {}
    assert known.silent_for("front", 0.0, time.time()) < 5


async def test_a_service_without_heartbeats_is_asked(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that answers is there; one that does not stays silent, and is asked again and again."""
    monkeypatch.setattr("director.discovery.announcer.LOOK_EVERY", 0.05)
    bus = Bus(shy=lambda _: STATUS)
    found, known = announcer(bus, Picture("shy", "gone"))
    running(found)
    await until(lambda: known.status("shy"))
    for name in ("shy", "gone"):
        known._seen.pop(name, None)
    bus.sent.clear()
    await until(lambda: known.status("shy") and [to for to, _ in bus.sent].count("gone") > 2)
    assert known.silent_for("gone", 0.0, time.time()) > UNHEARD_SECONDS
    assert [to for to, _ in bus.sent].count("shy") == 1


async def test_who_is_paused_or_has_just_begun_is_not_asked(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one cannot answer, the other has had no time to."""
    monkeypatch.setattr("director.discovery.announcer.LOOK_EVERY", 0.02)
    bus = Bus()
    picture = Picture("paused", state="paused")
    picture.containers.append(Container(id="new", name="new", service="new", started_at=time.time()))
    found, _ = announcer(bus, picture)
    found._swept = True
    running(found)
    await asyncio.sleep(0.2)
    assert [to for to, _ in bus.sent if to != "front"] == []
