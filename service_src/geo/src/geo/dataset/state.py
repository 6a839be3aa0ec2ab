"""The state of a data file that survives restarts: a small JSON file beside it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec


class Validator(msgspec.Struct):
    """How to ask a source for a newer file.

    ``etag`` and ``last_modified`` are HTTP's; ``mark`` is any text by which a source knows its own file (a hash, a
    version). ``refused`` says why that file was refused, so that it is not downloaded again.
    """

    etag: str = ""
    last_modified: str = ""
    mark: str = ""
    refused: str = ""


class Spent(msgspec.Struct):
    """Downloads from one account on one day (UTC)."""

    day: str
    count: int


class State(msgspec.Struct):
    """The stored state. Times are ISO 8601 in UTC; no field contains a secret.

    ``checked``: the file with this hash has passed its check, which need not be repeated.
    """

    source: str = ""
    origin: str = ""
    fetched_at: str = ""
    build_date: str = ""
    sha256: str = ""
    checked: bool = False
    size: int = 0
    checked_at: str = ""
    next_check: str = ""
    asked: list[str] = []
    failures: int = 0
    errors: dict[str, str] = {}
    validators: dict[str, Validator] = {}
    spent: dict[str, Spent] = {}


def utc_now() -> datetime:
    """Return the time, aware, in UTC."""
    return datetime.now(UTC)


def load_state(path: Path) -> State:
    """Read the state; a missing or unreadable file is an empty state, because it can be rebuilt."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=State)
    except (OSError, msgspec.DecodeError):
        return State()


def save_state(path: Path, state: State) -> None:
    """Write the state so that a crash leaves either the old one or the new one."""
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(state), indent=2))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def age_days(iso: str, now: datetime | None = None) -> float | None:
    """Return the days since an ISO date, or None when there is none."""
    try:
        then = datetime.fromisoformat(iso)
    except ValueError:
        return None
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return round(((now or utc_now()) - then).total_seconds() / 86400, 1)
