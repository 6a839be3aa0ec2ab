"""A Redis inside one process, for tests of services: the address ``memory://NAME``.

It has pub/sub, and the commands of :mod:`band.redis.in_memory_store`: enough for calls between services and for
listeners of the stream, which run the same code as on a real Redis. Any other command is an error that says that the
test needs a real Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import hiredis

from band.errors import RedisUnavailable
from band.redis.connection import Connection, OnPush, OnReply
from band.redis.in_memory_store import Refused, Store

Answer = Callable[["InMemoryConnection", tuple[Any, ...]], Any]


class Bus:
    """The connections and the data of one name, and the reads that wait for an entry of a stream."""

    def __init__(self) -> None:
        self.connections: set[InMemoryConnection] = set()
        self.store = Store()
        self.blocked: dict[BlockedRead, None] = {}

    def wake(self) -> None:
        """Retry the waiting reads, oldest first: a stream was written to, or a group was removed."""
        for blocked in list(self.blocked):
            blocked.look()


_buses: dict[str, Bus] = {}


def bus_of(name: str) -> Bus:
    """Return the bus of a name, created at first use."""
    return _buses.setdefault(name, Bus())


def forget(name: str) -> None:
    """Drop a bus and its data; open connections keep it."""
    _buses.pop(name, None)


class BlockedRead:
    """An XREADGROUP that waits: it ends with an entry, at its timeout, or with its connection."""

    def __init__(self, wire: InMemoryConnection, parts: tuple[Any, ...], on_reply: OnReply, seconds: float) -> None:
        self.wire = wire
        self._parts = parts
        self._on_reply = on_reply
        self._timer = wire.loop.call_later(seconds, self.end, None)
        wire.bus.blocked[self] = None

    def look(self) -> None:
        """Reply if there is something to read now."""
        reply = self.wire.answer(self._parts)
        if reply is not None:
            self.end(reply)

    def end(self, reply: Any) -> None:
        """Send the reply."""
        self._timer.cancel()
        if self.wire.bus.blocked.pop(self, self) is None:
            self.wire.loop.call_soon(self._on_reply, reply)


class InMemoryConnection(Connection):
    """A connection without a socket, with the same interface."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_push: OnPush, bus: str) -> None:
        super().__init__(loop, on_push)
        self.loop = loop
        self.bus = bus_of(bus)
        self.bus.connections.add(self)
        self.channels: set[str] = set()

    def send(self, parts: tuple[Any, ...], on_reply: OnReply | None, deadline: float) -> None:
        """Run a command; its reply comes in the next turn of the loop, as from a server.

        Raises:
            RedisUnavailable: the connection was closed.
        """
        del deadline
        if self.lost.done():
            raise RedisUnavailable("There is no connection to Redis")
        reply = self.answer(parts)
        if reply is None and on_reply is not None and (seconds := _block_seconds(parts)):
            BlockedRead(self, parts, on_reply, seconds)
            return
        if on_reply is not None:
            self._loop.call_soon(on_reply, reply)
        if str(parts[0]) in ("XADD", "XGROUP", "DEL"):
            self.bus.wake()

    def answer(self, parts: tuple[Any, ...]) -> Any:
        """Return the reply to a command, an error as a value."""
        command = str(parts[0]).upper()
        if answer := _ANSWERS.get(command):
            return answer(self, parts)
        if command not in self.bus.store.answers:
            return hiredis.ReplyError(
                f"ERR the in-memory Redis does not support {command}: a test of this needs a real Redis"
            )
        try:
            return self.bus.store.answer(parts)
        except Refused as error:
            return hiredis.ReplyError(str(error))

    def send_unanswered(self, parts: tuple[Any, ...]) -> None:
        """Subscribe or unsubscribe."""
        command, *channels = parts
        for channel in channels:
            (self.channels.add if command == "SUBSCRIBE" else self.channels.discard)(str(channel))
            self._loop.call_soon(self._on_push, [command.lower().encode(), str(channel).encode(), 1])

    def flush(self) -> None:
        """Do nothing: commands run at once."""

    def abort(self, reason: str) -> None:
        """Disconnect from the bus."""
        self.bus.connections.discard(self)
        error = RedisUnavailable(f"The connection to Redis was lost before the answer came: {reason}")
        for blocked in [one for one in self.bus.blocked if one.wire is self]:
            blocked.end(error)
        if not self.lost.done():
            self.lost.set_result(reason)

    async def close(self) -> None:
        """Disconnect from the bus."""
        self.abort("closed")

    def publish(self, parts: tuple[Any, ...]) -> int:
        """Deliver a message to all subscribers; returns their number."""
        channel, payload = str(parts[1]), parts[2]
        hearers = [wire for wire in self.bus.connections if channel in wire.channels]
        for wire in hearers:
            self._loop.call_soon(wire._on_push, [b"message", channel.encode(), payload])  # noqa: SLF001 - its own class
        return len(hearers)


def _block_seconds(parts: tuple[Any, ...]) -> float:
    """Return how long an XREADGROUP may wait for entries; 0 for all other commands."""
    if parts[0] != "XREADGROUP" or "BLOCK" not in parts:
        return 0.0
    return int(parts[parts.index("BLOCK") + 1]) / 1000


_ANSWERS: dict[str, Answer] = {
    "HELLO": lambda _wire, _parts: {},
    "PING": lambda _wire, _parts: b"PONG",
    "PUBLISH": lambda wire, parts: wire.publish(parts),
    # Presence: nobody is known, so every peer is spoken to plainly, like one of the original platform.
    "ZADD": lambda _wire, _parts: 1,
    "ZREM": lambda _wire, _parts: 1,
    "ZREMRANGEBYSCORE": lambda _wire, _parts: 0,
    "ZRANGEBYSCORE": lambda _wire, _parts: [],
}
