"""Limits on events per key and per visitor address, shared by all workers of one front.

Each worker has the same buckets, takes what its own events need, and tells the others ten times a second what it took.
A bucket may run into debt by what others took at the same time; it is paid off before the next event. So a limit holds
over time wherever the connections of a client end, and no event waits for another process.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from band.platform import Recent
from front.errors import RateLimited
from front.projects.project import Project, Rate
from front.projects.table import Access, ProjectTable

MAX_VISITORS: Final = 10_000
"""Addresses per worker whose events are counted; those without events for longest are forgotten first."""
MAX_TOLD: Final = 1000
"""Addresses that a worker reports at once: those with most events."""
TELL_EVERY_SECONDS: Final = 0.1
UNLIMITED_LOOK_EVERY_SECONDS: Final = 1.0
"""How soon telling begins after the first limit was set."""
MAX_WAIT_SECONDS: Final = 300
"""The longest `Retry-After`: as long as Segment's libraries obey."""
_ROUNDING: Final = 1e-6
"""Sums of floating-point numbers are not exact."""


class Bucket:
    """A token bucket; its level may be negative."""

    __slots__ = ("_at", "_level", "rate")

    def __init__(self, rate: Rate, now: float) -> None:
        self.rate = rate
        self._level = rate.burst
        self._at = now

    def wait(self, count: int, now: float) -> float:
        """Return in how many seconds so many events may come; 0 if they may now.

        More than can ever be there may come when it is full, and are paid off afterwards.
        """
        rate, elapsed = self.rate, now - self._at
        if elapsed > 0:
            self._level = min(rate.burst, self._level + elapsed * rate.per_second)
            self._at = now
        missing = min(count, rate.burst) - self._level
        return missing / rate.per_second if missing > _ROUNDING else 0.0

    def take(self, count: int) -> None:
        """Take so many, whether they are there or not."""
        self._level -= count


class Charge(NamedTuple):
    """Events of one request under one key."""

    access: Access
    address: str
    """What the visitor's address is counted under; empty: it is not counted."""
    events: int


class RateLimits:
    """All buckets of a worker."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._projects: Mapping[str, Project] = {}
        self._accounts: dict[str, Bucket] = {}
        self._visitors: Recent[tuple[str, str], Bucket] = Recent(MAX_VISITORS)
        self._taken: Counter[str] = Counter()
        self._taken_by: Counter[tuple[str, str]] = Counter()

    def use(self, table: ProjectTable) -> None:
        """Apply the limits of a new table; what is used up stays so where the limit is the same."""
        now, before = self._clock(), self._accounts
        self._projects = table.projects
        self._accounts = {
            account: found if (found := before.get(account)) and found.rate == rate else Bucket(rate, now)
            for account, rate in table.rates().items()
        }

    def check(self, charges: Sequence[Charge]) -> None:
        """Raise RateLimited unless all these events may come now. They are not counted yet."""
        now = self._clock()
        for charge in charges:
            for bucket, whose in self._buckets(charge, now):
                if wait := bucket.wait(charge.events, now):
                    raise RateLimited(min(MAX_WAIT_SECONDS, math.ceil(wait)), whose)

    def count(self, charges: Sequence[Charge]) -> None:
        """Count events that `check` let in."""
        now = self._clock()
        for charge in charges:
            access, address, count = charge
            for bucket, _ in self._buckets(charge, now):
                bucket.take(count)
            if access.project.rate:
                self._taken[access.account] += count
            if address and access.project.visitor_rate:
                self._taken_by[access.project.id, address] += count

    def report(self) -> list[Any]:
        """Return what was taken since the last report, for `hear` of another worker; empty if nothing was."""
        if not self._taken and not self._taken_by:
            return []
        visitors = [[*visitor, count] for visitor, count in self._taken_by.most_common(MAX_TOLD)]
        told = [dict(self._taken), visitors]
        self._taken.clear()
        self._taken_by.clear()
        return told

    def hear(self, told: Any) -> None:
        """Take what another worker reports."""
        accounts, visitors = told
        now = self._clock()
        for account, count in accounts.items():
            if account in self._accounts:
                self._accounts[account].take(count)
        for project_id, address, count in visitors:
            project = self._projects.get(project_id)
            if project is not None and project.visitor_rate is not None:
                self._of_visitor(project, address, project.visitor_rate, now).take(count)

    def _buckets(self, charge: Charge, now: float) -> list[tuple[Bucket, str]]:
        """Return the buckets of the key and of the visitor, where there are limits, and whose each is."""
        access, address, _ = charge
        project = access.project
        found: list[tuple[Bucket, str]] = []
        if project.rate is not None and access.account in self._accounts:
            found.append((self._accounts[access.account], "this key"))
        if address and project.visitor_rate is not None:
            found.append((self._of_visitor(project, address, project.visitor_rate, now), "this visitor"))
        return found

    def _of_visitor(self, project: Project, address: str, rate: Rate, now: float) -> Bucket:
        key = (project.id, address)
        bucket = self._visitors.get(key)
        if bucket is None or bucket.rate != rate:
            bucket = Bucket(rate, now)
            self._visitors.put(key, bucket)
        return bucket
