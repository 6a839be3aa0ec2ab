"""The durable stream of events, as a listener consumes it.

Front appends each accepted event to the Redis stream ``events``. Every listener service is a consumer group of that
stream: what it was given stays pending until its function returned, and is given again when the function raised, or
when the process died. Events that keep failing end in the stream ``dead:<service>`` with the reason, not in the void.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from band import jsonio
from band.constants import DEAD_LETTERS, EVENTS_STREAM
from band.errors import RedisError, RedisReplyError
from band.jsonrpc.calling import describe
from band.logs import logger
from band.metrics import Metrics
from band.redis.backoff import Backoff
from band.redis.dsn import RedisAddress
from band.redis.link import RedisLink
from band.registry import Exposed, resolve

BLOCK_MS: Final = 5_000
CLAIM_AFTER_MS: Final = 30_000
"""A message that a silent consumer holds for so long is given to another one."""
HOLD_INTERVAL: Final = 10.0
"""Seconds between two signs that a consumer still works on what it holds."""
RETRY_CAP: Final = 30.0
SINGLE_COUNT: Final = 100
LINGER_STEP: Final = 0.2
"""Seconds that one read of a filling batch may wait, so that a stop is noticed."""


class Delivery(msgspec.Struct, frozen=True):
    """One entry of the stream: its id, and the event or None when the entry is not readable."""

    stream_id: str
    event: dict[str, Any] | None
    raw: bytes


def read_entries(entries: Iterable[Any]) -> list[Delivery]:
    """Return the deliveries in what XREADGROUP, XAUTOCLAIM or XRANGE answered; deleted entries are left out."""
    found = []
    for stream_id, fields in entries:
        if not fields:
            continue
        named = dict(zip(fields[::2], fields[1::2], strict=False))
        raw = named.get(b"event", b"")
        try:
            event = jsonio.decode(raw)
        except (ValueError, RecursionError):
            event = None
        found.append(Delivery(stream_id.decode(), event if isinstance(event, dict) else None, raw))
    return found


class StreamListener:
    """Feeds one listener function from the stream, as consumer ``consumer`` of the group ``service``."""

    def __init__(self, service: str, consumer: str, exposed: Exposed, metrics: Metrics, *, start: str = "$") -> None:
        self.service = service
        self.consumer = consumer
        self.delivered = 0
        self.dead = 0
        self.last_error = ""
        self._exposed = exposed
        self._metrics = metrics
        self._start = start
        self._link = RedisLink(f"{service}-events")
        self._held: list[str] = []
        self._stopping = asyncio.Event()
        self._busy = asyncio.Lock()

    async def run(self, address: RedisAddress) -> None:
        """Consume until cancelled. Redis going away is waited out."""
        self._link.start(address)
        backoff = Backoff()
        holder = asyncio.get_running_loop().create_task(self._hold())
        try:
            while not self._stopping.is_set():
                try:
                    await self._link.ready(30)
                    await self._consume()
                    backoff.reset()
                except RedisError as error:
                    if isinstance(error, RedisReplyError) and error.code == "NOGROUP":
                        logger.warning("events_group_gone", group=self.service)
                    self.last_error = str(error)
                    await self._pause(backoff.next())
        finally:
            holder.cancel()
            await self._link.close()

    async def stop(self, timeout: float) -> bool:
        """Take nothing new and let the call in progress end; returns whether it did within ``timeout`` seconds."""
        self._stopping.set()
        try:
            async with asyncio.timeout(timeout):
                async with self._busy:
                    return True
        except TimeoutError:
            return False

    async def _pause(self, seconds: float) -> bool:
        """Wait, unless it stops; returns whether it stops."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        return self._stopping.is_set()

    async def _consume(self) -> None:
        await self._ensure_group()
        await self._finish_own()
        claim_at = 0.0
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            if loop.time() >= claim_at:
                claim_at = loop.time() + CLAIM_AFTER_MS / 1000
                await self._handle_all(await self._claim())
            batch, _ = await self._read(">", BLOCK_MS)
            await self._handle_all(batch, fill=True)

    async def _finish_own(self) -> None:
        """Handle what an earlier life of this consumer was given and did not finish."""
        while not self._stopping.is_set():
            found, deleted = await self._read("0", None)
            if deleted:
                await self._forget_deleted(deleted)
            if not found and not deleted:
                return
            await self._handle_all(found)

    async def _ensure_group(self) -> None:
        try:
            await self._link.command("XGROUP", "CREATE", EVENTS_STREAM, self.service, self._start, "MKSTREAM")
        except RedisReplyError as error:
            if error.code != "BUSYGROUP":
                raise

    async def _fill(self, batch: list[Delivery]) -> None:
        """Add to a batch what comes within ``linger`` seconds."""
        wanted = self._exposed.batch
        loop = asyncio.get_running_loop()
        until = loop.time() + self._exposed.linger
        while len(batch) < wanted and not self._stopping.is_set() and (left := until - loop.time()) > 0:
            more, _ = await self._read(">", max(1, int(min(left, LINGER_STEP) * 1000)), wanted - len(batch))
            batch += more
            self._held += [delivery.stream_id for delivery in more]

    async def _read(
        self, after: str, block_ms: int | None, count: int | None = None
    ) -> tuple[list[Delivery], list[bytes]]:
        """Return the next deliveries, and the ids of those that were trimmed from the stream meanwhile."""
        count = count or self._exposed.batch or SINGLE_COUNT
        block: tuple[Any, ...] = () if block_ms is None else ("BLOCK", block_ms)
        reply = await self._link.command(
            "XREADGROUP", "GROUP", self.service, self.consumer, "COUNT", count, *block, "STREAMS", EVENTS_STREAM, after,
            timeout=(block_ms or 0) / 1000 + 5,
        )  # fmt: skip
        entries = next(iter(reply.values())) if reply else []
        return read_entries(entries), [stream_id for stream_id, fields in entries if not fields]

    async def _forget_deleted(self, ids: list[bytes]) -> None:
        """Acknowledge pending entries that were trimmed from the stream: there is nothing left to deliver."""
        self._count_trimmed(len(ids))
        await self._acknowledge(ids)

    def _count_trimmed(self, count: int) -> None:
        logger.error("events_trimmed_before_delivery", group=self.service, count=count)
        self._metrics.add("listener_trimmed", count)

    async def _claim(self) -> list[Delivery]:
        reply = await self._link.command(
            "XAUTOCLAIM", EVENTS_STREAM, self.service, self.consumer, CLAIM_AFTER_MS, "0", "COUNT",
            self._exposed.batch or SINGLE_COUNT,
        )  # fmt: skip
        if len(reply) > 2 and reply[2]:  # Redis took them out of the pending ones by itself
            self._count_trimmed(len(reply[2]))
        claimed = read_entries(reply[1])
        if claimed:
            logger.info("events_claimed", group=self.service, count=len(claimed))
        return claimed

    # --- one batch

    async def _handle_all(self, deliveries: list[Delivery], *, fill: bool = False) -> None:
        if not deliveries:
            return
        async with self._busy:
            self._held = [delivery.stream_id for delivery in deliveries]
            try:
                if fill:
                    await self._fill(deliveries)
                readable = [delivery for delivery in deliveries if delivery.event is not None]
                unreadable = [delivery for delivery in deliveries if delivery.event is None]
                if unreadable:
                    await self._bury(unreadable, "the entry of the stream is not a JSON object")
                if self._exposed.batch:
                    await self._handle(readable)
                else:
                    for delivery in readable:
                        await self._handle([delivery])
            finally:
                self._held = []

    async def _handle(self, deliveries: list[Delivery]) -> None:
        if not deliveries:
            return
        backoff = Backoff(base=0.5, cap=RETRY_CAP)
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            try:
                await self._call(deliveries)
            except Exception as error:  # noqa: BLE001 - whatever a listener does, its events are kept
                self.last_error = describe(error)
                self._metrics.called(self._exposed.name, "error", loop.time() - begun)
                logger.exception(
                    "listener_failed", method=self._exposed.name, events=len(deliveries), reason=self.last_error
                )
                if backoff.attempts + 1 >= self._exposed.max_attempts:
                    await self._bury(deliveries, self.last_error)
                    return
                if await self._pause(backoff.next()):
                    return  # they stay pending: the next life, or another consumer, gets them again
                continue
            self._metrics.called(self._exposed.name, "ok", loop.time() - begun)
            await self._acknowledge([delivery.stream_id for delivery in deliveries])
            self.delivered += len(deliveries)
            self._metrics.add("listener_events", len(deliveries))
            return

    async def _call(self, deliveries: list[Delivery]) -> None:
        events = [delivery.event or {} for delivery in deliveries]
        await resolve(self._exposed.func(events) if self._exposed.batch else self._exposed.func(**events[0]))

    async def _acknowledge(self, ids: list[Any]) -> None:
        await self._link.command("XACK", EVENTS_STREAM, self.service, *ids)

    async def _bury(self, deliveries: list[Delivery], reason: str) -> None:
        """Put events that cannot be delivered into the dead letters, then acknowledge them."""
        stream = DEAD_LETTERS.format(name=self.service)
        for delivery in deliveries:
            await self._link.command(
                "XADD", stream, "*", "event", delivery.raw, "reason", reason, "stream_id", delivery.stream_id
            )
        await self._acknowledge([delivery.stream_id for delivery in deliveries])
        self.dead += len(deliveries)
        self._metrics.add("listener_dead_letters", len(deliveries))
        logger.error("events_given_up", group=self.service, count=len(deliveries), stream=stream, reason=reason)

    async def _hold(self) -> None:
        """Show that what is held is still worked on, so that nobody claims it meanwhile."""
        while True:
            await asyncio.sleep(HOLD_INTERVAL)
            held = list(self._held)
            if held and self._link.connected:
                try:
                    await self._link.command("XCLAIM", EVENTS_STREAM, self.service, self.consumer, 0, *held, "JUSTID")
                except RedisError as error:
                    logger.warning("events_hold_failed", group=self.service, reason=str(error))
