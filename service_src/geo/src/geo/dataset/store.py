"""The data file on its volume: opens it, replaces it by a new one, and sets a damaged one aside."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from geo.dataset.errors import BadData, QuotaReached, WrongChecksum
from geo.dataset.source import Fetched
from geo.dataset.state import Spent, State, Validator, load_state, save_state, utc_now

T = TypeVar("T")
_LOCAL = "local"


class Loaded(msgspec.Struct, Generic[T]):
    """A data file that was opened and checked.

    Attributes:
        value: the object for lookups.
        build_date: when its maker built it, if it says so.
        about: facts for health (kind, number of records …).
    """

    value: T
    build_date: datetime | None = None
    about: dict[str, Any] = {}


Loader = Callable[[Path], Loaded[T]]
"""Opens a file; raises BadData if it is invalid. Called in a thread."""
Checker = Callable[[Path], None]
"""Raises BadData if a new file is invalid: for checks that are too slow or too dangerous for each start.

After NotChecked the file stays, and is checked again later.
"""


class Store(Generic[T]):
    """One data file, its state beside it (``<file>.json``) and perhaps a refused one (``<file>.broken``)."""

    def __init__(self, path: Path, load: Loader[T], check: Checker | None = None) -> None:
        self.path = path
        self.broken = path.with_name(f"{path.name}.broken")
        self._load, self._check = load, check
        self._state_path = path.with_name(f"{path.name}.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.state: State = load_state(self._state_path)

    def save(self) -> None:
        """Write the state."""
        save_state(self._state_path, self.state)

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Return an empty folder on the same volume, so that a rename out of it is atomic; removed at the end."""
        for left in self.path.parent.glob(f".{self.path.name}.work-*"):
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=f".{self.path.name}.work-", dir=self.path.parent) as name:
            yield Path(name)

    def open(self) -> Loaded[T] | None:
        """Open the existing file; None if there is none.

        Raises:
            BadData: it is damaged; it was set aside, and will be fetched again.
        """
        if not self.path.is_file():
            self._forget()
            return None
        digest = _sha256(self.path)
        try:
            known = self.state.checked and digest == self.state.sha256
            loaded = self._open(self.path, check=not known)
        except BadData:
            self.path.replace(self.broken)
            self._forget()
            raise
        if digest != self.state.sha256:  # an operator has replaced the file
            self._describe(loaded, _LOCAL, f"file:{self.path}", digest, self.path.stat().st_size)
            self.state.validators = self._refused()
        if not known:
            self.state.checked = True
            with suppress(OSError):  # on a volume that cannot be written it is checked at each start
                self.save()
        return loaded

    def install(self, source: str, fetched: Fetched) -> Loaded[T]:
        """Unpack and check a fetched file, and replace the old one.

        Raises:
            BadData: it is invalid and was set aside. It is not downloaded again, unless only its checksum is wrong:
                then the next download may differ.
        """
        path = fetched.path
        try:
            path = fetched.unpack(path)
            loaded = self._open(path, check=True)
        except BadData as error:
            path.replace(self.broken)
            if not isinstance(error, WrongChecksum):
                fetched.validator.refused = str(error)
                self.state.validators[source] = fetched.validator
                self.save()
            raise
        before = msgspec.structs.replace(self.state)
        self._describe(loaded, source, fetched.origin, _sha256(path), path.stat().st_size)
        self.state.validators = {**self._refused(), source: fetched.validator}
        try:
            path.chmod(0o644)
            _sync(path)
            # The state first: a crash after the rename would leave a file of unknown origin, to be fetched again.
            self.save()
            path.replace(self.path)
        except OSError:
            self.state = before
            raise
        _sync(self.path.parent)
        return loaded

    def _open(self, path: Path, *, check: bool) -> Loaded[T]:
        if check and self._check is not None:
            self._check(path)
        return self._load(path)

    def spend(self, account: str, limit: int) -> None:
        """Count one download of today against an account's limit, on disk before it happens.

        Raises:
            QuotaReached: the limit is reached.
        """
        today = utc_now().date().isoformat()
        spent = self.state.spent.get(account)
        count = spent.count if spent and spent.day == today else 0
        if count >= limit:
            raise QuotaReached(f"{account}: {count} downloads today, {limit} are allowed; next attempt tomorrow (UTC)")
        self.state.spent[account] = Spent(today, count + 1)
        self.save()

    def _describe(self, loaded: Loaded[T], source: str, origin: str, digest: str, size: int) -> None:
        self.state.source, self.state.origin = source, origin
        self.state.sha256, self.state.size, self.state.checked = digest, size, True
        self.state.fetched_at = utc_now().isoformat(timespec="seconds")
        self.state.build_date = loaded.build_date.isoformat(timespec="seconds") if loaded.build_date else ""

    def _forget(self) -> None:
        self.state = State(spent=self.state.spent, validators=self._refused())

    def _refused(self) -> dict[str, Validator]:
        return {name: known for name, known in self.state.validators.items() if known.refused}

    def validator(self, source: str) -> Validator:
        """Return the stored facts about a source's last file."""
        return self.state.validators.get(source) or Validator()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
