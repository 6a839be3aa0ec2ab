"""A visitor who sends as much as one can: Redis keeps room, others are served, and every 200 is delivered."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

PACKED = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
LARGE = gzip.compress(json.dumps({"pad": "x" * 100_000}).encode())
MEGABYTE = 1024 * 1024


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
        yield client


class Crowd:
    """Visitors of one front: what each was answered, and the ids of what was accepted."""

    def __init__(self, session: aiohttp.ClientSession, front: Any) -> None:
        self.accepted: set[str] = set()
        self.statuses: dict[str, list[int]] = {}
        self._session = session
        self._url = f"{front.url}/track/page"
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self, who: str, body: Any, pause: float = 0.0) -> None:
        """Send for ever, one event after the other; `body` is bytes, or makes them."""
        self._tasks.append(asyncio.create_task(self._visit(who, body, pause)))

    async def end(self) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)

    def refused(self, who: str) -> int:
        return sum(status != 200 for status in self.statuses.get(who, []))

    async def _visit(self, who: str, body: Any, pause: float) -> None:
        while not self._stop.is_set():
            data = body() if callable(body) else body
            async with self._session.post(self._url, data=data, headers=PACKED) as answer:
                self.statuses.setdefault(who, []).append(answer.status)
                reply = await answer.json(content_type=None)
            if answer.status == 200:
                self.accepted.add(reply["id"])
            await asyncio.sleep(pause)


class Listener:
    """A consumer group that reads and acknowledges, and remembers what it was given."""

    def __init__(self, peers: Any) -> None:
        self.given: set[str] = set()
        self._redis = peers.redis

    async def make(self) -> None:
        await self._redis.xgroup_create("events", "listener", "$", mkstream=True)

    async def run(self) -> None:
        while True:
            found = await self._redis.xreadgroup("listener", "c", {"events": ">"}, count=50, block=100)
            for _, entries in found:
                self.given |= {json.loads(fields[b"event"])["id"] for _, fields in entries}
                await self._redis.xack("events", "listener", *[entry for entry, _ in entries])


async def until(condition: Callable[[], bool], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for is in other tasks' hands
            await asyncio.sleep(0.1)


async def until_well(session: aiohttp.ClientSession, front: Any, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while True:
            async with session.get(f"{front.url}/_band/health") as answer:
                if (await answer.json())["status"] == "ok":
                    return
            await asyncio.sleep(0.2)


async def until_said(session: aiohttp.ClientSession, front: Any, **reasons: str) -> None:
    """Wait until health answers 503 and each check gives its reason: at most the 6 s that docs/director.md gives it."""
    async with asyncio.timeout(6):
        while True:
            async with session.get(f"{front.url}/_band/health") as answer:
                checks = (await answer.json())["checks"]
            said = {name: checks[name].get("reason", "") for name in reasons}
            if answer.status == 503 and all(reason in said[name] for name, reason in reasons.items()):
                return
            await asyncio.sleep(0.1)


async def test_a_flood_of_large_events_stops_nobody(
    session: aiohttp.ClientSession, own_redis: Any, start_front: Any, speak: Any, tmp_path: Path
) -> None:
    """Three times Redis' memory in packed events: delivered ones give way, nobody is refused, nothing is lost."""
    peers = speak(own_redis.dsn)
    await peers.redis.config_set("maxmemory", "32mb")
    listener = Listener(peers)
    await listener.make()
    reading = asyncio.create_task(listener.run())
    front = start_front(own_redis.dsn, JOURNAL_DIR=str(tmp_path / "journal"), STORED="no")
    crowd = Crowd(session, front)
    for _ in range(4):
        crowd.begin("flood", LARGE)
    crowd.begin("visitor", gzip.compress(b'{"n":1}'), pause=0.02)
    await until(lambda: len(crowd.statuses.get("flood", [])) >= 900, 40)
    await crowd.end()
    assert (crowd.refused("visitor"), crowd.refused("flood")) == (0, 0)
    await until_well(session, front, 20)
    await until(lambda: crowd.accepted <= listener.given, 5)
    reading.cancel()
    memory = await peers.redis.info("memory")
    assert memory["used_memory"] < 0.8 * memory["maxmemory"]


async def test_what_nobody_reads_is_kept_and_then_refused_with_the_truth(
    session: aiohttp.ClientSession, own_redis: Any, start_front: Any, speak: Any, tmp_path: Path
) -> None:
    """Redis and the journal full of events that a listener needs: large ones get 503 first, each 200 is delivered.

    Redis keeps room for everything else, health says who holds back, and it heals without a hand.
    """
    peers = speak(own_redis.dsn)
    await peers.redis.config_set("maxmemory", "32mb")
    listener = Listener(peers)
    await listener.make()
    front = start_front(own_redis.dsn, JOURNAL_DIR=str(tmp_path / "journal"), JOURNAL_MAX_MB="16", STORED="no")
    crowd = Crowd(session, front)
    sizes = random.Random(7)  # noqa: S311 - no secret
    for _ in range(4):
        crowd.begin("flood", lambda: gzip.compress(json.dumps({"pad": "x" * sizes.randint(50_000, 100_000)}).encode()))
    crowd.begin("visitor", gzip.compress(b'{"n":1}'), pause=0.02)
    await until(lambda: crowd.refused("flood") >= 100, 40)
    assert await peers.redis.set("something", "x" * 100_000)
    await until_said(
        session,
        front,
        journal="too full for an event of",
        stream="held back by listener",
        redis_keeps="events go to the journal",
    )
    await crowd.end()
    assert crowd.refused("visitor") == 0
    reading = asyncio.create_task(listener.run())
    await until_well(session, front, 40)
    await until(lambda: crowd.accepted <= listener.given, 10)
    reading.cancel()
    async with session.post(f"{front.url}/track/page", data=LARGE, headers=PACKED) as answer:
        assert answer.status == 200


async def test_whatever_the_mix_200_means_stored(
    session: aiohttp.ClientSession, own_redis: Any, start_front: Any, speak: Any, tmp_path: Path
) -> None:
    """Redis full, the journal nearly: events of all sizes at once; those with 200 are all in the stream afterwards."""
    peers = speak(own_redis.dsn)
    front = start_front(own_redis.dsn, JOURNAL_DIR=str(tmp_path / "journal"), JOURNAL_MAX_MB="2", STORED="no")
    await peers.redis.config_set("maxmemory", "1")
    crowd = Crowd(session, front)
    sizes = random.Random(5)  # noqa: S311 - no secret
    for _ in range(20):
        crowd.begin("mix", lambda: gzip.compress(json.dumps({"pad": "x" * int(10 ** sizes.uniform(1, 5))}).encode()))
    await until(lambda: crowd.refused("mix") >= 300, 30)
    async with session.get(f"{front.url}/_band/health") as answer:
        assert (answer.status, (await answer.json())["checks"]["journal"]["status"]) == (503, "failing")
    await crowd.end()
    await peers.redis.config_set("maxmemory", "0")
    await until_well(session, front, 30)
    stored = {json.loads(fields[b"event"])["id"] for _, fields in await peers.redis.xrange("events")}
    assert crowd.accepted
    assert crowd.accepted <= stored
