"""Replaces services that were given what the director gives no more, such as an old password of Redis.

One that speaks on the bus can wait: whoever changed the settings most likely replaces it soon himself, and after
`patience` seconds it is replaced, one service at a time. One that is silent may be locked out, and is replaced at once.
A failure leaves what served, which goes on; it is tried again later.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Mapping

from band import logger
from band.errors import RedisError
from director.errors import DirectorError
from director.state.desired import Wanted

SILENT_SECONDS = 15.0
"""Heartbeats come every six seconds, and whoever sent none is asked after ten."""
FIRST_PAUSE_SECONDS = 30.0
MAX_PAUSE_SECONDS = 1800.0


class Renewals:
    """Tells when which service is due, and renews it. `silent_for` returns the seconds since a service was heard."""

    def __init__(
        self,
        platform: str,
        patience: float,
        silent_for: Callable[[str], float],
        redeploy: Callable[[Wanted], Awaitable[None]],
    ) -> None:
        self._platform = platform
        self._patience_ends = time.time() + patience
        self._silent_for = silent_for
        self._redeploy = redeploy
        self._failures: dict[str, tuple[int, float]] = {}  # by service: how many in a row, and until when it waits

    def due(self, services: Mapping[str, Wanted], busy: Collection[str]) -> dict[str, float]:
        """Return the services to be replaced and when, in seconds since 1970; those that are `busy` are left out."""
        stale = {name for name, wanted in services.items() if self._is_stale(wanted)}
        free = {name: self._failures.get(name, (0, 0.0))[1] for name in sorted(stale - set(busy))}
        found = {name: at for name, at in free.items() if self._silent_for(name) > SILENT_SECONDS}
        patient = {name: max(at, self._patience_ends) for name, at in free.items() if name not in found}
        if patient and free.keys() == stale:
            first = min(patient, key=lambda name: (patient[name], name))
            found[first] = patient[first]
        return found

    async def renew(self, wanted: Wanted) -> None:
        """Put a fresh container of the same release in place."""
        service = wanted.spec.name
        try:
            await self._redeploy(wanted)
            self._failures.pop(service, None)
            logger.info("service_renewed", service=service)
        except (DirectorError, RedisError) as error:
            count = self._failures.get(service, (0, 0.0))[0] + 1
            pause = min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** (count - 1))
            self._failures[service] = (count, time.time() + pause)
            logger.warning("service_not_renewed", service=service, reason=str(error), retry_in_seconds=pause)

    def _is_stale(self, wanted: Wanted) -> bool:
        # What ends by itself gets a new container with its next run.
        return (
            wanted.state == "running"
            and not wanted.spec.auto_remove
            and wanted.spec.platform not in {"", self._platform}
        )
