"""Reads a listener's batches in portions, so that large events never arrive by the thousand.

Redis counts entries, memory counts bytes: 2,000 events of 100 kB would kill a small container, and its next run would
read the same 2,000 first. So a batch is assembled from reads of a few entries, fewer the larger they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from band.calls.positions import order
from band.registry import BATCH_BYTES, Exposed
from band.stream.consumer_group import Delivery, StreamGroup
from band.stream.processor import BatchProcessor
from band.telemetry.logs import logger
from band.telemetry.metrics import Metrics

SINGLE_COUNT: Final = 100
LINGER_STEP: Final = 0.2
"""Seconds that one read may wait while a batch fills, so that a stop is noticed."""
PORTION_ENTRIES: Final = 50
PORTION_BYTES: Final = 2_000_000
"""The intended size of one read; the first large events after small ones may be up to `PORTION_ENTRIES`."""
_FIRST_BYTES: Final = 200_000
"""How large events are taken to be before the first came: they may be those that ended the life before."""


class ReadSize:
    """The size of the next read, from the largest recent entry."""

    def __init__(self) -> None:
        self._largest = _FIRST_BYTES

    def count(self, wanted: int) -> int:
        """Return how many of `wanted` entries to read at once."""
        return max(1, min(wanted, PORTION_ENTRIES, PORTION_BYTES // self._largest))

    def came(self, deliveries: Sequence[Delivery]) -> None:
        """Record the sizes of a read; large ones fade over time."""
        if deliveries:
            largest = max(weight(delivery.raw) for delivery in deliveries)
            self._largest = max(1, largest, self._largest * 3 // 4)


class EventReader:
    """Reads batches for one listener, and registers them in `batches`."""

    def __init__(
        self, exposed: Exposed, group: StreamGroup, batches: BatchProcessor, metrics: Metrics, stopping: asyncio.Event
    ) -> None:
        self.filling = False
        """Whether a part of the next batch has arrived."""
        self.position = ""
        """The last new entry that was read, or the start of the group."""
        self.wanted = exposed.batch or SINGLE_COUNT
        self._most = exposed.batch_bytes
        self._linger = exposed.linger
        self._group = group
        self._batches = batches
        self._metrics = metrics
        self._stopping = stopping
        self._portion = ReadSize()

    async def new(self, block_ms: int) -> list[Delivery]:
        """Return a batch of new events, filled as the listener declares; empty if nothing arrived for a while."""
        batch, more = await self._read_new(self.wanted, block_ms)
        if batch:
            self.filling = True
            await self._fill(batch, more)
        return batch

    async def due(self) -> list[Delivery]:
        """Return up to a batch of due delayed events; fewer if they are large."""
        retries = self._batches.retries
        if not (ids := retries.pop_due(self._portion.count(self.wanted))):
            return []
        self._batches.hold(ids)  # before anything else can bring them
        found, gone = await self._group.fetch(ids)
        self._portion.came(found)
        if gone:
            self.count_trimmed(len(gone))
            await self._group.acknowledge(gone)
        # Since the delay, some may have been acknowledged, or the group may have been created again.
        pending = await self._group.extend_lease(ids)
        due = [delivery for delivery in found if delivery.stream_id in pending]
        self._batches.forget(set(ids).difference(delivery.stream_id for delivery in due))
        return due

    async def claim(self, idle_ms: int) -> tuple[list[Delivery], bool]:
        """Return up to a batch of entries of inactive consumers, and whether there may be more."""
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
            if cursor == "0-0" or self._is_full(claimed, self._most or BATCH_BYTES):
                return await self._batches.set_aside(claimed), cursor != "0-0"

    async def own(self, after: str, *, single: bool) -> tuple[list[Delivery], list[bytes], str]:
        """Return this consumer's oldest pending entries after ``after``, and the ids of trimmed ones.

        The third value is the last id read, ``after`` at the end.
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
            if self._is_full(batch, self._most or BATCH_BYTES):
                break
        if trimmed:
            self.count_trimmed(len(trimmed))
        return self._batches.take(batch), trimmed, after

    def count_trimmed(self, count: int) -> None:
        """Log and count events that were trimmed before this listener got them."""
        logger.error("events_trimmed_before_delivery", group=self._group.name, count=count)
        self._metrics.add("listener_trimmed", count)

    async def _read_new(self, wanted: int, block_ms: int | None) -> tuple[list[Delivery], bool]:
        """Return new events, and whether there are probably more."""
        asked = self._portion.count(wanted)
        found, _ = await self._group.read(">", block_ms, asked)
        self._portion.came(found)
        if found:
            self.position = found[-1].stream_id
        return self._batches.take(found), len(found) == asked

    async def _fill(self, batch: list[Delivery], more: bool) -> None:
        """Fill a batch with available events, and those that arrive within `linger` seconds."""
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
    return sum(weight(delivery.raw) for delivery in deliveries)


def weight(raw: bytes) -> int:
    """Return the bytes of an event for these bounds: its length, or more if it is made of almost nothing but objects.

    Decoded, it takes at most about five times this (measured with tracemalloc, Python 3.13). Ordinary events take four
    times their length; ``{"":{"":`` and so on takes 37 times, ``[[],[]`` and so on 21 times.
    """
    return max(len(raw), 50 * raw.count(b"{") + 20 * raw.count(b"["))
