"""Durable acceptance: the Redis stream, with a journal on disk for while Redis is unavailable.

While the journal is empty, an event goes straight into the stream. From the first one that Redis does not accept, all
go to the journal, later ones too, so that a visitor's events stay in order. A background task moves them into the
stream as soon as Redis accepts them. When only a few are left, new events wait for a few milliseconds, and then go
straight into the stream again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import hiredis

from band import RedisError, RedisReplyError, logger
from band.platform import BROADCAST, Backoff, RedisLink, run_forever, wait_until_set
from front.errors import NotAccepted
from front.event.message import broadcast_of
from front.storage.journal.journal import Journal
from front.storage.journal.writer import Segment
from front.storage.recovery import Given, Recovery
from front.storage.redis_persistence import RedisPersistence, remedy
from front.storage.replay import UNSURE, Replayer, marked
from front.storage.stream_acceptor import Acceptor, Event

_DRAIN_BELOW = 2000
"""When fewer events than this are left, new ones wait for them instead of queueing behind on the disk."""
_DRAIN_BELOW_BYTES = 4 * 1024 * 1024
_MAX_HOLD_SECONDS = 1.0
"""New events wait at most so long for them."""
_PEER_WAIT_SECONDS = 20.0
"""Other processes that hold older events are waited for at most so long."""
_RETRY_SECONDS = 0.1
_MAX_RETRY_SECONDS = 2.0
_ADOPT_EVERY_SECONDS = 10.0
_TRY_SECONDS = 30.0
"""So often the disk is tried, whether an event needs it or not."""
_TRY_REFUSING_SECONDS = 5.0
"""So often while it refuses."""


_DAMAGED_HINT = (
    "check the disk that contains JOURNAL_DIR; what is left of them is in w*/damaged there until you remove it. "
    "Then restart front, which resets the count"
)


class JournalAcceptor:
    """An acceptor that refuses an event only if neither Redis nor the disk accepts it."""

    def __init__(
        self, stream: Acceptor, journal: Journal, link: RedisLink, redis: RedisPersistence, given: Given
    ) -> None:
        """`given` is filled by `stream`."""
        self.journal = journal
        self._stream = stream
        self._link = link
        self._replayer = Replayer(link, redis, lambda payload: link.publish(BROADCAST, broadcast_of(payload)))
        self._recovery = Recovery(given, journal, self._replayer)
        self._journaling = False
        self._writes_allowed = asyncio.Event()
        self._writes_allowed.set()
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._reason = ""
        self._backoff = Backoff(2 * _RETRY_SECONDS, _MAX_RETRY_SECONDS)
        self._adopt_at = 0.0
        self._try_at = 0.0
        self._unusable = ""

    # --- life

    async def open(self) -> None:
        """Lock a folder of the journal; its contents go into the stream first."""
        await self._try_disk()
        loop = asyncio.get_running_loop()
        self._adopt_at = loop.time() + _ADOPT_EVERY_SECONDS
        watching = run_forever("journal_disk", self._watch_disk, pause_seconds=_TRY_REFUSING_SECONDS)
        self._tasks = [
            loop.create_task(run_forever("journal_replay", self._run), name="journal"),
            loop.create_task(watching, name="journal-disk"),
        ]

    async def close(self) -> None:
        """Write waiting records; the next front moves the rest into the stream."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        self._writes_allowed.set()
        await self.journal.close()

    # --- accepting

    async def accept(self, payload: bytes, trace: bytes = b"") -> Any:
        """Wait until the event is in the stream or on the disk. NotAccepted if neither accepts it."""
        if not self._writes_allowed.is_set():
            await self._writes_allowed.wait()
        if not self._journaling:
            if away := self._stream.refusal():
                self._start_journaling(away, lost=not self._link.connected)
            else:
                try:
                    return await self._stream.accept(payload, trace)
                except NotAccepted as error:
                    if self._fall_back(error):
                        trace = marked(trace, UNSURE)
        await self.journal.append(payload, trace)
        return None

    async def accept_all(self, events: Sequence[Event]) -> Any:
        """Wait until all are in the stream or on the disk. NotAccepted if neither accepts them."""
        if not self._writes_allowed.is_set():
            await self._writes_allowed.wait()
        if not self._journaling:
            if away := self._stream.refusal():
                self._start_journaling(away, lost=not self._link.connected)
            else:
                try:
                    return await self._stream.accept_all(events)
                except NotAccepted as error:
                    if self._fall_back(error):
                        events = [(payload, marked(trace, UNSURE)) for payload, trace in events]
        await self.journal.append_all(events)
        return None

    def _fall_back(self, error: NotAccepted) -> bool:
        """Let events go to the journal; returns whether Redis may have received the refused ones nevertheless."""
        reason = str(error.__cause__ or error)
        self._start_journaling(reason, lost=not reason.startswith("OOM"))
        return not isinstance(error.__cause__, RedisReplyError | hiredis.ReplyError)

    def refusal(self) -> str:
        """Return why events cannot be accepted now; empty when they can."""
        away = self._stream.refusal()
        if not away and not self._journaling:
            return ""
        unable = self.journal.refusal()
        return f"{away or 'older events wait'}, and {unable}" if unable else ""

    def health(self) -> dict[str, Any]:
        """`degraded` while events wait or the disk refuses; `failing` if neither Redis nor the disk accepts any."""
        journal = self.journal
        facts: dict[str, Any] = {
            "waiting": journal.depth + len(self._recovery),
            "bytes": journal.used_bytes,
            "most_bytes": journal.most_bytes,
            "oldest_s": round(journal.age_s, 1),
            "written": journal.written,
            "replayed": self._replayer.replayed,
            "refused": journal.refused,
            "torn": journal.torn,
            "damaged": journal.damaged,
        }
        if refusal := self.refusal():
            reason = f"events are refused with 503: {refusal}"
            return {"status": "failing", "reason": reason, "hint": remedy(self._stream.refusal()), **facts}
        if journal.trouble:
            hint = "free space on the disk that contains JOURNAL_DIR, or repair it: front retries by itself"
            if not self._journaling:
                hint += "; events go straight to Redis, and are refused while it is unavailable"
            return {"status": "degraded", "reason": journal.trouble, "hint": hint, **facts}
        if self._journaling:
            reason = f"events wait in the journal: {self._reason}"
            return {"status": "degraded", "reason": reason, "hint": remedy(self._reason), **facts}
        if journal.damaged:
            reason = f"{journal.damaged} damaged records of the journal could not be replayed"
            return {"status": "degraded", "reason": reason, "hint": _DAMAGED_HINT, **facts}
        return {"status": "ok", **facts}

    @property
    def replayed(self) -> int:
        """Events that came into the stream from the journal."""
        return self._replayer.replayed

    # --- the background

    def redis_wrote(self, left: int) -> None:
        """Forget the events in Redis' file: all but the last `left` bytes that it received."""
        self._recovery.redis_wrote(left)

    def redis_lost(self, reason: str) -> None:
        """Append again what Redis had confirmed and may have lost."""
        if self._recovery.needed:
            self._start_journaling(reason, lost=True)

    def _start_journaling(self, reason: str, *, lost: bool = False) -> None:
        """Let all events go to the journal; first those that Redis had confirmed, when it may have lost them."""
        if lost:
            self._recovery.save()
        self._reason = reason
        if not self._journaling:
            self._journaling = True
            logger.warning("journal_fallback_started", formerly="journal_begins", reason=reason)
        self._wake.set()

    async def _run(self) -> None:
        """Wait for something to do, then bring what waits into the stream. Known failures are waited out."""
        if not self._journaling:
            await wait_until_set(self._wake, _ADOPT_EVERY_SECONDS)
        try:
            await self._adopt()
            self.journal.remove_replayed()
            if self._journaling:
                await self._link.ready(30)
                await self._catch_up()
            self._backoff.reset()
        except (RedisError, TimeoutError) as error:
            self._reason = str(error) or "Redis is slow"
            await asyncio.sleep(self._backoff.next())
        except OSError as error:
            self._reason = f"the journal cannot be read: {error.strerror or error}"
            logger.error("journal_unreadable", reason=self._reason)
            await asyncio.sleep(_MAX_RETRY_SECONDS)

    async def _watch_disk(self) -> None:
        """Test the disk regularly: health reports a failure before an event meets it, and the recovery."""
        if self.journal.unusable or asyncio.get_running_loop().time() >= self._try_at:
            await self._try_disk()

    async def _try_disk(self) -> None:
        if await self.journal.try_disk() and (self.journal.waits or self.journal.older_elsewhere()):
            self._start_journaling("an earlier process of front left events")
        self._try_at = asyncio.get_running_loop().time() + _TRY_SECONDS
        known, self._unusable = self._unusable, self.journal.unusable
        if self._unusable and self._unusable != known:
            logger.error("journal_unusable", reason=self._unusable)
        elif known and not self._unusable:
            logger.info("journal_usable")

    async def _adopt(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._adopt_at:
            self._adopt_at = now + _ADOPT_EVERY_SECONDS
            if await self.journal.adopt():
                self._start_journaling("another process of front left events")

    async def _catch_up(self) -> None:
        """Bring everything into the stream; at the end nothing waits, and events go straight to Redis again."""
        await self._link.command("PING")  # a hanging Redis is noticed here, before an event waits for it
        await self._recovery.bring()
        await self._bring_older()
        await self._bring_all()
        while self.journal.depth > _DRAIN_BELOW or self.journal.waiting_bytes > _DRAIN_BELOW_BYTES:
            await self._bring_all()
        await self._replayer.wait_for_room()
        # Redis accepts events, and few arrived meanwhile: new ones wait for those instead of the disk.
        self._writes_allowed.clear()
        try:
            async with asyncio.timeout(_MAX_HOLD_SECONDS):
                # Events past the gate may still append.
                while self.journal.busy or self.journal.waits:
                    await self.journal.idle()
                    await self._bring_all()
            self._journaling = False
            self._wake.clear()
        finally:
            self._writes_allowed.set()
        logger.info("journal_drained", formerly="journal_empty", replayed=self._replayer.replayed)

    async def _bring_older(self) -> None:
        """Events from before this process come first, also those that other processes bring."""
        for segment in await self.journal.sealed():
            if self.journal.is_older(segment):
                await self._bring(segment)
        until = asyncio.get_running_loop().time() + _PEER_WAIT_SECONDS
        while await asyncio.to_thread(self.journal.older_elsewhere):
            if asyncio.get_running_loop().time() > until:
                logger.warning(
                    "journal_peer_wait_timed_out", formerly="journal_not_awaited",
                    hint="another process of front holds older events and is slow",
                )  # fmt: skip
                return
            await asyncio.sleep(_RETRY_SECONDS / 2)

    async def _bring_all(self) -> None:
        for segment in await self.journal.sealed():
            await self._bring(segment)

    async def _bring(self, segment: Segment) -> None:
        try:
            found = await asyncio.to_thread(self.journal.read, segment)
        except FileNotFoundError:
            logger.error("journal_segment_gone", segment=segment.path.name, events=segment.records)
            self.journal.finish(segment)
            self.journal.done(segment)
            return
        if found.damaged or found.torn:
            logger.error(
                "journal_damaged", segment=segment.path.name, damaged=len(found.damaged), torn_bytes=found.torn,
                hint="damaged records are kept beside the journal, in the folder `damaged`",
            )  # fmt: skip
        appended = await self._replayer.replay(segment.key, found.entries)
        self._recovery.replayed(segment, segment.size if appended == len(found.entries) else 0)
