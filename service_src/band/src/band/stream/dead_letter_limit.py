"""The limits of a service's dead letters, which must not fill Redis."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

from band.background import run_forever
from band.errors import RedisReplyError, RedisUnavailable
from band.redis.link import RedisLink
from band.telemetry.logs import logger
from band.telemetry.metrics import Metrics

MAX_ENTRIES: Final = 100_000
MAX_MB: Final = 64
ALARM_SHARE: Final = 0.8
"""The share of a limit from which the service is degraded."""
MEASURE_SECONDS: Final = 2.0
MEASURE_BYTES: Final = 4_000_000
"""Added bytes (or a quarter of the limit) after which the stream is measured at once."""


class DeadLetterLimit:
    """Counts a service's dead letters; beyond a limit the oldest are dropped, counted and reported.

    Needs XLEN, XTRIM and MEMORY USAGE on the stream; without the last, only their number is limited.
    """

    def __init__(self, service: str, key: str, link: RedisLink, metrics: Metrics, *, entries: int, size: int) -> None:
        self.count = 0
        self.dropped = 0
        """Dropped since the start of this process."""
        self._service = service
        self._key = key
        self._link = link
        self._metrics = metrics
        self._entries = entries
        self._size = size
        self._bytes = 0
        self._added = 0
        """Bytes added since the last measurement."""
        self._weighed = 0
        """The number of letters at the last measurement."""
        self._may_weigh = True
        self._lock = asyncio.Lock()
        metrics.gauge("dead_letters", self._gauge, "Dead letters at present.", label="service")

    def _gauge(self) -> dict[str, float]:
        return {self._service: float(self.count)}

    async def run(self) -> None:
        """Measure until cancelled: other instances add letters too, and operators delete them."""
        await run_forever("dead letters", self._wait_and_measure, pause_seconds=MEASURE_SECONDS)

    async def _wait_and_measure(self) -> None:
        with contextlib.suppress(RedisUnavailable):
            await self._link.ready(60)
        await self.measure()

    async def added(self, count: int, size: int) -> None:
        """Count added letters of ``size`` bytes in total."""
        self.count += count
        self._added += size
        if self.count > self._entries or self._added >= min(MEASURE_BYTES, self._size // 4):
            await self.measure()

    async def measure(self) -> None:
        """Measure the letters, and drop the oldest beyond the limits. Does nothing while Redis is unavailable."""
        async with self._lock:
            try:
                self.count = int(await self._link.command("XLEN", self._key))
                if self.count > self._entries:
                    # A little more than necessary, so that the next letter does not trigger it again.
                    await self._trim(self._entries - self._entries // 20)
                if self.count == self._weighed and not self._added:
                    return
                self._bytes, self._added, self._weighed = await self._weigh(), 0, self.count
                if self._bytes > self._size:
                    await self._trim(int(self.count * self._size / self._bytes * 0.95))
                    self._bytes, self._weighed = await self._weigh(), self.count
            except RedisUnavailable:
                return

    async def _trim(self, most: int) -> None:
        dropped = int(await self._link.command("XTRIM", self._key, "MAXLEN", most))
        self.count -= dropped
        self.dropped += dropped
        self._metrics.add("dead_letters_dropped", dropped)
        logger.error("dead_letters_dropped", stream=self._key, count=dropped, left=self.count)

    async def _weigh(self) -> int:
        if not self.count or not self._may_weigh:
            return 0
        try:
            return int(await self._link.command("MEMORY", "USAGE", self._key, "SAMPLES", 0) or 0)
        except RedisReplyError as error:
            self._may_weigh = False
            logger.warning("dead_letters_not_weighed", stream=self._key, reason=str(error))
            return 0

    def check(self) -> dict[str, Any] | None:
        """Return the health check: the number, degraded near or beyond a limit; None if there are no letters."""
        if not self.count and not self.dropped:
            return None
        bound = f"{self._entries} letters or {self._size >> 20} MB"
        facts = {"status": "ok", "count": self.count, "hint": "check their reasons, then replay or delete them"}
        if self.dropped:
            return {
                **facts,
                "status": "degraded",
                "reason": f"{self.dropped} of the oldest were dropped (limit: {bound})",
            }
        if self.count >= ALARM_SHARE * self._entries or self._bytes >= ALARM_SHARE * self._size:
            reason = f"there are {self.count} dead letters; beyond {bound} the oldest are dropped"
            return {**facts, "status": "degraded", "reason": reason}
        return {**facts, "reason": f"{self.count} events could not be processed"}
