"""The durable stream of events, as a listener consumes it.

front appends each accepted event to the Redis stream ``events``. Every listener service is a consumer group of that
stream: a delivered event stays pending until its function returned, and is delivered again if the function raised or
the process died. Events that keep failing go to the stream ``dead:<service>`` with the reason.

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
from band.stream.consumer_group import Delivery, StreamGroup
from band.stream.dead_letter_limit import DeadLetterLimit
from band.stream.processor import BatchProcessor, ListenerCall
from band.stream.reader import EventReader
from band.tasks import wait_until_set
from band.telemetry.logs import logger
from band.telemetry.metrics import Metrics

BLOCK_MS: Final = 2_000
CLAIM_AFTER_MS: Final = 8_000
"""Milliseconds after which pending entries of an inactive consumer are claimed by another one."""
CLAIM_INTERVAL: Final = 2.0
"""Seconds between two checks for such entries."""
HOLD_INTERVAL: Final = 2.0
"""Seconds between two extensions of the lease of pending entries."""
STUCK_SECONDS: Final = 120.0
"""Seconds of work on the same events after which the service is degraded."""
SUSPECT_AFTER: Final = 2
"""Crashes over the same events after which they are delivered one by one."""
CONVICTED_AFTER: Final = 4
"""Crashes after which an event is a dead letter: one less than the director's crash window, so the service goes on."""
_NEVER: Final = 1_000_000
"""A listener with so many attempts never gives up."""


class StreamListener:
    """Feeds one listener function from the stream, as consumer ``consumer`` of the group ``service``.

    Args:
        service: the group.
        consumer: the name of this instance in the group.
        call: the function; a replay may call it too.
        metrics: gets the figures.
        start: the id behind which a new group begins.
        commands: the service's connection, for what does not block.
        limit: bounds the dead letters.
    """

    def __init__(
        self,
        service: str,
        consumer: str,
        call: ListenerCall,
        metrics: Metrics,
        *,
        start: str,
        commands: RedisLink,
        limit: DeadLetterLimit | None,
    ) -> None:
        self.service = service
        self._exposed = call.exposed
        self._start = start
        self._link = RedisLink(f"{service}-events")
        self._commands = commands
        self._stopping = asyncio.Event()
        self._group = StreamGroup(service, consumer, self._link, commands)
        self._call = call
        self._batches = BatchProcessor(call, self._group, metrics, self._stopping, limit)
        self._reader = EventReader(call.exposed, self._group, self._batches, metrics, self._stopping)
        self._backoff = Backoff()
        self._claim_at = 0.0
        self._oldest_unhandled = ""

    async def run(self, address: RedisAddress) -> None:
        """Consume until stopped or cancelled. Waits while Redis is unavailable."""
        self._link.start(address)
        hold = functools.partial(self._batches.extend_lease, self._join_again)
        holder = asyncio.get_running_loop().create_task(run_forever("events hold", hold, pause_seconds=HOLD_INTERVAL))
        try:
            await run_forever("events", self._turn, until=self._stopping)
        finally:
            holder.cancel()
            await self._link.close()

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
        """Drop all entries in progress: unacknowledged ones will be delivered again."""
        self._remember_unhandled()
        self._batches.drop_all()

    def check(self) -> dict[str, Any] | None:
        """Return the health check: degraded while nothing is read, or a call hangs; otherwise None."""
        if self._link.address is not None and not self._link.connected:
            return {"status": "degraded", "reason": f"events are not read: {self._link.last_error}"}
        seconds = self._call.longest_seconds
        if seconds < STUCK_SECONDS:
            return self._batches.retries.check()
        reason = f"{self._exposed.name} has been busy with the same events for {seconds:.0f} s"
        return {"status": "degraded", "reason": reason, "hint": "what is it waiting for? See the service's log"}

    @property
    def joined(self) -> bool:
        """Whether the group exists, so that it gets events appended from now on."""
        return bool(self._reader.position)

    @property
    def delayed(self) -> int:
        """How many entries wait for redelivery."""
        return len(self._batches.retries.waiting)

    @property
    def due(self) -> bool:
        """Whether one of them is due now."""
        return self._batches.retries.due

    def wake(self) -> None:
        """Check the clock now: a test has set it."""
        self._batches.retries.wake()

    async def stop(self, timeout: float) -> bool:
        """Read nothing new and let work in progress finish; returns whether it did within ``timeout`` seconds."""
        self._stopping.set()
        in_time = await wait_until_set(self._batches.at_rest, timeout)
        held = self._batches.owned()
        if held and self._commands.connected:
            with contextlib.suppress(RedisError):
                await self._group.release(held, crashed=in_time)
        return in_time

    # --- the loop

    async def _consume(self) -> None:
        reconnected = self.joined
        await self._join()
        await self._group.forget_consumers()
        await self._finish_own(reconnected=reconnected)
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
            # Let work in progress finish: it is remembered, and only acknowledged on redelivery.
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
        """Return the batch that is being read; None if it stops before anything arrived."""
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
        """Start on due delayed entries, in turn with new ones."""
        while len(working) >= self._exposed.in_flight:
            await _ended(working)
        if not self._stopping.is_set() and (batch := await self._reader.due()):
            working.add(asyncio.get_running_loop().create_task(self._batches.work(batch)))

    # --- the group

    async def _join(self) -> None:
        """Create the group if it is missing: at first as configured, later at the position of this process.

        The group is gone if Redis lost its data, or somebody deleted the stream. This listener also gets events that
        front accepts before the group exists again.
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
        """Create the group during long work, which may take hours (Mixpanel is down).

        Without it, front's trimming would not know that this listener still needs events.
        """
        self._remember_unhandled()
        await self._join()

    def _remember_unhandled(self) -> None:
        oldest = [one for one in (self._oldest_unhandled, *self._batches.unhandled()) if one]
        self._oldest_unhandled = min(oldest, key=order, default="")

    # --- reading

    async def _next(self) -> list[Delivery]:
        """Return the next batch: claimed or new entries; empty if nothing arrived for a while."""
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

    async def _finish_own(self, *, reconnected: bool) -> None:
        """Handle pending entries of an earlier run of this consumer, or of this one before it lost its connection."""
        may_give_up = self._exposed.max_attempts < _NEVER and not reconnected
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
            if reconnected:  # reading counts as a delivery, and the process has not crashed
                await self._group.hold_again([delivery.stream_id for delivery in found])
            tries = counts.pop(end, 0) if single else 0
            if tries >= CONVICTED_AFTER:
                await self._batches.dead_letter(
                    found, f"the service crashed {tries} times while it processed this event"
                )
            else:
                await self._batches.work(await self._batches.set_aside(found))


async def _ended(working: set[asyncio.Task[None]], *others: asyncio.Future[Any]) -> None:
    """Wait until a task ends, and remove finished ones from ``working``; their exceptions are raised."""
    await asyncio.wait([*working, *others], return_when=asyncio.FIRST_COMPLETED)
    for task in [task for task in working if task.done()]:
        working.discard(task)
        task.result()
