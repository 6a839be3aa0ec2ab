"""One client's connection: bytes in, requests to a handler, replies out in their order.

Keep-alive, pipelining, `Expect`, timeouts and slow readers are handled here, the syntax in `parser`. It never raises,
and `limits` counts the bytes that it holds for a client.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from band import logger
from band.platform import eager_task
from front.http1.limits import MAX_AT_ONCE, STALLED_SECONDS, Bounds, accepted, kept_outside
from front.http1.parser import MAX_PIECE_BYTES, OVERHEAD_BYTES, RequestParser
from front.http1.request import BAD_HANDSHAKE, OVERLOADED, Request, Response
from front.http1.response_head import overloaded

MAX_WAITING: Final = 16
"""Pipelined requests that may wait; with more, the connection is not read any further."""
IDLE_SECONDS: Final = 75.0
"""Longer than a reverse proxy keeps its connections, so that front never closes one that the proxy is about to use."""
MAX_REQUEST_SECONDS: Final = 60.0
"""The time in which a request must be complete."""
LINGER_SECONDS: Final = 2.0
"""How long the rest of a refused body is read and discarded: closing at once would destroy the response on its way."""


class Host(Protocol):
    """What a connection needs of its server."""

    bounds: Bounds
    body_limit: int
    stopping: bool

    def larger_limit(self, request: Request) -> int:
        """Return how many bytes the body of a request may have, which has more than `body_limit`."""

    def wants_upgrade(self, request: Request) -> bool:
        """Return whether a request with the header `Upgrade` asks for a protocol that is served."""

    def upgrade(self, transport: asyncio.Transport, request: Request, rest: bytes) -> str:
        """Serve the connection with that protocol; `rest` is the data after the request. Returns a fault or ""."""


class Connection(asyncio.Protocol):
    """Reads requests one after another, passes each to `answer` (which never raises), writes the responses."""

    __slots__ = (
        "_answer", "_closing", "_host", "_loop", "_lost", "_parser", "_paused", "_queued", "_rest", "_stalled_since",
        "_task", "_transport", "_unstalled", "_upgrade", "_waiting", "address", "busy", "held", "held_since",
        "last_read_at",
    )  # fmt: skip

    def __init__(self, host: Host, answer: Callable[[Request], Awaitable[Response]]) -> None:
        self._host = host
        self._answer = answer
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._parser: RequestParser
        self._waiting: deque[Request] = deque()
        self._queued = 0
        self._rest = b""
        """Bytes that are not parsed yet, because earlier requests are still in progress."""
        self._upgrade: Request | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing = self._lost = self._paused = False
        self._stalled_since = 0.0
        self._unstalled: asyncio.Future[None] | None = None
        self.busy = False
        """Whether a request is in progress."""
        self.last_read_at = self._loop.time()
        """When bytes came last."""
        self.address, self.held, self.held_since = "", 0, 0.0

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register the client's address, and refuse the connection if a limit is reached."""
        self._transport = transport  # type: ignore[assignment]
        peer, host = accepted(self._transport), self._host
        self._parser = RequestParser(
            peer, host.body_limit, self._on_request, self._refuse, self._welcome_body, host.larger_limit
        )
        self.address = host.bounds.key_of(peer)
        if not host.bounds.connections.admit(self, self.last_read_at):
            self._transport.write(overloaded())
            self._end(linger=True)

    def data_received(self, data: bytes) -> None:
        """Parse the data; a complete request is processed at once."""
        if self._closing:
            return
        self.last_read_at = self._loop.time()
        if self._rest:
            self._rest += data
        else:
            self._read(data)
        if self.held or self._parser.started_at or self._waiting:
            self._count()

    def eof_received(self) -> bool:
        """Close, unless a response is still to be written."""
        self._closing = True
        return self.busy

    def connection_lost(self, exc: Exception | None) -> None:
        """Release the client. Its requests continue: a complete event is stored."""
        del exc
        self._closing = self._lost = True
        self._drop()
        self._host.bounds.forget(self)
        self.resume_writing()

    def pause_writing(self) -> None:
        """Stop reading and responding until the client reads."""
        self._stalled_since = self._loop.time()
        self._pause()
        self._count()

    def resume_writing(self) -> None:
        """Continue."""
        self._stalled_since = 0.0
        if self._unstalled is not None and not self._unstalled.done():
            self._unstalled.set_result(None)
        elif not self.busy:
            self._resume()

    # --- reading

    def _read(self, data: bytes) -> None:
        """Parse until the pending requests must be processed first."""
        at, size = 0, len(data)
        try:
            while at < size and not self._closing:
                if self._upgrade is not None or len(self._waiting) >= MAX_WAITING:
                    self._rest = data[at:]
                    self._pause()
                    break
                piece = data if size <= MAX_PIECE_BYTES and not at else data[at : at + MAX_PIECE_BYTES]
                at += self._parser.feed(piece, self.last_read_at)
            if self._upgrade is not None and not self.busy:
                self._hand_over(self._upgrade)
        except Exception as error:  # noqa: BLE001 - the loop would log it with the client's address
            logger.exception("connection_failed", reason=type(error).__name__)
            self.abort()

    def _on_request(self, request: Request) -> None:
        """Queue a complete request."""
        if self._closing:
            return
        if b"upgrade" not in request.headers or not self._host.wants_upgrade(request):
            self._closing = not request.keep_alive
            self._begin(request)
        elif request.upgrade:
            self._upgrade = request
        else:
            self._refuse(request, BAD_HANDSHAKE)

    def _welcome_body(self) -> None:
        if not self.busy and not self._closing:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _count(self, *, unread: bool = False) -> None:
        """Report the bytes that are held for this client."""
        held = self._parser.held + self._queued + len(self._rest)
        held += kept_outside(self._transport, paused=self._paused, unread=unread or self._stalled_since > 0)
        self._host.bounds.hold(self, held)

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and not self._stalled_since:
            self._paused = False
            self._transport.resume_reading()

    # --- answering

    def _begin(self, request: Request) -> None:
        if self.busy:
            self._waiting.append(request)
            self._queued += OVERHEAD_BYTES + len(request.body)
        else:
            self.busy = True
            self._task = eager_task(self._serve(request))

    async def _serve(self, request: Request) -> None:
        """Process a request, and those that arrived meanwhile."""
        following: Request | None = request
        answered = 0
        while following is not None:
            request = following
            reply = await self._answer(request)
            answered += 1
            if not answered % MAX_AT_ONCE:
                await asyncio.sleep(0)  # others have their turn
            if self._transport.is_closing():
                break
            self._transport.write(reply.payload)
            if self._stalled_since and reply.keep_alive:
                self._unstalled = self._loop.create_future()
                await self._unstalled
                self._unstalled = None
            following = self._next() if reply.keep_alive and (self._waiting or self._rest) else None
        self.busy = False
        if not reply.keep_alive or self._closing or self._host.stopping:
            self._end(linger=bool(request.fault))
        elif self._upgrade is not None:
            self._hand_over(self._upgrade)
        else:
            self._resume()
        if self.held:
            self._count()

    def _next(self) -> Request | None:
        """Return the next waiting request, if any."""
        if not self._waiting and self._rest:
            rest, self._rest = self._rest, b""
            self._read(rest)
        if not self._waiting:
            return None
        request = self._waiting.popleft()
        self._queued -= OVERHEAD_BYTES + len(request.body)
        return request

    # --- ends

    def finish(self) -> None:
        """Close as soon as all requests are answered."""
        if not self.busy:
            self._end()

    def abort(self) -> None:
        """Close now."""
        self._transport.abort()

    @property
    def waits_since(self) -> float | None:
        """Since when it is idle, a request incomplete, or a response unread; None while a request is in progress."""
        return self._stalled_since or (None if self.busy else self._parser.started_at or self.last_read_at)

    def shed(self) -> None:
        """Shed: 503 for an incomplete request, nothing for those that wait, then close."""
        if self._stalled_since:
            self.abort()
        elif self.busy:
            self._closing = True
            self._drop()
        elif self._parser.started_at:
            self._refuse(self._parser.reading, OVERLOADED)
        else:
            self._end()

    def check_timeouts(self, now: float) -> None:
        """Close when the client is idle for too long, or too slow in sending a request or reading a response."""
        started, patience = self._parser.started_at, STALLED_SECONDS if self._closing else IDLE_SECONDS
        slow = started > 0 and now - started > MAX_REQUEST_SECONDS
        late = not self.busy and (slow or now - self.last_read_at > patience)
        if late or (self._stalled_since and now - self._stalled_since > STALLED_SECONDS):
            self.abort()
        elif not self._closing:
            self._count(unread=True)

    def _drop(self) -> None:
        """Discard everything that was read, except the request in progress."""
        self._waiting.clear()
        self._queued = 0
        self._rest = b""
        self._upgrade = None
        self._parser.close()

    def _end(self, *, linger: bool = False) -> None:
        self._closing = True
        if self._lost:
            return
        self._drop()
        self._host.bounds.leave(self)
        if linger and not self._transport.is_closing() and self._transport.can_write_eof():
            self._transport.write_eof()
            self._resume()
            self._loop.call_later(LINGER_SECONDS, self._transport.close)
        else:
            self._transport.close()

    def _refuse(self, request: Request, fault: str) -> None:
        """Refuse a request, after the earlier responses; nothing after it is read."""
        if self._closing:
            return
        request.fault = fault
        request.keep_alive = False
        self._closing = True
        self._begin(request)

    def _hand_over(self, request: Request) -> None:
        """Hand the connection to the requested protocol, with the data after the request."""
        rest, self._rest, self._upgrade = self._rest, b"", None
        self._resume()
        fault = self._host.upgrade(self._transport, request, rest)
        if fault:
            self._refuse(request, fault)
        else:
            self._closing = True
            self._parser.close()
            self._host.bounds.forget(self)
