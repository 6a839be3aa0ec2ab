"""One TCP connection to Redis as an asyncio protocol: commands out, replies and pushes in.

It speaks RESP3, which distinguishes pushes to a subscriber from replies, so that one connection serves both. Commands
of one turn of the loop are sent in one write, and everything from one read is handled at once: on loopback, system
calls are the cost of a call, not Redis.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import hiredis

from band.errors import RedisReplyError, RedisUnavailable
from band.tasks import PerTurn
from band.telemetry.logs import logger
from band.telemetry.tracebacks import describe_raised

OnReply = Callable[[Any], None]
OnPush = Callable[[list[Any]], None]

MAX_OUTGOING: Final = 64 * 1024 * 1024
"""Queued bytes for a slow Redis beyond which commands are refused."""


class Connection(asyncio.Protocol):
    """One connection. ``lost`` resolves when it ends, with the reason."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_push: OnPush) -> None:
        self._loop = loop
        self._on_push = on_push
        self._reader: Any = hiredis.Reader(notEnoughData=Ellipsis)
        self._pending: deque[tuple[OnReply | None, float]] = deque()
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._turn = PerTurn(self._flush)
        self._writable = True
        self._transport: asyncio.Transport | None = None
        self.lost: asyncio.Future[str] = loop.create_future()

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Pass every complete reply to its command, every push to the subscriber."""
        reader = self._reader
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not ...:
                try:
                    if type(reply) is hiredis.PushNotification:
                        self._on_push(reply)
                    elif self._pending:
                        on_reply = self._pending.popleft()[0]
                        if on_reply is not None:
                            on_reply(reply)
                    else:  # only a refused SUBSCRIBE has a reply without a pending command
                        self.abort(f"Redis refused: {reply}")
                        return
                except Exception as error:  # noqa: BLE001 - it would end the connection for everybody
                    logger.exception("redis_receiver_failed", reason=describe_raised(error))
        except hiredis.ProtocolError as error:
            self.abort(f"invalid reply from Redis: {error}")

    def pause_writing(self) -> None:
        """Stop writing: the peer reads more slowly than we write."""
        self._writable = False

    def resume_writing(self) -> None:
        """Continue, with the data queued in the meantime."""
        self._writable = True
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """End every waiting command with an error."""
        reason = str(exc) if exc else "Redis closed the connection"
        if not self.lost.done():
            self.lost.set_result(reason)
        self._transport = None
        error = RedisUnavailable(f"The connection to Redis was lost before the answer came: {self.lost.result()}")
        while self._pending:
            on_reply = self._pending.popleft()[0]
            try:
                if on_reply is not None:
                    on_reply(error)
            except Exception as fault:  # noqa: BLE001 - the others must be notified too
                logger.exception("redis_receiver_failed", reason=describe_raised(fault))

    # --- commands

    def send(self, parts: tuple[Any, ...], on_reply: OnReply | None, deadline: float) -> None:
        """Queue a command; ``on_reply`` gets the reply, or an exception as a value.

        Raises:
            RedisUnavailable: the connection is gone, or the queue is full because Redis is stuck.
        """
        self.send_packed(hiredis.pack_command(parts), 1, on_reply, deadline)

    def send_packed(self, packed: bytes, count: int, on_reply: OnReply | None, deadline: float) -> None:
        """Queue ``count`` encoded commands; ``on_reply`` gets each reply, in order.

        Raises:
            RedisUnavailable: the connection is gone, or the queue is full because Redis is stuck.
        """
        if self._transport is None:
            raise RedisUnavailable("There is no connection to Redis")
        if self._out_bytes + len(packed) > MAX_OUTGOING:
            raise RedisUnavailable(f"Redis is too slow: {MAX_OUTGOING >> 20} MiB of commands are already waiting")
        self._out_bytes += len(packed)
        self._out.append(packed)
        if count == 1:
            self._pending.append((on_reply, deadline))
        else:
            self._pending.extend([(on_reply, deadline)] * count)
        if not self._turn.planned:
            self._turn.plan()

    def flush(self) -> None:
        """Write queued commands now: the caller knows that no more will follow in this turn."""
        if self._turn.planned:
            self._turn.run()

    def send_unanswered(self, parts: tuple[Any, ...]) -> None:
        """Send a command whose confirmation is a push (SUBSCRIBE, UNSUBSCRIBE)."""
        if self._transport is not None:
            self._flush()
            self._transport.write(hiredis.pack_command(parts))

    def ask(self, *parts: Any, timeout: float) -> asyncio.Future[Any]:
        """Send a command and return a future of its reply."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self.send(parts, resolve_with_reply(future), self._loop.time() + timeout)
        return future

    def overdue(self, now: float) -> bool:
        """Return whether the oldest command is past its deadline: then the connection is dead or stuck."""
        return bool(self._pending) and self._pending[0][1] < now

    def abort(self, reason: str) -> None:
        """Drop the connection at once."""
        if not self.lost.done():
            self.lost.set_result(reason)
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        """Write queued commands, then close."""
        self._flush()
        if self._transport is not None:
            self._transport.close()
            await asyncio.wait([self.lost], timeout=1.0)

    def _flush(self) -> None:
        if self._out and self._writable and self._transport is not None:
            data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
            self._out.clear()
            self._out_bytes = 0
            self._transport.write(data)


def resolve_with_reply(future: asyncio.Future[Any]) -> OnReply:
    """Return a callback that resolves ``future`` with a reply, or with its error."""

    def on_reply(reply: Any) -> None:
        if future.done():
            return
        if isinstance(reply, hiredis.ReplyError):
            future.set_exception(RedisReplyError(str(reply)))
        elif isinstance(reply, BaseException):
            future.set_exception(reply)
        else:
            future.set_result(reply)

    return on_reply
