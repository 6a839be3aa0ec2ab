"""Memory and CPU of the running containers, sampled in the background, so that no response waits for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec

from band import logger
from band.platform import run_forever, wait_until_set
from director.engine.interface import Engine, Sample
from director.engine.snapshot import Snapshot
from director.errors import DockerUnavailable

INTERVAL = 5.0
"""Seconds between samples while somebody reads them."""
IDLE_INTERVAL = 30.0
"""Seconds between samples while nobody does: the engine reads a dozen files for each container."""
LOOKED_FOR = 60.0
"""Seconds after a read for which samples stay frequent; a scrape every 15 s, or an open page, is enough."""
AT_ONCE = 4
SHORTEST_SPAN = 1.0
"""The least seconds between samples: shorter spans say nothing about CPU."""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """A container's usage: bytes of memory and the limit, CPU seconds since its start, recent percent of one CPU.

    `cpu_percent` is None until there are two samples.
    """

    memory: int
    memory_limit: int | None
    cpu_seconds: float
    cpu_percent: float | None


class UsageMeter:
    """Keeps the newest figures of every running container; reading them costs a dictionary lookup."""

    def __init__(self, engine: Engine, snapshot: Snapshot, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._snapshot = snapshot
        self._clock = clock
        self._samples: dict[str, Sample] = {}
        self._usage: dict[str, Usage] = {}
        self._looked_at = float("-inf")
        self._wake = asyncio.Event()

    def of(self, container: str) -> Usage | None:
        """Return the newest figures of a container, by its whole id; None when there are none yet."""
        return self._usage.get(container)

    def looked(self) -> None:
        """Note that somebody reads the figures; the first read after a pause samples at once."""
        if self._idle():
            self._wake.set()
        self._looked_at = self._clock()

    async def run(self) -> None:
        """Sample until cancelled. The engine being unavailable is waited out."""
        await run_forever("usage", self._round)

    async def _round(self) -> None:
        self._wake.clear()
        try:
            await self.sample()
        except DockerUnavailable as error:
            logger.debug("usage_unknown", reason=error.message)
        await asyncio.sleep(SHORTEST_SPAN)
        await wait_until_set(self._wake, IDLE_INTERVAL if self._idle() and self._usage else INTERVAL)

    async def sample(self) -> None:
        """Sample every running container once, a few at a time. DockerUnavailable leaves the figures as they were."""
        running = [item.id for item in self._snapshot.containers if item.state == "running"]
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(container: str) -> Sample | None:
            async with slots:
                return await self._engine.sample(container)

        found = await asyncio.gather(*(one(container) for container in running), return_exceptions=True)
        self._keep({key: value for key, value in zip(running, found, strict=True) if isinstance(value, Sample)})
        away = [error for error in found if isinstance(error, BaseException)]
        if away:
            raise away[0]

    def _keep(self, samples: dict[str, Sample]) -> None:
        running = {item.id for item in self._snapshot.containers if item.state == "running"}
        self._usage = {key: value for key, value in self._usage.items() if key in running}
        self._samples = {key: value for key, value in self._samples.items() if key in running}
        for key, sample in samples.items():
            self._usage[key] = Usage(
                memory=sample.memory,
                memory_limit=sample.memory_limit,
                cpu_seconds=sample.cpu_seconds,
                cpu_percent=cpu_percent(self._samples.get(key), sample),
            )
            self._samples[key] = sample

    def _idle(self) -> bool:
        return self._clock() - self._looked_at > LOOKED_FOR


def cpu_percent(before: Sample | None, after: Sample) -> float | None:
    """Return the CPU between two samples in percent of one CPU; None if it cannot be computed.

    If the container was restarted between them, its counter started again from zero.
    """
    if before is None or after.cpu_seconds < before.cpu_seconds or after.at <= before.at:
        return None
    return round(100 * (after.cpu_seconds - before.cpu_seconds) / (after.at - before.at), 1)
