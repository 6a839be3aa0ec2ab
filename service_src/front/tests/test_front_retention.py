"""Trimming the stream behind all listeners, on a real Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from band.redis import RedisAddress
from band.redis.link import RedisLink
from front.storage.redis_persistence import RedisPersistence
from front.storage.retention import Trimmer, read_id

MEGABYTE = 1024 * 1024


@pytest.fixture
async def link(own_redis: Any) -> AsyncIterator[RedisLink]:
    connection = RedisLink("trim")
    connection.start(RedisAddress.parse(own_redis.dsn))
    await connection.ready(5)
    yield connection
    await connection.close()


async def trimmer_of(link: RedisLink, keep: int, most: int, *, keep_bytes: int = 0, maxmemory: str = "0") -> Trimmer:
    """A trimmer that has looked at Redis' memory."""
    await link.command("CONFIG", "SET", "maxmemory", maxmemory)
    memory = RedisPersistence(link, most)
    await memory.look()
    return Trimmer(link, memory, keep, keep_bytes, most)


async def trim(trimmer: Trimmer) -> int:
    await trimmer._redis.look()
    return await trimmer.trim()


async def add(link: RedisLink, count: int, size: int = 7) -> list[bytes]:
    found = []
    while count > 0:
        asked = [link.ask("XADD", "events", "*", "event", "x" * size) for _ in range(min(count, 500))]
        found += [await reply for reply in asked]
        count -= 500
    return found


async def read(link: RedisLink, group: str, count: int, *, acknowledge: bool = True) -> list[bytes]:
    reply = await link.command("XREADGROUP", "GROUP", group, "c", "COUNT", count, "STREAMS", "events", ">")
    ids = [entry for entry, _ in reply[b"events"]]
    if acknowledge:
        await link.command("XACK", "events", group, *ids)
    return ids


async def oldest(link: RedisLink) -> bytes:
    return bytes((await link.command("XRANGE", "events", "-", "+", "COUNT", 1))[0][0])


async def length(link: RedisLink) -> int:
    return int(await link.command("XLEN", "events"))


async def test_without_events_there_is_nothing_to_do(link: RedisLink) -> None:
    """No stream: no error, nothing trimmed, all well."""
    trimmer = await trimmer_of(link, 100, 10_000)
    assert await trimmer.trim() == 0
    assert trimmer.health() == {"status": "ok", "length": 0, "most": 10_000, "bytes": 0, "behind": {}}


async def test_what_all_are_done_with_goes_and_the_newest_stay(link: RedisLink) -> None:
    """Groups that have acknowledged everything hold nothing back; `events_keep` and a node of Redis stay."""
    trimmer = await trimmer_of(link, 500, 100_000)
    for group in ("a", "b"):
        await link.command("XGROUP", "CREATE", "events", group, "$", "MKSTREAM")
    for _ in range(4):
        await add(link, 500)
        for group in ("a", "b"):
            await read(link, group, 500)
        await trimmer.trim()
    assert 500 <= await length(link) <= 500 + 500 + 100
    assert trimmer.trimmed + await length(link) == 2000


async def test_one_unacknowledged_event_keeps_itself_and_all_after_it(link: RedisLink) -> None:
    """Neither what is pending nor what was not given yet is ever trimmed, however old."""
    trimmer = await trimmer_of(link, 100, 100_000)
    await link.command("XGROUP", "CREATE", "events", "fast", "$", "MKSTREAM")
    await link.command("XGROUP", "CREATE", "events", "slow", "$", "MKSTREAM")
    await add(link, 300)
    await trimmer.trim()
    held = (await read(link, "slow", 300, acknowledge=False))[-1]
    await link.command("XACK", "events", "slow", *[entry for entry in await ids(link) if entry != held])
    for _ in range(10):
        await add(link, 300)
        await read(link, "fast", 10_000)
        await trimmer.trim()
    assert read_id(await oldest(link)) <= read_id(held)
    assert held in await ids(link)
    assert await length(link) >= 3001
    await link.command("XACK", "events", "slow", held)
    await read(link, "slow", 10_000)
    await trimmer.trim()
    assert await length(link) < 1000


async def ids(link: RedisLink) -> list[bytes]:
    return [entry for entry, _ in await link.command("XRANGE", "events", "-", "+")]


async def test_a_group_that_never_read_holds_back_and_is_named(link: RedisLink) -> None:
    """At 80 % of the bound health is degraded and says who; below 70 % it is well again."""
    trimmer = await trimmer_of(link, 100, 1000)
    await link.command("XGROUP", "CREATE", "events", "gone_service", "0", "MKSTREAM")
    await link.command("XGROUP", "CREATE", "events", "busy", "0")
    await add(link, 790)
    await read(link, "busy", 10_000)
    await trimmer.trim()
    assert trimmer.health()["status"] == "ok"
    await add(link, 20)
    await read(link, "busy", 10_000)
    assert await trimmer.trim() == 0
    state = trimmer.health()
    assert state["status"] == "degraded"
    assert "gone_service (810 behind)" in state["reason"]
    assert "busy" not in state["reason"]
    assert "docker exec redis redis-admin XGROUP DESTROY events" in state["hint"]
    assert trimmer.lag() == {"gone_service": 810.0, "busy": 0.0}
    await link.command("XGROUP", "DESTROY", "events", "gone_service")
    await add(link, 200)
    await read(link, "busy", 10_000)
    await trimmer.trim()
    assert trimmer.health()["status"] == "ok"


async def test_a_new_process_trims_at_once(link: RedisLink) -> None:
    """Nothing is remembered between two looks: a trimmer that was just made knows where the newest events begin."""
    await link.command("XGROUP", "CREATE", "events", "a", "$", "MKSTREAM")
    await add(link, 2000)
    await read(link, "a", 2000)
    trimmer = await trimmer_of(link, 500, 100_000)
    assert 1400 <= await trimmer.trim() <= 1500
    assert 500 <= await length(link) <= 600


async def test_the_newest_that_stay_are_bounded_in_bytes(link: RedisLink) -> None:
    """Large events: fewer than `events_keep` stay, a quarter of Redis' memory, or what the setting says."""
    await link.command("XGROUP", "CREATE", "events", "a", "$", "MKSTREAM")
    await add(link, 800, size=50_000)
    await read(link, "a", 800)
    for keep_bytes, bound in ((0, 16 * MEGABYTE), (4 * MEGABYTE, 4 * MEGABYTE)):
        trimmer = await trimmer_of(link, 10_000, 1_000_000, keep_bytes=keep_bytes, maxmemory="64mb")
        assert await trimmer.trim() > 0
        assert bound / 2 < trimmer.bytes <= bound
        assert trimmer.health()["bytes"] == trimmer.bytes
        assert trimmer.length == await length(link)


async def test_small_events_before_large_ones_do_not_hide_their_size(link: RedisLink) -> None:
    """What is trimmed first may be far below the average: it goes on until the bytes fit."""
    await add(link, 5000, size=100)
    await add(link, 400, size=100_000)
    trimmer = await trimmer_of(link, 10_000, 1_000_000, keep_bytes=20 * MEGABYTE)
    await trimmer.trim()
    assert 10 * MEGABYTE < trimmer.bytes <= 20 * MEGABYTE


async def test_when_memory_runs_short_acknowledged_events_give_way(link: RedisLink) -> None:
    """From 80 % of maxmemory on, down to 70 %, oldest first; what one group has not acknowledged stays."""
    for group in ("fast", "slow"):
        await link.command("XGROUP", "CREATE", "events", group, "$", "MKSTREAM")
    added = await add(link, 1100, size=50_000)
    await read(link, "fast", 2000)
    await read(link, "slow", 100)
    trimmer = await trimmer_of(link, 10_000, 1_000_000, keep_bytes=1 << 40, maxmemory="64mb")
    assert trimmer._redis.used_bytes > 0.8 * 64 * MEGABYTE
    await trim(trimmer)
    assert await oldest(link) == added[100]
    state = trimmer.health()
    assert state["status"] == "degraded"
    assert "held back by slow (1000 behind)" in state["reason"]
    assert "fast" not in state["reason"]
    await read(link, "slow", 2000)
    await trim(trimmer)
    await trimmer._redis.look()
    assert 0.6 < trimmer._redis.used_bytes / (64 * MEGABYTE) < 0.7
    assert (await ids(link))[-1] == added[-1]
    await trim(trimmer)
    assert trimmer.health()["status"] == "ok"


async def test_without_any_group_the_oldest_give_way(link: RedisLink) -> None:
    """Nobody waits for these events; the newest stay for those who look."""
    added = await add(link, 1100, size=50_000)
    trimmer = await trimmer_of(link, 10_000, 1_000_000, keep_bytes=1 << 40, maxmemory="64mb")
    await trim(trimmer)
    await trimmer._redis.look()
    assert trimmer._redis.used_bytes < 0.7 * 64 * MEGABYTE
    assert (await ids(link))[-1] == added[-1]
    assert await length(link) > 500


async def test_one_old_event_names_its_group(link: RedisLink) -> None:
    """A group that has acknowledged all but one old event holds back everything after it, so it is the one to mend."""
    for group in ("stuck", "busy"):
        await link.command("XGROUP", "CREATE", "events", group, "$", "MKSTREAM")
    await link.command("XADD", "events", f"{(int(time.time()) - 60) * 1000}-0", "event", "old")
    await read(link, "stuck", 1, acknowledge=False)
    await add(link, 900)
    await read(link, "stuck", 900)
    await read(link, "busy", 900)
    trimmer = await trimmer_of(link, 10, 1000)
    await trimmer.trim()
    assert "held back by stuck (1 behind)" in trimmer.health()["reason"]


async def test_a_group_that_began_in_the_middle_is_behind_all_the_same(link: RedisLink) -> None:
    """Redis cannot count for such a group; it counts as behind by no more than the stream is long."""
    added = await add(link, 300)
    await link.command("XGROUP", "CREATE", "events", "middle", added[100])
    trimmer = await trimmer_of(link, 10, 1000)
    await trimmer.trim()
    assert trimmer.lag()["middle"] >= 199
    await read(link, "middle", 300)
    await trimmer.trim()
    assert trimmer.lag() == {"middle": 0.0}


async def test_a_redis_that_refuses_to_trim_is_told_of(link: RedisLink) -> None:
    """After three refusals in a row, whichever command it is; it ends with the first success."""
    trimmer = await trimmer_of(link, keep=10, most=1000)
    await add(link, 300)
    for command in ("xinfo", "xtrim"):
        await link.command("ACL", "SETUSER", "default", f"-{command}")
        for status in ("ok", "ok", "degraded"):
            await trimmer._trim_if_connected()
            assert trimmer.health()["status"] == status
        assert "NOPERM" in trimmer.health()["reason"]
        assert "lacks a permission" in trimmer.health()["hint"]
        await link.command("ACL", "SETUSER", "default", f"+{command}")
        await trimmer._trim_if_connected()
        assert trimmer.health()["status"] == "ok"
        await add(link, 300)


async def test_metrics_and_health_tell_of_the_stream(own_redis: Any, start_front: Any, link: RedisLink) -> None:
    """The lag of each group by name, and the length."""
    await link.command("XGROUP", "CREATE", "events", "sender", "0", "MKSTREAM")
    await add(link, 5)
    front = start_front(own_redis.dsn)
    async with aiohttp.ClientSession() as session:
        for _ in range(40):
            async with session.get(f"{front.url}/_band/metrics") as answer:
                text = await answer.text()
            if 'band_front_stream_lag{group="sender"} 5.0' in text:
                break
            await asyncio.sleep(0.1)
        assert 'band_front_stream_lag{group="sender"} 5.0' in text
        assert "band_front_stream_length 5.0" in text
        async with session.get(f"{front.url}/_band/health") as answer:
            assert (await answer.json())["checks"]["stream"]["behind"] == {"sender": 5.0}
