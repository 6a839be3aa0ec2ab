"""One WebSocket connection: messages in, responses out in their order; pings, closing handshake, timeouts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from band import logger
from band.platform import eager_task
from front.http1.limits import MAX_AT_ONCE, STALLED_SECONDS, Bounds, kept_outside
from front.websocket.frames import (
    BINARY,
    CLOSE,
    GOING_AWAY,
    PING,
    POLICY_VIOLATION,
    PONG,
    TEXT,
    TRY_AGAIN_LATER,
    FrameError,
    FrameReader,
    Message,
    close_frame,
    frame,
)

MAX_MESSAGE_SECONDS: Final = 60.0
"""The time in which a message must be complete."""
HEARTBEAT_SECONDS: Final = 30.0
"""After so long without a byte a client is pinged; it may take as long to respond."""
GOODBYE_SECONDS: Final = 1.0
"""Seconds that a client gets to respond to a close frame; a stopping front has little time."""
_MAX_CLOSE_BYTES: Final = 1024
MAX_AHEAD_BYTES: Final = 16 * 1024
"""Approximate bytes that are read ahead of the current message."""


class WebSocket(asyncio.Protocol):
    """Passes each message to `answer`, which never raises. `kept` bytes count as held while it is open."""

    __slots__ = (
        "_answer", "_bounds", "_busy", "_closing", "_goodbye", "_kept", "_last_read_at", "_loop", "_on_error",
        "_paused", "_pinged_at", "_reader", "_stalled_since", "_task", "_transport", "_unfinished_since", "address",
        "held", "held_since", "waits_since",
    )  # fmt: skip

    def __init__(
        self,
        bounds: Bounds,
        transport: asyncio.Transport,
        address: str,
        answer: Callable[[bytes], Awaitable[bytes]],
        on_error: Callable[[], None],
        reader: FrameReader,
        kept: int,
    ) -> None:
        self._bounds = bounds
        self._transport = transport
        self._answer = answer
        self._on_error = on_error
        self._reader = reader
        self._kept = kept
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._busy = self._closing = self._paused = False
        self._goodbye = b""
        """The close frame to send after the current message."""
        self._stalled_since = self._unfinished_since = self._pinged_at = 0.0
        self._last_read_at = self._loop.time()
        self.address = address
        self.held = 0
        self.held_since = 0.0
        self.waits_since: float | None = self._last_read_at
        """When its last message came."""

    # --- asyncio.Protocol

    def begin(self, rest: bytes) -> None:
        """Read on; `rest` came behind the handshake."""
        self._count()
        if rest:
            self.data_received(rest)

    def data_received(self, data: bytes) -> None:
        """Parse the data; complete messages are processed at once."""
        self._last_read_at = self._loop.time()
        self._pinged_at = 0.0
        try:
            self._reader.feed(data)
            if self._closing:
                self._await_close()
            else:
                self._work()
        except Exception as error:  # noqa: BLE001 - the loop would log it with the client's address
            logger.exception("connection_failed", reason=type(error).__name__)
            self.abort()

    def eof_received(self) -> bool:
        """Close."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client; messages that came completely are still worked on."""
        del exc
        self._closing = True
        self._bounds.forget(self)

    def pause_writing(self) -> None:
        """Stop reading and responding until the client reads."""
        self._stalled_since = self._loop.time()

    def resume_writing(self) -> None:
        """Continue."""
        self._stalled_since = 0.0
        if not self._busy and not self._closing:
            self._work()

    # --- messages

    def _work(self) -> None:
        """Process complete messages, and report what is held."""
        if not self._busy:
            message = self._next()
            if message is not None:
                self._busy = True
                self._task = eager_task(self._serve(message))
        self._count()

    async def _serve(self, message: Message) -> None:
        """Process a message, and those that arrived meanwhile."""
        following: Message | None = message
        done = 0
        while following is not None and not self._transport.is_closing():
            if following.opcode in (TEXT, BINARY):
                self.waits_since = None
                answer = frame(TEXT, await self._answer(following.payload))
                self.waits_since = self._loop.time()
                if not self._transport.is_closing():
                    self._transport.write(answer)
            elif following.opcode == PING:
                self._transport.write(frame(PONG, following.payload))
            done += 1
            if not done % MAX_AT_ONCE:
                await asyncio.sleep(0)
            following = self._next()
        self._busy = False
        if self._goodbye:
            self._close(self._goodbye)
        else:
            self._count()

    def _next(self) -> Message | None:
        """Return the next message or ping; None when none is complete, or the connection is closing."""
        if self._stalled_since or self._goodbye or self._closing:
            return None
        try:
            message = self._reader.next()
        except FrameError as error:
            self._on_error()
            self._close(close_frame(error.code))
            return None
        if message is None:
            return None
        if message.opcode == CLOSE:
            self._close(close_frame(None) if len(message.payload) < 2 else frame(CLOSE, message.payload[:2]))
            self._transport.close()
            return None
        if message.opcode in (TEXT, BINARY):
            self._unfinished_since = 0.0
        return message

    def _count(self, *, unread: bool = False) -> None:
        """Report the bytes held for this client; continue reading if there are few, or a message is incomplete."""
        if self._closing:
            return
        reader = self._reader
        if not reader.unfinished:
            self._unfinished_since = 0.0
        elif not self._unfinished_since:
            self._unfinished_since = self._loop.time()
        ahead = (self._busy or self._stalled_since > 0) and reader.held > MAX_AHEAD_BYTES
        if ahead != self._paused:
            self._paused = ahead
            if ahead:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()
        outside = kept_outside(self._transport, paused=self._paused, unread=unread or self._stalled_since > 0)
        self._bounds.hold(self, self._kept + reader.held + outside)

    # --- ends

    def check_timeouts(self, now: float) -> None:
        """Ping a silent client; close when it does not respond, or is too slow."""
        if (self._stalled_since and now - self._stalled_since > STALLED_SECONDS) or (
            self._pinged_at and now - self._pinged_at > HEARTBEAT_SECONDS
        ):
            self.abort()
        elif self._closing or self._busy:
            return
        elif self._unfinished_since and now - self._unfinished_since > MAX_MESSAGE_SECONDS:
            self._close(close_frame(POLICY_VIOLATION))
        elif now - self._last_read_at > HEARTBEAT_SECONDS and not self._pinged_at:
            self._pinged_at = now
            self._transport.write(frame(PING, b""))
        else:
            self._count(unread=True)

    def finish(self) -> None:
        """Close after the current message; the client reconnects to the next process."""
        self._part(close_frame(GOING_AWAY, "restart"))

    def shed(self) -> None:
        """Shed."""
        if self._stalled_since:
            self.abort()
        else:
            self._part(close_frame(TRY_AGAIN_LATER))

    def abort(self) -> None:
        """Close now."""
        self._transport.abort()

    def _part(self, goodbye: bytes) -> None:
        if self._busy:
            self._goodbye = goodbye
        else:
            self._close(goodbye)

    def close_unidentified(self) -> None:
        """Close without a status code, as the original did where `uid` was missing."""
        self._close(close_frame(None))

    def _close(self, goodbye: bytes) -> None:
        """Send a close frame, and wait a moment for the client's: closing at once would destroy ours on its way."""
        if self._closing:
            return
        self._closing = True
        self._goodbye = b""
        self._reader = FrameReader(0, unpack=False)
        self._bounds.leave(self)
        self._transport.write(goodbye)
        if self._paused:
            self._transport.resume_reading()
        self._loop.call_later(GOODBYE_SECONDS, self._transport.close)

    def _await_close(self) -> None:
        """Wait for the client's close frame; everything else is discarded."""
        with contextlib.suppress(FrameError):
            while (message := self._reader.next()) is not None:
                if message.opcode == CLOSE:
                    self._transport.close()
        if self._reader.held > _MAX_CLOSE_BYTES:
            self._reader = FrameReader(0, unpack=False)
