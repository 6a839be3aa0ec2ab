"""A whole front with a journal: what clients, health and metrics see while Redis is away, and after a kill."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as client:
        yield client


async def send(session: aiohttp.ClientSession, front: Any, number: int) -> int:
    async with session.get(f"{front.url}/track/page?n={number}&uid=1234567890") as answer:
        await answer.read()
        return answer.status


async def health_of(session: aiohttp.ClientSession, front: Any) -> dict[str, Any]:
    async with session.get(f"{front.url}/_band/health") as answer:
        return dict((await answer.json())["checks"]["journal"])


async def numbers(peers: Any) -> list[int]:
    return [int(json.loads(fields[b"event"])["data"]["n"]) for _, fields in await peers.redis.xrange("events")]


async def whole_again(session: aiohttp.ClientSession, front: Any) -> None:
    deadline = time.monotonic() + 20  # a refusal is shown for 10 s
    while (await health_of(session, front))["status"] != "ok":
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


async def test_clients_do_not_notice_that_redis_is_away(
    session: aiohttp.ClientSession, own_redis: Any, start_front: Any, speak: Any, tmp_path: Path
) -> None:
    """200 without Redis, quickly; health and metrics say what waits; afterwards all is in the stream, marked."""
    front = start_front(own_redis.dsn, JOURNAL_DIR=str(tmp_path / "journal"))
    assert (await health_of(session, front))["status"] == "ok"
    own_redis.stop()
    await asyncio.sleep(0.2)
    began = time.monotonic()
    assert [await send(session, front, number) for number in range(20)] == [200] * 20
    assert time.monotonic() - began < 3
    seen = await health_of(session, front)
    assert (seen["status"], seen["waiting"]) == ("degraded", 20)
    async with session.get(f"{front.url}/_band/metrics") as answer:
        assert re.search(r"^band_front_journal_events 20\.0", await answer.text(), re.MULTILINE)
    own_redis.start()
    await whole_again(session, front)
    assert await send(session, front, 20) == 200
    peers = speak(own_redis.dsn)
    assert await numbers(peers) == list(range(21))
    (_, first), (_, last) = (await peers.redis.xrange("events"))[0], (await peers.redis.xrevrange("events", count=1))[0]
    assert json.loads(first[b"trace"])["journaled"] is True
    assert "journaled" not in json.loads(last.get(b"trace", b"{}"))


async def test_a_killed_front_leaves_its_journal_to_the_next(
    session: aiohttp.ClientSession, own_redis: Any, start_front: Any, speak: Any, tmp_path: Path
) -> None:
    """kill -9 while Redis is away: what it answered with 200 comes into the stream by the front after it."""
    journal = str(tmp_path / "journal")
    front = start_front(own_redis.dsn, JOURNAL_DIR=journal)
    own_redis.stop()
    await asyncio.sleep(0.2)
    assert [await send(session, front, number) for number in range(30)] == [200] * 30
    front.process.kill()
    front.process.wait()
    own_redis.start()
    following = start_front(own_redis.dsn, JOURNAL_DIR=journal)
    await whole_again(session, following)
    assert await numbers(speak(own_redis.dsn)) == list(range(30))


async def test_both_full_is_a_503_that_says_when_to_come_again(
    session: aiohttp.ClientSession, own_redis: Any, start_front: Any, speak: Any, tmp_path: Path
) -> None:
    """Neither Redis nor the journal takes the event: 503 with Retry-After, health is failing with both reasons."""
    front = start_front(own_redis.dsn, JOURNAL_DIR=str(tmp_path / "journal"), JOURNAL_MAX_MB="1")
    own_redis.stop()
    await asyncio.sleep(0.2)
    accepted = 0
    body = {"pad": "x" * 90_000}
    while True:
        async with session.post(f"{front.url}/track/page?n={accepted}", json=body) as answer:
            if answer.status != 200:
                break
            accepted += 1
    assert (answer.status, int(answer.headers["Retry-After"]) >= 1) == (503, True)
    assert 8 <= accepted <= 11
    async with session.get(f"{front.url}/_band/health") as seen:
        assert seen.status == 503
        check = (await seen.json())["checks"]["journal"]
    assert check["status"] == "failing"
    assert "the journal is" in check["reason"]
    own_redis.start()
    await whole_again(session, front)
    assert await numbers(speak(own_redis.dsn)) == list(range(accepted))


async def test_a_journal_that_cannot_be_used_is_told_and_front_works(
    session: aiohttp.ClientSession, own_redis: Any, start_front: Any, tmp_path: Path
) -> None:
    """No folder to write in: degraded with the reason; events still go to Redis, and are refused without it.

    When the folder can be used, the journal takes events without a restart.
    """
    (tmp_path / "file").write_text("in the way")
    front = start_front(own_redis.dsn, JOURNAL_DIR=str(tmp_path / "file"))
    assert await send(session, front, 1) == 200
    seen = await health_of(session, front)
    assert seen["status"] == "degraded"
    assert "cannot be used" in seen["reason"]
    own_redis.stop()
    await asyncio.sleep(0.2)
    assert await send(session, front, 2) == 503
    assert (await health_of(session, front))["status"] == "failing"
    (tmp_path / "file").unlink()
    own_redis.start()
    await whole_again(session, front)
    own_redis.stop()
    await asyncio.sleep(0.2)
    assert await send(session, front, 3) == 200


async def test_ids_do_not_repeat_after_the_clock_was_set_back(
    session: aiohttp.ClientSession, front_redis: Any, start_front: Any, speak: Any, tmp_path: Path
) -> None:
    """Each worker goes on above its mark, while the events' time is the clock's; the mark is renewed for the next."""
    folder = tmp_path / "journal"
    folder.mkdir()
    bound = int(time.time() * 1000) + 60_000
    for worker in (0, 1):
        (folder / f"ids-{worker}").write_text(json.dumps({"bound": bound, "booted": None}))
    front = start_front(front_redis.dsn, JOURNAL_DIR=str(folder), WORKERS="2")
    peers = speak(front_redis.dsn)
    assert await send(session, front, 1) == 200
    event = await peers.newest()
    assert int(event["id"]) >> 22 > bound
    assert abs(event["time"] - time.time() * 1000) < 5000
    assert min(json.loads((folder / f"ids-{worker}").read_text())["bound"] for worker in (0, 1)) > bound
    assert front.log.read_text().count("ids_ahead_of_clock") == 2
