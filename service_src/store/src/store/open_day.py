"""An open day: a DuckDB file that events are loaded into, each once, until the day is sealed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from band import logger
from store import engine
from store.engine import Connection
from store.manifest import SealedFile, sync_folder

_ORDER: Final = "project, uid, time, id"
"""Sorted so, a visitor's events lie together: half the size, and one person is found in a few blocks."""

_GROUP_BYTES: Final = 4 << 20
"""A row group is in memory, several times, while it is written."""


class Slice(NamedTuple):
    """A copy of some rows of an open day, for readers: rows `first` to below `end`, by the order in which they came."""

    first: int
    end: int
    path: Path


class OpenDay:
    """The events received on one day, by UTC, that no sealed file has."""

    def __init__(self, connection: Connection, folder: Path, slices: Path, day: str, number: int) -> None:
        """Attach the file of the day in `folder`, or create it."""
        self.day, self.number = day, number
        self.file = folder / f"{day}-{number:04}.duckdb"
        self._connection = connection
        self._name = self.file.stem
        self._slices_folder = slices
        self._slices: list[Slice] = []
        connection.execute(f'ATTACH {engine.text(self.file)} AS "{self._name}"')
        engine.create_events(connection, self._name)

    @property
    def table(self) -> str:
        """The table, as SQL names it."""
        return f'"{self._name}".events'

    def load(self, source: str, least_id: int, known_ids: str, known_messages: Sequence[str]) -> int:
        """Insert the events of `source` that neither this day nor the other places have; returns how many.

        Args:
            source: what reads a day's new events, in a FROM clause.
            least_id: the least id among them.
            known_ids: what reads ids that sealed files of this day have; empty: there are none.
            known_messages: what reads `project` and `dedup` of events that may be the same message.
        """
        where = [f"NOT EXISTS (SELECT 1 FROM {self.table} AS k WHERE k.id = b.id AND k.id >= {least_id})"]
        if known_ids:
            where.append(f"NOT EXISTS (SELECT 1 FROM {known_ids} AS k WHERE k.id = b.id)")
        if known_messages:
            union = " UNION ALL ".join(
                f"SELECT project, dedup FROM {place} WHERE dedup <> ''" for place in known_messages
            )
            where.append(
                f"(b.dedup = '' OR NOT EXISTS (SELECT 1 FROM ({union}) AS k "
                "WHERE k.project = b.project AND k.dedup = b.dedup))"
            )
        row = self._connection.execute(
            f"INSERT INTO {self.table} SELECT {engine.SELECTED} FROM {source} AS b WHERE {' AND '.join(where)}"
        ).fetchone()
        return int(row[0]) if row else 0

    def rows(self) -> int:
        """Return how many events the day has."""
        return int(str(engine.single(self._connection, f"SELECT count(*) FROM {self.table}")[0]))

    def slices(self) -> list[Path]:
        """Return files with all rows of the day, for readers in other processes.

        Only rows that came since the last call are written; small slices at the end are merged, so that a day has few.
        No reader may use the files of an earlier call any more.
        """
        end = int(str(engine.single(self._connection, f"SELECT coalesce(max(rowid) + 1, 0) FROM {self.table}")[0]))
        first = self._slices[-1].end if self._slices else 0
        if end > first:
            merged: list[Slice] = []
            while self._slices and self._slices[-1].end - self._slices[-1].first < 2 * (end - first):
                merged.append(self._slices.pop())
                first = merged[-1].first
            path = self._slices_folder / f"{self._name}-{first}-{end}.parquet"
            self._copy(path, f"WHERE rowid >= {first} AND rowid < {end}")
            self._slices.append(Slice(first, end, path))
            for old in merged:
                old.path.unlink()
        return [part.path for part in self._slices]

    def seal(self, events: Path) -> SealedFile:
        """Write the day's events to a Parquet file below `events`, durably; the caller adds it to the manifest."""
        folder = events / f"day={self.day}"
        folder.mkdir(exist_ok=True)
        path = folder / f"{self.number:04}.parquet"
        fresh = path.with_suffix(".tmp")
        self._connection.execute(f'CHECKPOINT "{self._name}"')
        try:
            self._copy(fresh, f"ORDER BY {_ORDER}")
        except engine.OutOfMemory:
            logger.warning("day_not_sorted", day=self.day, hint="its file is larger; give the store more MEMORY_MB")
            self._copy(fresh, "")
        handle = os.open(fresh, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        fresh.rename(path)
        sync_folder(folder)
        sync_folder(events)
        values = engine.single(
            self._connection,
            "SELECT count(*), epoch_ms(min(time)), epoch_ms(max(time)), min(id), max(id), "
            f"count(*) FILTER (dedup <> '') FROM {self.table}",
        )
        rows, least_time, greatest_time, least_id, greatest_id, with_dedup = (int(str(value)) for value in values)
        return SealedFile(
            self.day, self.number, rows, path.stat().st_size, least_time, greatest_time, least_id, greatest_id,
            has_dedup=with_dedup > 0,
        )  # fmt: skip

    def remove(self) -> None:
        """Remove the day's file and slices: a sealed file has its events, or there are none."""
        self._connection.execute(f'DETACH "{self._name}"')
        remove_file(self.file)
        for part in self._slices:
            part.path.unlink(missing_ok=True)

    def _copy(self, path: Path, tail: str) -> None:
        self._connection.execute(
            f"COPY (SELECT {engine.SELECTED} FROM {self.table} {tail}) TO {engine.text(path)} "
            f"(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 50000, ROW_GROUP_SIZE_BYTES {_GROUP_BYTES})"
        )


def remove_file(file: Path) -> None:
    """Remove a DuckDB file and its log; the log goes first, since it alone would be taken for that of a new file."""
    file.with_name(f"{file.name}.wal").unlink(missing_ok=True)
    file.unlink(missing_ok=True)
