"""What the director counts of itself: plain numbers, turned into metrics only when somebody asks for them."""

from __future__ import annotations

import bisect
import itertools

import msgspec

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds in seconds: an answer from memory takes one, a build two digits of seconds."""


class Durations(msgspec.Struct):
    """Durations of one kind: their sum in seconds, their number, and how many fell into each bucket."""

    total: float = 0.0
    count: int = 0
    buckets: list[int] = msgspec.field(default_factory=lambda: [0] * len(BUCKETS))

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.total += seconds
        self.count += 1
        place = bisect.bisect_left(BUCKETS, seconds)
        if place < len(BUCKETS):
            self.buckets[place] += 1

    def cumulative(self) -> list[tuple[str, float]]:
        """Return (upper bound, number of durations up to it), as Prometheus wants them."""
        below = itertools.accumulate(self.buckets)
        bounds = [(f"{bound:g}", float(count)) for bound, count in zip(BUCKETS, below, strict=True)]
        return [*bounds, ("+Inf", float(self.count))]


class RequestCounts:
    """Requests by endpoint (the path's template) and status, and how long each endpoint took."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, int], int] = {}
        self.durations: dict[str, Durations] = {}

    def answered(self, endpoint: str, status: int, seconds: float | None) -> None:
        """Count one answer; `seconds` is None for what streams until the client goes."""
        self.counts[endpoint, status] = self.counts.get((endpoint, status), 0) + 1
        if seconds is not None:
            self.durations.setdefault(endpoint, Durations()).add(seconds)


class BuildCounts:
    """Builds by outcome, and the seconds they took together."""

    def __init__(self) -> None:
        self.outcomes: dict[str, int] = {"ok": 0, "failed": 0}
        self.seconds = 0.0

    def ended(self, outcome: str, seconds: float) -> None:
        """Count one build."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        self.seconds += seconds
