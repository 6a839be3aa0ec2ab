"""Replay: events that are still in the stream are delivered to one listener again; other groups are not affected.

The range and the progress are in the hash ``events:listener:<group>``. One instance of the service holds a lock and
works on it; if it exits, another one or the next run continues after the last stored position. The end of a range is
fixed at the start: the newest event that was delivered to the group.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from band.background import run_forever
from band.backoff import Backoff
from band.calls.middleware import is_under
from band.calls.positions import Given, before, first_id, last_id, order
from band.constants import DEAD_LETTERS, EVENTS_STREAM
from band.errors import InvalidParams, RedisError, RedisReplyError, RedisUnavailable, Retry
from band.redis.link import RedisLink
from band.stream.consumer_group import LISTENER, StreamGroup
from band.stream.dead_letter_limit import DeadLetterLimit
from band.stream.dead_letter_methods import PATIENCE
from band.stream.dead_letters import Letter, LetterStream
from band.stream.lock import LOCK_INTERVAL, ReplayLock
from band.stream.processor import ListenerCall, as_rejection
from band.tasks import wait_until_set
from band.telemetry.logs import logger, writable
from band.telemetry.tracebacks import describe_raised

LOOK_SECONDS: Final = 5.0
"""Seconds between two checks whether a replaying instance is gone."""
SAVE_SECONDS: Final = 1.0
"""Seconds between two records of the position: so much may be delivered twice after a crash."""
_RUNNING, _STOPPED, _DONE = "running", "stopped", "done"
_ASKED: Final = "replay_stop"


class Progress(msgspec.Struct):
    """A replay: its range (both ends included), its progress, and why it ended."""

    state: str
    start: str
    end: str
    key: str
    position: str
    """The last finished entry."""
    replayed: int = 0
    rejected: int = 0
    left_out: int = 0
    """Entries of other keys, or unreadable."""
    reason: str = ""
    stopped_at: str = ""
    started_at: int = 0

    def shown(self) -> dict[str, Any]:
        """Return it without empty texts."""
        return {name: value for name, value in msgspec.to_builtins(self).items() if value != ""}


class Stopped(Exception):
    """The replay stops before the end of its range, at the entry ``stream_id``."""

    def __init__(self, reason: str, stream_id: str = "") -> None:
        super().__init__(reason)
        self.stream_id = stream_id


class LockLost(Exception):
    """Another instance has the lock, and continues."""


class EventReplay:
    """Replays one at a time among all instances of the service."""

    def __init__(self, service: str, call: ListenerCall, link: RedisLink, limit: DeadLetterLimit | None = None) -> None:
        self._call = call
        self._link = link
        self._limit = limit
        self._stream = LetterStream(link, EVENTS_STREAM)
        self._group = StreamGroup(service, "", link, link)
        self._dead = DEAD_LETTERS.format(name=service)
        self._key = LISTENER.format(group=service)
        self._lock = ReplayLock(link, self._key)
        self._wanted = asyncio.Event()
        self._ended = asyncio.Event()
        self._saved_at = 0.0
        self._unsaved: dict[str, float] = {}
        self._unwritten: Progress | None = None
        self._holding: asyncio.Task[str | None]

    def methods(self) -> dict[str, Callable[..., Any]]:
        """Return the functions to expose, by name."""
        return {"replay_events": self.replay_events}

    async def replay_events(
        self,
        start: Any = "",
        end: Any = "now",
        key: str = "",
        resume: bool = False,
        stop: bool = False,
        group: str = "",
        **_params: Any,
    ) -> dict[str, Any]:
        """Deliver events of a range to the listener again; without a start, return the last replay's progress.

        Args:
            start: the first: ``beginning``, a time, or an entry's id.
            end: the last; never after the last delivered event.
            key: only events of this key, or below it (``in.gen.track``).
            resume: continue the stopped one.
            stop: stop the running one after its current batch; ``resume`` continues it.
            group: the listener's group; only services in TypeScript have several.

        Raises:
            InvalidParams: a position is invalid, there is no such group, or nothing to resume.
        """
        if group not in ("", self._group.name):
            raise InvalidParams(f"this service has no listener of the group {group[:50]!r}; it has {self._group.name}")
        if stop:
            await self._link.command("HSET", self._key, _ASKED, "1")
            return await self._started()
        if not resume and start in ("", None):
            last = await self._read()
            return last.shown() if last else {"state": "none"}
        if not await self._lock.take():
            return await self._refusal()
        try:
            last = await self._read()
            if last is not None and last.state == _RUNNING:
                return await self._refusal()
            await self._write(await self._resumed(last) if resume else await self._planned(start, end, key))
            await self._link.command("HDEL", self._key, _ASKED)
        finally:
            await self._lock.free()
        return {"started": True, **await self._started()}

    async def _refusal(self) -> dict[str, Any]:
        last = await self._read()
        return {"started": False, "why": "a replay is running; stop it first", **(last.shown() if last else {})}

    async def _started(self) -> dict[str, Any]:
        """Trigger the worker, and return the progress after a moment."""
        self._ended.clear()
        self._wanted.set()
        await wait_until_set(self._ended, PATIENCE)
        last = await self._read()
        return last.shown() if last else {"state": "none"}

    async def _planned(self, start: Given, end: Given, key: str) -> Progress:
        try:
            first, last = first_id(start), last_id(end)
        except ValueError as error:
            raise InvalidParams(str(error)) from None
        given = await self._group.position()
        last = given if last == "+" else min(last, given, key=order)
        if first == "$" or order(first) > order(last):
            raise InvalidParams(
                f"there is nothing between {start} and {end}: events up to {given} were delivered to the listener"
            )
        return Progress(_RUNNING, first, last, key, before(first), started_at=int(time.time() * 1000))

    @staticmethod
    async def _resumed(last: Progress | None) -> Progress:
        if last is None or last.state != _STOPPED:
            raise InvalidParams("there is no stopped replay; give the start of a new one")
        return msgspec.structs.replace(last, state=_RUNNING, reason="", stopped_at="")

    # --- the work

    async def run(self) -> None:
        """Work on replays until cancelled."""
        await run_forever("replay", self._look)

    async def _look(self) -> None:
        await wait_until_set(self._wanted, LOOK_SECONDS)
        self._wanted.clear()
        try:
            await self._link.ready(30)
            progress = await self._read()
            if progress is None or progress.state != _RUNNING:
                if progress is not None and progress is self._unwritten:
                    await self._write(progress)
                self._ended.set()
            elif await self._lock.take():
                await self._work(progress)
        except RedisUnavailable:
            return  # it continues when Redis is back
        except RedisReplyError as error:  # the Redis user predates these keys
            logger.warning("replay_refused", group=self._group.name, reason=str(error))

    async def _work(self, progress: Progress) -> None:
        self._holding = asyncio.get_running_loop().create_task(self._hold())
        try:
            await self._replay(progress)
            progress.state = _DONE
        except LockLost:
            logger.warning("replay_lock_lost", group=self._group.name, at=progress.position)
        except Stopped as error:
            progress.state, progress.reason, progress.stopped_at = _STOPPED, writable(str(error)), error.stream_id
            logger.warning("replay_stopped", group=self._group.name, at=error.stream_id, reason=str(error))
        except asyncio.CancelledError:  # the service stops; the next run continues from here
            with contextlib.suppress(RedisError):
                await self._save(progress, now=True)
            raise
        finally:
            self._holding.cancel()
            self._unwritten = progress
            try:
                await asyncio.gather(self._holding, return_exceptions=True)
                if progress.state != _RUNNING:
                    logger.info("replay_ended", group=self._group.name, **progress.shown())
                    await self._write(progress)
                    await self._link.command("HDEL", self._key, _ASKED)
            finally:
                await self._lock.free()
                self._ended.set()

    async def _hold(self) -> str | None:
        """Extend the lock; returns why the replay should stop, or None if the lock is lost."""
        at = time.monotonic()
        while True:
            await asyncio.sleep(0.2)
            with contextlib.suppress(RedisError):
                if (await self._link.command("HMGET", self._key, _ASKED))[0] is not None:
                    return "stopped on request"
                if time.monotonic() - at < LOCK_INTERVAL:
                    continue
                at = time.monotonic()
                if not await self._lock.extend():
                    return None

    def _go_on(self) -> None:
        """Check whether the replay should stop: a running call of the listener is never cancelled for that.

        Raises:
            Stopped: an operator wants it to stop.
            LockLost: another instance has the lock.
        """
        if self._holding.done():
            if (reason := self._holding.result()) is None:
                raise LockLost
            raise Stopped(reason)

    async def _replay(self, progress: Progress) -> None:
        entries, size = self._call.portion
        batch = self._call.exposed.batch or 1
        while portion := await self._stream.read(entries, progress.position, size, progress.end):
            wanted = [one for one in portion if one.readable and _wants(progress.key, one.event)]
            for begin in range(0, len(wanted), batch):
                await self._give(wanted[begin : begin + batch], progress)
                await self._save(progress)
            progress.left_out += len(portion) - len(wanted)
            progress.position = portion[-1].stream_id
            await self._save(progress, now=True)

    async def _give(self, batch: Sequence[Letter], progress: Progress) -> None:
        """Call the listener with events, with its own attempts and pauses.

        Raises:
            Stopped: it failed; no later event was delivered.
        """
        exposed = self._call.exposed
        backoff = Backoff(base=exposed.backoff, cap=exposed.backoff_max)
        while True:
            self._go_on()
            begun = time.monotonic()
            try:
                await self._call.give([one.event for one in batch])
            except Exception as error:  # noqa: BLE001 - the operator sees the error
                if (rejection := as_rejection(error)) is not None:
                    await self._reject(batch, rejection, progress)
                    return
                reason = str(error) if isinstance(error, Retry) else describe_raised(error)
                if backoff.attempts + 1 >= exposed.max_attempts:
                    raise Stopped(
                        f"failed after {exposed.max_attempts} attempts: {reason}", batch[0].stream_id
                    ) from None
                pause = backoff.next()
                seconds = pause if not isinstance(error, Retry) or error.after is None else error.after
                await asyncio.wait([self._holding], timeout=seconds)
            else:
                took = (time.monotonic() - begun) * 1000
                progress.replayed += len(batch)
                progress.position = batch[-1].stream_id
                self._unsaved.update((one.stream_id, took) for one in batch)
                return

    async def _reject(self, batch: Sequence[Letter], error: Exception, progress: Progress) -> None:
        """Make a single rejected event a dead letter; of a batch, try each half again."""
        if len(batch) > 1:
            middle = len(batch) // 2
            await self._give(batch[:middle], progress)
            await self._give(batch[middle:], progress)
            return
        await LetterStream(self._link, self._dead).add(
            [(batch[0].event, {"reason": str(error), "stream_id": batch[0].stream_id})]
        )
        progress.rejected += 1
        progress.position = batch[0].stream_id
        if self._limit is not None:
            await self._limit.added(1, batch[0].size)

    # --- what is remembered

    async def _read(self) -> Progress | None:
        raw = (await self._link.command("HMGET", self._key, "replay"))[0]
        if raw is None:
            return None
        stored, ours = msgspec.json.decode(raw, type=Progress), self._unwritten
        if ours is None or ours.started_at != stored.started_at:
            return stored
        # A full Redis may refuse the record; finished events are not delivered again for that.
        further = order(ours.position) > order(stored.position)
        ended = ours.position == stored.position and ours.state != _RUNNING
        return ours if further or ended else stored

    async def _write(self, progress: Progress) -> None:
        await self._link.command("HSET", self._key, "replay", msgspec.json.encode(progress))
        self._unwritten = None

    async def _save(self, progress: Progress, *, now: bool = False) -> None:
        if not now and time.monotonic() - self._saved_at < SAVE_SECONDS:
            return
        self._saved_at = time.monotonic()
        await self._write(progress)
        if self._unsaved:
            took, ids = max(self._unsaved.values()), list(self._unsaved)
            self._unsaved.clear()
            with contextlib.suppress(RedisError):  # a refused record is harmless
                await self._group.note(ids, took)


def _wants(key: str, event: dict[str, Any]) -> bool:
    return not key or is_under(event.get("key"), (key,))
