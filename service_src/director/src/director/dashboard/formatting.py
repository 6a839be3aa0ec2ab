"""Numbers, times, states and JSON as people read them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
from markupsafe import Markup, escape

_MIB = 1024 * 1024


class Look(msgspec.Struct, frozen=True):
    """How a state is shown: a word, a tone (colour) and an icon (shape), so that no one of them is needed alone."""

    word: str
    tone: str
    icon: str
    trouble: bool = False


_LOOKS = {
    "ok": Look("running", "ok", "ok"),
    "starting": Look("starting", "info", "wait"),
    "degraded": Look("degraded", "warn", "warn", trouble=True),
    "failing": Look("failing", "bad", "bad", trouble=True),
    "crashing": Look("crashing", "bad", "crash", trouble=True),
    "crashed": Look("crashed", "bad", "crash", trouble=True),
    "stopped": Look("stopped", "idle", "stop"),
}
_LOST = Look("missing", "bad", "bad", trouble=True)


def look(health: str, wanted: str) -> Look:
    """Return how a service is shown, from `health` of `/list` and its desired state."""
    found = _LOOKS.get(health) or Look(health or "unknown", "warn", "warn", trouble=True)
    return _LOST if health == "stopped" and wanted == "running" else found


_LEVEL = re.compile(r'\[(error|critical|warning)\s*\]|"level": ?"(error|critical|warning)"', re.IGNORECASE)
_STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?\s+")


def level(text: str) -> str:
    """Return `error` or `warning` for a log line that says it is one, else nothing; `static/log.js` does the same."""
    found = _LEVEL.search(text)
    return "" if found is None else "warning" if "warning" in found[0].lower() else "error"


_RELEASE_TONES = {"current": "ok", "good": "idle", "failed": "bad", "rolled_back": "warn"}


def release_tone(state: str) -> str:
    """Return the colour of a release's state."""
    return _RELEASE_TONES[state]


def without_stamp(text: str) -> str:
    """Return a log line without its leading timestamp, which the page shows separately."""
    return _STAMP.sub("", text)


def duration(seconds: float | None) -> str:
    """Return `42 s`, `12 min`, `3 h 12 min`, `5 d 3 h`; a dash for none."""
    if seconds is None or seconds < 0:
        return "–"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def mebibytes(size: float | None) -> str:
    """Return bytes as MiB or GiB with as many digits as matter."""
    if size is None:
        return "–"
    if size >= 1024 * _MIB:
        return f"{size / _MIB / 1024:.1f} GiB"
    return f"{size / _MIB:.1f} MiB" if size < 10 * _MIB else f"{size / _MIB:.0f} MiB"


def percent(value: float | None) -> str:
    """Return a share such as `0.4 %`; a dash for none."""
    if value is None:
        return "–"
    return f"{value:.1f} %" if value < 10 else f"{value:.0f} %"


def milliseconds(value: Any) -> str:
    """Return `0.42 ms`, `12 ms`, `1.3 s`; a dash if it is not a number."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return "–"
    if value == 0:
        return "0 ms"
    if value >= 1000:
        return f"{value / 1000:.1f} s" if value < 60_000 else duration(value / 1000)
    return f"{value:.2f} ms" if value < 1 else f"{value:.1f} ms" if value < 10 else f"{value:.0f} ms"


def count(value: Any, one: str, many: str = "") -> str:
    """Return `1 restart`, `1,200 restarts`."""
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def clock(moment: float) -> str:
    """Return a moment (seconds since 1970) as `2026-11-24 02:35:10 UTC`; scripts make it local time."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def stamp(moment: float) -> str:
    """Return a moment (seconds since 1970) in ISO 8601, for machines."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")


DEEPEST = 32
LONGEST = 200_000
"""Characters of HTML; the rest is cut, with a note."""


def pretty(value: Any) -> Markup:
    """Return a JSON-like value as HTML to stand in a `<pre>`."""
    parts: list[str] = []
    size = 0
    for part in _value(value, 0):
        size += len(part)
        if size > LONGEST:
            parts.append('\n<span class="j-cut">… the rest is not shown</span>')
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
