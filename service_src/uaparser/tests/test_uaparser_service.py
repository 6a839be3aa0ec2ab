"""The service as a process of its own, spoken to as the original's front and director speak."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from uaparser.hints import PROPS

CONFIG = Path(__file__).resolve().parents[3] / "band_images" / "uaparser" / "config.yaml"
CHROME_MAC = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/120.0.0.0 Safari/537.36"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """A Redis and the service; yields the port of each."""
    folder = tmp_path_factory.mktemp("uaparser")
    shutil.copy(CONFIG, folder / "config.yaml")
    redis_port, port = free_port(), free_port()
    env = {
        "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "HOST": "127.0.0.1", "PORT": str(port),
        "REDIS_DSN": f"redis://127.0.0.1:{redis_port}", "ENRICH_KEYS": "in.gen.track, in.gen.hook",
    }  # fmt: skip
    processes = [
        subprocess.Popen(
            ["redis-server", "--port", str(redis_port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)],
            stdout=subprocess.DEVNULL,
        ),
        subprocess.Popen([sys.executable, "-m", "uaparser"], cwd=folder, env=env, stdout=subprocess.DEVNULL),
    ]
    yield redis_port, port
    for process in reversed(processes):
        process.terminate()
        process.wait(12)


@pytest.fixture
async def redis(service: tuple[int, int]) -> AsyncIterator[Redis]:
    client = Redis(port=service[0])
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if (await client.pubsub_numsub("enrich"))[0][1]:
                break
        except RedisConnectionError:
            pass
        await asyncio.sleep(0.05)
    yield client
    await client.aclose()


async def ask(redis: Redis, channel: str, method: str, params: dict[str, Any]) -> dict[str, Any]:
    """Publish a request as front does and return the reply published to front."""
    async with redis.pubsub() as replies:
        await replies.subscribe("front")
        request = {"jsonrpc": "2.0", "from": "front", "to": channel, "id": "ci4", "method": method, "params": params}
        await redis.publish(channel, json.dumps(request))
        async with asyncio.timeout(5):
            async for message in replies.listen():
                if message["type"] == "message":
                    return dict(json.loads(message["data"]))
    raise AssertionError("no reply")


async def test_uaparser_answers_as_the_original(redis: Redis) -> None:
    """front's enrich request of the captured wire gets the captured answer, with our additions behind it."""
    params = {"key": "in.gen.track.page", "ip": "2.125.160.216", "ua": CHROME_MAC}
    reply = await ask(redis, "enrich", "enrich:enrich:front", params)
    assert (reply["id"], reply["from"], reply["to"]) == ("ci4", "uaparser", "front")
    assert reply["result"] == {
        "os_family": "Mac OS X",
        "os_version": [10, 15, 7],
        "browser_family": "Chrome",
        "browser_version": [120, 0, 0],
        "device_family": "Mac",
        "device_brand": "Apple",
        "device_model": "Mac",
        "is_bot": 0,
        "is_tables": 0,
        "is_mob": 0,
        "is_pc": 1,
        "is_tablet": 0,
        "bot_reason": None,
    }


@pytest.mark.parametrize("params", [{}, {"ua": None}, {"ua": ""}, {"ua": 7}, {"ua": {"a": 1}, "ip": "1.1.1.1"}])
async def test_uaparser_without_a_user_agent(redis: Redis, params: dict[str, Any]) -> None:
    """An event without a usable User-Agent gets a result that says so: an error would cost front its whole deadline."""
    reply = await ask(redis, "enrich", "enrich:enrich:front", params)
    assert reply["result"] == {"reason": "no User-Agent in the event"}


async def test_uaparser_registers(redis: Redis) -> None:
    """The director learns the keys of the setting and the properties that are asked for, each a text of its own."""
    reply = await ask(redis, "uaparser", "uaparser:__status:front", {})
    row = {
        "method": "enrich",
        "role": "enricher",
        "options": {
            "keys": ["in.gen.track", "in.gen.hook"],
            "props": {"ua": "td.ua", **PROPS},
            "cache": {"props": sorted(["ua", *PROPS]), "ttl": 3600},
        },
    }
    assert reply["result"]["data"]["register"] == [row]


async def test_uaparser_takes_client_hints(redis: Redis) -> None:
    """What front tells of `td.ch` corrects the answer."""
    params = {"ua": CHROME_MAC, "ch_ua": '"Brave";v="120"', "ch_platform": '"macOS"', "ch_platform_version": '"14.4.1"'}
    result = (await ask(redis, "enrich", "enrich:enrich:front", params))["result"]
    assert (result["browser_family"], result["os_version"]) == ("Brave", [14, 4, 1])


async def test_uaparser_for_people(redis: Redis, service: tuple[int, int]) -> None:
    """`parse` answers over HTTP, and health tells the state of the cache."""
    base = f"http://127.0.0.1:{service[1]}"
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{base}/parse", params={"ua": "curl/8.5.0"}) as answer:
            assert (await answer.json())["bot_reason"] == "HTTP library"
        async with session.get(f"{base}/health") as answer:
            facts = (await answer.json())["checks"]["cache"]
    assert facts["status"] == "ok"
    assert 0 < facts["cached"] <= facts["capacity"]
