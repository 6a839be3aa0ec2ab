"""Exponential backoff with jitter."""

from __future__ import annotations

import random


def exponential(attempt: int, base: float, cap: float) -> float:
    """Return the seconds to wait after the failure number ``attempt`` (from 0): doubled each time, at most ``cap``."""
    return min(cap, base * float(1 << min(attempt, 30)))


class Backoff:
    """Delays that double from ``base`` to ``cap`` seconds, each drawn between half of it and all of it.

    The jitter keeps the services of a host from reconnecting all at the same moment.
    """

    def __init__(self, base: float = 0.1, cap: float = 5.0) -> None:
        self.base = base
        self.cap = cap
        self.attempts = 0

    def next(self) -> float:
        """Return the next delay in seconds."""
        delay = exponential(self.attempts, self.base, self.cap)
        self.attempts += 1
        return delay * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret

    def reset(self) -> None:
        """Start again from ``base``: the last attempt succeeded."""
        self.attempts = 0
