"""Replaces services whose platform settings are outdated, for example the password of Redis.

A service that still speaks on the bus can wait: whoever changed the settings will probably replace it soon. After
`patience` seconds it is replaced, one service at a time. A silent service may be locked out, and is replaced at once.
A failure leaves the old container running; it is tried again later.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from band import RedisError, logger
from band.platform import RedisLink
from director.deploy.operations import Operations
from director.discovery.registrations import Registrations
from director.engine.snapshot import Snapshot
from director.errors import DirectorError
from director.state.desired import DesiredService

SILENT_SECONDS = 15.0
"""Heartbeats come every six seconds, and whoever sent none is asked after ten."""
FIRST_PAUSE_SECONDS = 30.0
MAX_PAUSE_SECONDS = 1800.0


@dataclass(eq=False)
class Renewals:
    """Knows which service is due when, and renews it."""

    operations: Operations
    registrations: Registrations
    snapshot: Snapshot
    link: RedisLink
    platform: str
    patience: float
    _failures: dict[str, tuple[int, float]] = field(default_factory=dict, init=False)
    """By service: how many in a row, and until when it waits."""

    def __post_init__(self) -> None:
        self._patience_ends = time.time() + self.patience

    def due(self, services: Mapping[str, DesiredService], busy: Collection[str]) -> dict[str, float]:
        """Return the services to be replaced and when, in seconds since 1970; those that are `busy` are left out."""
        stale = {name for name, wanted in services.items() if self._is_stale(wanted)}
        free = {name: self._failures.get(name, (0, 0.0))[1] for name in sorted(stale - set(busy))}
        found = {name: at for name, at in free.items() if self._silent_for(name) > SILENT_SECONDS}
        patient = {name: max(at, self._patience_ends) for name, at in free.items() if name not in found}
        if patient and free.keys() == stale:
            first = min(patient, key=lambda name: (patient[name], name))
            found[first] = patient[first]
        return found

    async def renew(self, wanted: DesiredService) -> None:
        service = wanted.spec.name
        try:
            await self.operations.bring_back(wanted, "renew")
            self._failures.pop(service, None)
            logger.info("service_renewed", service=service)
        except (DirectorError, RedisError) as error:
            count = self._failures.get(service, (0, 0.0))[0] + 1
            pause = min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** (count - 1))
            self._failures[service] = (count, time.time() + pause)
            logger.warning("service_not_renewed", service=service, reason=str(error), retry_in_seconds=pause)

    def _silent_for(self, service: str) -> float:
        """Return the seconds since a service last responded, or could have; 0 while Redis is unavailable."""
        seen = self.snapshot.primary(service)
        if seen is None or not self.link.connected:
            return 0.0
        return self.registrations.silent_for(service, seen.started_at, time.time())

    def _is_stale(self, wanted: DesiredService) -> bool:
        # What ends by itself gets a new container with its next run.
        return (
            wanted.state == "running"
            and not wanted.spec.auto_remove
            and wanted.spec.platform not in {"", self.platform}
        )
