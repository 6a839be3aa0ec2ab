"""What a listener could not deliver, as the page lists it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

SHOWN = 50


class Letter(msgspec.Struct, frozen=True):
    """One event that was not taken, why, and when (seconds since 1970, 0 when that is not known)."""

    id: str
    at: float
    reason: str
    whole: Any


class Queue(msgspec.Struct, frozen=True):
    """The dead letters of a service: how many there are, and the newest."""

    name: str
    total: int
    letters: list[Letter]


def may_have(row: Mapping[str, Any]) -> bool:
    """Tell whether a row of `/list` is of a listener: only those have events that they could not deliver."""
    register = row.get("register") or []
    return any(isinstance(item, Mapping) and item.get("role") == "listener" for item in register)


def queue(name: str, answer: Any) -> Queue | None:
    """Return the answer of `/dead_letters/<name>` as the page shows it; None when it is no such answer."""
    if not isinstance(answer, Mapping):
        return None
    listed = answer.get("letters")
    if not isinstance(listed, list):
        return None
    letters = [_letter(item) for item in listed[:SHOWN] if isinstance(item, Mapping)]
    total = answer.get("count")
    return Queue(name, total if isinstance(total, int) else len(listed), letters)


def _letter(item: Mapping[str, Any]) -> Letter:
    number = str(item.get("stream_id") or item.get("id") or "")
    reason = item.get("reason") or item.get("error") or "no reason was given"
    return Letter(number, _moment(item.get("at"), number), str(reason), item)


def _moment(at: Any, number: str) -> float:
    """Return when it was put aside: as it says (milliseconds), else by its stream id."""
    digits = str(at) if at is not None else number.partition("-")[0]
    return int(digits) / 1000 if digits.isascii() and digits.isdigit() and len(digits) == 13 else 0.0
