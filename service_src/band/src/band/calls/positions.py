"""Positions in the stream of events, as people write them: an end, a time, or the id of an entry."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

BEGINNING: Final = "beginning"
NOW: Final = "now"
Given = str | int | float | datetime
_LAST: Final = 2**64 - 1
"""The largest number in an id: Redis refuses a command with a larger one."""
_ID: Final = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")
_MILLISECONDS: Final = re.compile(r"[0-9]{11,14}")
_SECONDS: Final = re.compile(r"[0-9]{9,10}(\.[0-9]{1,9})?")


def first_id(given: Given) -> str:
    """Return the first id of a range; ``$`` for "now", after all existing entries.

    Args:
        given: ``beginning``, ``now``, a time (a ``datetime``; ISO 8601, UTC if it has no zone; seconds or milliseconds
            since 1970), or an entry's id.

    Raises:
        ValueError: it is none of these.
    """
    return _read(given, now="$", number=0)


def last_id(given: Given) -> str:
    """Return the last id of a range, inclusive; ``+`` for "now". Otherwise as :func:`first_id`."""
    return _read(given, now="+", number=_LAST)


def group_start(given: Given) -> str:
    """Return the id after which a new group starts, so that it first gets the entry at the position."""
    first = first_id(given)
    return first if first == "$" else before(first)


def before(stream_id: str) -> str:
    """Return the id before one: a group that starts there first gets that one."""
    milliseconds, number = order(stream_id)
    return f"{milliseconds}-{number - 1}" if number else f"{max(0, milliseconds - 1)}-{_LAST if milliseconds else 0}"


def order(stream_id: str) -> tuple[int, int]:
    """Return an entry's id as numbers, which compare as in Redis."""
    milliseconds, _, number = stream_id.partition("-")
    return int(milliseconds), int(number or 0)


def _read(given: Given, *, now: str, number: int) -> str:
    text = given.isoformat() if isinstance(given, datetime) else str(given).strip()
    if text in (BEGINNING, NOW):
        return now if text == NOW else "0-0"
    if _ID.fullmatch(text) and max(order(text)) <= _LAST:
        return text
    return f"{_milliseconds(text)}-{number}"


def _milliseconds(text: str) -> int:
    if _MILLISECONDS.fullmatch(text):
        return int(text)
    if _SECONDS.fullmatch(text):
        return int(float(text) * 1000)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or not text[:1].isdigit() or "-" not in text:
        raise ValueError(
            f"{text[:50]!r} is not a place in the stream; give beginning, now, a time as in 2026-11-27T09:30, "
            "milliseconds since 1970, or an entry's id as in 1795470000000-0"
        )
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0, int(moment.timestamp() * 1000))
