"""How long to wait before trying again."""

from __future__ import annotations

import random


class Backoff:
    """Delays that double from ``base`` to ``cap`` seconds, each drawn between half of it and all of it.

    The jitter keeps the services of a host from coming back in one thundering moment.
    """

    def __init__(self, base: float = 0.1, cap: float = 5.0) -> None:
        self.base = base
        self.cap = cap
        self.attempts = 0

    def next(self) -> float:
        """Return the next delay in seconds."""
        delay = min(self.cap, self.base * float(1 << min(self.attempts, 30)))
        self.attempts += 1
        return delay * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret

    def reset(self) -> None:
        """Begin again: the last attempt held."""
        self.attempts = 0
