"""Sources of data: their interface, and the two simple ones, a URL and a file."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec

from geo.dataset.errors import SourceError, SourceNotFound
from geo.dataset.http import Http, safe_url
from geo.dataset.state import Validator
from geo.dataset.unpack import unpack


class Visit(msgspec.Struct):
    """The context of one request to a source.

    Attributes:
        http: the HTTP client.
        folder: an empty folder on the volume of the data file, removed afterwards.
        last: the stored facts about this source's last file.
        spend: call ``spend(account, limit)`` before what counts against a daily quota.
    """

    http: Http
    folder: Path
    last: Validator
    spend: Callable[[str, int], None]


def as_it_is(path: Path) -> Path:
    """Return the file itself, which is not packed."""
    return path


class Fetched(msgspec.Struct):
    """A downloaded or copied file.

    Attributes:
        path: its path.
        origin: its origin, without secrets.
        validator: how to ask for a newer one.
        unpack: called with ``path`` in a thread, returns the data file in it. Raises BadData when there is none,
            WrongChecksum when it is not what the source promised. Not the source's own work, so that a file which
            fails here is put aside and remembered like one that cannot be opened.
    """

    path: Path
    origin: str
    validator: Validator
    unpack: Callable[[Path], Path] = as_it_is


class Source(Protocol):
    """A source of data."""

    @property
    def name(self) -> str:
        """Its name in settings and health."""

    def disabled(self) -> str:
        """Return why it is disabled, or an empty string."""

    async def fetch(self, visit: Visit) -> Fetched | None:
        """Fetch the newest file; None if it is still that of ``visit.last``.

        Raises:
            DatasetError: the source is unavailable or has nothing usable.
        """


class Url:
    """A file at a URL, with conditional requests (ETag, Last-Modified)."""

    def __init__(self, url: str | None, *, name: str = "url", member: str = "*") -> None:
        self.name = name
        self._url = (url or "").strip()
        self._member = member

    def disabled(self) -> str:
        """Return why it is disabled, or an empty string."""
        return "" if self._url else "no URL is set"

    async def fetch(self, visit: Visit) -> Fetched | None:
        """Download the file unless it is unchanged."""
        answer = await visit.http.download(self._url, visit.folder / "download", last=visit.last)
        if answer is None:
            return None
        mark = f"sha256:{answer.sha256}"
        if mark == visit.last.mark:  # the server does not support conditional requests
            return None
        answer.validator.mark = mark
        return Fetched(answer.path, safe_url(self._url), answer.validator, partial(unpack, member=self._member))


class File:
    """A file that is already on this host: a bundle, a mount, or one that the operator pins."""

    def __init__(self, path: str | Path | None, *, name: str = "file", member: str = "*") -> None:
        self.name = name
        self._path = Path(path) if path else None
        self._member = member

    def disabled(self) -> str:
        """Return why it is disabled, or an empty string."""
        return "" if self._path else "no file is set"

    async def fetch(self, visit: Visit) -> Fetched | None:
        """Copy the file unless its size and time are unchanged."""
        if self._path is None:
            raise SourceError("no file is set")
        return await asyncio.to_thread(self._copy, self._path, visit)

    def _copy(self, path: Path, visit: Visit) -> Fetched | None:
        try:
            stat = path.stat()
            mark = f"{stat.st_size}:{stat.st_mtime_ns}"
            if mark == visit.last.mark:
                return None
            copy = Path(shutil.copyfile(path, visit.folder / "copy"))
        except FileNotFoundError as error:
            raise SourceNotFound(f"{path} does not exist; put the file there or set another path") from error
        except OSError as error:
            raise SourceError(f"{path} cannot be read: {error.strerror}; check its owner and mode") from error
        return Fetched(copy, f"file:{path}", Validator(mark=mark), partial(unpack, member=self._member))
