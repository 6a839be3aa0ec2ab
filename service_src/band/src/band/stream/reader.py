"""How a listener's batches are read: in portions, so that large events never come by the thousand at once.

Redis counts entries, memory counts bytes: 2,000 events of 100 kB would end a small container, and its next life would
ask for the same 2,000 first. So a batch is put together from reads of a few entries, fewer the larger they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from band.calls.positions import order
from band.registry import Exposed
from band.stream.consumer_group import Delivery, StreamGroup
from band.stream.processor import BatchProcessor
from band.telemetry.logs import logger
from band.telemetry.metrics import Metrics

SINGLE_COUNT: Final = 100
LINGER_STEP: Final = 0.2
"""Seconds that one read of a filling batch may wait, so that a stop is noticed."""
PORTION_ENTRIES: Final = 100
PORTION_BYTES: Final = 2_000_000
"""What one read is meant to bring at most; the first large events after small ones may be up to 100."""
OWN_BYTES: Final = 4_000_000
"""A batch of what an earlier life left, for a listener that says nothing of bytes."""


class ReadSize:
    """How many entries the next read asks for, by the largest that came lately."""

    def __init__(self) -> None:
        self._largest = 1

    def count(self, wanted: int) -> int:
        """Of `wanted` entries, so many may come in one read."""
        return max(1, min(wanted, PORTION_ENTRIES, PORTION_BYTES // self._largest))

    def came(self, deliveries: Sequence[Delivery]) -> None:
        """Note what a read brought; what was large once is forgotten by and by."""
        if deliveries:
            largest = max(len(delivery.raw) for delivery in deliveries)
            self._largest = max(1, largest, self._largest * 3 // 4)


class EventReader:
    """Reads batches for one listener, and tells `batches` what is in hand."""

    def __init__(
        self, exposed: Exposed, group: StreamGroup, batches: BatchProcessor, metrics: Metrics, stopping: asyncio.Event
    ) -> None:
        self.filling = False
        """Whether something of the next batch came already."""
        self.position = ""
        """The newest new entry that was read, or where the group began."""
        self.wanted = exposed.batch or SINGLE_COUNT
        self._most = exposed.batch_bytes
        self._linger = exposed.linger
        self._group = group
        self._batches = batches
        self._metrics = metrics
        self._stopping = stopping
        self._portion = ReadSize()

    async def new(self, block_ms: int) -> list[Delivery]:
        """The next new events, filled up as the listener wishes; empty when nothing came for a while."""
        batch, more = await self._read_new(self.wanted, block_ms)
        if batch:
            self.filling = True
            await self._fill(batch, more)
        return batch

    async def due(self) -> list[Delivery]:
        """Up to a batch of what was delayed and is due; fewer, when they are large."""
        retries = self._batches.retries
        if not (ids := retries.pop_due(self._portion.count(self.wanted))):
            return []
        self._batches.hold(ids)  # before anything else can bring them
        found, gone = await self._group.fetch(ids)
        self._portion.came(found)
        if gone:
            self.count_trimmed(len(gone))
            await self._group.acknowledge(gone)
        # Somebody may have acknowledged one, or made the group again, since it was delayed.
        pending = await self._group.extend_lease(ids)
        due = [delivery for delivery in found if delivery.stream_id in pending]
        self._batches.forget(set(ids).difference(delivery.stream_id for delivery in due))
        return due

    async def claim(self, idle_ms: int) -> tuple[list[Delivery], bool]:
        """Up to a batch of what silent consumers left; and whether there may be more of it."""
        claimed: list[Delivery] = []
        cursor = "0"
        while True:
            found, trimmed, cursor = await self._group.claim(
                idle_ms, self._portion.count(self.wanted - len(claimed)), cursor
            )
            self._portion.came(found)
            if trimmed:
                self.count_trimmed(trimmed)
            claimed += self._batches.take(found)
            if cursor == "0-0" or self._is_full(claimed, self._most or OWN_BYTES):
                return await self._batches.set_aside(claimed), cursor != "0-0"

    async def own(self, after: str, *, single: bool) -> tuple[list[Delivery], list[bytes], str]:
        """The oldest behind ``after`` of what this consumer was given and did not finish, and ids of trimmed ones.

        The third is the last id that was read, ``after`` when nothing is left.
        """
        wanted = 1 if single else self.wanted
        batch: list[Delivery] = []
        trimmed: list[bytes] = []
        while True:
            asked = self._portion.count(wanted - len(batch))
            found, deleted = await self._group.read(after, None, asked)
            self._portion.came(found)
            batch += found
            trimmed += deleted
            ends = [*(delivery.stream_id for delivery in found[-1:]), *(one.decode() for one in deleted[-1:])]
            after = max([after, *ends], key=order)
            if len(found) + len(deleted) < asked or len(batch) >= wanted or len(trimmed) >= self.wanted:
                break
            if self._is_full(batch, self._most or OWN_BYTES):
                break
        if trimmed:
            self.count_trimmed(len(trimmed))
        return self._batches.take(batch), trimmed, after

    def count_trimmed(self, count: int) -> None:
        """Tell of events that the hard bound of the stream took before this listener had them."""
        logger.error("events_trimmed_before_delivery", group=self._group.name, count=count)
        self._metrics.add("listener_trimmed", count)

    async def _read_new(self, wanted: int, block_ms: int | None) -> tuple[list[Delivery], bool]:
        """New events, and whether there are probably more: as many came as were asked for."""
        asked = self._portion.count(wanted)
        found, _ = await self._group.read(">", block_ms, asked)
        self._portion.came(found)
        if found:
            self.position = found[-1].stream_id
        return self._batches.take(found), len(found) == asked

    async def _fill(self, batch: list[Delivery], more: bool) -> None:
        """Add to a batch what is there already, and what comes within `linger` seconds, until it is full."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._linger
        size = _bytes(batch)
        while len(batch) < self.wanted and not (self._most and size >= self._most) and not self._stopping.is_set():
            left = until - loop.time()
            if not more and left <= 0:
                return
            block_ms = None if more else max(1, int(min(left, LINGER_STEP) * 1000))
            found, more = await self._read_new(self.wanted - len(batch), block_ms)
            batch += found
            size += _bytes(found)

    def _is_full(self, batch: Sequence[Delivery], most: int) -> bool:
        return len(batch) >= self.wanted or _bytes(batch) >= most


def _bytes(deliveries: Sequence[Delivery]) -> int:
    return sum(len(delivery.raw) for delivery in deliveries)
