"""Snowflake ids, which sort by time: 42 bits of milliseconds, 10 bits of worker, 12 bits of sequence."""

from __future__ import annotations

import time
from collections.abc import Callable

_SEQ_BITS = 12
_WORKER_BITS = 10
_MS_SHIFT = _SEQ_BITS + _WORKER_BITS
_SEQ_MASK = (1 << _SEQ_BITS) - 1
_BORROWED_MS = 1_000
"""What a rush of ids borrows from the time to come, at most; an id that is further ahead of the clock was drawn after
the clock was set back."""


def now_ms() -> int:
    """Return milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class Snowflakes:
    """A source of 64-bit ids, unique and rising within a worker (0 to 1023).

    `id >> 22` is the time in milliseconds since 1970. More than 4,096 ids in one millisecond borrow from the next
    one, and a clock that steps back does not make ids repeat.
    """

    __slots__ = ("_base", "_clock", "_last")

    def __init__(self, worker: int = 0, clock: Callable[[], int] = now_ms) -> None:
        if not 0 <= worker < 1 << _WORKER_BITS:
            raise ValueError(f"worker is {worker}; an id can hold 0 to {(1 << _WORKER_BITS) - 1}")
        self._base = worker << _SEQ_BITS
        self._clock = clock
        self._last = 0  # milliseconds << 12 | sequence, without the worker

    def next(self) -> int:
        """Draw the next id."""
        candidate = self._clock() << _SEQ_BITS
        last = self._last
        if candidate <= last:
            candidate = last + 1
        self._last = candidate
        return (candidate >> _SEQ_BITS) << _MS_SHIFT | self._base | (candidate & _SEQ_MASK)

    @property
    def last_ms(self) -> int:
        """The time in the last id, in milliseconds since 1970; 0 before the first."""
        return self._last >> _SEQ_BITS

    def start_above(self, ms: int) -> None:
        """Draw only ids whose time is later than `ms`."""
        self._last = max(self._last, ms << _SEQ_BITS | _SEQ_MASK)

    def event_time(self, flake: int) -> int:
        """Return the time of the event that an id was just drawn for: the id's, unless the clock was set back since.

        Ids then stay ahead of the clock, since they must not repeat; events that did so would be dated in the future.
        """
        drawn, now = time_of(flake), self._clock()
        return drawn if drawn - now <= _BORROWED_MS else now


def time_of(flake: int) -> int:
    """Return the time in an id, in milliseconds since 1970."""
    return flake >> _MS_SHIFT
