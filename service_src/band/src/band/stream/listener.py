"""The durable stream of events, as a listener consumes it.

Front appends each accepted event to the Redis stream ``events``. Every listener service is a consumer group of that
stream: what it was given stays pending until its function returned, and is given again when the function raised, or
when the process died. Events that keep failing end in the stream ``dead:<service>`` with the reason, not in the void.

While the function works on one batch, or on as many as the listener allows at once, the next one is read already.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from typing import Any, Final

from band.background import run_forever
from band.backoff import Backoff
from band.calls.positions import before, order
from band.errors import RedisError, RedisReplyError
from band.redis.address import RedisAddress
from band.redis.link import RedisLink
from band.registry import Exposed
from band.stream.consumer_group import Delivery, StreamGroup
from band.stream.dead_letter_limit import DeadLetterLimit
from band.stream.processor import BatchProcessor, ListenerCall
from band.stream.reader import EventReader
from band.telemetry.logs import logger
from band.telemetry.metrics import Metrics

BLOCK_MS: Final = 2_000
CLAIM_AFTER_MS: Final = 8_000
"""A message that a silent consumer holds for so long is given to another one."""
CLAIM_INTERVAL: Final = 2.0
"""Seconds between two looks for such messages."""
HOLD_INTERVAL: Final = 2.0
"""Seconds between two signs that a consumer still works on what it holds."""
STUCK_SECONDS: Final = 120.0
"""A function that works so long on the same events makes its service degraded."""
SUSPECT_AFTER: Final = 3
"""Lives of a service that ended over the same events; from then on they are given one by one."""
_NEVER: Final = 1_000_000
"""A listener with so many attempts gives nothing up."""


class StreamListener:
    """Feeds one listener function from the stream, as consumer ``consumer`` of the group ``service``.

    ``commands`` is the service's connection for what does not block; without one it has its own. ``feed`` is the
    function where somebody else gives it events too. ``limit`` bounds its dead letters.
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
        feed: ListenerCall | None = None,
        limit: DeadLetterLimit | None = None,
    ) -> None:
        self.service = service
        self.consumer = consumer
        self._exposed = exposed
        self._metrics = metrics
        self._start = start
        self._link = RedisLink(f"{service}-events")
        self._commands = commands or RedisLink(f"{service}-taken")
        self._own_commands = commands is None
        self._stopping = asyncio.Event()
        self._group = StreamGroup(service, consumer, self._link, self._commands)
        self._feed = feed or ListenerCall(exposed, metrics)
        self._batches = BatchProcessor(self._feed, self._group, metrics, self._stopping, limit)
        self._reader = EventReader(exposed, self._group, self._batches, metrics, self._stopping)
        self._backoff = Backoff()
        self._claim_at = 0.0
        self._oldest_unhandled = ""

    async def run(self, address: RedisAddress) -> None:
        """Consume until it is stopped or cancelled. Redis going away is waited out."""
        self._link.start(address)
        if self._own_commands:
            self._commands.start(address)
        hold = functools.partial(self._batches.extend_lease, self._join_again)
        holder = asyncio.get_running_loop().create_task(run_forever("events hold", hold, pause_seconds=HOLD_INTERVAL))
        try:
            await run_forever("events", self._turn, until=self._stopping)
        finally:
            holder.cancel()
            await self._link.close()
            if self._own_commands:
                await self._commands.close()

    async def _turn(self) -> None:
        try:
            await self._link.ready(30)
            await self._commands.ready(30)
            await self._consume()
        except RedisError as error:
            if isinstance(error, RedisReplyError) and error.code == "NOGROUP":
                logger.warning("events_group_gone", group=self.service)
            self._discard()
            await self._batches.pause(self._backoff.next())
        except Exception:
            self._discard()
            raise
        finally:
            self._batches.at_rest.set()

    def _discard(self) -> None:
        """Hold nothing any more: what was not acknowledged comes again."""
        self._remember_unhandled()
        self._batches.drop_all()

    def check(self) -> dict[str, Any] | None:
        """Return the health check: degraded while nothing is read, or one call lasts; None while all is well."""
        if self._link.address is not None and not self._link.connected:
            return {"status": "degraded", "reason": f"events are not read: {self._link.last_error}"}
        seconds = self._feed.longest_seconds
        if seconds < STUCK_SECONDS:
            return self._batches.retries.check()
        reason = f"{self._exposed.name} has been busy with the same events for {seconds:.0f} s"
        return {"status": "degraded", "reason": reason, "hint": "what is it waiting for? See the service's log"}

    @property
    def joined(self) -> bool:
        """Whether the group is there, so that it gets what is appended from now on."""
        return bool(self._reader.position)

    @property
    def delayed(self) -> int:
        """How many entries wait for another delivery."""
        return len(self._batches.retries.waiting)

    @property
    def due(self) -> bool:
        """Whether one of them should be delivered now."""
        return self._batches.retries.due

    def wake(self) -> None:
        """Look at the clock now: a test has set it."""
        self._batches.retries.wake()

    async def stop(self, timeout: float) -> bool:
        """Take nothing new and let what was taken end; returns whether it did within ``timeout`` seconds."""
        self._stopping.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._batches.at_rest.wait()
        held = self._batches.owned()
        if held and self._commands.connected:
            with contextlib.suppress(RedisError):
                await self._group.release(held)
        return self._batches.at_rest.is_set()

    # --- the loop

    async def _consume(self) -> None:
        await self._join()
        await self._group.forget_consumers()
        await self._finish_own()
        self._batches.forget_handled()
        self._backoff.reset()  # an outage next week begins with a short pause again
        loop = asyncio.get_running_loop()
        working: set[asyncio.Task[None]] = set()
        following: asyncio.Task[list[Delivery]] | None = loop.create_task(self._next())
        try:
            while following is not None and (batch := await self._unless_stopped(following, working)) is not None:
                await self._work_on_due(working)
                while len(working) >= self._exposed.in_flight:
                    await _ended(working)
                # When it stops, nothing more is read.
                following = None if self._stopping.is_set() else loop.create_task(self._next())
                if batch:
                    working.add(loop.create_task(self._batches.work(batch)))
            while working:
                await _ended(working)
        except RedisError:
            # What is being worked on ends: it is remembered, and only acknowledged when it comes again.
            await asyncio.gather(*working, return_exceptions=True)
            raise
        finally:
            ends = [task for task in (following, *working) if task is not None]
            for task in ends:
                task.cancel()
            await asyncio.gather(*ends, return_exceptions=True)

    async def _unless_stopped(
        self, following: asyncio.Task[list[Delivery]], working: set[asyncio.Task[None]]
    ) -> list[Delivery] | None:
        """The batch that is being read; None when it stops and nothing of it came yet."""
        loop, retries = asyncio.get_running_loop(), self._batches.retries
        stopped, due = loop.create_task(self._stopping.wait()), loop.create_task(retries.wait_due())
        try:
            while not following.done() and not stopped.done():
                if due.done() and len(working) < self._exposed.in_flight:
                    await self._work_on_due(working)
                    due = loop.create_task(retries.wait_due())
                await _ended(working, following, stopped, *([] if due.done() else [due]))
        finally:
            stopped.cancel()
            due.cancel()
        return await following if following.done() or self._reader.filling else None

    async def _work_on_due(self, working: set[asyncio.Task[None]]) -> None:
        """Begin with what was delayed and is due, in its turn with what is new."""
        while len(working) >= self._exposed.in_flight:
            await _ended(working)
        if not self._stopping.is_set() and (batch := await self._reader.due()):
            working.add(asyncio.get_running_loop().create_task(self._batches.work(batch)))

    # --- the group

    async def _join(self) -> None:
        """Make the group where it is missing: at first as it is configured, later where this life had come to.

        A Redis that lost its data, or somebody who deleted the stream, takes the group along. What front accepts from
        then on, even before the group stands again, is for this listener too.
        """
        reader = self._reader
        if not reader.position:
            made = await self._group.ensure(self._start)
            position = await self._group.position()
            if made:
                self._group.note_beginning(position)
            reader.position = position
            return
        start = before(self._oldest_unhandled) if self._oldest_unhandled else reader.position
        if order(await self._group.newest()) < order(start):
            start = "0"  # another stream, made by a Redis whose clock is behind
        if await self._group.ensure(start):
            reader.position = start
            logger.warning("events_group_made_again", group=self.service, begins_behind=start)
        self._oldest_unhandled = ""

    async def _join_again(self) -> None:
        """Make the group while work goes on, which may take hours (Mixpanel is away).

        Without it, front's trimming would not know of anybody who still needs what it accepts.
        """
        self._remember_unhandled()
        await self._join()

    def _remember_unhandled(self) -> None:
        oldest = [one for one in (self._oldest_unhandled, *self._batches.unhandled()) if one]
        self._oldest_unhandled = min(oldest, key=order, default="")

    # --- reading

    async def _next(self) -> list[Delivery]:
        """The next batch: what silent consumers left, or what is new; empty when nothing came for a while."""
        loop = asyncio.get_running_loop()
        self._reader.filling = False
        if loop.time() >= self._claim_at:
            claimed, more = await self._reader.claim(CLAIM_AFTER_MS)
            self._claim_at = loop.time() + (0 if more else min(CLAIM_INTERVAL, CLAIM_AFTER_MS / 1000))
            if claimed:
                logger.info("events_claimed", group=self.service, count=len(claimed))
                return claimed
        if self._batches.retries.full:
            await self._batches.pause(1.0)
            return []
        return await self._reader.new(BLOCK_MS)

    async def _finish_own(self) -> None:
        """Handle what an earlier life of this consumer was given and did not finish."""
        may_give_up = self._exposed.max_attempts < _NEVER
        after, counts = "0-0", dict[str, int]()
        while not self._stopping.is_set():
            single = any(count >= SUSPECT_AFTER for count in counts.values())
            if may_give_up and not single:
                counts = await self._group.tries(after, self._reader.wanted)
                single = any(count >= SUSPECT_AFTER for count in counts.values())
            found, trimmed, end = await self._reader.own(after, single=single)
            if trimmed:
                await self._group.acknowledge(trimmed)
            if end == after:
                return
            after = end
            tries = counts.pop(end, 0) if single else 0
            if tries >= SUSPECT_AFTER + self._exposed.max_attempts:
                await self._batches.dead_letter(
                    found, f"the service crashed {tries} times while it processed this event"
                )
            else:
                await self._batches.work(await self._batches.set_aside(found))


async def _ended(working: set[asyncio.Task[None]], *others: asyncio.Future[Any]) -> None:
    """Wait until a task ends, and forget the ended ones among ``working``; what one of them raised is raised."""
    await asyncio.wait([*working, *others], return_when=asyncio.FIRST_COMPLETED)
    for task in [task for task in working if task.done()]:
        working.discard(task)
        task.result()
