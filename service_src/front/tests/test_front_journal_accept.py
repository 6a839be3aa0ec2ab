"""Accepting with a journal behind the stream, on a real Redis that goes, hangs, fills up and comes back."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as aioredis

from band.errors import RedisError, RedisUnavailable
from band.redis.address import RedisAddress
from band.redis.link import RedisLink
from front.errors import NotAccepted
from front.storage.journal.format import Entry
from front.storage.journal.journal import Journal
from front.storage.journal_acceptor import JournalAcceptor
from front.storage.redis_persistence import RedisPersistence
from front.storage.replay import Replayer, marked, next_batch
from front.storage.unpersisted import Unpersisted


class Direct:
    """The straight way, as plain as it can be."""

    def __init__(self, link: RedisLink) -> None:
        self.link = link

    async def accept(self, payload: bytes, trace: bytes) -> Any:
        try:
            async with asyncio.timeout(0.5):
                return await self.link.command("XADD", "events", "*", "event", payload, "trace", trace)
        except (RedisError, TimeoutError) as error:
            raise NotAccepted("not stored") from error

    def refusal(self) -> str:
        return "" if self.link.connected else "there is no connection to Redis"


Make = Callable[..., Awaitable[JournalAcceptor]]


@pytest.fixture
async def make(own_redis: Any, tmp_path: Path) -> AsyncIterator[Make]:
    """Starts acceptors on the test's Redis and the test's folder."""
    made: list[tuple[JournalAcceptor, RedisLink, asyncio.Task[Any]]] = []

    async def start(most: int = 1 << 24, root: Path | None = None) -> JournalAcceptor:
        link = RedisLink("journal-test")
        link.start(RedisAddress.parse(own_redis.dsn))
        journal = Journal(root or tmp_path / "journal", most)
        keeping = RedisPersistence(link, 1_000_000)
        acceptor = JournalAcceptor(Direct(link), journal, link, keeping, Unpersisted())
        await acceptor.open()
        keeping.tell(acceptor)
        made.append((acceptor, link, asyncio.create_task(keeping.run())))
        return acceptor

    yield start
    for acceptor, link, watching in made:
        watching.cancel()
        await acceptor.close()
        await link.close()


@pytest.fixture
async def look(own_redis: Any) -> AsyncIterator[aioredis.Redis]:
    client = aioredis.Redis.from_url(own_redis.dsn, socket_timeout=5)
    yield client
    await client.aclose()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not condition():  # noqa: ASYNC110 - what is waited for is in another task's hands
            await asyncio.sleep(0.02)


async def stream(look: aioredis.Redis) -> list[int]:
    """The numbers of the events in the stream, in order."""
    return [int(json.loads(fields[b"event"])["n"]) for _, fields in await look.xrange("events")]


def event(number: int) -> bytes:
    now = time.time_ns() // 1_000_000
    return b'{"n":%d,"id":"%d","time":%d}' % (number, number + 1, now)


def well(acceptor: JournalAcceptor) -> bool:
    return acceptor.health()["status"] == "ok"


async def connected(acceptor: JournalAcceptor) -> None:
    await until(lambda: not acceptor.refusal() and acceptor._stream.refusal() == "")


async def test_without_trouble_the_disk_is_not_touched(make: Make, look: aioredis.Redis) -> None:
    """Events go straight into the stream; nothing is written to the journal."""
    acceptor = await make()
    await connected(acceptor)
    for number in range(5):
        await acceptor.accept(event(number), b"{}")
    assert await stream(look) == list(range(5))
    assert not acceptor.journal.waits
    assert acceptor.health()["written"] == 0


async def test_redis_away_then_back(make: Make, own_redis: Any, look: aioredis.Redis) -> None:
    """Accepted on the disk, told by health, replayed in order, before those that come after; then straight again."""
    acceptor = await make()
    await connected(acceptor)
    await acceptor.accept(event(0), b"")
    own_redis.stop()
    for number in range(1, 50):
        await acceptor.accept(event(number), b'{"at":1}')
    assert acceptor.refusal() == ""
    facts = acceptor.health()
    assert (facts["status"], facts["waiting"]) == ("degraded", 49)
    assert facts["bytes"] > 0
    own_redis.start()
    number = 50
    while not well(acceptor):
        await acceptor.accept(event(number), b"")
        number += 1
        await asyncio.sleep(0.005)
    await acceptor.accept(event(number), b"")
    # The Redis of the test keeps nothing over a restart: event 0 is gone with the old one.
    assert await stream(look) == list(range(1, number + 1))
    rows = await look.xrange("events", count=2)
    assert json.loads(rows[1][1][b"trace"]) == {"at": 1, "journaled": True}
    assert acceptor.replayed == acceptor.health()["written"] >= 49


async def test_a_redis_that_refuses_to_write(make: Make, look: aioredis.Redis) -> None:
    """Out of memory, read-only, a wrong type under the name: to the disk; into the stream when that is mended."""
    acceptor = await make()
    await connected(acceptor)
    await look.config_set("maxmemory", "1")
    await acceptor.accept(event(1), b"")
    await acceptor.accept(event(2), b"")
    assert "OOM" in acceptor.health()["reason"]
    await look.config_set("maxmemory", "0")
    await until(lambda: well(acceptor))
    await look.replicaof("127.0.0.1", "1")
    await acceptor.accept(event(3), b"")
    assert "READONLY" in acceptor.health()["reason"]
    await look.replicaof("NO", "ONE")
    await until(lambda: well(acceptor))
    assert await stream(look) == [1, 2, 3]


async def test_a_hanging_redis_costs_one_time_out(make: Make, own_redis: Any, look: aioredis.Redis) -> None:
    """The first event waits for the limit, those after it go to the disk at once; all are there when it goes on."""
    acceptor = await make()
    await connected(acceptor)
    own_redis.process.send_signal(signal.SIGSTOP)
    await acceptor.accept(event(1), b"")
    began = asyncio.get_running_loop().time()
    for number in range(2, 20):
        await acceptor.accept(event(number), b"")
    assert asyncio.get_running_loop().time() - began < 0.5
    own_redis.process.send_signal(signal.SIGCONT)
    await until(lambda: well(acceptor))
    assert sorted(await stream(look)) == list(range(1, 20))


async def test_a_journal_that_is_full_too_is_a_refusal(make: Make, own_redis: Any, look: aioredis.Redis) -> None:
    """Neither takes it: NotAccepted, health is failing and says both reasons; what was taken comes into the stream."""
    acceptor = await make(most=5000)
    await connected(acceptor)
    own_redis.stop()
    taken = 0
    with pytest.raises(NotAccepted, match="full"):
        while True:
            await acceptor.accept(event(taken), b"")
            taken += 1
    health = acceptor.health()
    assert health["refused"] == 1
    own_redis.start()
    await until(lambda: well(acceptor))
    assert await stream(look) == list(range(taken))


async def test_a_front_that_starts_with_a_backlog_brings_it_first(
    make: Make, own_redis: Any, look: aioredis.Redis, tmp_path: Path
) -> None:
    """What the one before left, in this or another folder, comes into the stream; new events queue behind it."""
    own_redis.stop()
    first, second = await make(), await make()
    for number in range(10):
        await first.accept(event(number), b"")
    await second.accept(event(100), b"")
    await first.close()
    await second.close()
    own_redis.start()
    third = await make()
    await third.accept(event(10), b"")
    await until(lambda: well(third))
    assert await stream(look) == [*range(10), 100, 10]


async def test_older_events_of_all_processes_come_before_newer_ones_of_any(
    make: Make, own_redis: Any, look: aioredis.Redis
) -> None:
    """After a restart a visitor may come to another process: its new events stand behind all that lay there."""
    own_redis.stop()
    first, second = await make(), await make()
    for number in range(3000):
        await first.accept(event(number), b"")
        if number % 100 == 0:
            await second.accept(event(10_000 + number), b"")
    await first.close()
    await second.close()
    third, fourth = await make(), await make()
    for number in range(20_000, 20_010):
        await third.accept(event(number), b"")
        await fourth.accept(event(10_000 + number), b"")
    own_redis.start()
    await until(lambda: well(third) and well(fourth))
    found = await stream(look)
    assert len(found) == len(set(found)) == 3050
    assert max(found[:3030]) < 20_000 <= min(found[3030:])


async def test_a_crash_in_the_middle_of_a_replay_appends_nothing_twice(
    make: Make, own_redis: Any, look: aioredis.Redis, tmp_path: Path
) -> None:
    """Killed after any number of batches: the next process goes on where it was, by what Redis itself remembers."""
    own_redis.stop()
    acceptor = await make()
    for number in range(30):
        await acceptor.accept(event(number), b"")
    (segment,) = await acceptor.journal.sealed()
    entries = acceptor.journal.read(segment).entries
    await acceptor.close()
    own_redis.start()
    link = RedisLink("other")
    link.start(RedisAddress.parse(own_redis.dsn))
    await link.ready(5)
    replayer = Replayer(link, RedisPersistence(link, 1000), lambda payload: None)
    assert await replayer.replay(segment.key, entries[:7]) == 7
    assert await replayer.replay(segment.key, entries[:20]) == 13
    await link.close()
    again = await make()
    await until(lambda: well(again) and again.replayed == 10)
    assert await stream(look) == list(range(30))


async def test_an_answer_that_was_lost_appends_nothing_twice(make: Make, look: aioredis.Redis) -> None:
    """The batch is in the stream, but its answer never came: sent again, it is recognised."""
    acceptor = await make()
    await connected(acceptor)

    class Forgetful:
        """Loses the answer of the first append."""

        def __init__(self) -> None:
            self.lost = 0

        async def command(self, *parts: Any, timeout: float = 5.0) -> Any:
            reply = await acceptor._link.command(*parts, timeout=timeout)
            if parts[0] == "EVAL" and not self.lost:
                self.lost += 1
                raise RedisUnavailable("the connection was lost before the answer came")
            return reply

    entries = [Entry(event(n), b"", n + 1) for n in range(1200)]
    told: list[int] = []
    replayer = Replayer(Forgetful(), acceptor._replayer._redis, lambda payload: told.append(json.loads(payload)["n"]))
    with pytest.raises(RedisUnavailable):
        await replayer.replay("k", entries)
    assert told == []
    await replayer.replay("k", entries)
    assert await stream(look) == list(range(1200))
    assert told == list(range(1200))


async def test_listeners_of_the_original_hear_of_what_came_through_unheard(make: Make, look: aioredis.Redis) -> None:
    """Stored by a first try that nobody heard of: appended no second time, told of once, in its place."""
    acceptor = await make()
    await connected(acceptor)
    payloads = [event(number) for number in range(6)]
    for number in (1, 2, 5):
        await look.xadd("events", {"event": payloads[number]})
    doubt = b'{"unsure":true}'
    entries = [Entry(payload, doubt, end) for end, payload in enumerate(payloads, 1)]
    told: list[int] = []
    replayer = Replayer(
        acceptor._link, acceptor._replayer._redis, lambda payload: told.append(json.loads(payload)["n"])
    )
    assert await replayer.replay("k", entries) == 3
    assert told == [0, 1, 2, 3, 4, 5]
    assert sorted(await stream(look)) == [0, 1, 2, 3, 4, 5]
    assert await replayer.replay("empty", []) == 0


async def test_listeners_of_the_original_hear_of_replayed_events(
    make: Make, own_redis: Any, look: aioredis.Redis
) -> None:
    """What lay in the journal is published on `broadcast` when it is in the stream."""
    own_redis.stop()
    acceptor = await make()
    await acceptor.accept(event(1), b"")
    own_redis.start()
    async with look.pubsub() as pubsub:
        await pubsub.subscribe("broadcast")
        await pubsub.get_message(timeout=2)
        message = None
        async with asyncio.timeout(5):
            while message is None:
                message = await pubsub.get_message(timeout=1)
    assert json.loads(message["data"])["params"]["n"] == 1


async def test_catching_up_under_load_ends(make: Make, own_redis: Any, look: aioredis.Redis) -> None:
    """While visitors keep sending, the journal still becomes empty, and each sender's events are in order, once."""
    acceptor = await make()
    await connected(acceptor)
    own_redis.stop()
    sent = dict.fromkeys(range(20), 0)
    stop = asyncio.Event()

    async def visitor(who: int) -> None:
        while not stop.is_set():
            await acceptor.accept(json.dumps({"n": sent[who], "who": who}).encode(), b"")
            sent[who] += 1

    tasks = [asyncio.create_task(visitor(who)) for who in sent]
    await asyncio.sleep(1.0)
    own_redis.start()
    await until(lambda: well(acceptor))
    await asyncio.sleep(0.2)
    stop.set()
    await asyncio.gather(*tasks)
    found = [json.loads(fields[b"event"]) for _, fields in await look.xrange("events")]
    for who, count in sent.items():
        assert [one["n"] for one in found if one["who"] == who] == list(range(count))


def test_batches_are_bounded_by_number_and_bytes() -> None:
    """500 events or 1 MiB, at least one; a batch begins behind the place that is done."""
    small = [Entry(b"x", b"", end) for end in range(1, 1201)]
    assert [len(next_batch(small, at).entries) for at in (0, 500, 1000, 1200)] == [500, 500, 200, 0]
    large = [Entry(b"x" * 700_000, b"", end) for end in (1, 2, 3)]
    assert [len(next_batch(large, at).entries) for at in (0, 1, 2)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("trace", "shown"),
    [
        (b"", {"journaled": True}),
        (b"{}", {"journaled": True}),
        (b'{"at":1,"enrichers":{}}', {"at": 1, "enrichers": {}, "journaled": True}),
        (b"junk", {"journaled": True}),
    ],
)
def test_the_trace_says_that_it_lay_in_the_journal(trace: bytes, shown: dict[str, Any]) -> None:
    """Whatever the trace is, what is stored is an object with the mark."""
    assert json.loads(marked(trace)) == shown
