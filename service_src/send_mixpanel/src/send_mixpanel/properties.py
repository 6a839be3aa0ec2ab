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
        if key not in skip:
            name = f"data.{key}" if key.startswith(("$", "mp_")) or key in _OURS else key
            _add_leaves(found, name, value, 1)
    return found


_OURS = frozenset({"time", "distinct_id", "token", "ip", "insert_id", "event"})


def _add_leaves(found: list[tuple[str, Any]], name: str, value: Any, depth: int) -> None:
    if isinstance(value, dict):
        if depth >= MAX_DEPTH:
            found.append((name, as_text(value)))
            return
        for key, inner in value.items():
            _add_leaves(found, f"{name}.{key}", inner, depth + 1)
    elif value is not None:
        found.append((name[:MAX_TEXT], leaf(value)))


def leaf(value: Any) -> Any:
    """One value as Mixpanel keeps it: texts and lists cut, what is deeper than a list of scalars as JSON text.

    Events come out of JSON: there is no other mapping than `dict`, and asking for that one is cheap.
    """
    if isinstance(value, str):
        return value[:MAX_TEXT]
    if isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if -_MAX_INT <= value <= _MAX_INT else str(value)[:MAX_TEXT]
    if isinstance(value, list):
        return [as_text(item) if isinstance(item, list | dict) else leaf(item) for item in value[:MAX_ITEMS]]
    return value if value is None else as_text(value)


def as_text(value: Any) -> str:
    """JSON text of a nested value, cut at 255 characters."""
    try:
        return encode(value).decode()[:MAX_TEXT]
    except (TypeError, ValueError, RecursionError):
        return str(type(value).__name__)
