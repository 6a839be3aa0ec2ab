"""A real front under those who want all of it: what it takes stays bounded, and ordinary visitors are served."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import resource
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

POST = b"POST /track/x.json HTTP/1.1\r\nHost: h\r\n"
HANDSHAKE = (
    b"GET /wss?uid=1234567890 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%b\r\n"
)
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
SMALL = {"MAX_HELD_MB": "8", "MAX_CONNECTIONS": "600", "MAX_WEBSOCKETS": "600"}
ORDINARY = """
import socket, sys, time
print("begin", flush=True)
good, worst = 0, 0.0
for _ in range(int(sys.argv[2])):
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20) as visitor:
        visitor.sendall(b"GET /track/page HTTP/1.1\\r\\nHost: h\\r\\nConnection: close\\r\\n\\r\\n")
        good += visitor.recv(100).startswith(b"HTTP/1.1 200")
    worst = max(worst, time.monotonic() - began)
    time.sleep(0.05)
print(good, worst)
"""


@pytest.fixture(autouse=True)
def many_files() -> None:
    """Both ends of some thousand connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))


def memory_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


def metric(front: Any, name: str) -> float:
    with urllib.request.urlopen(f"{front.url}/_band/metrics", timeout=20) as page:
        lines = page.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(f"band_front_{name}"))


class Flood:
    """Connections that send something and stay."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.open: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def send(self, count: int, data: bytes, *, first: bytes = b"", at_once: int = 100) -> None:
        turns = asyncio.Semaphore(at_once)

        async def one() -> None:
            async with turns:
                with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                    async with asyncio.timeout(20):
                        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                        self.open.append((reader, writer))
                        if first:
                            writer.write(first)
                            await reader.readuntil(b"\r\n\r\n")
                        writer.write(data)
                        await writer.drain()

        await asyncio.gather(*(one() for _ in range(count)))

    async def answered(self, count: int) -> list[bytes]:
        """The answers of the first so many that got one."""
        reading = [asyncio.create_task(reader.read(200)) for reader, _ in self.open]
        try:
            async with asyncio.timeout(10):
                while sum(task.done() for task in reading) < count:
                    await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED, timeout=0.05)
            return [task.result() for task in reading if task.done()]
        finally:
            for task in reading:
                task.cancel()

    def close(self) -> None:
        for _, writer in self.open:
            writer.transport.abort()


@pytest.fixture
async def flood() -> AsyncIterator[Callable[[int], Flood]]:
    made: list[Flood] = []

    def make(port: int) -> Flood:
        made.append(Flood(port))
        return made[-1]

    yield make
    for one in made:
        one.close()
    await asyncio.sleep(0)


FRAGMENT = b"\x01\xfe" + (60_000).to_bytes(2) + b"\0\0\0\0" + b"x" * 60_000
DEFLATE = HANDSHAKE % b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
FLOODS = {
    "120 endless bodies in chunks of two bytes": (120, CHUNKED + b"2\r\nab\r\n" * 49_000, b""),
    "1,500 WebSockets with a message that never ends": (1500, FRAGMENT, DEFLATE),
    "1,500 heads without an end": (1500, POST + b"X: " + b"y" * 30_000, b""),
    "1,500 bodies without their last byte": (1500, POST + b"Content-Length: 100000\r\n\r\n" + b"x" * 99_999, b""),
    "100 clients that send and never read": (100, b"GET /lib.js HTTP/1.1\r\nHost: h\r\n\r\n" * 5000, b""),
}  # fmt: skip


def ordinary_visitors(front: Any) -> subprocess.Popen[str]:
    visitors = subprocess.Popen(
        [sys.executable, "-c", ORDINARY, str(front.port), "20"], stdout=subprocess.PIPE, text=True
    )
    assert visitors.stdout is not None
    visitors.stdout.readline()
    return visitors


@pytest.mark.parametrize("name", FLOODS)
async def test_whoever_wants_all_of_front_gets_little_of_it(
    front_redis: Any, start_front: Any, flood: Callable[[int], Flood], name: str
) -> None:
    """Memory stays bounded, the process lives, and visitors that come meanwhile are answered."""
    front = start_front(front_redis.dsn, **SMALL)
    count, data, first = FLOODS[name]
    before = memory_mb(front.process.pid)
    visitors = ordinary_visitors(front)
    await flood(front.port).send(count, data, first=first)
    told, _ = await asyncio.to_thread(visitors.communicate)
    good, _worst = told.split()
    assert metric(front, "held_bytes") <= 8 << 20  # and by then everything is read that was sent
    grown = memory_mb(front.process.pid) - before
    assert int(good) >= 18, told
    assert grown < 60, f"front grew by {grown:.0f} MB"
    assert front.process.poll() is None
    assert "Traceback" not in front.log.read_text()


async def test_beyond_the_bound_a_connection_is_told_to_come_again(
    front_redis: Any, start_front: Any, flood: Callable[[int], Flood]
) -> None:
    """A newcomer gets a 503 with Retry-After while all others are new too; later the longest idle gives way."""
    front = start_front(front_redis.dsn, MAX_CONNECTIONS="10")
    flooding = flood(front.port)
    await flooding.send(10, POST)
    refused = flood(front.port)
    await refused.send(1, POST)
    (answer,) = await refused.answered(1)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: 1\r\n" in answer + await refused.open[0][0].read()
    await asyncio.sleep(1.1)
    async with aiohttp.ClientSession() as session, session.get(f"{front.url}/track/page") as visit:
        assert visit.status == 200
    (gave_way,) = await flooding.answered(1)
    assert gave_way.startswith(b"HTTP/1.1 503 ")
    assert metric(front, 'refused_connections_total{reason="connections"}') >= 2
    assert (metric(front, "overloaded_total"), metric(front, "not_accepted_total")) == (1, 0)


async def test_one_address_takes_no_place_of_others(
    front_redis: Any, start_front: Any, flood: Callable[[int], Flood]
) -> None:
    """Without a proxy its connections count, and its own give way; a proxy of ours has no such bound."""
    front = start_front(front_redis.dsn, MAX_CONNECTIONS_PER_ADDRESS="5", TRUSTED_PROXIES="10.0.0.0/8")
    flooding = flood(front.port)
    await flooding.send(5, POST)
    await asyncio.sleep(1.1)
    await flooding.send(3, POST)
    assert [answer[:12] for answer in await flooding.answered(3)] == [b"HTTP/1.1 503"] * 3
    behind = start_front(front_redis.dsn, MAX_CONNECTIONS_PER_ADDRESS="5")
    await flood(behind.port).send(50, POST)
    assert metric(behind, "connections ") >= 50


async def test_a_websocket_behind_a_proxy_counts_under_the_address_that_the_proxy_names(
    front_redis: Any, start_front: Any
) -> None:
    """Two of one address, none more; another address has its own two. What is refused gets a 503."""
    front = start_front(front_redis.dsn, MAX_WEBSOCKETS_PER_ADDRESS="2", TRUSTED_PROXIES="127.0.0.0/8")
    async with aiohttp.ClientSession() as session, contextlib.AsyncExitStack() as stack:

        async def connect(address: str) -> None:
            url = f"ws://127.0.0.1:{front.port}/wss?uid=1234567890"
            await stack.enter_async_context(session.ws_connect(url, headers={"X-Forwarded-For": address}))

        for address in ("203.0.113.1", "203.0.113.1", "203.0.113.2", "203.0.113.2"):
            await connect(address)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await connect("203.0.113.1")
        assert refused.value.status == 503
        assert refused.value.headers is not None
        assert refused.value.headers["Retry-After"] == "1"
    assert metric(front, 'refused_connections_total{reason="websockets_per_address"}') == 1


async def test_a_uid_of_a_websocket_is_one_or_is_replaced(front_redis: Any, start_front: Any, speak: Any) -> None:
    """7,900 letters or too few digits become a new uid, the same for all messages of the connection."""
    front = start_front(front_redis.dsn)
    peers = speak(front_redis.dsn)
    async with aiohttp.ClientSession() as session:
        for given, kept in (("x" * 7900, False), ("12345", False), ("1" * 23, False), ("6410748586712844288", True)):
            uids = set()
            async with session.ws_connect(f"ws://127.0.0.1:{front.port}/wss?uid={given}") as socket:
                for _ in range(2):
                    await socket.send_json({"service": "track", "name": "page"})
                    assert json.loads(await socket.receive_str(timeout=5))["statusCode"] == 200
                    uids.add((await peers.newest())["uid"])
            (uid,) = uids
            assert re.fullmatch(r"[0-9]{10,22}", uid)
            assert (uid == given) is kept
    assert not [key async for key in peers.redis.scan_iter("s:*")]


async def test_large_events_at_once_are_decoded_one_after_the_other(
    front_redis: Any, start_front: Any, flood: Callable[[int], Flood]
) -> None:
    """300 bodies that take twenty times their size decoded: bounded memory, each answered 200 or 503."""
    front = start_front(front_redis.dsn, **SMALL)
    body = b'{"a":[' + b"[]," * 30_000 + b"[]]}"
    before, began = memory_mb(front.process.pid), time.monotonic()
    flooding = flood(front.port)
    await flooding.send(
        300, POST + b"Content-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body), at_once=300
    )
    answers = await asyncio.gather(*(asyncio.wait_for(reader.read(), 40) for reader, _ in flooding.open))
    grown = memory_mb(front.process.pid) - before
    statuses = [answer[9:12] for answer in answers]
    assert set(statuses) <= {b"200", b"503"}
    assert statuses.count(b"200") > 20, time.monotonic() - began
    assert grown < 100, f"front grew by {grown:.0f} MB"
