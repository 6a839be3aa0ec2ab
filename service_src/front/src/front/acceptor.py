"""Accepting an event: after that it survives, and only then the client hears of success."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Protocol

from band.constants import BROADCAST, EVENTS_STREAM
from band.errors import RedisError, RedisUnavailable
from front.errors import NotAccepted
from front.message import broadcast_of


class Link(Protocol):
    """What is needed of band's connection to Redis."""

    @property
    def connected(self) -> bool:
        """Whether commands go through now."""

    def ask(self, *parts: Any, timeout: float = ...) -> asyncio.Future[Any]:
        """Send one command; the future has its reply."""

    def publish(self, channel: str, payload: bytes) -> bool:
        """Publish a message without waiting."""


class Acceptor(Protocol):
    """Takes encoded messages into keeping. A journal on disk is another one of these."""

    def accept(self, payload: bytes) -> Awaitable[Any]:
        """Wait until the event is safe; NotAccepted when it is not."""

    def refusal(self) -> str:
        """Why events cannot be accepted now; empty when they can."""


class StreamAcceptor:
    """Appends to the Redis stream `events` and tells channel `broadcast`, where listeners of the original wait."""

    def __init__(self, link: Link, max_length: int, timeout: float) -> None:
        self._link = link
        self._max_length = str(max_length)
        self._timeout = timeout

    async def accept(self, payload: bytes) -> Any:
        """Append and wait for Redis' word; the stream's entry id. NotAccepted within the time limit."""
        try:
            appended = self._link.ask(
                "XADD", EVENTS_STREAM, "MAXLEN", "~", self._max_length, "*", "event", payload, timeout=self._timeout
            )
            # The connection notices a silent Redis only once its oldest command is overdue; a client shall not wait
            # for that.
            timer = asyncio.get_running_loop().call_later(self._timeout, _give_up, appended)
            try:
                entry = await appended
            finally:
                timer.cancel()
        except RedisError as error:
            raise NotAccepted("the event could not be stored; send it again") from error
        self._link.publish(BROADCAST, broadcast_of(payload))
        return entry

    def refusal(self) -> str:
        """Why events cannot be accepted now; empty when they can."""
        return "" if self._link.connected else "there is no connection to Redis"


def _give_up(appended: asyncio.Future[Any]) -> None:
    if not appended.done():
        appended.set_exception(RedisUnavailable("Redis did not store the event in time"))
