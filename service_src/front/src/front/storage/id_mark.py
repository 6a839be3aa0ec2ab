"""A high-water mark of ids on the disk, so that none repeats when front restarts while its clock is behind.

The mark is written ahead, so that no event waits for it: until the next one, no id is later. A front that starts draws
ids above it, unless the clock is past it, or has run evenly since.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import msgspec

from band import logger
from band.platform import run_forever
from front.event.ids import Snowflakes, now_ms
from front.storage.journal.disk import Disk

AHEAD_MS: Final = 10_000
"""How far the mark is ahead of the ids when it is written."""
RENEW_MS: Final = 5_000
"""The mark is written again when it is less than this ahead; writing it may take as long."""
STEP_MS: Final = 100
"""Two readings of the clock that differ by no more were not taken before and after it was set."""
MAX_AHEAD_MS: Final = 365 * 24 * 3600 * 1000
"""A mark that is further ahead of the clock is ignored."""
_LOOK_SECONDS = 1.0
_SIZE: Final = 64
"""Bytes of the file: it is overwritten in place, which needs no room on a full disk."""
_Milliseconds = Annotated[int, msgspec.Meta(ge=0, lt=1 << 42)]


class _Mark(msgspec.Struct):
    """What the file has, as JSON; times in milliseconds since 1970."""

    bound: _Milliseconds
    booted: _Milliseconds | None
    """When the host was booted, by its clock; None while ids are ahead of the clock."""


def _uptime_ms() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class IdMark:
    """The mark of one worker: the file `ids-<worker>`. Its failures are logged and refuse no event."""

    def __init__(
        self,
        folder: Path,
        worker: int,
        flakes: Snowflakes,
        *,
        clock: Callable[[], int] = now_ms,
        uptime: Callable[[], int] = _uptime_ms,
    ) -> None:
        """`worker` is the number in the ids of `flakes`."""
        self._path = folder / f"ids-{worker}"
        self._flakes = flakes
        self._clock = clock
        self._uptime = uptime
        self._written = _Mark(0, None)
        self._failure = ""
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Set the ids above the mark, before the first is drawn; from now on the mark is renewed."""
        await self.read()
        renewing = run_forever("id_mark", self.renew, pause_seconds=_LOOK_SECONDS)
        self._task = asyncio.get_running_loop().create_task(renewing, name="id-mark")

    async def close(self) -> None:
        """Stop renewing it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def read(self) -> None:
        """Set the ids above the mark, and write the first one of this process."""
        mark = await asyncio.to_thread(self._read)
        now = self._clock()
        if mark is not None and mark.bound >= now:
            self._obey(mark, now)
        await self.renew()

    async def renew(self) -> None:
        """Write the mark if ids come near it, or the clock was set."""
        now, last = self._clock(), self._flakes.last_ms
        booted = None if last > now + STEP_MS else max(0, now - self._uptime())
        latest = max(now, last)
        if latest + RENEW_MS > self._written.bound or not _is_even(self._written.booted, booted):
            mark = _Mark(latest + AHEAD_MS, booted)
            failure = await asyncio.to_thread(self._write, mark)
            if failure and failure != self._failure:
                hint = "front retries by itself; without the mark, ids may repeat after the clock is set back"
                logger.warning("ids_mark_unwritable", reason=failure, hint=hint)
            self._failure = failure
            if not failure:
                self._written = mark

    def _obey(self, mark: _Mark, now: int) -> None:
        ahead = mark.bound - now
        if _is_even(mark.booted, now - self._uptime()):
            self._flakes.start_above(now + STEP_MS)  # earlier ids are no later than the clock
        elif ahead > MAX_AHEAD_MS:
            hint = "the clock was or is wrong by more than a year: ids follow it, and repeat if that time comes again"
            logger.warning("ids_mark_ignored", ahead_s=ahead // 1000, hint=hint)
        else:
            self._flakes.start_above(mark.bound)
            if ahead > AHEAD_MS:
                hint = "the clock was set back: ids continue from the earlier time; the events' `time` is right"
                logger.warning("ids_ahead_of_clock", ahead_s=ahead // 1000, hint=hint)

    # --- in a thread

    def _read(self) -> _Mark | None:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_Mark)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            logger.warning("ids_mark_unreadable", path=str(self._path), reason=str(error))
            return None

    def _write(self, mark: _Mark) -> str:
        """Return why it failed, empty when it is on the disk."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.ExitStack() as cleanup:
                fresh = not self._path.exists()
                descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
                cleanup.callback(os.close, descriptor)
                os.pwrite(descriptor, msgspec.json.encode(mark).ljust(_SIZE), 0)
                os.fdatasync(descriptor)
                if fresh:
                    Disk().sync_folder(self._path.parent)
        except OSError as error:
            return error.strerror or str(error)
        return ""


def _is_even(before: int | None, after: int | None) -> bool:
    """Return whether the clock was not set between two readings of when the host was booted."""
    if before is None or after is None:
        return before is after
    return abs(after - before) <= STEP_MS
