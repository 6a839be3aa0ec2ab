"""Nested data of an event → flat properties within Mixpanel's limits."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

MAX_PROPERTIES = 240
"""Mixpanel takes fewer than 255; the difference is for those that we add."""
MAX_TEXT = 255
MAX_ITEMS = 254
MAX_DEPTH = 16

Scalar = str | int | float | bool
_MAX_INT = 2**63 - 1


def flatten(data: Mapping[str, Any], skip: frozenset[str] = frozenset()) -> Iterator[tuple[str, Any]]:
    """Yield `("page.url", value)` for every leaf of `data`, without the top-level keys in `skip` and without nulls.

    Names beginning with `$` or `mp_` are Mixpanel's own; a visitor's are moved under `data.`, so that nobody can write
    another's `$city` or `$insert_id` from a browser.
    """
    for key, value in data.items():
        if key not in skip:
            name = f"data.{key}" if key.startswith(("$", "mp_")) or key in _OURS else key
            yield from _leaves(name, value, 1)


_OURS = frozenset({"time", "distinct_id", "token", "ip", "insert_id", "event"})


def _leaves(name: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        if depth >= MAX_DEPTH:
            yield name, as_text(value)
            return
        for key, inner in value.items():
            yield from _leaves(f"{name}.{key}", inner, depth + 1)
    elif value is not None:
        yield name[:MAX_TEXT], leaf(value)


def leaf(value: Any) -> Any:
    """One value as Mixpanel keeps it: texts and lists cut, what is deeper than a list of scalars as JSON text."""
    if isinstance(value, str):
        return value[:MAX_TEXT]
    if isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if -_MAX_INT <= value <= _MAX_INT else str(value)[:MAX_TEXT]
    if isinstance(value, list | tuple):
        return [as_text(item) if isinstance(item, list | tuple | Mapping) else leaf(item) for item in value[:MAX_ITEMS]]
    return value if value is None else as_text(value)


def as_text(value: Any) -> str:
    """JSON text of a nested value, cut at 255 characters."""
    try:
        return msgspec.json.encode(value).decode()[:MAX_TEXT]
    except (TypeError, ValueError, RecursionError):
        return str(type(value).__name__)
