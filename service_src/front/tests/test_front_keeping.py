"""What front says of a Redis that would not keep events."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp

from front.keeping import facts_of


def test_a_good_redis_is_well() -> None:
    """noeviction and an append-only file: nothing to say."""
    info = b"# Memory\r\nmaxmemory:100\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\naof_last_write_status:ok\r\n"
    assert facts_of(info) == {"status": "ok", "maxmemory_policy": "noeviction", "aof": True}


def test_what_would_cost_events_is_told() -> None:
    """Eviction only where there is a limit; a file that cannot be written; no file at all."""
    evicting = b"maxmemory:100\r\nmaxmemory_policy:allkeys-lru\r\naof_enabled:1\r\n"
    assert "set it to noeviction" in facts_of(evicting)["reason"]
    assert facts_of(evicting.replace(b"maxmemory:100", b"maxmemory:0"))["status"] == "ok"
    assert "its disk" in facts_of(b"aof_enabled:1\r\naof_last_write_status:err\r\n")["reason"]
    unkept = facts_of(b"aof_enabled:0\r\n")
    assert (unkept["status"], "append-only" in unkept["warning"]) == ("ok", True)


def test_a_redis_that_fills_up_is_told_before_it_is_full() -> None:
    """From 80 % of maxmemory on: large events fill it long before the stream has its greatest number of them."""
    info = "used_memory:%d\r\nmaxmemory:104857600\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\n"
    assert facts_of(info % 83_000_000)["status"] == "ok"
    full = facts_of(info % 84_000_000)
    assert (full["status"], full["code"]) == ("degraded", "nearly_full")
    assert "80 of 100 MiB" in full["reason"]
    assert facts_of("used_memory:84000000\r\nmaxmemory:0\r\naof_enabled:1\r\n")["status"] == "ok"


async def test_front_shows_it_in_its_health(own_redis: Any, start_front: Any, speak: Any) -> None:
    """A Redis that evicts makes front degraded, with the setting to change."""
    peers = speak(own_redis.dsn)
    await peers.redis.config_set("maxmemory", "100mb")
    await peers.redis.config_set("maxmemory-policy", "allkeys-lru")
    front = start_front(own_redis.dsn)
    async with aiohttp.ClientSession() as session, asyncio.timeout(8):
        while True:
            async with session.get(f"{front.url}/_band/health") as answer:
                check = (await answer.json())["checks"]["redis_keeps"]
            if check["status"] == "degraded":
                break
            await asyncio.sleep(0.1)
    assert "maxmemory-policy allkeys-lru" in check["reason"]
    assert "code" not in check
    assert "redis_may_lose_events" in front.log.read_text()
