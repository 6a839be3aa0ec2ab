"""Nested data of an event → flat properties within Mixpanel's limits."""

from collections.abc import Mapping
from typing import Any

from band.platform import encode

MAX_PROPERTIES = 240
"""Mixpanel takes fewer than 255; the difference is for those that we add."""
MAX_TEXT = 255
MAX_ITEMS = 254
MAX_DEPTH = 16

_MAX_INT = 2**63 - 1


def flatten(data: Mapping[str, Any], skip: frozenset[str] = frozenset()) -> list[tuple[str, Any]]:
    """`("page.url", value)` for every leaf of `data`, without the top-level keys in `skip` and without nulls.

    Names beginning with `$` or `mp_` are Mixpanel's own; a visitor's are moved under `data.`, so that nobody can write
    another's `$city` or `$insert_id` from a browser.
    """
    found: list[tuple[str, Any]] = []
    for key, value in data.items():
        if key in skip or value is None:
            continue
        name = f"data.{key}" if key in _OURS or key.startswith(("$", "mp_")) else key
        if type(value) is dict:
            _add_leaves(found, name, value, 1)
        else:
            found.append((name[:MAX_TEXT], leaf(value)))
    return found


_OURS = frozenset({"time", "distinct_id", "token", "ip", "insert_id", "event"})


def _add_leaves(found: list[tuple[str, Any]], name: str, data: dict[str, Any], depth: int) -> None:
    if depth >= MAX_DEPTH:
        found.append((name, as_text(data)))
        return
    for key, value in data.items():
        if type(value) is dict:
            _add_leaves(found, f"{name}.{key}", value, depth + 1)
        elif value is not None:
            found.append((f"{name}.{key}"[:MAX_TEXT], leaf(value)))


def leaf(value: Any) -> Any:
    """One value as Mixpanel keeps it: texts and lists cut, what is deeper than a list of scalars as JSON text.

    Events come out of JSON: there are no types but its own, and asking for the type itself is cheap.
    """
    kind = type(value)
    if kind is str:
        return value[:MAX_TEXT]
    if kind is int:
        return value if -_MAX_INT <= value <= _MAX_INT else str(value)[:MAX_TEXT]
    if value is None or kind is bool or kind is float:
        return value
    if kind is list:
        return [as_text(item) if type(item) in (list, dict) else leaf(item) for item in value[:MAX_ITEMS]]
    return as_text(value)


def as_text(value: Any) -> str:
    """JSON text of a nested value, cut at 255 characters."""
    try:
        return encode(value).decode()[:MAX_TEXT]
    except (TypeError, ValueError, RecursionError):
        return str(type(value).__name__)
