"""The visitor's whole address, from the request to Mixpanel: nobody but the enrichers ever has it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from ipaddress import ip_address
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from band.constants import REGISTRATIONS_KEY

GENEROUS = 45.0
"""Seconds until a test gives up waiting: a shared machine can be slow, a wait that succeeds ends at once."""
UA = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"
# Each way in which an address comes, with an address of its own.
WAYS = {
    "X-Real-IP": "89.160.20.112",
    "X-Forwarded-For": "81.2.69.142",
    "X-Forwarded-For, several": "216.160.83.58",
    "X-Forwarded-For, mapped": "175.16.199.37",
    "X-Real-IP, IPv6": "2001:218:aaaa:bbbb:cccc:dddd:0:c0de",
    "Forwarded": "2a02:cf40:1234:5678:9abc::beef",
    "Forwarded, IPv4": "202.196.224.77",
    "CF-Connecting-IP": "67.43.156.99",
    "WebSocket": "2.125.160.217",
}
ENRICHERS = ("enrich", "mmgeo", "sxgeo", "uaparser")
TOLD = tuple(f"b'{name}" for name in ENRICHERS)
"""How lines of channels begin on which enrichers are asked: they must be told the address."""


def header(way: str) -> dict[str, str]:
    """The header in which an address comes."""
    address = WAYS[way]
    return {
        "X-Real-IP": {"X-Real-IP": address},
        "X-Forwarded-For": {"X-Forwarded-For": address},
        "X-Forwarded-For, several": {"X-Forwarded-For": f"{address}, 10.0.0.1"},
        "X-Forwarded-For, mapped": {"X-Forwarded-For": f"::ffff:{address}"},
        "X-Real-IP, IPv6": {"X-Real-IP": address},
        "Forwarded": {"Forwarded": f'for="[{address}]:4711";proto=https'},
        "Forwarded, IPv4": {"Forwarded": f"for={address}"},
        "CF-Connecting-IP": {"CF-Connecting-IP": address},
        "WebSocket": {"X-Real-IP": address},
    }[way]


def spellings(address: str) -> set[str]:
    """The forms in which an address could stand somewhere."""
    given = ip_address(address)
    forms = {str(given), given.exploded, given.exploded.upper(), str(int(given)), given.packed.hex()}
    if given.version == 4:
        mapped = ip_address(f"::ffff:{given}")
        forms |= {str(mapped), mapped.exploded}
    return forms


@pytest.fixture
async def redis(stage: Any) -> AsyncIterator[Redis]:
    client = Redis(port=stage.ports["redis"])
    yield client
    await client.aclose()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers={"User-Agent": UA}) as session:
        yield session


async def until(ready: Any, what: str) -> Any:
    """Wait for what a coroutine function returns; what it raises while things start is no answer yet."""
    deadline = time.monotonic() + GENEROUS
    while time.monotonic() < deadline:
        with contextlib.suppress(Exception):
            if found := await ready():
                return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"{what} did not come")


async def register(redis: Redis) -> None:
    """Tell front of the enrichers and of a handler that nobody answers for, as the director would."""
    geo = {"keys": ["in.gen.track"], "props": {"ip": "td.ip"}}
    rows = [
        *({"service": name, "method": "enrich", "role": "enricher", "options": geo} for name in ("mmgeo", "sxgeo")),
        {"service": "uaparser", "method": "enrich", "role": "enricher",
         "options": {"keys": ["in.gen.track"], "props": {"ua": "td.ua"}}},
        {"service": "nobody", "method": "*", "role": "handler", "options": {}},
    ]  # fmt: skip
    known = {"register": rows, "state_hash": 4711}
    await redis.set(REGISTRATIONS_KEY, json.dumps(known))
    request = {"jsonrpc": "2.0", "method": "front:__status:lab", "id": "1", "params": known}
    await redis.publish("front", json.dumps(request))


@contextlib.asynccontextmanager
async def overheard(redis: Redis) -> AsyncIterator[list[str]]:
    """What is said on all channels but the enrichers' own, which must be told the address."""
    heard: list[str] = []

    async def listen(pubsub: Any) -> None:
        async for message in pubsub.listen():
            heard.append(f"{message['channel']} {message['data']}")  # noqa: PERF401 - read while it grows

    async with redis.pubsub() as pubsub:
        await pubsub.psubscribe("*")
        task = asyncio.create_task(listen(pubsub))
        yield heard
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def stored(redis: Redis) -> str:
    """Everything that Redis holds, as text."""
    found = []
    for key in await redis.keys("*"):
        kind = (await redis.type(key)).decode()
        read = {
            "string": lambda key=key: redis.get(key), "hash": lambda key=key: redis.hgetall(key),
            "stream": lambda key=key: redis.xrange(key), "set": lambda key=key: redis.smembers(key),
            "zset": lambda key=key: redis.zrange(key, 0, -1, withscores=True),
            "list": lambda key=key: redis.lrange(key, 0, -1),
        }[kind]  # fmt: skip
        found.append(f"{key!r} {await read()!r}")
    return "\n".join(found)


async def send_all(http: aiohttp.ClientSession, url: str) -> list[str]:
    """Send events in all ways, good ones and such as are refused; returns the answers."""
    said = []
    for way in WAYS:
        if way == "WebSocket":
            async with http.ws_connect(f"{url}/wss?uid=5", headers=header(way)) as socket:
                await socket.send_json({"service": "track", "name": "page", "id__": "1"})
                await socket.send_str("{bad")
                with contextlib.suppress(TimeoutError):
                    said.append(str(await socket.receive(2)))
            continue
        for method, path, body in [
            ("POST", "/track/page", b'{"a":1}'),
            ("GET", "/track/page.json?b=1", None),
            ("GET", "/band/t4k.gif?name=page", None),
            ("POST", "/track/page", b"{bad"),
            ("POST", "/track/page", b'{"x":"' + b"y" * 200_000 + b'"}'),
            ("GET", "/redir/x?to=https%3A%2F%2Fevil.example", None),
            ("GET", "/nobody/asks", None),
            ("PATCH", "/no/such/thing", b"x"),
            ("GET", "/%00/%ff", None),
        ]:
            headers = {**header(way), "Content-Type": "application/json"}
            async with http.request(method, url + path, data=body, headers=headers, allow_redirects=False) as answer:
                said.append(f"{answer.status} {answer.headers} {await answer.text(errors='replace')}")
    return said


async def pages(stage: Any, http: aiohttp.ClientSession, redis: Redis) -> str:
    """The pages of front and of the director, which has no Docker here but knows what stands in Redis."""
    director, front = (f"http://127.0.0.1:{stage.ports[name]}" for name in ("director", "front"))
    event_id = json.loads((await redis.xrevrange("events", count=1))[0][1][b"event"])["id"]

    async def read(url: str) -> str:
        async with http.get(url) as answer:
            return f"{answer.status} {await answer.text()}"

    async def up() -> bool:
        return event_id in await read(f"{director}/events?limit=1000")

    await until(up, "the director")
    paths = (
        "/",
        f"/trace/{event_id}",
        "/list",
        "/logs/front",
        "/registrations",
        "/health",
        "/metrics",
        "/events?limit=999",
    )
    urls = [director + path for path in paths] + [f"{front}/_band/{page}" for page in ("health", "metrics")]
    found = [await read(url) for url in urls]
    return "\n".join(found)


async def test_the_whole_address_reaches_no_stream_log_page_or_upload(
    stage: Any, redis: Redis, http: aiohttp.ClientSession
) -> None:
    """Real services with default settings; addresses of both families, in every header, good requests and bad ones."""
    front, double = (f"http://127.0.0.1:{stage.ports[name]}" for name in ("front", "mixpanel_double"))

    async def ready() -> bool:
        async with http.get(f"{front}/_band/health") as answer:
            return answer.status == 200 and all([(await redis.pubsub_numsub(name))[0][1] for name in ENRICHERS])

    async def places() -> bool:
        async with http.get(f"http://127.0.0.1:{stage.ports['mmgeo']}/health") as answer:
            return bool((await answer.json())["checks"]["database"]["status"] == "ok")

    await until(ready, "front and the enrichers")
    await until(places, "the database of mmgeo")

    async def placed() -> bool:
        await register(redis)
        async with http.get(f"{front}/track/probe", headers=header("X-Real-IP")):
            newest = (await redis.xrevrange("events", count=1))[0][1][b"event"]
        return all(f'"{name}":' in newest.decode() for name in ("mmgeo", "sxgeo", "uaparser"))

    await until(placed, "the place of an address")
    async with overheard(redis) as heard:
        async with http.get(f"{front}/track/objected", headers={"Sec-GPC": "1"}) as answer:
            assert answer.status == 200
        answers = await send_all(http, front)

        async def uploaded() -> Any:
            async with http.get(f"{double}/_double/events?limit=1000") as answer:
                events = (await answer.json())["events"]
            return events if len(events) >= await redis.xlen("events") - 1 > 10 else None

        uploads = json.dumps(await until(uploaded, "the uploads"))
    stage.start("director")
    shown = await pages(stage, http, redis)
    kept = await stored(redis)
    stage.stop()
    said = "\n".join(line for line in heard if not line.startswith(TOLD))
    everywhere = {"Redis": kept, "uploads": uploads, "pages": shown, "answers": "\n".join(answers), "channels": said}
    found = [
        f"{address} ({way}) in {place}"
        for place, text in (everywhere | stage.logs()).items()
        for way, address in WAYS.items()
        for form in spellings(address)
        if form in text
    ]
    assert not found
    # Proof that it was looked for where it would be: what is kept of an address, beside the place of the whole one.
    for text in (kept, shown):
        assert "89.160.20.0" in text
    assert "2.125.160.0" in kept, "the handshake's address stands in events of a WebSocket"
    assert "SE" in uploads
    assert "in.gen.track.objected" in kept
    assert "objected" not in uploads, "who objects is stored, and not sent to Mixpanel"
