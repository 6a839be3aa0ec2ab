"""Entries that a listener postponed (``raise Retry``): they stay pending while others are delivered.

The due time and the number of attempts are stored in Redis, so that they survive a restart or a takeover by another
instance. The contents are not kept in memory: they are read again when due.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from band.backoff import Backoff
from band.errors import MAX_RETRY_SECONDS, Retry
from band.registry import Exposed
from band.stream.consumer_group import Delay, Delivery, StreamGroup
from band.tasks import wait_until_set

MAX_DELAYED: Final = 10_000
"""Waiting entries beyond which nothing new is read: each one's lease is extended every two seconds."""
LOOK_SECONDS: Final = 1.0
"""Seconds between checks of the clock, which may be adjusted."""

CLOCK_STEP_SECONDS: Final = 3600.0
"""Clock differences up to this (an adjustment, another host) cause no early delivery."""


class Retries:
    """The delayed entries of one consumer, and the attempts made on entries that are in progress again."""

    def __init__(self, group: StreamGroup, exposed: Exposed) -> None:
        self.waiting: dict[str, Delay] = {}
        self._group = group
        self._exposed = exposed
        self._by_time: list[tuple[int, str]] = []
        self._latest = 0
        self._made: dict[str, int] = {}
        self._changed = asyncio.Event()

    @property
    def full(self) -> bool:
        """Whether nothing new should be read."""
        return len(self.waiting) >= MAX_DELAYED

    @property
    def due(self) -> bool:
        """Whether a waiting entry is due."""
        return self._until_due() <= 0

    def check(self) -> dict[str, Any] | None:
        """Return the health check: degraded while delayed entries block all others."""
        if not self.full:
            return None
        reason = f"{len(self.waiting)} events wait for another delivery (Retry); nothing new is read meanwhile"
        return {
            "status": "degraded",
            "reason": reason,
            "hint": "see the service's log for why the listener raises Retry",
        }

    def made(self, stream_id: str) -> int:
        """Return how many attempts on an entry ended in a delay."""
        return self._made.get(stream_id, 0)

    async def delay(self, attempts: Mapping[str, int], error: Retry) -> None:
        """Deliver entries again after the delay in ``error``, or the listener's backoff."""
        begin = math.ceil(time.time() * 1000)  # never early
        delays = {one: Delay(begin + self._milliseconds(made, error), made) for one, made in attempts.items()}
        await self._group.delay(delays)
        self._wait_for(delays)

    def _milliseconds(self, made: int, error: Retry) -> int:
        if error.after is not None:
            return int(error.after * 1000)
        backoff = Backoff(base=self._exposed.backoff, cap=self._exposed.backoff_max)
        backoff.attempts = made - 1
        return int(min(backoff.next(), MAX_RETRY_SECONDS) * 1000)

    async def set_aside(self, deliveries: Sequence[Delivery]) -> list[str]:
        """Keep the taken-over deliveries that are not due yet; returns their ids."""
        if not deliveries:
            return []
        noted = await self._group.delays([delivery.stream_id for delivery in deliveries])
        now = _now()
        early = {one: delay for one, delay in noted.items() if now < delay.due_ms <= _latest()}
        self._made.update((one, delay.attempts) for one, delay in noted.items())
        if early:
            await self._group.hold_again(list(early))
            self._wait_for(early)
        return list(early)

    def _wait_for(self, delays: Mapping[str, Delay]) -> None:
        for one, delay in delays.items():
            self.waiting[one] = delay
            self._made[one] = delay.attempts
            self._latest = max(self._latest, delay.due_ms)
            heapq.heappush(self._by_time, (delay.due_ms, one))
        self.wake()

    def hasten(self, ids: Iterable[str]) -> None:
        """Make entries due now: they are no longer pending, and fetching them shows why."""
        self._wait_for({one: self.waiting[one]._replace(due_ms=0) for one in ids if one in self.waiting})

    def wake(self) -> None:
        """Make :meth:`wait_due` check the clock now."""
        self._changed.set()

    async def wait_due(self) -> None:
        """Return when an entry is due."""
        while (milliseconds := self._until_due()) > 0:
            self._changed.clear()
            seconds = min(LOOK_SECONDS, milliseconds / 1000) if self._by_time else None
            await wait_until_set(self._changed, seconds)

    def _until_due(self) -> float:
        if self._latest > (latest := _latest()):  # the clock was set back: such long waits were not intended
            self.hasten(one for one, delay in self.waiting.items() if delay.due_ms > latest)
            self._latest = latest
        return self._by_time[0][0] - _now() if self._by_time else float("inf")

    def pop_due(self, count: int) -> list[str]:
        """Remove and return the ids of up to ``count`` due entries, longest due first."""
        found: list[str] = []
        while len(found) < count and self._until_due() <= 0:
            due_ms, one = heapq.heappop(self._by_time)
            if (delay := self.waiting.get(one)) is not None and delay.due_ms == due_ms:
                del self.waiting[one]
                found.append(one)
        return found

    def done(self, ids: Iterable[str]) -> None:
        """Forget entries that were acknowledged."""
        if noted := [one for one in ids if self._made.pop(one, None) is not None]:
            self._group.forget_delays(noted)

    def clear(self) -> None:
        """Drop all entries: they are still pending, and stored in Redis."""
        self.waiting.clear()
        self._by_time.clear()
        self._made.clear()


def _now() -> int:
    return int(time.time() * 1000)


def _latest() -> int:
    """Return the latest possible due time of a delayed entry."""
    return int((time.time() + MAX_RETRY_SECONDS + CLOCK_STEP_SECONDS) * 1000)
