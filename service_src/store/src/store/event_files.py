"""The store's folder: open days, sealed files and the manifest. One process writes; all methods block.

    events/manifest.json                     the sealed files
    events/day=2026-11-27/0001.parquet       a day, sealed
    hot/2026-11-28-0001.duckdb               an open day
    recent/                                  copies of open days for readers; made again at each start
    work/, spill/                            a batch on its way; what does not fit into memory

A day is the day of receipt, by UTC, which is in an event's id: so days end. A crash at any point loses nothing and
repeats nothing: a batch is a transaction for each day, what it repeats is left out, and a sealed file counts from the
moment the manifest names it; from then on the open day's file of the same number is worthless and is removed.
"""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from band import logger
from store import engine
from store.event_row import Row
from store.manifest import Manifest, SealedFile
from store.open_day import OpenDay, remove_file

_LINES: Final = msgspec.json.Encoder()


class InUse(RuntimeError):
    """Another process writes to the folder."""


def day_of(received: int) -> str:
    """Return the day of a time in milliseconds since 1970, as `2026-11-27`, by UTC."""
    return datetime.fromtimestamp(received / 1000, UTC).date().isoformat()


class EventFiles:
    """All events of a store."""

    def __init__(self, folder: Path, memory_mb: int) -> None:
        """Open a folder, created if it is not there, and finish what a crash left half done.

        Raises:
            InUse: another process has it open.
            msgspec.DecodeError, ValueError: the manifest cannot be read.
        """
        self.events, self._hot, self.recent, self._work = (
            folder / name for name in ("events", "hot", "recent", "work")
        )
        for part in (self.events, self._hot, self.recent, self._work, folder / "spill"):
            part.mkdir(parents=True, exist_ok=True)
        self._lock = (folder / "lock").open("w")
        try:
            self._begin(folder, memory_mb)
        except BaseException:
            self._lock.close()
            raise

    def _begin(self, folder: Path, memory_mb: int) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InUse(f"another process writes to {folder}: run one store for a folder") from None
        for part in (self.recent, self._work, folder / "spill"):
            _clear(part)
        self.manifest = Manifest(self.events)
        self._remove_leftovers()
        self._connection = engine.connect(
            memory_mb, folder / "spill", (self.events, self._hot, self.recent, self._work)
        )
        self._open: dict[str, OpenDay] = {}
        try:
            for file in sorted(self._hot.glob("*.duckdb")):
                try:
                    self._open_day(file.stem[:10], int(file.stem[11:]))
                except engine.Damaged as error:
                    _set_aside(file, error)
        except BaseException:
            self._connection.close()
            raise

    def load(self, rows: Iterable[Row]) -> int:
        """Store those rows that are not stored yet, durably; returns how many that were."""
        days: dict[str, dict[int, Row]] = {}
        for row in rows:
            days.setdefault(day_of(row["received"]), {})[row["id"]] = row
        return sum(self._load_day(day, [*batch.values()]) for day, batch in days.items())

    def files(self) -> list[Path]:
        """Return files that have all events, for readers; no reader may use those of an earlier call any more."""
        sealed = [self.events / file.path for file in self.manifest.files]
        return [*sealed, *(path for day in self._open.values() for path in day.slices())]

    def count(self) -> int:
        """Return how many events are stored."""
        return sum(file.rows for file in self.manifest.files) + sum(day.rows() for day in self._open.values())

    def open_days(self) -> dict[str, int]:
        """Return how many events each open day has."""
        return {name: day.rows() for name, day in sorted(self._open.items())}

    def seal_before(self, day: str) -> list[SealedFile]:
        """Seal all open days before `day`."""
        sealed: list[SealedFile] = []
        for name in sorted(self._open):
            if name < day:
                ended = self._open[name]
                if ended.rows():
                    sealed.append(ended.seal(self.events))
                    self.manifest.add(sealed[-1])
                del self._open[name]
                ended.remove()
        return sealed

    def remove_before(self, day: str) -> list[SealedFile]:
        """Remove the sealed files of days before `day`."""
        gone = self.manifest.remove_before(day)
        for file in gone:
            (self.events / file.path).unlink(missing_ok=True)
        self._remove_empty_folders()
        return gone

    def size(self) -> int:
        """Return how many bytes the events take on the disk."""
        return sum(
            path.stat().st_size for part in (self.events, self._hot) for path in part.rglob("*") if path.is_file()
        )

    def close(self) -> None:
        """Close all files as they are."""
        try:
            self._connection.close()
        finally:
            self._lock.close()

    def _load_day(self, day: str, rows: list[Row]) -> int:
        if day not in self._open:
            self._open_day(day, self.manifest.next_number(day))
        file = self._work / "batch.ndjson"
        file.write_bytes(_LINES.encode_lines(rows))
        ids = [row["id"] for row in rows]
        known = [
            self.events / sealed.path
            for sealed in self.manifest.files
            if sealed.day == day and sealed.least_id <= max(ids) and sealed.greatest_id >= min(ids)
        ]
        messages = list(self._with_messages_near(day)) if any(row["dedup"] for row in rows) else []
        try:
            return self._open[day].load(engine.batch(file), min(ids), engine.parquet(known) if known else "", messages)
        finally:
            file.unlink()

    def _with_messages_near(self, day: str) -> Iterator[str]:
        """Yield what reads the events of this day, the day before and the day after that have a client's own id."""
        middle = date.fromisoformat(day)
        near = {(middle + timedelta(days=apart)).isoformat() for apart in (-1, 0, 1)}
        yield from (opened.table for name, opened in self._open.items() if name in near)
        files = [self.events / file.path for file in self.manifest.files if file.day in near and file.has_dedup]
        if files:
            yield engine.parquet(files)

    def _open_day(self, day: str, number: int) -> None:
        self._open[day] = OpenDay(self._connection, self._hot, self.recent, day, number)

    def _remove_leftovers(self) -> None:
        """Remove open days that are sealed, and Parquet files that the manifest does not name.

        Without a manifest only days that are still open can have such files: ValueError is raised if others do.
        """
        if not self.manifest.exists:
            for path in self.events.glob("day=*/*.parquet"):
                if not (self._hot / f"{path.parent.name.removeprefix('day=')}-{path.stem}.duckdb").exists():
                    raise ValueError(
                        f"{self.manifest.file} is missing, which lists the files of events there: restore it from a "
                        f"backup, or move {self.events} away"
                    )
        for file in self._hot.glob("*.duckdb"):
            if self.manifest.has(file.stem[:10], int(file.stem[11:])):
                remove_file(file)
        named = {self.events / file.path for file in self.manifest.files}
        for path in self.events.glob("day=*/*"):
            if path not in named:
                path.unlink()
        self._remove_empty_folders()

    def _remove_empty_folders(self) -> None:
        for folder in self.events.glob("day=*"):
            if not any(folder.iterdir()):
                folder.rmdir()


def _set_aside(file: Path, error: Exception) -> None:
    """Rename a damaged file of an open day, and its log: without it the store goes on."""
    fresh = file.with_suffix(f".damaged-{int(time.time())}")
    log = file.with_name(f"{file.name}.wal")
    if log.exists():
        log.rename(fresh.with_name(f"{fresh.name}.wal"))
    file.rename(fresh)
    logger.error(
        "open_day_damaged", file=fresh.name, reason=str(error)[:300],
        hint=f"band replay store --from {file.stem[:10]} stores those of its events that are still in the stream",
    )  # fmt: skip


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
