"""The watch after a deploy: a new release is asked for its status repeatedly until the watch ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from band.platform import RedisLink, run_forever
from director.discovery.probe import Prober, is_from
from director.engine.snapshot import Snapshot
from director.state import history
from director.state.desired import Desired
from director.state.history import Releases
from director.supervise.policy import SILENT_ASKS, Trial

EVERY = 2.0
TIMEOUT = 5.0
REDIS_BACK_SECONDS = 35.0
"""After which Docker's health check, every 30 s by default, has seen a service that has its Redis again."""


@dataclass(eq=False)
class Probation:
    """Keeps count of the questions that releases on trial left unanswered. What follows of it, `reconcile` decides."""

    desired: Desired
    releases: Releases
    prober: Prober
    snapshot: Snapshot
    link: RedisLink
    every: float = EVERY
    _unanswered: dict[tuple[str, float], int] = field(default_factory=dict, init=False)
    """By service and the time of its switch."""
    _out_of_memory: dict[str, float] = field(default_factory=dict, init=False)
    _redis_away_at: float = field(default=0.0, init=False)

    def trials(self) -> Mapping[str, Trial]:
        """Return the releases that are on trial, or were until now, by service."""
        found: dict[str, Trial] = {}
        if not self.link.connected:
            self._redis_away_at = time.time()
        redis_away = time.time() - self._redis_away_at < REDIS_BACK_SECONDS
        for name, releases in self.releases.all().items():
            release, wanted = history.current(releases), self.desired.get(name)
            if release is None or not release.watch_until or wanted is None or wanted.state != "running":
                continue
            found[name] = Trial(
                since=release.since,
                until=release.watch_until,
                unanswered=self._unanswered.get((name, release.since), 0),
                out_of_memory=self._out_of_memory.get(name, 0.0) > release.since,
                redis_away=redis_away,
            )
        return found

    def out_of_memory(self, service: str) -> None:
        """Note that a process of a service was killed for memory, though the service may have survived."""
        self._out_of_memory[service] = time.time()

    async def run(self) -> None:
        await run_forever("watch", self.once, pause_seconds=self.every)

    async def once(self) -> None:
        """Ask every watched release once, and wait for the responses."""
        trials = self.trials()
        asked = {(name, trial.since) for name, trial in trials.items()}
        self._unanswered = {key: count for key, count in self._unanswered.items() if key in asked}
        await asyncio.gather(*(self._ask(name, since) for name, since in asked))

    async def _ask(self, service: str, since: float) -> None:
        seen = self.snapshot.primary(service)
        if seen is None or seen.state != "running":
            return  # that it ended is seen by other means
        connected = self.link.connected
        status = await self.prober.ask(service, timeout=TIMEOUT, accept=lambda status: is_from(status, seen))
        if status is not None or not (connected and self.link.connected):
            self._unanswered.pop((service, since), None)  # without Redis nobody can respond
            return
        count = self._unanswered[service, since] = self._unanswered.get((service, since), 0) + 1
        if count >= SILENT_ASKS:
            self.snapshot.request()
