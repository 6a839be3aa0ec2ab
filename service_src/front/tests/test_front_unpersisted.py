"""Redis confirms first and writes then: what it has not written when it ends comes back, once and in order."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import resource
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as aioredis
from service_src.front.tests.conftest import RedisServer
from service_src.front.tests.test_front_journal_disk import BadDisk

from band.redis.address import RedisAddress
from band.redis.link import RedisLink
from front.storage.journal.journal import Journal
from front.storage.journal.writer import Segment
from front.storage.journal_acceptor import JournalAcceptor
from front.storage.redis_persistence import RedisPersistence
from front.storage.stream_acceptor import Event, StreamAcceptor
from front.storage.unpersisted import Unpersisted


def test_what_redis_has_written_is_forgotten() -> None:
    """All but the newest that may be among the bytes that are not written; items without a size wait for the next."""
    unwritten: Unpersisted[str] = Unpersisted()
    for name, size in (("a", 100), ("b", 100), ("segment", 0), ("c", 50)):
        unwritten.add(name, size)
    assert unwritten.written(200) == []
    assert unwritten.written(150) == ["a"]
    assert unwritten.written(51) == []
    assert unwritten.written(50) == ["b", "segment"]
    assert unwritten.take() == ["c"]
    assert (len(unwritten), unwritten.bytes) == (0, 0)
    unwritten.add("d", 10)
    assert unwritten.written(0) == ["d"]


def test_what_is_remembered_is_bounded() -> None:
    """Beyond its bytes it says so; new events go to the journal then."""
    unwritten: Unpersisted[str] = Unpersisted(max_bytes=100)
    unwritten.add("a", 100)
    assert unwritten.full == ""
    unwritten.add("b", 1)
    assert "slow to write" in unwritten.full
    unwritten.written(1)
    assert unwritten.full == ""


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(15):
        while not await condition():  # noqa: ASYNC110 - what is waited for is in other tasks' hands
            await asyncio.sleep(0.02)


class Stage:
    """An acceptor on a Redis with an append-only file, and a listener of the channel `broadcast`."""

    def __init__(self, server: RedisServer, root: Path, disk: BadDisk) -> None:
        self.server = server
        self.link = RedisLink("unwritten")
        self.link.start(RedisAddress.parse(server.dsn))
        self.keeping = RedisPersistence(self.link, 1_000_000)
        unwritten: Unpersisted[list[Event] | Segment] = Unpersisted()
        stream = StreamAcceptor(self.link, self.keeping, 0.5, unwritten)
        self.acceptor = JournalAcceptor(stream, Journal(root, 1 << 24, disk), self.link, self.keeping, unwritten)
        self.disk = disk
        self.told: list[int] = []
        self._publish = self.link.publish
        self.link.publish = self._watched  # type: ignore[method-assign]
        self._task: asyncio.Task[Any] | None = None

    async def open(self, *, watch: bool = True) -> None:
        """Begin; without `watch` nobody hears what Redis has written."""
        await self.link.ready(5)
        await self.acceptor.open()
        if watch:
            self.keeping.tell(self.acceptor)
            self._task = asyncio.create_task(self.keeping.run())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        await self.acceptor.close()
        await self.link.close()

    async def accept(self, *numbers: int) -> None:
        for number in numbers:
            now = time.time_ns() // 1_000_000
            await self.acceptor.accept(b'{"n":%d,"id":"%d","time":%d}' % (number, number + 1, now), b'{"at":1}')

    async def stream(self) -> list[int]:
        async with aioredis.Redis.from_url(self.server.dsn, socket_timeout=5) as look:
            return [int(json.loads(fields[b"event"])["n"]) for _, fields in await look.xrange("events")]

    async def well(self) -> None:
        async def is_well() -> bool:
            return self.acceptor.health()["status"] == "ok" and self.link.connected

        await until(is_well)

    def kill(self, *, lost_bytes: int = 0) -> None:
        """kill -9 of Redis; the end of its file was never written."""
        self.server.process.send_signal(signal.SIGKILL)
        self.server.process.wait()
        (path,) = self.server.folder.glob("appendonlydir/*.incr.aof")
        os.truncate(path, path.stat().st_size - lost_bytes)

    def _watched(self, channel: str, payload: bytes, *_: Any, **__: Any) -> bool:
        self.told.append(json.loads(payload)["params"]["n"])
        return True


Make = Callable[..., Awaitable[Stage]]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    stages: list[Stage] = []

    async def start(*, watch: bool = True, disk_bytes: int = resource.RLIM_INFINITY) -> Stage:
        server = RedisServer(tmp_path, "--appendonly", "yes", disk_bytes=disk_bytes)
        stage = Stage(server, tmp_path / "journal", BadDisk())
        stages.append(stage)
        await stage.open(watch=watch)
        return stage

    yield start
    for stage in stages:
        await stage.close()
        stage.server.stop()


async def subscribed(stage: Stage) -> aioredis.client.PubSub:
    pubsub = aioredis.Redis.from_url(stage.server.dsn).pubsub()
    await pubsub.subscribe("broadcast")
    await pubsub.get_message(timeout=2)
    return pubsub


async def test_a_full_disk_and_then_the_end_of_redis_loses_nothing(make: Make, tmp_path: Path) -> None:
    """The event at which the disk fills is confirmed, and never written: it is in the stream after the restart."""
    stage = await make(disk_bytes=20_000)
    number = 0
    while stage.acceptor.health()["status"] == "ok":
        await stage.accept(number)
        number += 1
        assert number < 1000
    assert "MISCONF" in stage.acceptor.health()["reason"]
    assert "disk of Redis' volume" in stage.acceptor.health()["hint"]
    await stage.accept(*range(number, number + 10))
    stage.kill()
    stage.server.disk_bytes = resource.RLIM_INFINITY
    stage.server.start()
    await stage.well()
    assert await stage.stream() == list(range(number + 10))


async def test_a_full_disk_that_gets_room_again_doubles_nothing(make: Make) -> None:
    """Redis writes what it held as soon as it can; what was put on the disk meanwhile is found in the stream."""
    stage = await make(disk_bytes=20_000)
    number = 0
    while stage.acceptor.health()["status"] == "ok":
        await stage.accept(number)
        number += 1
    resource.prlimit(stage.server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    await stage.well()
    await stage.accept(number)
    assert await stage.stream() == list(range(number + 1))


async def test_what_a_slow_disk_had_not_taken_comes_back_when_redis_is_killed(make: Make) -> None:
    """Confirmed, told of, lost: appended again in its place before newer ones, and told of no second time."""
    stage = await make(watch=False)
    pubsub = await subscribed(stage)
    await stage.accept(*range(20))
    await pubsub.aclose()
    assert stage.told == list(range(20))
    stage.kill(lost_bytes=1500)
    await stage.accept(20, 21)
    stage.server.start()
    await stage.well()
    assert await stage.stream() == list(range(22))
    assert stage.told == list(range(22))


async def test_it_comes_back_although_no_event_follows(make: Make) -> None:
    """Redis ends and is there again while nobody sends anything: front notices by itself."""
    stage = await make()
    await stage.accept(*range(5))
    stage.kill(lost_bytes=400)
    stage.server.start()

    async def is_back() -> bool:
        return await stage.stream() == list(range(5))

    await until(is_back)


async def test_what_redis_has_written_is_not_looked_for_again(make: Make) -> None:
    """Once its file has everything, nothing is remembered, and a restart of Redis brings nothing."""
    stage = await make()
    await stage.accept(*range(50))

    async def is_written() -> bool:
        return not stage.acceptor._recovery.needed

    await until(is_written)
    stage.kill()
    stage.server.start()
    await stage.well()
    assert await stage.stream() == list(range(50))
    assert stage.acceptor.health()["written"] == 0


async def test_a_replayed_segment_is_kept_until_redis_has_written_it(make: Make) -> None:
    """The journal's file goes when its events are in Redis' file; if Redis ends before, it is replayed again."""
    stage = await make(watch=False)
    stage.kill()
    await stage.accept(*range(30))
    stage.server.start()
    await stage.well()
    assert await stage.stream() == list(range(30))
    stage.acceptor.journal.remove_replayed(at_once=True)
    assert stage.acceptor.health()["bytes"] > 0
    stage.kill(lost_bytes=500)  # in the middle of a transaction: Redis drops all of it
    stage.server.start()
    stage.keeping.tell(stage.acceptor)

    async def is_gone() -> bool:
        await stage.link.ready(5)
        await stage.keeping._look_if_connected()
        stage.acceptor.journal.remove_replayed(at_once=True)
        return stage.acceptor.health()["bytes"] == 0

    await until(is_gone)
    assert await stage.stream() == list(range(30))


async def test_when_front_has_no_disk_either_they_are_kept_in_memory(make: Make) -> None:
    """One full disk for both: what Redis may lose is brought from memory."""
    stage = await make(watch=False)
    await stage.accept(*range(10))
    stage.disk.fail["write"] = errno.ENOSPC
    stage.kill(lost_bytes=1000)
    await asyncio.sleep(0.2)
    stage.acceptor.redis_lost("gone")
    await asyncio.sleep(0.2)
    assert stage.acceptor.health()["waiting"] == 10
    stage.server.start()

    async def is_brought() -> bool:
        return stage.acceptor.health()["waiting"] == 0

    await until(is_brought)
    stage.disk.fail.clear()
    assert await stage.stream() == list(range(10))
