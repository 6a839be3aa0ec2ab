"""Enrichers in the style of the original's TypeScript services fill events that front accepts."""

# ruff: noqa: ASYNC110 - waits poll what has no event

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from band.platform import REGISTRATIONS_KEY

SCRIPT = Path(__file__).parent / "typescript/original_uap.cjs"
CONFIG = """
rpc:
  service_group: <%= env.SERVICE_GROUP %>
  name: <%= env.SERVICE_GROUP %>_<%= env.WORKER_ID || '1' %>
  channels: [enrich, <%= env.SERVICE_GROUP %>_<%= env.WORKER_ID || '1' %>]
redis: {dsn: <%= env.REDIS_DSN %>}
log: {pino: {level: warn}}
metrics: {}
"""

pytestmark = pytest.mark.skipif(
    not os.environ.get("BAND_TEST_NODE"), reason="bin/test node builds the TypeScript framework, and runs these"
)


async def ask_status(redis: Redis, name: str) -> dict[str, Any]:
    """Ask a service as the director does; return what it answers."""
    async with asyncio.timeout(30), redis.pubsub(ignore_subscribe_messages=True) as pubsub:
        await pubsub.subscribe("lab")
        request = {"jsonrpc": "2.0", "method": f"{name}:__status:lab", "params": {}, "id": "1"}
        while not await redis.publish(name, json.dumps(request)):
            await asyncio.sleep(0.1)
        async for message in pubsub.listen():
            answer: dict[str, Any] = json.loads(message["data"])
            return answer["result"]
    raise AssertionError


async def test_replicas_and_roles_fill_events_by_their_group(front):
    """`uap_1` and `uap_2` fill `data.uap`, `uapc_1` `data.uapc`; of three replicas one is killed, and comes back."""
    for group, worker in (("uap", "1"), ("uap", "2"), ("uapc", "1"), ("uap", "1"), ("uap", "1")):
        last = front.run_node(SCRIPT, f"{group}_{worker}", CONFIG, SERVICE_GROUP=group, WORKER_ID=worker)
    headers = {"User-Agent": "Chrome/120"}
    async with Redis(port=front.ports["redis"]) as redis, aiohttp.ClientSession(headers=headers) as http:
        names = ("uap_1", "uap_2", "uapc_1")
        rows = [{**row, "service": name} for name in names for row in (await ask_status(redis, name))["register"]]
        await redis.set(REGISTRATIONS_KEY, json.dumps({"register": rows, "state_hash": 4711}))

        async def replicas(count: int) -> None:
            async with asyncio.timeout(40):
                while await redis.zcount("band:instances:uap_1", "-inf", "+inf") != count:
                    await asyncio.sleep(0.1)

        async def enriched() -> dict[str, Any]:
            url = f"http://127.0.0.1:{front.ports['front']}/track/page.json"
            async with http.post(url, json={}) as answer:
                assert answer.status == 200
            ((_, fields),) = await redis.xrevrange("events", count=1)
            data: dict[str, Any] = json.loads(fields[b"event"])["data"]
            return data

        async def complete() -> dict[str, Any]:
            async with asyncio.timeout(30):
                while not (found := await enriched()).keys() >= {"uap", "uapc"}:
                    await asyncio.sleep(0.1)
            return found

        async with asyncio.timeout(30):
            while True:
                try:
                    data = await complete()
                    break
                except aiohttp.ClientError:  # it is only starting
                    await asyncio.sleep(0.1)
        assert (data["uap"]["browser_name"], data["uapc"]["browser_family"]) == ("Chrome", "Chrome")
        assert data.keys().isdisjoint(names)
        await replicas(3)
        last.kill()
        last.wait()
        await complete()
        back = front.run_node(SCRIPT, "uap_1", CONFIG, SERVICE_GROUP="uap", WORKER_ID="1")
        await ask_status(redis, "uap_1")
        async with asyncio.timeout(40):
            while (await complete())["uap"]["pid"] != back.pid:
                await asyncio.sleep(0.02)
