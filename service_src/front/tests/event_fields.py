"""The table of docs/event-fields.md, and what of an event has no row in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

PAGE = Path(__file__).resolve().parents[3] / "docs" / "event-fields.md"
_ROW = re.compile(r"^\| `([\w.]+)` \| ([^|]+) \| ([^|]+) \| (?:`(.*)`)? ?\| (original|0\.1\.0) \|$", re.MULTILINE)
_TYPES: dict[str, Any] = {
    "any": object, "list": list, "null": type(None), "number": (int, float), "object": dict, "object of text": dict,
    "text": str, "true or false": bool,
}  # fmt: skip


class Row(NamedTuple):
    """A row: the field, and the types that it may have."""

    field: str
    types: tuple[Any, ...]
    example: str

    def allows(self, value: Any) -> bool:
        """Return whether a value has one of the types."""
        return isinstance(value, self.types)


def rows() -> dict[str, Row]:
    """Return the rows by field."""
    text = PAGE.read_text(encoding="utf-8")
    found = [Row(field, _types(kinds), example) for field, kinds, _, example, _ in _ROW.findall(text)]
    assert len(found) == len(re.findall(r"^\| `", text, re.MULTILINE)), "a row cannot be read"
    assert len({row.field for row in found}) == len(found), "a field has two rows"
    return {row.field: row for row in found}


def _types(kinds: str) -> tuple[Any, ...]:
    return tuple(kind for word in kinds.split(", ") for kind in _flat(_TYPES[word]))


def _flat(kinds: Any) -> tuple[Any, ...]:
    return kinds if isinstance(kinds, tuple) else (kinds,)


def undocumented(event: dict[str, Any], *, whole: bool) -> list[str]:
    """Return the fields of an event without a row, or of another type. Without `whole`, `data` may have any fields."""
    known = rows()
    found: list[str] = []
    for field, value in fields_of(event, known):
        row = known.get(field)
        if field.startswith("data.") and not whole:
            continue
        if row is None or not row.allows(value):
            found.append(f"{field}: {json.dumps(value)}")
    return found


def fields_of(event: dict[str, Any], known: dict[str, Row], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the fields of an event, and of objects in it whose own fields have rows."""
    for name, value in event.items():
        field = f"{prefix}{name}"
        inner = isinstance(value, dict) and any(other.startswith(f"{field}.") for other in known)
        if not inner or field in known:
            yield field, value
        if inner:
            yield from fields_of(value, known, f"{field}.")
