"""JSON as HTML for people: indented, keys and kinds of values told apart. Everything in it is escaped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from markupsafe import Markup, escape

DEEPEST = 32
LONGEST = 200_000
"""Characters of HTML; what is beyond is left out, and said so."""


def pretty(value: Any) -> Markup:
    """Return a JSON-like value as HTML to stand in a `<pre>`."""
    parts: list[str] = []
    size = 0
    for part in _value(value, 0):
        size += len(part)
        if size > LONGEST:
            parts.append('\n<span class="j-cut">… the rest is left out</span>')
            break
        parts.append(part)
    return Markup("".join(parts))  # noqa: S704 - each part is escaped, or ours


def _value(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, dict) and value:
        yield from _block("{", "}", ((_key(key), item) for key, item in value.items()), depth)
    elif isinstance(value, list | tuple) and value:
        yield from _block("[", "]", (("", item) for item in value), depth)
    else:
        yield _scalar(value)


def _block(begin: str, end: str, items: Iterator[tuple[str, Any]], depth: int) -> Iterator[str]:
    if depth >= DEEPEST:
        yield f'{begin}<span class="j-cut">…</span>{end}'
        return
    yield begin
    comma = ""
    for label, item in items:
        yield f"{comma}\n{'  ' * (depth + 1)}{label}"
        yield from _value(item, depth + 1)
        comma = ","
    yield f"\n{'  ' * depth}{end}"


def _key(key: Any) -> str:
    return f'<span class="j-key">{_text(str(key))}</span>: '


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return f'<span class="j-str">{_text(value)}</span>'
    if isinstance(value, bool) or value is None:
        return f'<span class="j-lit">{_text(value)}</span>'
    return f'<span class="j-num">{_text(value)}</span>'


def _text(value: Any) -> str:
    return str(escape(msgspec.json.encode(value).decode()))
