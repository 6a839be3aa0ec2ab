"""Who does not answer any more: silent enrichers are not waited for until they answer again."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from typing import Any, Protocol

from band.errors import RpcError, RpcRemoteError

MISSES = 3
SILENCE_S = 0.5
PROBE_EVERY_S = 1.0
PROBE_TIMEOUT_S = 1.0


class Caller(Protocol):
    """The part of band's `rpc` that a probe needs."""

    async def call(self, to: str, method: str, params: dict[str, Any] | None = None, timeout: float = ...) -> Any:
        """Call a service's method and return its result."""


class Attendance:
    """Counts missed deadlines. An enricher that missed `MISSES` in a row over `SILENCE_S` seconds is absent.

    An absent one costs events no time; it is asked once a second with the parameters that it missed last, and the
    first answer (an error is one) brings it back.
    """

    def __init__(self) -> None:
        self.absent: frozenset[str] = frozenset()
        self._misses: dict[str, tuple[int, float]] = {}
        self._missed_params: dict[str, dict[str, Any]] = {}

    def note(self, answered: Iterable[str], missing: Collection[str], params: dict[str, Any], now: float) -> None:
        """Take the outcome of one enrichment; `now` in seconds of a monotonic clock."""
        if self._misses:
            for service in answered:
                self._misses.pop(service, None)
        for service in missing:
            count, since = self._misses.get(service, (0, now))
            count += 1
            self._misses[service] = (count, since)
            if count >= MISSES and now - since >= SILENCE_S and service not in self.absent:
                self._missed_params[service] = params
                self.absent = self.absent | {service}

    def back(self, service: str) -> None:
        """Wait for a service again."""
        self.absent = self.absent - {service}
        self._misses.pop(service, None)
        self._missed_params.pop(service, None)

    def forget(self) -> None:
        """Start anew: the registrations changed."""
        self.absent = frozenset()
        self._misses.clear()
        self._missed_params.clear()

    async def probe(self, rpc: Caller) -> None:
        """Ask every absent enricher once, each on its own channel."""
        await asyncio.gather(*(self._ask(rpc, service) for service in self.absent))

    async def watch(self, rpc: Caller) -> None:
        """Probe for ever; a background task."""
        while True:
            await asyncio.sleep(PROBE_EVERY_S)
            if self.absent:
                await self.probe(rpc)

    async def _ask(self, rpc: Caller, service: str) -> None:
        try:
            await rpc.call(service, "enrich", self._missed_params.get(service, {}), timeout=PROBE_TIMEOUT_S)
        except RpcRemoteError:
            pass
        except RpcError:
            return
        self.back(service)
