"""The store at work: one thread writes, one process reads, and neither waits for the other but to change files."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from band import logger
from band.platform import impersonal, objected
from store.engine import Error, Unfit
from store.event_files import EventFiles, day_of
from store.event_row import UnusableEvent, to_row
from store.options import Options
from store.query import Answer, Query
from store.reader import Reader

T = TypeVar("T")

_DAY_MS: Final = 86_400_000
_SEAL_AFTER_MS: Final = 600_000
"""A day is sealed this long after its end: most of its late events are there by then; others become a second file."""


class Warehouse:
    """Stores events and answers queries."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._thread = ThreadPoolExecutor(1, "writer")
        self._reading = asyncio.Lock()
        self._reader = Reader(Path(options.folder), options.query_memory_mb)
        self._files: EventFiles | None = None
        self.loaded = 0
        self.repeated = 0

    async def open(self) -> None:
        """Open the folder; raises as EventFiles does."""
        await self._write(lambda _files: None)

    async def load(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Store events durably, each once. UnusableEvent when one of them cannot be stored."""
        rows = [to_row(impersonal(event) if objected(event) else event) for event in events]
        try:
            fresh = await self._write(lambda files: files.load(rows))
        except Unfit as error:
            raise UnusableEvent(str(error)) from None
        self.loaded += fresh
        self.repeated += len(rows) - fresh

    async def query(self, sql: str, rows: int) -> Answer:
        """Run a statement; its answer has at most `rows` rows."""
        options = self._options
        async with self._reading:
            files = await self._write(lambda files: files.files())
            rows = min(rows or options.query_rows, options.query_rows)
            return await self._reader.ask(
                Query(sql, [str(path) for path in files], rows, options.query_bytes, options.query_seconds)
            )

    async def look_after_days(self) -> None:
        """Seal the days that ended, and remove those that were kept for long enough."""
        now = int(time.time() * 1000)
        keep = self._options.keep_days
        async with self._reading:
            sealed = await self._write(lambda files: files.seal_before(day_of(now - _SEAL_AFTER_MS)))
            gone = await self._write(lambda files: files.remove_before(day_of(now - keep * _DAY_MS))) if keep else []
        for file in sealed:
            logger.info("day_sealed", day=file.day, events=file.rows, bytes=file.bytes)
        if gone:
            logger.info(
                "days_removed", days=sorted({file.day for file in gone}), events=sum(file.rows for file in gone)
            )

    async def stats(self) -> dict[str, Any]:
        """Return what is stored, and what came since the start."""

        def read(files: EventFiles) -> dict[str, Any]:
            sealed, open_days = files.manifest.files, files.open_days()
            return {
                "events": files.count(),
                "bytes": files.size(),
                "first_day": min((file.day for file in sealed), default=next(iter(open_days), None)),
                "sealed_files": len(sealed),
                "open_days": open_days,
            }

        return {
            **await self._write(read), "loaded": self.loaded, "repeated": self.repeated,
            "queries_ended": self._reader.ended,
        }  # fmt: skip

    async def close(self) -> None:
        """End what runs, and close all files."""
        await self._reader.close()
        if self._files is not None:
            await self._write(EventFiles.close)
        self._thread.shutdown()

    async def _write(self, work: Callable[[EventFiles], T]) -> T:
        """Run work in the thread that owns the files, to its end, even if the caller is cancelled."""
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, self._run, work))

    def _run(self, work: Callable[[EventFiles], T]) -> T:
        """Run work on the files, and reopen them after an error of the engine.

        After a checkpoint that failed, as on a full disk, DuckDB's tables look empty: its next one would write that
        over the events, which the file and its log still have.
        """
        files = self._files
        if files is None:
            files = self._files = EventFiles(Path(self._options.folder), self._options.memory_mb)
        try:
            return work(files)
        except Unfit:
            raise
        except Error:
            self._files = None
            with contextlib.suppress(Error):
                files.close()
            raise
