"""An event of the stream → a row of the store. The same event always gives the same row."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import accumulate
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from band.platform import encode
from store.columns import SCHEMA_VERSION

Row = dict[str, Any]

MAX_TEXT: Final = 1024
"""Characters of a column's text; `data` has the whole."""
MAX_DATA_BYTES: Final = 12 << 10
"""Bytes of `data`. DuckDB holds 2,048 rows at once in memory, several times: anybody could fill it with long ones."""
_LATEST_MS: Final = 10**14
"""A time behind the year 5138 is none."""
_FLAKE_SHIFT: Final = 22
_MAX_ID: Final = 2**63
_REMEMBERED: Final = 1024
_URL_READ: Final = 2048
_CAMPAIGN: Final = ("utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content")
_IN_COLUMNS: Final = frozenset({"uid", "service", "name", "projectId", "id__"})
"""Fields of `data` that repeat those of the event."""


class UnusableEvent(ValueError):
    """An event that no row can be made of; the text says why."""


def to_row(event: Mapping[str, Any]) -> Row:
    """Return the row of an event. UnusableEvent when it has no id of front's."""
    number = event_id(event)
    data = _mapping(event.get("data"))
    received = number >> _FLAKE_SHIFT
    page, agent = _mapping(data.get("page")), _mapping(data.get("uaparser"))
    session, user = _mapping(data.get("sess")), _mapping(data.get("user"))
    url = _text(page.get("url")) or _text(_mapping(event.get("td")).get("ref"))
    host, path = _address(url[:_URL_READ])
    place = _place(data)
    row: Row = {
        "id": number,
        "project": _text(event.get("project")) or "default",
        "project_id": _id_text(event.get("projectId", data.get("projectId"))),
        "time": _time(event.get("time"), received),
        "received": received,
        "key": _text(event.get("key")),
        "service": _text(event.get("service")),
        "name": _text(event.get("name")),
        "channel": _text(event.get("channel")),
        "uid": _id_text(event.get("uid")),
        "anonymous_id": _id_text(user.get("anonymousId")),
        "session": _number(session.get("num")),
        "url_host": host,
        "url_path": path,
        "title": _text(page.get("title")),
        "ref_host": _address(_text(page.get("ref"))[:_URL_READ])[0],
        **_campaign(session, url),
        "country": _text(place.get("country_iso")),
        "region": _text(place.get("region_en")),
        "city": _text(place.get("city_en")),
        "os": _family(agent.get("os_family")),
        "os_version": _version(agent.get("os_version")),
        "browser": _family(agent.get("browser_family")),
        "browser_version": _version(agent.get("browser_version")),
        "device": _device(agent),
        "bot": bool(agent.get("is_bot")),
        "bot_reason": _text(agent.get("bot_reason")),
        "privacy": " ".join(map(str, _list(event.get("privacy")))),
        "dedup": _text(event.get("dedup")),
        "schema": SCHEMA_VERSION,
        "data": _rest(data),
    }
    return row


def event_id(event: Mapping[str, Any]) -> int:
    """Return the event's id as a number. UnusableEvent when it has none."""
    text = str(event.get("id") or "")
    if not (text.isascii() and text.isdigit() and 0 < int(text[:20]) < _MAX_ID):
        raise UnusableEvent(f"the event has no id of front's (64 bits as digits), but {text[:40]!r}")
    return int(text)


def _rest(data: Mapping[str, Any]) -> str:
    """Return what has no column; if it is too long, its smaller fields, and how many were `cut`."""
    fields = {name: value for name, value in data.items() if name not in _IN_COLUMNS}
    try:
        whole = encode(fields)
        if len(whole) <= MAX_DATA_BYTES:
            return whole.decode()
        sizes = sorted((len(encode({name: value})), name) for name, value in fields.items())
    except (TypeError, ValueError, RecursionError) as error:
        raise UnusableEvent(f"the event's data cannot be written as JSON: {error}"[:300]) from None
    kept = {
        name: fields[name]
        for (_, name), end in zip(sizes, accumulate(size for size, _ in sizes), strict=True)
        if end <= MAX_DATA_BYTES
    }
    return encode({**kept, "cut": len(fields) - len(kept)}).decode()


def _time(value: Any, received: int) -> int:
    ours = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < _LATEST_MS
    return int(value) if ours else received


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value[:MAX_TEXT] if isinstance(value, str) else ""


def _id_text(value: Any) -> str:
    return str(value)[:MAX_TEXT] if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _MAX_ID else None


def _family(value: Any) -> str:
    text = _text(value)
    return "" if text == "Other" else text


def _version(value: Any) -> str:
    return ".".join(map(str, value))[:MAX_TEXT] if isinstance(value, list) else _text(value)


def _device(agent: Mapping[str, Any]) -> str:
    kinds = (("is_tablet", "tablet"), ("is_mob", "mobile"), ("is_pc", "desktop"))
    return next((word for flag, word in kinds if agent.get(flag)), "")


def _place(data: Mapping[str, Any]) -> Mapping[str, Any]:
    found = (_mapping(data.get(source)) for source in ("mmgeo", "sxgeo"))
    return next((place for place in found if place.get("country_iso")), {})


def _campaign(session: Mapping[str, Any], url: str) -> Row:
    """Return the marks of a campaign: those that the session says, then those of the address."""
    marks, own = _mapping(session.get("marks")), _marks(url[:_URL_READ])
    return {name: _text(marks.get(name)) or own.get(name, "") for name in _CAMPAIGN}


@lru_cache(maxsize=_REMEMBERED)
def _address(url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(url)
        return (parts.hostname or "").removeprefix("www."), parts.path[:MAX_TEXT]
    except ValueError:
        return "", ""


@lru_cache(maxsize=_REMEMBERED)
def _marks(url: str) -> Mapping[str, str]:
    if "utm_" not in url:
        return {}
    try:
        return {name: value[:MAX_TEXT] for name, value in parse_qsl(urlsplit(url).query, max_num_fields=100)}
    except ValueError:
        return {}
