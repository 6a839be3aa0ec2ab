"""The list of sealed files: what it does not name does not exist. Written whole, and atomically."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from store.columns import SCHEMA_VERSION


class SealedFile(msgspec.Struct, frozen=True):
    """A Parquet file of one day's events. Times in milliseconds since 1970."""

    day: str
    """The day of receipt, as `2026-11-27`, by UTC."""
    number: int
    """The first file of a day is 1; events that come after a day was sealed become the next."""
    rows: int
    bytes: int
    least_time: int
    greatest_time: int
    least_id: int
    greatest_id: int
    has_dedup: bool
    schema_version: int = SCHEMA_VERSION

    @property
    def path(self) -> str:
        """The path in the folder of events."""
        return f"day={self.day}/{self.number:04}.parquet"


class _Content(msgspec.Struct):
    schema_version: int
    files: list[SealedFile]


NAME: Final = "manifest.json"


class Manifest:
    """The sealed files of a store."""

    def __init__(self, folder: Path) -> None:
        """Read the manifest of a folder; a folder without one has no files.

        Raises:
            msgspec.DecodeError: the file is damaged.
            ValueError: it was written by a newer version.
        """
        self.file = folder / NAME
        self.files: list[SealedFile] = []
        self.exists = self.file.exists()
        if self.exists:
            content = msgspec.json.decode(self.file.read_bytes(), type=_Content)
            if content.schema_version > SCHEMA_VERSION:
                raise ValueError(
                    f"{self.file} was written by a newer store (schema {content.schema_version}; this one knows "
                    f"{SCHEMA_VERSION}): run that version"
                )
            self.files = content.files

    def has(self, day: str, number: int) -> bool:
        """Return whether a file of this day and number is sealed."""
        return any(file.day == day and file.number == number for file in self.files)

    def next_number(self, day: str) -> int:
        """Return the number of the next file of a day."""
        return max((file.number for file in self.files if file.day == day), default=0) + 1

    def add(self, file: SealedFile) -> None:
        """Add a file that is on the disk already."""
        self._write([*self.files, file])

    def remove_before(self, day: str) -> list[SealedFile]:
        """Take the files of days before `day` off the list, and return them."""
        gone = [file for file in self.files if file.day < day]
        if gone:
            self._write([file for file in self.files if file.day >= day])
        return gone

    def _write(self, files: list[SealedFile]) -> None:
        files = sorted(files, key=lambda file: (file.day, file.number))
        fresh = self.file.with_suffix(".tmp")
        with fresh.open("wb") as out:
            out.write(msgspec.json.format(msgspec.json.encode(_Content(SCHEMA_VERSION, files)), indent=1))
            out.flush()
            os.fsync(out.fileno())
        fresh.rename(self.file)
        sync_folder(self.file.parent)
        self.files, self.exists = files, True


def sync_folder(folder: Path) -> None:
    """Make names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
