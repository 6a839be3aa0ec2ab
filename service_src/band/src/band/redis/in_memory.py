"""Pub/sub inside one process, for tests of services without a Redis: the address ``memory://NAME``.

It answers what calls between services need and refuses everything else, so that a test that needs a real Redis says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import hiredis

from band.redis.connection import Connection, OnPush, OnReply

Answer = Callable[["InMemoryConnection", tuple[Any, ...]], Any]

_buses: dict[str, set[InMemoryConnection]] = {}


class InMemoryConnection(Connection):
    """Stands in for a connection: the same face, no socket. All of one bus name hear each other."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_push: OnPush, bus: str) -> None:
        super().__init__(loop, on_push)
        self._bus = _buses.setdefault(bus, set())
        self._bus.add(self)
        self.channels: set[str] = set()

    def send(self, parts: tuple[Any, ...], on_reply: OnReply | None, deadline: float) -> None:
        """Answer a command in the next turn of the loop, as a server would."""
        del deadline
        answer = _ANSWERS.get(str(parts[0]))
        text = f"ERR the memory bus knows no {parts[0]}: a test of this needs a real Redis"
        reply = answer(self, parts) if answer else hiredis.ReplyError(text)
        if on_reply is not None:
            self._loop.call_soon(on_reply, reply)

    def send_unanswered(self, parts: tuple[Any, ...]) -> None:
        """Subscribe or unsubscribe."""
        command, *channels = parts
        for channel in channels:
            (self.channels.add if command == "SUBSCRIBE" else self.channels.discard)(str(channel))
            self._loop.call_soon(self._on_push, [command.lower().encode(), str(channel).encode(), 1])

    def flush(self) -> None:
        """Nothing waits here."""

    def abort(self, reason: str) -> None:
        """Leave the bus."""
        self._bus.discard(self)
        if not self.lost.done():
            self.lost.set_result(reason)

    async def close(self) -> None:
        """Leave the bus."""
        self.abort("closed")

    def _publish(self, parts: tuple[Any, ...]) -> int:
        channel, payload = str(parts[1]), parts[2]
        hearers = [wire for wire in self._bus if channel in wire.channels]
        for wire in hearers:
            self._loop.call_soon(wire._on_push, [b"message", channel.encode(), payload])  # noqa: SLF001 - its own class
        return len(hearers)


_ANSWERS: dict[str, Answer] = {
    "HELLO": lambda _wire, _parts: {},
    "PING": lambda _wire, _parts: b"PONG",
    "PUBLISH": lambda wire, parts: wire._publish(parts),  # noqa: SLF001 - its own class
    # Presence: nobody is known, so every peer is spoken to plainly, like one of the original platform.
    "ZADD": lambda _wire, _parts: 1,
    "ZREM": lambda _wire, _parts: 1,
    "ZREMRANGEBYSCORE": lambda _wire, _parts: 0,
    "EXPIRE": lambda _wire, _parts: 1,
    "ZRANGEBYSCORE": lambda _wire, _parts: [],
    "XLEN": lambda _wire, _parts: 0,  # no dead letters
}
