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
