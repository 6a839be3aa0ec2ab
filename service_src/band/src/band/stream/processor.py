"""Processing of a batch: call the listener's function, retry after a failure, acknowledge."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any, Final

from band.backoff import Backoff
from band.calls.middleware import STREAM, Call, Middleware, Next, chain, counted, deliver, guard_privacy, only_keys
from band.errors import InvalidParams, RedisError, RedisReplyError, Reject, Retry
from band.registry import Exposed
from band.stream.consumer_group import Delivery, StreamGroup
from band.stream.dead_letter_limit import DeadLetterLimit
from band.stream.retries import Retries
from band.tasks import wait_until_set
from band.telemetry.logs import logger
from band.telemetry.metrics import Metrics
from band.telemetry.tracebacks import describe_raised

_PORTION_ENTRIES: Final = 1000
_PORTION_BYTES: Final = 2_000_000
_SINGLES: Final = 50


class ListenerCall:
    """Calls a listener's function, for the stream and for replays."""

    def __init__(
        self, exposed: Exposed, metrics: Metrics | None = None, middlewares: Iterable[Middleware] = ()
    ) -> None:
        self.exposed = exposed
        counting = [counted(metrics)] if metrics is not None else []
        choosing = [only_keys] if exposed.keys else []
        self._run = chain([*counting, self._within_timeout, *choosing, guard_privacy, *middlewares], deliver)
        # A replay must not exceed the number of concurrent batches either.
        self._turns = asyncio.Semaphore(exposed.in_flight)
        self._begun: dict[object, float] = {}

    @property
    def longest_seconds(self) -> float:
        """Seconds since the start of the oldest call in progress; 0 if there is none."""
        return time.monotonic() - min(self._begun.values()) if self._begun else 0.0

    @property
    def portion(self) -> tuple[int, int]:
        """Entries, and approximate bytes, that a replay reads at once."""
        size = min(self.exposed.batch_bytes or _PORTION_BYTES, _PORTION_BYTES)
        return min(self.exposed.batch or _SINGLES, _PORTION_ENTRIES), size

    async def give(self, events: list[dict[str, Any]]) -> None:
        """Call the function with a batch, or with one event, as soon as a slot is free.

        Raises:
            Exception: whatever the function raises.
        """
        async with self._turns:
            mark = object()
            self._begun[mark] = time.monotonic()
            try:
                batch = bool(self.exposed.batch)
                await self._run(Call(STREAM, self.exposed, {} if batch else events[0], events if batch else None))
            finally:
                del self._begun[mark]

    async def _within_timeout(self, call: Call, following: Next) -> None:
        seconds = self.exposed.timeout
        scope = asyncio.timeout(seconds or None)
        try:
            async with scope:
                await following(call)
        except TimeoutError:
            if not scope.expired():
                raise
            raise TimeoutError(f"the call took longer than {seconds:g} s, the listener's timeout") from None


def as_rejection(error: Exception) -> Reject | None:
    """Return the rejection if an exception means that further attempts are pointless, otherwise None."""
    if isinstance(error, InvalidParams) and error.path:
        return Reject(f"the event does not match its type: {error}")
    return error if isinstance(error, Reject) else None


class BatchProcessor:
    """Processes batches; `held` are entries that were read, and are neither acknowledged nor dead letters yet."""

    def __init__(
        self,
        feed: ListenerCall,
        group: StreamGroup,
        metrics: Metrics,
        stopping: asyncio.Event,
        limit: DeadLetterLimit | None = None,
    ) -> None:
        self.held: dict[str, None] = {}
        self.at_rest = asyncio.Event()
        self.at_rest.set()
        self.last_error = ""
        self._feed = feed
        self._exposed = feed.exposed
        self._group = group
        self._metrics = metrics
        self._stopping = stopping
        self._limit = limit
        self.retries = Retries(group, feed.exposed)
        # Handled, but the acknowledgement failed: on redelivery, they are only acknowledged.
        self._handled: dict[str, None] = {}

    def take(self, deliveries: Iterable[Delivery]) -> list[Delivery]:
        """Hold deliveries; returns those that were not held already."""
        new = [delivery for delivery in deliveries if not self._has(delivery.stream_id)]
        self.hold(delivery.stream_id for delivery in new)
        return new

    def hold(self, ids: Iterable[str]) -> None:
        """Hold entries by id."""
        self.held.update((one, None) for one in ids)
        if self.held:
            self.at_rest.clear()

    def _has(self, stream_id: str) -> bool:
        return stream_id in self.held or stream_id in self.retries.waiting

    async def set_aside(self, deliveries: list[Delivery]) -> list[Delivery]:
        """Return the taken-over deliveries that are due now; the others wait."""
        early = set(await self.retries.set_aside(deliveries))
        self._let_go(early)
        return [delivery for delivery in deliveries if delivery.stream_id not in early]

    def owned(self) -> list[str]:
        """Return the ids of this consumer's entries: held, or waiting for redelivery."""
        return [*self.held, *self.retries.waiting]

    def unhandled(self) -> list[str]:
        """Return those of its entries that were not handled yet."""
        return [stream_id for stream_id in self.owned() if stream_id not in self._handled]

    def drop_all(self) -> None:
        """Drop all held entries: unacknowledged ones are pending and will be delivered again."""
        self.held.clear()
        self.retries.clear()
        self.at_rest.set()

    def forget_handled(self) -> None:
        """Clear the handled entries after all pending ones were redelivered: another consumer claimed the rest."""
        self._handled.clear()

    async def work(self, deliveries: list[Delivery]) -> None:
        """Process a batch. RedisError if the result could not be stored."""
        known = [delivery.stream_id for delivery in deliveries if delivery.stream_id in self._handled]
        if known:
            await self._acknowledge(known)
            deliveries = [delivery for delivery in deliveries if delivery.stream_id in self.held]
        unreadable = [delivery for delivery in deliveries if delivery.event is None]
        await self.dead_letter(unreadable, "the entry of the stream is not a JSON object")
        readable = [delivery for delivery in deliveries if delivery.event is not None]
        if self._exposed.batch:
            await self._try(readable)
        else:
            for delivery in readable:
                await self._try([delivery])

    async def dead_letter(self, deliveries: list[Delivery], reason: str) -> None:
        """Put a batch into the dead letters."""
        if not deliveries:
            return
        await self._group.dead_letter(deliveries, reason)
        self.forget([delivery.stream_id for delivery in deliveries])
        self._metrics.add("listener_dead_letters", len(deliveries))
        if self._limit is not None:
            await self._limit.added(len(deliveries), sum(len(delivery.raw) for delivery in deliveries))

    async def pause(self, seconds: float) -> bool:
        """Wait, but at most until it stops; returns whether it stops."""
        return await wait_until_set(self._stopping, seconds)

    async def extend_lease(self, make_group: Callable[[], Awaitable[None]]) -> None:
        """Extend the lease of held entries, so that nobody claims them.

        A missing group is noticed here first: a busy listener sends no other command.
        """
        held = self.owned()
        if not held or self._stopping.is_set():
            return
        try:
            try:
                pending = await self._group.extend_lease(held)
                self.retries.hasten(one for one in held if one not in pending)
            except RedisReplyError as error:
                if error.code != "NOGROUP":
                    raise
                await make_group()
        except RedisError as error:
            logger.warning("events_hold_failed", group=self._group.name, reason=str(error))

    async def _try(self, deliveries: list[Delivery]) -> None:
        """Try a batch up to `max_attempts` times with growing pauses; then isolate the failing events."""
        if not deliveries:
            return
        failed = min(self.retries.made(delivery.stream_id) for delivery in deliveries)
        backoff = Backoff(base=self._exposed.backoff, cap=self._exposed.backoff_max)
        while (error := await self._give(deliveries)) is not None:
            if isinstance(error, Retry):
                await self._delay(deliveries, error, failed_before=backoff.attempts)
                return
            if isinstance(error, Reject):
                await self._separate(deliveries, self.last_error, exhausted=False)
                return
            logger.error(
                "listener_failed",
                method=self._exposed.name,
                events=len(deliveries),
                reason=self.last_error,
                exc_info=error,
            )
            if failed + backoff.attempts + 1 >= self._exposed.max_attempts:
                await self._separate(deliveries, self.last_error, exhausted=True)
                return
            if await self.pause(backoff.next()):
                return  # they stay pending for the next run, or another consumer

    async def _delay(self, deliveries: list[Delivery], error: Retry, failed_before: int = 0) -> None:
        """Deliver a batch again later; of the events without attempts left, the failing ones become dead letters."""
        made = {one.stream_id: self.retries.made(one.stream_id) + failed_before + 1 for one in deliveries}
        most = self._exposed.max_attempts
        spent = [one for one in deliveries if made[one.stream_id] >= most]
        later = {one.stream_id: made[one.stream_id] for one in deliveries if made[one.stream_id] < most}
        if later:
            await self.retries.delay(later, error)
            self._let_go(later)
            self._metrics.add("listener_retries", len(later))
            logger.info("events_delayed", method=self._exposed.name, events=len(later), reason=str(error))
        if not later:
            await self._separate(spent, f"still Retry after {most} attempts: {error}", exhausted=True)
        elif spent:
            await self._give_part(spent, exhausted=True)

    async def _separate(self, deliveries: list[Delivery], reason: str, *, exhausted: bool) -> None:
        """Isolate the failing events of a batch: try each half once, in order, and halve failing ones again.

        Unless the attempts are ``exhausted``, only rejected events become dead letters; others have all attempts.
        """
        if len(deliveries) == 1:
            await self.dead_letter(deliveries, reason)
            return
        middle = len(deliveries) // 2
        for half in (deliveries[:middle], deliveries[middle:]):
            if self._stopping.is_set():
                return
            await self._give_part(half, exhausted=exhausted)

    async def _give_part(self, part: list[Delivery], *, exhausted: bool) -> None:
        error = await self._give(part)
        if isinstance(error, Retry):
            await self._delay(part, error)
        elif isinstance(error, Reject) or (error is not None and exhausted):
            logger.warning(
                "listener_failed", method=self._exposed.name, events=len(part), reason=self.last_error
            )  # the traceback was logged with the whole batch
            await self._separate(part, self.last_error, exhausted=exhausted)
        elif error is not None:
            await self._try(part)

    async def _give(self, deliveries: list[Delivery]) -> Exception | None:
        """Call the function with a batch once, and acknowledge it; returns the function's exception."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            await self._feed.give([delivery.event or {} for delivery in deliveries])
        except Exception as raised:  # noqa: BLE001 - the events are kept in any case
            error = as_rejection(raised) or raised
            self.last_error = str(error) if isinstance(error, Retry | Reject) else describe_raised(error)
            return error
        took = loop.time() - begun
        self._metrics.add("listener_events", len(deliveries))
        ids = [delivery.stream_id for delivery in deliveries]
        self._handled.update(dict.fromkeys(ids))
        await self._acknowledge(ids, took * 1000)
        return None

    async def _acknowledge(self, ids: list[str], took_ms: float | None = None) -> None:
        await self._group.acknowledge(ids, took_ms)
        self.forget(ids)

    def forget(self, ids: Collection[str]) -> None:
        """Drop finished entries and their stored delays."""
        for stream_id in ids:
            self._handled.pop(stream_id, None)
        self.retries.done(ids)
        self._let_go(ids)

    def _let_go(self, ids: Iterable[str]) -> None:
        for stream_id in ids:
            self.held.pop(stream_id, None)
        if not self.held:
            self.at_rest.set()
