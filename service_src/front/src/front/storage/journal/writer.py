"""Appends to the journal: waiting records share one write and one fsync."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from front.errors import NotAccepted
from front.storage.journal.disk import Disk
from front.storage.journal.format import MAGIC

SUFFIX = ".journal"
DONE = ".done"
"""Suffix of a segment that is in the stream, for the little while that it still stays."""
_SEGMENT_BYTES = 8 * 1024 * 1024
_RETRY_AFTER_SECONDS = 5
_PROBE_BYTES = 4096
_TRY_AGAIN_SECONDS = 1.0
"""For so long nothing is written after the disk refused; the next event after that tries again."""


@dataclass
class Segment:
    """One file of the journal: `size` bytes of it are safe, which are `records` events."""

    path: Path
    size: int
    records: int
    created_ms: int

    @property
    def key(self) -> str:
        """Its name forever, wherever the file is moved: the random end of the file name."""
        return self.path.stem.rsplit("-", 1)[-1]


def segment_path(folder: Path, number: int, created_ms: int, key: str) -> Path:
    """Return a segment's path; names sort in the order of the segments."""
    return folder / f"{number:010d}-{created_ms:013d}-{key}{SUFFIX}"


def segments_in(folder: Path) -> list[Path]:
    """Return the segments in a folder, also those just replayed: Redis knows how far, even after a power cut."""
    return sorted([*folder.glob(f"*{SUFFIX}"), *folder.glob(f"*{DONE}")])


def number_of(path: Path) -> int:
    """Return its position among the segments of its folder."""
    return _part_of(path, 0)


def created_of(path: Path) -> int:
    """Return when it was created, in milliseconds since 1970."""
    return _part_of(path, 1)


def _part_of(path: Path, index: int) -> int:
    parts = path.stem.split("-")
    return int(parts[index]) if len(parts) > index and parts[index].isdigit() else 0


def _refusal_of(error: Exception) -> str:
    words = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return f"the journal's disk cannot be written: {words}"


class JournalWriter:
    """Writes segments into one folder, in its own thread; everything else happens in the event loop."""

    def __init__(self, folder: Path, first_number: int, disk: Disk | None = None, segment_bytes: int = 0) -> None:
        self.failure = ""
        self.syncs = 0
        self._folder = folder
        self._numbers = itertools.count(first_number)
        self._disk = disk or Disk()
        self._segment_bytes = segment_bytes or _SEGMENT_BYTES
        self._current: tuple[Segment, int] | None = None
        self._sealed: list[Segment] = []
        self._waiting: list[tuple[bytes, int, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "journal")

        self.waiting_bytes = 0
        self._failed_at = 0.0

    @property
    def busy(self) -> bool:
        """Whether records are being written."""
        return self._writing is not None

    @property
    def resting(self) -> bool:
        """Whether the disk refused a moment ago."""
        return bool(self.failure) and time.monotonic() - self._failed_at < _TRY_AGAIN_SECONDS

    def open_segments(self) -> list[Segment]:
        """Return the segments that were not returned yet, including the current one."""
        current = self._current
        return [*self._sealed, current[0]] if current else list(self._sealed)

    def take_number(self) -> int:
        """Return a number for an adopted segment, after all existing ones. Thread-safe."""
        return next(self._numbers)

    def append(self, records: bytes, count: int = 1) -> asyncio.Future[None]:
        """Write records, in one piece; the future ends when they are safe, with NotAccepted when the disk refused."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((records, count, future))
        self.waiting_bytes += len(records)
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write_all())
        return future

    async def try_disk(self) -> None:
        """Check whether the disk accepts a file; see `failure`. The result does not cause events to be refused."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._write_probe, bool(self.failure))
            self.failure = ""
        except OSError as error:
            self.failure = _refusal_of(error)

    async def seal(self) -> list[Segment]:
        """Close the current segment; returns all that were closed since the last time, in order."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._seal)

    async def idle(self) -> None:
        """Wait until nothing is being written."""
        while self._writing is not None:
            await asyncio.wait([self._writing])

    async def close(self) -> None:
        """Write what waits and close the file."""
        await self.idle()
        await self.seal()
        self._thread.shutdown(wait=False)

    async def _write_all(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                refusal: NotAccepted | None = None
                try:
                    data = b"".join([records for records, _, _ in batch])
                    count = sum([count for _, count, _ in batch])
                    await loop.run_in_executor(self._thread, self._store, data, count)
                    self.failure = ""
                except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must not wait forever
                    self.failure = _refusal_of(error)
                    self._failed_at = time.monotonic()
                    refusal = NotAccepted(self.failure, _RETRY_AFTER_SECONDS)
                for records, _, future in batch:
                    self.waiting_bytes -= len(records)
                    if future.done():
                        continue  # its request was cancelled
                    if refusal is None:
                        future.set_result(None)
                    else:
                        future.set_exception(refusal)
        finally:
            self._writing = None

    # --- in the thread

    def _seal(self) -> list[Segment]:
        self._close_current()
        sealed, self._sealed = self._sealed, []
        return sealed

    def _store(self, data: bytes, count: int) -> None:
        if self._current is not None and self._current[0].size + len(data) > self._segment_bytes:
            self._close_current()
        segment, descriptor = self._current or self._open_next()
        try:
            self._disk.write(descriptor, data)
            self._disk.sync(descriptor)
        except Exception:
            self._give_up_current()
            raise
        self.syncs += 1
        segment.size += len(data)
        segment.records += count

    def _write_probe(self, sync: bool) -> None:
        """Write a file and remove it. The fsync is only for a disk that refused: it may have refused just that."""
        path = self._folder / "probe"
        path.unlink(missing_ok=True)
        descriptor = self._disk.create(path)
        try:
            self._disk.write(descriptor, bytes(_PROBE_BYTES))
            if sync:
                self._disk.sync(descriptor)
        finally:
            self._remove(path, descriptor)

    def _open_next(self) -> tuple[Segment, int]:
        created_ms = time.time_ns() // 1_000_000
        path = segment_path(self._folder, next(self._numbers), created_ms, secrets.token_hex(8))
        descriptor = self._disk.create(path)
        try:
            self._disk.write(descriptor, MAGIC)
            self._disk.sync(descriptor)
            self._disk.sync_folder(self._folder)
        except OSError:
            self._remove(path, descriptor)
            raise
        self._current = Segment(path, len(MAGIC), 0, created_ms), descriptor
        return self._current

    def _close_current(self) -> None:
        if self._current is None:
            return
        segment, descriptor = self._current
        self._current = None
        if segment.records:
            with contextlib.suppress(OSError):
                self._disk.close(descriptor)
            self._sealed.append(segment)
        else:
            self._remove(segment.path, descriptor)

    def _give_up_current(self) -> None:
        """Truncate the refused records, and never write to this file again.

        After a failed fsync the kernel may have dropped the pages and report success for the next one.
        """
        if self._current is None:
            return
        segment, descriptor = self._current
        with contextlib.suppress(OSError):
            self._disk.truncate(descriptor, segment.size)
            self._disk.sync(descriptor)
        self._close_current()

    def _remove(self, path: Path, descriptor: int) -> None:
        with contextlib.suppress(OSError):
            self._disk.close(descriptor)
        with contextlib.suppress(OSError):
            path.unlink()
