"""What Mixpanel takes and what it refuses, record by record.

From Mixpanel's public documentation of `/import` (limits of the event model, refused ids, time). Where its documents
disagree (2 MB or 10 MB a request, `insert_id` or `$insert_id` in an answer) the double can be told which to follow.
"""

import re
import time
from collections.abc import Mapping
from typing import Any

import msgspec

MAX_EVENTS = 2000
MAX_BODY = 2_097_152
MAX_EVENT_BYTES = 1_048_576
MAX_PROPERTIES = 255
MAX_DEPTH = 3
MAX_ITEMS = 255
_FIRST_TIME = 0
_FUTURE_SECONDS = 3600
# Seconds stay below this until the year 5138; milliseconds passed it in March 1973.
_MILLISECONDS_FROM = 100_000_000_000
_YEAR_1971 = 31_536_000
_INSERT_ID = re.compile(r"[A-Za-z0-9-]{1,36}")
REFUSED = frozenset(
    {
        "anon", "anonymous", "nil", "none", "null", "n/a", "na", "undefined", "unknown", "<nil>", "0", "-1", "true",
        "false", "[]", "{}", "00000000-0000-0000-0000-000000000000",
    }
)  # fmt: skip

Complaint = tuple[str, str]
"""The field, and what is wrong with it."""


def complaint(record: Any, now: float | None = None) -> Complaint | None:
    """Why Mixpanel refuses `record` with `strict=1`; None when it takes it."""
    if not isinstance(record, Mapping):
        return "", "must be an object"
    if not isinstance(record.get("event"), str) or not record["event"]:
        return "event", "'event' is required and must be a string"
    properties = record.get("properties")
    if not isinstance(properties, Mapping):
        return "properties", "'properties' is required and must be an object"
    if set(record) - {"event", "properties"}:
        return "", "unexpected fields beside 'event' and 'properties'"
    return (
        _time(properties.get("time"), time.time() if now is None else now)
        or _distinct_id(properties)
        or _insert_id(properties.get("$insert_id"))
        or _limits(record, properties)
    )


def seconds(value: float) -> float:
    """A `time` property in seconds, whichever of the two units it came in."""
    return value / 1000 if value >= _MILLISECONDS_FROM else float(value)


def _time(value: Any, now: float) -> Complaint | None:
    field = "properties.time"
    if not isinstance(value, int) or isinstance(value, bool):
        return field, "'properties.time' is invalid: must be specified as seconds since epoch"
    if seconds(value) < _YEAR_1971:
        return field, "'properties.time' is invalid: must be after 1971-01-01"
    if seconds(value) > now + _FUTURE_SECONDS:
        return field, "'properties.time' is invalid: must not be more than 1 hour in the future"
    return None


def _distinct_id(properties: Mapping[str, Any]) -> Complaint | None:
    field = "properties.distinct_id"
    value = properties.get("distinct_id")
    if not isinstance(value, str):
        return field, "'properties.distinct_id' is required and must be a string"
    if value.lower() in REFUSED:
        return field, f"'properties.distinct_id' is invalid: {value!r} is not allowed"
    return None


def _insert_id(value: Any) -> Complaint | None:
    field = "properties.$insert_id"
    if not isinstance(value, str) or not value:
        return field, "'properties.$insert_id' is required and must be a string"
    if not _INSERT_ID.fullmatch(value):
        return field, "'properties.$insert_id' is invalid: at most 36 letters, digits and dashes"
    if value.lower() in REFUSED:
        return field, f"'properties.$insert_id' is invalid: {value!r} is not allowed"
    return None


def _limits(record: Mapping[str, Any], properties: Mapping[str, Any]) -> Complaint | None:
    if len(properties) >= MAX_PROPERTIES:
        return "properties", f"{len(properties)} properties; fewer than {MAX_PROPERTIES} are allowed"
    if len(msgspec.json.encode(record)) >= MAX_EVENT_BYTES:
        return "", "event exceeds 1 MB"
    for name, value in properties.items():
        if trouble := _nesting(value, 1):
            return f"properties.{name}", trouble
    return None


def _nesting(value: Any, depth: int) -> str:
    if isinstance(value, Mapping | list):
        if depth > MAX_DEPTH:
            return f"nested deeper than {MAX_DEPTH}"
        if len(value) >= MAX_ITEMS:
            return f"{len(value)} items; fewer than {MAX_ITEMS} are allowed"
        for inner in value.values() if isinstance(value, Mapping) else value:
            if trouble := _nesting(inner, depth + 1):
                return trouble
    return ""
