"""Limits on events per key and per visitor address, shared by all workers of one front.

Each worker has the same buckets, takes what its own events need, and tells the others ten times a second what it took.
A bucket may run into debt by what others took at the same time; it is paid off before the next event. So a limit holds
over time wherever the connections of a client end, and no event waits for another process.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any, Final

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

    __slots__ = ("_at", "level", "rate")

    def __init__(self, rate: Rate, now: float) -> None:
        self.rate = rate
        self.level = rate.burst
        self._at = now

    def wait(self, count: int, now: float) -> float:
        """Return in how many seconds so many events may come; 0 if they may now.

        More than can ever be there may come when it is full, and are paid off afterwards.
        """
        rate = self.rate
        self._refill(now)
        missing = min(count, rate.burst) - self.level
        return missing / rate.per_second if missing > _ROUNDING else 0.0

    def owe(self, count: int, now: float) -> None:
        """Take what somebody else took."""
        self._refill(now)
        self.level -= count

    def _refill(self, now: float) -> None:
        elapsed = now - self._at
        if elapsed > 0:
            self.level = min(self.rate.burst, self.level + elapsed * self.rate.per_second)
            self._at = now


class RateLimits:
    """All buckets of a worker."""

    def __init__(self, *, tells: bool, clock: Callable[[], float] = time.monotonic) -> None:
        """`tells` is whether somebody asks for reports: what nobody fetches is not gathered."""
        self._clock = clock
        self._tells = tells
        self._projects: Mapping[str, Project] = {}
        self._accounts: dict[str, Bucket] = {}
        self._visitors: Recent[tuple[str, str], Bucket] = Recent(MAX_VISITORS)
        self._taken: dict[str, int] = {}
        self._taken_by: dict[tuple[str, str], int] = {}

    def use(self, table: ProjectTable) -> None:
        """Apply the limits of a new table; what is used up stays so where the limit is the same."""
        now, before = self._clock(), self._accounts
        self._projects = table.projects
        self._accounts = {
            account: found if (found := before.get(account)) and found.rate == rate else Bucket(rate, now)
            for account, rate in table.rates().items()
        }

    def take(self, access: Access, address: str, count: int) -> None:
        """Count events of a key, and of a visitor's address unless that is empty.

        Raises:
            RateLimited: they may not come now; nothing is counted.
        """
        now, project = self._clock(), access.project
        account = None if project.rate is None else self._accounts.get(access.account)
        if account is not None and (wait := account.wait(count, now)):
            raise _limited(wait, "this key")
        if address and project.visitor_rate is not None:
            visitor = self._of_visitor(project, address, project.visitor_rate, now)
            if wait := visitor.wait(count, now):
                raise _limited(wait, "this visitor")
            visitor.level -= count
            if self._tells:
                self._taken_by[project.id, address] = self._taken_by.get((project.id, address), 0) + count
        if account is not None:
            account.level -= count
            if self._tells:
                self._taken[access.account] = self._taken.get(access.account, 0) + count

    def give_back(self, access: Access, address: str, count: int) -> None:
        """Undo `take`."""
        project = access.project
        if project.rate is not None and access.account in self._accounts:
            self._accounts[access.account].level += count
            if self._tells:
                self._taken[access.account] = self._taken.get(access.account, 0) - count
        if address and project.visitor_rate is not None:
            self._of_visitor(project, address, project.visitor_rate, self._clock()).level += count
            if self._tells:
                self._taken_by[project.id, address] = self._taken_by.get((project.id, address), 0) - count

    def report(self) -> list[Any]:
        """Return what was taken since the last report, for `hear` of another worker; empty if nothing was."""
        if not self._taken and not self._taken_by:
            return []
        most = heapq.nlargest(MAX_TOLD, self._taken_by.items(), key=itemgetter(1))
        told = [self._taken, [[*visitor, count] for visitor, count in most]]
        self._taken, self._taken_by = {}, {}
        return told

    def hear(self, told: Any) -> None:
        """Take what another worker reports."""
        accounts, visitors = told
        now = self._clock()
        for account, count in accounts.items():
            if account in self._accounts:
                self._accounts[account].owe(count, now)
        for project_id, address, count in visitors:
            project = self._projects.get(project_id)
            if project is not None and project.visitor_rate is not None:
                self._of_visitor(project, address, project.visitor_rate, now).owe(count, now)

    def _of_visitor(self, project: Project, address: str, rate: Rate, now: float) -> Bucket:
        key = (project.id, address)
        bucket = self._visitors.get(key)
        if bucket is None or bucket.rate != rate:
            bucket = Bucket(rate, now)
            self._visitors.put(key, bucket)
        return bucket


def _limited(wait: float, whose: str) -> RateLimited:
    return RateLimited(min(MAX_WAIT_SECONDS, math.ceil(wait)), whose)
