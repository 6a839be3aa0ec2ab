"""Append events to the Redis stream; only then does the client get a success response."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

import hiredis

from band import RedisUnavailable
from band.platform import BROADCAST, EVENTS_STREAM, RedisLink
from front.errors import NotAccepted
from front.event.message import broadcast_of
from front.storage.redis_persistence import RedisPersistence
from front.storage.unpersisted import Unpersisted

Event = tuple[bytes, bytes]
"""An encoded message and its trace."""

_APPEND = b"$4\r\nXADD\r\n$%d\r\n%b\r\n$1\r\n*\r\n$5\r\nevent\r\n" % (len(EVENTS_STREAM), EVENTS_STREAM.encode())
_NO_EVENT: Event = (b"", b"")
_PLAIN = b"*5\r\n" + _APPEND
_TRACED = b"*7\r\n" + _APPEND
_MULTI = b"*1\r\n$5\r\nMULTI\r\n"
_EXEC = b"*1\r\n$4\r\nEXEC\r\n"
_ASK_LISTENERS = b"*3\r\n$6\r\nPUBSUB\r\n$6\r\nNUMSUB\r\n$%d\r\n%b\r\n" % (len(BROADCAST), BROADCAST.encode())


class Acceptor(Protocol):
    """Stores encoded messages: in the stream, or with a journal behind it."""

    def accept(self, payload: bytes, trace: bytes = b"") -> Awaitable[Any]:
        """Wait until the event is safe; NotAccepted when it is not.

        `payload` is the event, `trace` what happened to it on its way, both a JSON object.
        """

    def accept_all(self, events: Sequence[Event]) -> Awaitable[Any]:
        """Wait until all of several events are safe; NotAccepted when they are not: then none is stored."""

    def refusal(self) -> str:
        """Return why events cannot be accepted now; empty when they can."""


class StreamAcceptor:
    """Appends to the Redis stream `events` and publishes on the channel `broadcast` for the original's listeners.

    All events of one turn of the loop are sent in one write, followed by the question whether anybody listens to
    `broadcast`. Redis answers it after appending the events, so a subscriber misses none; without subscribers, no
    event is sent twice.

    Events of one request are appended in a transaction: all of them, or none.

    Nothing is trimmed here: that would drop events of listeners that are behind (`front.storage.retention`).

    Commands of Redis: XADD, MULTI, EXEC, PUBSUB NUMSUB, PUBLISH.
    """

    def __init__(
        self, link: RedisLink, redis: RedisPersistence, timeout: float, unwritten: Unpersisted[Any] | None = None
    ) -> None:
        """`unwritten` receives the events that Redis has confirmed, so that they can be appended again."""
        self._link = link
        self._redis = redis
        self._timeout = timeout
        self._unwritten = unwritten
        self._turn: _Turn | None = None

    def accept(self, payload: bytes, trace: bytes = b"") -> asyncio.Future[Any]:
        """Append; the future has the entry's id once Redis has said so, or NotAccepted after the time limit."""
        turn = self._turn
        if turn is None:
            turn = self._begin_turn()
        return turn.add(_append(payload, trace), (payload, trace))

    def accept_all(self, events: Sequence[Event]) -> asyncio.Future[Any]:
        """Append all of them or none; the future has the entries' ids, or NotAccepted after the time limit."""
        turn = self._turn
        if turn is None:
            turn = self._begin_turn()
        return turn.add_all([_append(payload, trace) for payload, trace in events], events)

    def refusal(self) -> str:
        """Return why events cannot be accepted now; empty when they can."""
        if not self._link.connected:
            return "there is no connection to Redis"
        return self._redis.full or (self._unwritten.full if self._unwritten is not None else "")

    def _begin_turn(self) -> _Turn:
        turn = self._turn = _Turn(self._link, self._timeout, self._unwritten)
        asyncio.get_running_loop().call_soon(self._end_turn)
        return turn

    def _end_turn(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            self._redis.take(turn.end())


class _Turn:
    """The events of one turn of the event loop, on their way to Redis."""

    __slots__ = (
        "_accepted", "_answered", "_commands", "_events", "_futures", "_link", "_loop", "_timeout", "_timer",
        "_transactions", "_unwritten",
    )  # fmt: skip

    def __init__(self, link: RedisLink, timeout: float, unwritten: Unpersisted[Any] | None) -> None:
        self._link = link
        self._unwritten = unwritten
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout
        self._commands: list[bytes] = []
        self._events: list[Event] = []
        self._futures: list[asyncio.Future[Any]] = []
        self._accepted: list[Event] = []
        self._answered = 0
        self._transactions: _Transactions | None = None
        # The connection notices a silent Redis only once its oldest command is overdue; a client should not wait for
        # that.
        self._timer = self._loop.call_later(timeout, self._give_up)

    def add(self, command: bytes, event: Event) -> asyncio.Future[Any]:
        """Take one event along; the future ends with Redis' reply."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._commands.append(command)
        self._events.append(event)
        self._futures.append(future)
        return future

    def add_all(self, commands: list[bytes], events: Sequence[Event]) -> asyncio.Future[Any]:
        """Take a transaction along; the future ends with the reply to its EXEC."""
        transactions = self._transactions
        if transactions is None:
            transactions = self._transactions = _Transactions(self._loop)
        future: asyncio.Future[Any] = self._loop.create_future()
        self._commands += [_MULTI, *commands, _EXEC]
        self._futures += [*[transactions.queued] * (len(commands) + 1), future]
        self._events += [_NO_EVENT] * (len(commands) + 2)
        transactions.events[len(self._futures) - 1] = events
        return future

    def end(self) -> int:
        """Send everything, then ask who listens; returns the number of bytes."""
        self._commands.append(_ASK_LISTENERS)
        packed = b"".join(self._commands)
        try:
            self._link.send_packed(packed, len(self._commands), self._on_reply, timeout=self._timeout)
        except RedisUnavailable as error:
            self._give_up(error)
        self._commands.clear()
        return len(packed)

    def _on_reply(self, reply: Any) -> None:
        """Take the replies in their order: one for each command, then the number of listeners."""
        number = self._answered
        self._answered += 1
        if number == len(self._futures):
            self._end(reply)
            return
        future = self._futures[number]
        if type(reply) is not bytes:
            self._on_other_reply(number, future, reply)
            return
        if not future.done():
            future.set_result(reply)
        elif not future.cancelled():
            return  # given up: it is in the journal, whose replay finds and publishes it
        self._accepted.append(self._events[number])

    def _on_other_reply(self, number: int, future: asyncio.Future[Any], reply: Any) -> None:
        """Take the reply to an EXEC, or an error."""
        transactions = self._transactions
        if transactions is None or (number not in transactions.events and future is not transactions.queued):
            if not future.done():
                future.set_exception(_refused(reply))
            return
        events, error = transactions.outcome(number, reply)
        if error is not None:
            if not future.done():
                future.set_exception(_refused(error))
        elif events and (not future.done() or future.cancelled()):
            if not future.done():
                future.set_result(reply)
            self._accepted += events

    def _end(self, reply: Any) -> None:
        """Remember events that Redis may not have written yet, and publish them if anybody listens.

        If Redis does not say whether anybody listens, they are published too.
        """
        self._timer.cancel()
        if self._unwritten is not None and self._accepted:
            self._unwritten.add(self._accepted, sum([len(payload) + len(trace) for payload, trace in self._accepted]))
        if isinstance(reply, hiredis.ReplyError) or (isinstance(reply, list) and reply[1]):
            for payload, _ in self._accepted:
                self._link.publish(BROADCAST, broadcast_of(payload))

    def _give_up(self, reason: RedisUnavailable | None = None) -> None:
        self._timer.cancel()
        for future in self._futures:
            if not future.done():
                future.set_exception(_refused(reason or RedisUnavailable("Redis did not store the event in time")))


class _Transactions:
    """The transactions of a turn, each with one reply that counts: that to its EXEC."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.events: dict[int, Sequence[Event]] = {}
        """Number of an EXEC among the commands of the turn -> what it appends."""
        self.queued: asyncio.Future[Any] = loop.create_future()
        """Stands for the replies to the other commands."""
        self.queued.set_result(None)
        self._error: Any = None

    def outcome(self, number: int, reply: Any) -> tuple[Sequence[Event], Any]:
        """Return the events that were appended, or why they were not, for a reply to EXEC or to a refused command."""
        if number not in self.events:
            self._error = self._error or reply  # EXEC will say only that there was an error
            return (), None
        error, self._error = self._error, None
        if error is None:
            error = next((one for one in reply if type(one) is not bytes), None) if isinstance(reply, list) else reply
        return self.events[number], error


def _append(payload: bytes, trace: bytes) -> bytes:
    """Return the command that appends an event."""
    if trace:
        return b"%b$%d\r\n%b\r\n$5\r\ntrace\r\n$%d\r\n%b\r\n" % (
            _TRACED, len(payload), payload, len(trace), trace,
        )  # fmt: skip
    return b"%b$%d\r\n%b\r\n" % (_PLAIN, len(payload), payload)


def _refused(reason: Any) -> NotAccepted:
    error = NotAccepted("the event could not be stored; send it again")
    error.__cause__ = reason if isinstance(reason, BaseException) else None
    return error
