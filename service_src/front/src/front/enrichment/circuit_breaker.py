"""The circuit breaker of enrichers: silent ones are not waited for until they respond again."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from functools import partial
from typing import Any

from band import RpcError, RpcRemoteError
from band.platform import RpcClient, run_forever

MAX_MISSES = 3
SILENCE_SECONDS = 0.5
PROBE_EVERY_SECONDS = 1.0
PROBE_TIMEOUT_SECONDS = 1.0


class CircuitBreaker:
    """Counts missed deadlines. An enricher that missed `MAX_MISSES` in a row over `SILENCE_SECONDS` seconds is absent.

    An absent one costs events no time. It is probed once a second with the parameters that it missed last, and the
    first response (an error counts as one) closes the circuit.
    """

    def __init__(self) -> None:
        self.absent: frozenset[str] = frozenset()
        self._misses: dict[str, tuple[int, float]] = {}
        self._missed_params: dict[str, dict[str, Any]] = {}

    def note(self, answered: Iterable[str], missing: Collection[str], params: dict[str, Any], now: float) -> None:
        """Record the outcome of one enrichment; `now` in seconds of a monotonic clock."""
        if self._misses:
            for service in answered:
                self._misses.pop(service, None)
        for service in missing:
            count, since = self._misses.get(service, (0, now))
            count += 1
            self._misses[service] = (count, since)
            if count >= MAX_MISSES and now - since >= SILENCE_SECONDS and service not in self.absent:
                self._missed_params[service] = params
                self.absent = self.absent | {service}

    def back(self, service: str) -> None:
        """Close the circuit of a service."""
        self.absent = self.absent - {service}
        self._misses.pop(service, None)
        self._missed_params.pop(service, None)

    def forget(self) -> None:
        """Close all circuits: the registrations changed."""
        self.absent = frozenset()
        self._misses.clear()
        self._missed_params.clear()

    async def probe(self, rpc: RpcClient) -> None:
        """Ask every absent enricher once, each on its own channel."""
        await asyncio.gather(*(self._ask(rpc, service) for service in self.absent))

    async def run(self, rpc: RpcClient) -> None:
        """Probe absent enrichers, forever."""
        await run_forever("enricher_probe", partial(self.probe, rpc), pause_seconds=PROBE_EVERY_SECONDS)

    async def _ask(self, rpc: RpcClient, service: str) -> None:
        try:
            await rpc.call(service, "enrich", self._missed_params.get(service, {}), timeout=PROBE_TIMEOUT_SECONDS)
        except RpcRemoteError:
            pass
        except RpcError:
            return
        self.back(service)
