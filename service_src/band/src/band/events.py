"""The durable stream of events, as a listener consumes it.

Front appends each accepted event to the Redis stream ``events``. Every listener service is a consumer group of that
stream: what it was given stays pending until its function returned, and is given again when the function raised, or
when the process died. Events that keep failing end in the stream ``dead:<service>`` with the reason, not in the void.

While the function works on one batch, the next one is read already.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from band.errors import RedisError, RedisReplyError
from band.jsonrpc.calling import describe
from band.logs import logger
from band.metrics import Metrics
from band.redis.backoff import Backoff
from band.redis.dsn import RedisAddress
from band.redis.link import RedisLink
from band.registry import Exposed, resolve
from band.stream_group import Delivery, StreamGroup, read_entries

BLOCK_MS: Final = 2_000
CLAIM_AFTER_MS: Final = 8_000
"""A message that a silent consumer holds for so long is given to another one."""
CLAIM_INTERVAL: Final = 2.0
"""Seconds between two looks for such messages."""
HOLD_INTERVAL: Final = 2.0
"""Seconds between two signs that a consumer still works on what it holds."""
RETRY_CAP: Final = 30.0
SINGLE_COUNT: Final = 100
LINGER_STEP: Final = 0.2
"""Seconds that one read of a filling batch may wait, so that a stop is noticed."""
SUSPECT_AFTER: Final = 3
"""Lives of a service that ended over the same events; from then on they are given one by one."""


class StreamListener:
    """Feeds one listener function from the stream, as consumer ``consumer`` of the group ``service``.

    ``commands`` is the service's connection for what does not block; without one it has its own.
    """

    def __init__(
        self,
        service: str,
        consumer: str,
        exposed: Exposed,
        metrics: Metrics,
        *,
        start: str = "$",
        commands: RedisLink | None = None,
    ) -> None:
        self.service = service
        self.consumer = consumer
        self.delivered = 0
        self.dead = 0
        self.last_error = ""
        self._exposed = exposed
        self._metrics = metrics
        self._start = start
        self._link = RedisLink(f"{service}-events")
        self._commands = commands or RedisLink(f"{service}-taken")
        self._own_commands = commands is None
        self._group = StreamGroup(service, consumer, self._link, self._commands)
        self._held: dict[str, None] = {}
        self._claim_at = 0.0
        self._filling = False
        self._stopping = asyncio.Event()
        self._at_rest = asyncio.Event()
        self._at_rest.set()

    async def run(self, address: RedisAddress) -> None:
        """Consume until cancelled. Redis going away is waited out."""
        self._link.start(address)
        if self._own_commands:
            self._commands.start(address)
        backoff = Backoff()
        holder = asyncio.get_running_loop().create_task(self._hold())
        try:
            while not self._stopping.is_set():
                try:
                    await self._link.ready(30)
                    await self._commands.ready(30)
                    await self._consume()
                    backoff.reset()
                except RedisError as error:
                    if isinstance(error, RedisReplyError) and error.code == "NOGROUP":
                        logger.warning("events_group_gone", group=self.service)
                    self.last_error = str(error)
                    self._held.clear()  # still pending: they come again with the next connection
                    self._at_rest.set()
                    await self._pause(backoff.next())
                finally:
                    self._at_rest.set()
        finally:
            holder.cancel()
            await self._link.close()
            if self._own_commands:
                await self._commands.close()

    async def stop(self, timeout: float) -> bool:
        """Take nothing new and let what was taken end; returns whether it did within ``timeout`` seconds."""
        self._stopping.set()
        try:
            async with asyncio.timeout(timeout):
                await self._at_rest.wait()
        except TimeoutError:
            pass
        held = list(self._held)
        if held and self._commands.connected:
            with contextlib.suppress(RedisError):
                await self._group.release(held)
        return self._at_rest.is_set()

    async def _pause(self, seconds: float) -> bool:
        """Wait, unless it stops; returns whether it stops."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        return self._stopping.is_set()

    def _take(self, deliveries: list[Delivery]) -> None:
        """Remember what is in hand."""
        if deliveries:
            self._held.update((delivery.stream_id, None) for delivery in deliveries)
            self._at_rest.clear()

    # --- reading

    async def _consume(self) -> None:
        await self._group.ensure(self._start)
        await self._group.forget_consumers()
        await self._finish_own()
        loop = asyncio.get_running_loop()
        following: asyncio.Task[list[Delivery]] | None = loop.create_task(self._next())
        try:
            while following is not None and (batch := await self._unless_stopped(following)) is not None:
                # The next one is read while this one is worked on; when it stops, nothing more is read.
                following = None if self._stopping.is_set() else loop.create_task(self._next())
                await self._handle_all(batch)
                if not self._held:
                    self._at_rest.set()
        finally:
            if following is not None:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)

    async def _unless_stopped(self, following: asyncio.Task[list[Delivery]]) -> list[Delivery] | None:
        """The batch that is being read; None when it stops and nothing of it came yet."""
        stopped = asyncio.get_running_loop().create_task(self._stopping.wait())
        await asyncio.wait([following, stopped], return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        return await following if following.done() or self._filling else None

    async def _next(self) -> list[Delivery]:
        """The next batch: what silent consumers left, or what is new; empty when nothing came for a while."""
        loop = asyncio.get_running_loop()
        self._filling = False
        if loop.time() >= self._claim_at:
            self._claim_at = loop.time() + min(CLAIM_INTERVAL, CLAIM_AFTER_MS / 1000)
            claimed, trimmed = await self._group.claim(CLAIM_AFTER_MS, self._exposed.batch or SINGLE_COUNT)
            if trimmed:
                self._count_trimmed(trimmed)
            if claimed:
                logger.info("events_claimed", group=self.service, count=len(claimed))
                self._take(claimed)
                return claimed
        batch, _ = await self._group.read(">", BLOCK_MS, self._exposed.batch or SINGLE_COUNT)
        self._take(batch)
        if batch:
            self._filling = True
            await self._fill(batch)
        return batch

    async def _fill(self, batch: list[Delivery]) -> None:
        """Add to a batch what comes within ``linger`` seconds."""
        wanted = self._exposed.batch
        loop = asyncio.get_running_loop()
        until = loop.time() + self._exposed.linger
        while len(batch) < wanted and not self._stopping.is_set() and (left := until - loop.time()) > 0:
            more, _ = await self._group.read(">", max(1, int(min(left, LINGER_STEP) * 1000)), wanted - len(batch))
            self._take(more)
            batch += more

    async def _finish_own(self) -> None:
        """Handle what an earlier life of this consumer was given and did not finish."""
        while not self._stopping.is_set():
            tries = await self._group.tries()
            suspect = tries >= SUSPECT_AFTER and self._exposed.batch != 1 and self._may_give_up
            if tries >= SUSPECT_AFTER + self._exposed.max_attempts:
                found, _ = await self._group.read("0", None, 1)
                await self._bury(found, f"the service ended {tries} times while it handled this event")
                continue
            found, deleted = await self._group.read("0", None, 1 if suspect else self._exposed.batch or SINGLE_COUNT)
            if deleted:
                self._count_trimmed(len(deleted))
                await self._group.acknowledge(deleted)
            if not found and not deleted:
                return
            self._take(found)
            await self._handle_all(found)

    @property
    def _may_give_up(self) -> bool:
        return self._exposed.max_attempts < 1_000_000

    def _count_trimmed(self, count: int) -> None:
        logger.error("events_trimmed_before_delivery", group=self.service, count=count)
        self._metrics.add("listener_trimmed", count)

    # --- one batch

    async def _handle_all(self, deliveries: list[Delivery]) -> None:
        readable = [delivery for delivery in deliveries if delivery.event is not None]
        unreadable = [delivery for delivery in deliveries if delivery.event is None]
        if unreadable:
            await self._bury(unreadable, "the entry of the stream is not a JSON object")
        if self._exposed.batch:
            await self._handle(readable)
        else:
            for delivery in readable:
                await self._handle([delivery])

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
            took = loop.time() - begun
            self._metrics.called(self._exposed.name, "ok", took)
            ids = [delivery.stream_id for delivery in deliveries]
            await self._group.acknowledge(ids, took * 1000)
            self._let_go(ids)
            self.delivered += len(deliveries)
            self._metrics.add("listener_events", len(deliveries))
            return

    async def _call(self, deliveries: list[Delivery]) -> None:
        events = [delivery.event or {} for delivery in deliveries]
        await resolve(self._exposed.func(events) if self._exposed.batch else self._exposed.func(**events[0]))

    async def _bury(self, deliveries: list[Delivery], reason: str) -> None:
        if not deliveries:
            return
        await self._group.bury(deliveries, reason)
        self._let_go([delivery.stream_id for delivery in deliveries])
        self.dead += len(deliveries)
        self._metrics.add("listener_dead_letters", len(deliveries))

    def _let_go(self, ids: list[str]) -> None:
        for stream_id in ids:
            self._held.pop(stream_id, None)

    async def _hold(self) -> None:
        """Show that what is held is still worked on, so that nobody claims it meanwhile."""
        while True:
            await asyncio.sleep(HOLD_INTERVAL)
            held = list(self._held)
            if held and self._commands.connected and not self._stopping.is_set():
                try:
                    await self._group.hold(held)
                except RedisError as error:
                    logger.warning("events_hold_failed", group=self.service, reason=str(error))


__all__ = ["Delivery", "StreamListener", "read_entries"]
