"""One client's connection: bytes in, requests to the door, answers out in their order.

llhttp (by httptools) reads the requests, strictly: what could be read in two ways is refused. Everything of a request
that is not its meaning happens here: keep-alive, pipelining, `Expect`, limits, slow readers. aiohttp's server did the
same in twice the time; it still serves WebSockets, which are handed over to it, connection and all.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import httptools

from front.request import BROKEN, TOO_LARGE, Headers, Reply, Request

LONGEST_HEAD: Final = 32 * 1024
"""Bytes of a request's line and headers."""
MOST_HEADERS: Final = 100
MOST_WAITING: Final = 16
"""Requests of one connection that may wait for the one before them, until it is not read any further."""
IDLE_S: Final = 75.0
"""Longer than a reverse proxy keeps its connections, so that it is never us who closes one that it just uses."""
SLOWEST_S: Final = 60.0
"""Seconds in which a request must be complete."""
LINGER_S: Final = 2.0
"""How long the rest of a refused body is read and thrown away: closing at once would destroy the answer on its way."""


class Host(Protocol):
    """What a connection needs of the server that it belongs to."""

    body_limit: int
    stopping: bool

    @property
    def answer(self) -> Callable[[Request], Awaitable[Reply]]:
        """Answers a request; never raises."""

    def welcome(self, connection: Connection) -> None:
        """Look after a connection."""

    def forget(self, connection: Connection) -> None:
        """Look no more after a connection: it is closed, or not HTTP any more."""

    def adopt(self, transport: asyncio.Transport, data: bytes) -> None:
        """Serve the connection as a WebSocket from now on; `data` is what the client has sent."""


class Connection(asyncio.Protocol):
    """Reads requests one after the other, has each answered, writes the answers."""

    __slots__ = (
        "_body", "_deaf", "_head_bytes", "_headers", "_host", "_large", "_loop", "_parser", "_peer", "_raw_target",
        "_reading", "_size", "_target", "_task", "_transport", "_upgrade", "_waiting", "began", "busy", "heard",
    )  # fmt: skip

    def __init__(self, host: Host) -> None:
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._peer = ""
        self._raw_target = b""
        self._reading: Request | None = None
        self._upgrade: Request | None = None
        self._waiting: deque[Request] = deque()
        self._task: asyncio.Task[None] | None = None
        self._deaf = self._large = False
        self.busy = False
        """Whether a request is being answered."""
        self.heard = self._loop.time()
        """When bytes came last."""
        self._clear()

    def _clear(self) -> None:
        """Forget the request that was read: the next one begins."""
        self._target = b""
        self._headers: Headers = {}
        self._head_bytes = 0
        self._body: list[bytes] = []
        self._size = 0
        self._reading = None
        self.began = 0.0
        """When the request began that is being read; 0 when none is."""

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the client's address."""
        self._transport = transport  # type: ignore[assignment]
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) else ""
        self._host.welcome(self)

    def data_received(self, data: bytes) -> None:
        """Read on; a request that is complete is begun at once."""
        if self._deaf:
            return
        self.heard = self._loop.time()
        fresh = not self.began
        self._large = len(data) > LONGEST_HEAD  # only then can a head be too long that came in one piece
        rest = b""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
        except httptools.HttpParserInvalidURLError:
            self._read_raw_target(data, fresh=fresh)
        except httptools.HttpParserError:
            self._refuse()
        if self._upgrade is not None:
            self._hand_over(self._upgrade, rest)
        elif rest:
            self.data_received(rest)  # it asked for a protocol that it does not get here: HTTP goes on
        elif self._reading is None and self.began:
            self._head_bytes += len(data)
            if self._head_bytes > LONGEST_HEAD:
                self._refuse()

    def eof_received(self) -> bool:
        """Close, unless an answer is still to be written."""
        self._deaf = True
        return self.busy

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client. What it asked for goes on: an event that came in whole is taken."""
        del exc
        self._deaf = True
        self._waiting.clear()
        self._host.forget(self)

    def pause_writing(self) -> None:
        """Read no more from a client that does not read."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Read on."""
        if len(self._waiting) < MOST_WAITING:
            self._transport.resume_reading()

    # --- what the parser finds

    def on_message_begin(self) -> None:
        """Note when the request began."""
        self.began = self.heard

    def on_url(self, url: bytes) -> None:
        """Take a part of the request's target."""
        self._target += url
        if len(self._target) > LONGEST_HEAD:
            raise ValueError("the target is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        headers = self._headers
        name = name.lower()
        if name in headers:
            value = b"%b, %b" % (headers[name], value)
        headers[name] = value

    def on_headers_complete(self) -> None:
        """Look at the head: is the body welcome?"""
        headers = self._headers
        if len(headers) > MOST_HEADERS or (self._large and sum(map(len, headers.values())) > LONGEST_HEAD):
            raise ValueError("the head is too long")
        target = self._raw_target or self._target
        self._raw_target = b""
        request = self._reading = Request(self._parser.get_method().decode(), target, headers, self._peer)
        if b"content-length" in headers and int(headers[b"content-length"]) > self._host.body_limit:
            self._refuse(request, TOO_LARGE)
        elif b"expect" in headers and headers[b"expect"].lower() == b"100-continue" and not self.busy:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Take a part of the body, as long as it is not too large."""
        self._size += len(body)
        if self._size <= self._host.body_limit:
            self._body.append(body)
        elif self._reading is not None and not self._deaf:
            self._refuse(self._reading, TOO_LARGE)

    def on_message_complete(self) -> None:
        """Have the request answered."""
        request, body = self._reading, self._body
        self._clear()
        if request is None or self._deaf:
            return
        if body:
            request.body = body[0] if len(body) == 1 else b"".join(body)
        if not self._parser.should_keep_alive():
            request.keep_alive = False
            self._deaf = True
        if b"upgrade" in request.headers and not self.busy and _wants_websocket(request):
            self._upgrade = request
            return
        self._begin(request)

    # --- answering

    def _begin(self, request: Request) -> None:
        if self.busy:
            self._waiting.append(request)
            if len(self._waiting) == MOST_WAITING:
                self._transport.pause_reading()
            return
        self.busy = True
        # Started at once: what has nothing to wait for is answered without a turn of the loop.
        if sys.version_info >= (3, 12):
            self._task = asyncio.Task(self._serve(request), loop=self._loop, eager_start=True)
        else:
            self._task = self._loop.create_task(self._serve(request))

    async def _serve(self, request: Request) -> None:
        """Answer a request, and those that came meanwhile."""
        answer = self._host.answer
        while True:
            reply = await answer(request)
            if self._transport.is_closing():
                break
            self._transport.write(reply.payload)
            if not reply.keep_alive or not self._waiting:
                break
            if len(self._waiting) == MOST_WAITING:
                self._transport.resume_reading()
            request = self._waiting.popleft()
        self.busy = False
        if not reply.keep_alive or self._deaf or self._host.stopping:
            self._end(linger=bool(request.fault))

    # --- ends

    def finish(self) -> None:
        """Close as soon as what was asked is answered."""
        if not self.busy:
            self._end()

    def abort(self) -> None:
        """Close now."""
        self._transport.abort()

    def is_late(self, now: float) -> bool:
        """Whether nothing came for too long, or a request takes too long to come."""
        if self.busy:
            return False
        return now - self.heard > IDLE_S or (self.began > 0 and now - self.began > SLOWEST_S)

    def _end(self, *, linger: bool = False) -> None:
        self._deaf = True
        self._waiting.clear()
        if linger and not self._transport.is_closing() and self._transport.can_write_eof():
            self._transport.write_eof()
            self._loop.call_later(LINGER_S, self._transport.close)
        else:
            self._transport.close()

    def _refuse(self, request: Request | None = None, fault: str = BROKEN) -> None:
        """Have a request refused, after the answers before it; nothing that follows is read."""
        if self._deaf:
            return
        refused = request or Request("", b"/", {}, self._peer)
        refused.fault = fault
        refused.keep_alive = False
        self._deaf = True
        self._body.clear()
        self._begin(refused)

    # --- what is rare

    def _hand_over(self, request: Request, rest: bytes) -> None:
        """Give the connection to the WebSocket server, with the request that asks for it."""
        lines = [b"%b: %b\r\n" % header for header in request.headers.items()]
        self._deaf = True
        self._host.forget(self)
        self._host.adopt(self._transport, b"GET %b HTTP/1.1\r\n%b\r\n%b" % (request.target, b"".join(lines), rest))

    def _read_raw_target(self, data: bytes, *, fresh: bool) -> None:
        """Old browsers write addresses in bytes that are no ASCII: read those as they are meant."""
        line, end, rest = data.partition(b"\r\n")
        parts = line.split(b" ")
        if not fresh or not end or len(parts) != 3 or line.isascii():
            self._refuse()
            return
        self._clear()
        self._parser = httptools.HttpRequestParser(self)
        self._raw_target = parts[1]
        quoted = b"".join([b"%c" % byte if byte < 0x80 else b"%%%02X" % byte for byte in parts[1]])
        try:
            self._parser.feed_data(b"%b %b %b\r\n%b" % (parts[0], quoted, parts[2], rest))
        except httptools.HttpParserError:
            self._refuse()


def _wants_websocket(request: Request) -> bool:
    """Whether a request is for the one place where WebSockets are."""
    path = request.target.partition(b"?")[0]
    return request.method == "GET" and path == b"/wss" and request.headers[b"upgrade"].lower() == b"websocket"
