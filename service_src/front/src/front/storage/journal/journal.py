"""The journal of one front process: a limited number of bytes of events on its own disk.

Each process has its own folder, `w0`, `w1` …: the first one that is not locked by a living process. Events that an
earlier process left there, or in an unlocked folder, become its own backlog.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from front.errors import NotAccepted
from front.storage.journal.disk import Disk, FolderLock
from front.storage.journal.format import MAGIC, Scan, pack, scan
from front.storage.journal.writer import (
    DONE,
    SUFFIX,
    JournalWriter,
    Segment,
    created_of,
    number_of,
    segment_path,
    segments_in,
)  # fmt: skip

MAX_FOLDERS = 1024
KEEP_SECONDS = 3.0
"""A replayed segment stays so long: with `appendfsync everysec` Redis may still lose its last second to a power cut."""
_ORDINARY_BYTES = 4096
"""Records up to this size are treated alike."""
_ROOM_FACTOR = 256
"""A record needs this many times its size free, at most an eighth of the journal: large ones are refused first."""
_MAX_DAMAGED_BYTES = 16 * 1024 * 1024
_RETRY_AFTER_SECONDS = 5


class Journal:
    """Accepts records, returns closed segments in order, removes replayed ones."""

    def __init__(self, root: Path, most_bytes: int, disk: Disk | None = None, segment_bytes: int = 0) -> None:
        self.most_bytes = most_bytes
        self.written = 0
        self.refused = 0
        self.torn = 0
        self.damaged = 0
        self.failure = "the journal is not open"
        self._root = root
        self._disk = disk or Disk()
        self._segment_bytes = min(segment_bytes or 8 * 1024 * 1024, max(4096, most_bytes // 4))
        self._lock: FolderLock | None = None
        self._writer: JournalWriter | None = None
        self._started_ms = 0
        self._backlog: list[Segment] = []
        self._finished: list[Segment] = []
        self._replayed: list[tuple[float, Segment]] = []

    # --- life

    def open(self) -> None:
        """Lock a folder and read its contents, which may be large: call it in a thread.

        A disk error is stored in `failure`, never raised.
        """
        self._started_ms = time.time_ns() // 1_000_000
        try:
            self._lock = self._take_folder()
            self._backlog = list(self._read_folder(self._lock.folder))
            number = 1 + max((number_of(segment.path) for segment in self._backlog), default=0)
            self._writer = JournalWriter(self._lock.folder, number, self._disk, self._segment_bytes)
            self.failure = ""
            self._backlog += self._take_from_the_dead()
        except OSError as error:
            self.failure = f"the journal in {self._root} cannot be used: {error.strerror or error}"
            if self._writer is None and self._lock is not None:
                self._lock.give_back()
                self._lock = None

    async def try_disk(self) -> bool:
        """Check whether the disk can be written, and open the journal unless it is open; see `unusable`.

        Returns whether this call opened it.
        """
        opens = self._writer is None
        if opens:
            await asyncio.to_thread(self.open)
        if self._writer is None:
            return False
        await self._writer.try_disk()
        return opens

    async def close(self) -> None:
        """Write what waits and let the folder go."""
        if self._writer is not None:
            await self._writer.close()
            self._writer = None
        self.failure = "the journal is closed"
        if self._lock is not None:
            self._lock.give_back()
            self._lock = None

    # --- taking

    def refusal(self) -> str:
        """Return why a record would be refused now; empty if it would be accepted."""
        if self._writer is None:
            return self.failure
        if self._writer.resting:
            return self._writer.failure
        return self._why_full(_ORDINARY_BYTES)

    @property
    def trouble(self) -> str:
        """What keeps it from taking events, whether it is needed now or not; empty when all is well."""
        return self.unusable or self.refusal()

    @property
    def unusable(self) -> str:
        """What its disk refused last; empty when all is well, and when the journal is merely full."""
        return self.failure if self._writer is None else self._writer.failure

    def append(self, payload: bytes, trace: bytes) -> asyncio.Future[None]:
        """Take one event; the future ends when it is safe on the disk, or with NotAccepted.

        Raises:
            NotAccepted: the journal is full, or has no disk.
        """
        return self._append(pack(payload, trace), 1)

    def append_all(self, events: Iterable[tuple[bytes, bytes]]) -> asyncio.Future[None]:
        """Take several events, as `append` does: all of them, or none."""
        records = [pack(payload, trace) for payload, trace in events]
        return self._append(b"".join(records), len(records))

    def _append(self, records: bytes, count: int) -> asyncio.Future[None]:
        writer = self._writer
        if writer is None:
            self.refused += count
            raise NotAccepted(self.failure, _RETRY_AFTER_SECONDS)
        if full := self._why_full(len(records)):
            self.refused += count
            raise NotAccepted(full, _RETRY_AFTER_SECONDS)
        self.written += count
        return writer.append(records, count)

    def _why_full(self, size: int) -> str:
        """Return why a record of that size does not fit; empty when it does.

        Large records are refused before small ones: a flood of them leaves room for what ordinary visitors send.
        """
        needed = max(size, min(max(size, _ORDINARY_BYTES) * _ROOM_FACTOR, self.most_bytes // 8))
        if self._room_bytes() < needed:
            self.remove_replayed(at_once=True)
        if self._room_bytes() >= needed:
            return ""
        bound = f"{self.most_bytes >> 20 or 1} MiB"
        if size <= _ORDINARY_BYTES:
            return f"the journal is full ({bound})"
        return f"the journal is too full for an event of {size} bytes ({bound})"

    def _room_bytes(self) -> int:
        waiting = self._writer.waiting_bytes if self._writer is not None else 0
        return self.most_bytes - self.used_bytes - waiting

    # --- handing out

    async def sealed(self) -> list[Segment]:
        """Return all waiting segments, oldest first; records appended from now on go to later ones."""
        if self._writer is not None:
            self._backlog += await self._writer.seal()
        return list(self._backlog)

    @property
    def busy(self) -> bool:
        """Whether something is being written."""
        return self._writer is not None and self._writer.busy

    async def idle(self) -> None:
        """Wait until nothing is being written."""
        if self._writer is not None:
            await self._writer.idle()

    def read(self, segment: Segment) -> Scan:
        """Return the contents of a closed segment. Damaged ranges are set aside and counted. May raise OSError."""
        with segment.path.open("rb") as file:
            data = file.read(segment.size)
        found = scan(data)
        if found.damaged or found.torn:
            self.torn += bool(found.torn)
            self.damaged += len(found.damaged)
            for start, end in found.damaged:
                self._put_aside(segment, start, data[start:end])
        return found

    def is_older(self, segment: Segment) -> bool:
        """Return whether a segment is older than this process."""
        return segment.created_ms < self._started_ms

    def older_elsewhere(self) -> bool:
        """Return whether another folder has events from before this process: they come before new ones."""
        own = self._lock.folder if self._lock is not None else None
        return any(
            path.parent != own and 0 < created_of(path) < self._started_ms for path in self._root.glob(f"w*/*{SUFFIX}")
        )

    def finish(self, segment: Segment) -> None:
        """Set a segment aside whose events Redis has confirmed: until it has written them, they may be needed again."""
        self._backlog.remove(segment)
        with contextlib.suppress(OSError):
            segment.path = segment.path.rename(segment.path.with_suffix(DONE))
        self._finished.append(segment)

    def take_back(self, segment: Segment) -> None:
        """Let a finished segment wait again, before all others."""
        self._finished.remove(segment)
        self._backlog.insert(0, segment)

    def done(self, segment: Segment) -> None:
        """Forget a finished segment, Redis has written its events; the file goes a little later."""
        self._finished.remove(segment)
        self._replayed.append((time.monotonic() + KEEP_SECONDS, segment))

    def remove_replayed(self, *, at_once: bool = False) -> None:
        """Delete files of replayed segments whose time has come."""
        now = time.monotonic()
        while self._replayed and (at_once or self._replayed[0][0] <= now):
            with contextlib.suppress(OSError):
                self._replayed[0][1].path.unlink()
            self._replayed.pop(0)

    async def adopt(self) -> int:
        """Take over the segments of folders without a living process; returns their number."""
        found = await asyncio.to_thread(self._take_from_the_dead)
        self._backlog += found
        return len(found)

    # --- facts

    @property
    def waits(self) -> bool:
        """Whether there is anything to replay."""
        return any(True for _ in self._segments())

    @property
    def depth(self) -> int:
        """Events that are not in Redis yet, as far as is known."""
        return sum(segment.records for segment in self._segments())

    @property
    def waiting_bytes(self) -> int:
        """Bytes of events that are not in Redis yet."""
        return sum(segment.size for segment in self._segments())

    @property
    def used_bytes(self) -> int:
        """Bytes on the disk, replayed segments that still lie there included."""
        replayed = [*self._finished, *(segment for _, segment in self._replayed)]
        return self.waiting_bytes + sum(segment.size for segment in replayed)

    @property
    def age_s(self) -> float:
        """Age of the oldest waiting segment in seconds; 0 without one."""
        begun = min((segment.created_ms for segment in self._segments() if segment.records), default=None)
        return 0.0 if begun is None else max(0.0, time.time() - begun / 1000)

    def _segments(self) -> Iterator[Segment]:
        yield from self._backlog
        if self._writer is not None:
            yield from self._writer.open_segments()

    # --- folders

    def _take_folder(self) -> FolderLock:
        for number in range(MAX_FOLDERS):
            lock = FolderLock(self._root / f"w{number}")
            if lock.take():
                return lock
        raise OSError(f"all {MAX_FOLDERS} folders are in use by running processes")

    def _read_folder(self, folder: Path) -> Iterator[Segment]:
        for path in segments_in(folder):
            size = path.stat().st_size
            if size <= len(MAGIC):
                path.unlink()
                continue
            yield Segment(path, size, len(scan(path.read_bytes()).entries), created_of(path))

    def _take_from_the_dead(self) -> list[Segment]:
        """Move the segments of unlocked folders into our own. Reads all of them: not for the event loop."""
        lock, writer = self._lock, self._writer
        found: list[Segment] = []
        if lock is None or writer is None:
            return found
        for folder in sorted(self._root.glob("w*")):
            if folder == lock.folder or not segments_in(folder):
                continue
            other = FolderLock(folder)
            with contextlib.suppress(OSError):
                if other.take():
                    for segment in self._read_folder(folder):
                        target = segment_path(lock.folder, writer.take_number(), segment.created_ms, segment.key)
                        segment.path = segment.path.rename(target)
                        found.append(segment)
            other.give_back()
        return found

    def _put_aside(self, segment: Segment, start: int, data: bytes) -> None:
        aside = segment.path.parent / "damaged"
        with contextlib.suppress(OSError):
            aside.mkdir(mode=0o700, exist_ok=True)
            if sum(path.stat().st_size for path in aside.iterdir()) + len(data) <= _MAX_DAMAGED_BYTES:
                descriptor = os.open(
                    aside / f"{segment.key}-{start}.bytes", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600
                )
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
