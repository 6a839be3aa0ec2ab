"""Trimming the stream behind all listeners, on a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from band.redis import RedisAddress
from band.redis.link import RedisLink
from front.trimming import Marks, Trimmer, read_id


@pytest.fixture
async def link(own_redis: Any) -> AsyncIterator[RedisLink]:
    connection = RedisLink("trim")
    connection.start(RedisAddress.parse(own_redis.dsn))
    await connection.ready(5)
    yield connection
    await connection.close()


async def add(link: RedisLink, count: int) -> list[bytes]:
    asked = [link.ask("XADD", "events", "*", "event", '{"a":1}') for _ in range(count)]
    return [await reply for reply in asked]


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
    trimmer = Trimmer(link, 100, 10_000)
    assert await trimmer.trim() == 0
    assert trimmer.health() == {"status": "ok", "length": 0, "most": 10_000, "behind": {}}


async def test_what_all_are_done_with_goes_and_the_newest_stay(link: RedisLink) -> None:
    """Groups that have acknowledged everything hold nothing back; `events_keep` and a node of Redis stay."""
    trimmer = Trimmer(link, 500, 100_000)
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
    trimmer = Trimmer(link, 100, 100_000)
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
    trimmer = Trimmer(link, 100, 1000)
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
    assert "XGROUP DESTROY events" in state["hint"]
    assert trimmer.lag() == {"gone_service": 810.0, "busy": 0.0}
    await link.command("XGROUP", "DESTROY", "events", "gone_service")
    await add(link, 200)
    await read(link, "busy", 10_000)
    await trimmer.trim()
    assert trimmer.health()["status"] == "ok"


async def test_a_new_stream_begins_anew(link: RedisLink) -> None:
    """A deleted stream takes its marks with it; what comes then is not measured by them."""
    trimmer = Trimmer(link, 10, 10_000)
    await add(link, 500)
    await trimmer.trim()
    await link.command("DEL", "events")
    await add(link, 50)
    assert await trimmer.trim() == 0
    assert await length(link) == 50


def test_marks_know_where_the_newest_begin() -> None:
    """Never fewer than are to be kept; unknown until so many have come since the first mark."""
    marks = Marks(100)
    marks.add(1000, (1, 0))
    assert marks.begin(1099) is None
    assert marks.begin(1100) == (1, 1)
    for count in range(1001, 3000):
        marks.add(count, (count, 0))
        begin = marks.begin(count)
        assert begin is None or begin[0] <= count - 100 + 1
    assert (marks.begin(2999) or (0, 0))[0] >= 2999 - 100 - 1


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
