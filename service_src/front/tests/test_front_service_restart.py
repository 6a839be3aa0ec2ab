"""A front that starts again knows what the one before it was told."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import aiohttp
import pytest

from band.constants import REGISTRATIONS_KEY as KEY

UA_ROW = {
    "method": "enrich",
    "role": "enricher",
    "options": {"keys": ["in.gen.track"], "props": {"ua": "td.ua"}},
    "service": "uaparser",
}
UA_RESULT = {"is_pc": 1}


async def track(front: Any) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"{front.url}/track/page") as answer:
        assert answer.status == 200


async def kept(peers: Any) -> dict[str, Any]:
    for _ in range(100):
        if raw := await peers.redis.get(KEY):
            return dict(json.loads(raw))
        await asyncio.sleep(0.02)
    raise AssertionError("nothing was kept")


async def test_the_first_event_after_a_start_is_enriched(own_redis: Any, start_front: Any, speak: Any) -> None:
    """A second front without any push enriches its first event; the director's same table is then no news to it."""
    peers = speak(own_redis.dsn)
    first = start_front(own_redis.dsn)
    await peers.service("uaparser", lambda _params: UA_RESULT, enricher=True)
    await peers.register(UA_ROW)
    assert await kept(peers) == {"register": [UA_ROW], "state_hash": peers.last_hash}
    assert first.stop() == 0

    second = start_front(own_redis.dsn)
    await track(second)
    assert (await peers.newest())["data"]["uaparser"] == UA_RESULT
    assert "registrations_recalled" in second.log.read_text()
    again = await peers.call_front("__status", {"register": [UA_ROW], "state_hash": peers.last_hash})
    assert again["result"] is None
    await peers.register()
    assert (await peers.call_front("enrichers", {}))["result"] == {}


async def test_an_empty_push_does_not_replace_what_is_kept(own_redis: Any, start_front: Any, speak: Any) -> None:
    """A director that has just started knows no service yet: its empty hash is neither taken nor kept."""
    peers = speak(own_redis.dsn)
    start_front(own_redis.dsn)
    await peers.register(UA_ROW)
    before = await kept(peers)
    await peers.call_front("__status", {"register": [], "state_hash": ""})
    assert await kept(peers) == before


@pytest.mark.parametrize(
    "raw",
    [
        b"{bad", b"\xff", b"[1]", b"null", b'{"register":5,"state_hash":1}', b'{"register":[],"state_hash":""}',
        b"[" * 99_999,
    ],
    ids=["no-json", "no-text", "list", "null", "no-rows", "no-hash", "deep"],
)  # fmt: skip
async def test_what_cannot_be_used_is_ignored_with_a_line_in_the_log(
    own_redis: Any, start_front: Any, speak: Any, raw: bytes
) -> None:
    """Front starts, takes events, and says once that it ignored what was kept and why."""
    peers = speak(own_redis.dsn)
    await peers.redis.set(KEY, raw)
    front = start_front(own_redis.dsn)
    await track(front)
    assert (await peers.call_front("enrichers", {}))["result"] == {}
    assert front.log.read_text().count("kept_registrations_ignored") == 1
    await peers.register(UA_ROW)
    assert list((await peers.call_front("enrichers", {}))["result"]) == ["uaparser"]


async def test_a_key_of_another_type_is_ignored(own_redis: Any, start_front: Any, speak: Any) -> None:
    """Redis' refusal is a line in the log, not the end of the start."""
    peers = speak(own_redis.dsn)
    await peers.redis.rpush(KEY, "x")
    front = start_front(own_redis.dsn)
    await track(front)
    assert front.log.read_text().count("registrations_not_recalled") == 1


async def test_a_redis_that_comes_later_does_not_keep_the_port_shut(
    own_redis: Any, start_front: Any, speak: Any
) -> None:
    """Without Redis the port opens after some 2 s and refuses events; when Redis comes, what it keeps is recalled."""
    before = speak(own_redis.dsn)
    await before.redis.set(KEY, json.dumps({"register": [UA_ROW], "state_hash": 1}))
    await before.redis.save()
    own_redis.stop()
    began = time.monotonic()
    starting = asyncio.create_task(asyncio.to_thread(start_front, own_redis.dsn))
    log = own_redis.folder / "front0" / "front.log"
    while not log.exists() or "front_open" not in log.read_text():
        assert time.monotonic() - began < 10
        await asyncio.sleep(0.1)
    own_redis.start()
    peers = speak(own_redis.dsn)
    front = await starting
    await peers.service("uaparser", lambda _params: UA_RESULT, enricher=True)
    deadline = time.monotonic() + 8
    while "registrations_recalled" not in front.log.read_text():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    await track(front)
    assert (await peers.newest())["data"]["uaparser"] == UA_RESULT
