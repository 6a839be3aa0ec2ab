"""Events of the stream as the page lists them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

MAX_PATH = 120
"""Characters of a page's path in the list of events."""


class EventItem(msgspec.Struct, frozen=True):
    """One event: its place in the stream, when it came (seconds since 1970), its key, what is known of its sender."""

    stream_id: str
    at: float
    key: str
    about: str
    id: str
    event: Any


def item(stored: Mapping[str, Any]) -> EventItem:
    """Return an entry of `/events` as the page shows it; whatever an event holds, this does not fail."""
    stream_id = str(stored["stream_id"])
    event = stored.get("event")
    body: Mapping[str, Any] = event if isinstance(event, Mapping) else {}
    number = body.get("id")
    return EventItem(
        stream_id=stream_id,
        at=_milliseconds(stream_id) / 1000,
        key=str(body.get("key") or "no key").removeprefix("in.gen."),
        about=" · ".join(_about(body)),
        id=number if isinstance(number, str) and number.isascii() and number.isdigit() else "",
        event=event,
    )


def _milliseconds(stream_id: str) -> int:
    digits = stream_id.partition("-")[0]
    return min(int(digits), 253_402_300_000_000) if digits.isascii() and digits.isdigit() else 0


def _about(body: Mapping[str, Any]) -> Iterator[str]:
    page = page_of(body)
    yield from [page] if page else []
    place = about_of("mmgeo", body) or about_of("sxgeo", body)
    yield from [place] if place else []
    device = about_of("uaparser", body)
    yield from [device] if device else []


def page_of(body: Mapping[str, Any]) -> str:
    """Return the path of the page that an event was sent from, without its query; nothing where it does not tell."""
    data = body.get("data")
    page = data.get("page") if isinstance(data, Mapping) else None
    url = page.get("url") if isinstance(page, Mapping) else None
    if not isinstance(url, str) or "://" not in url:
        return ""
    path = "/" + url.partition("://")[2].partition("/")[2]
    return path.partition("?")[0].partition("#")[0][:MAX_PATH]


def about_of(service: str, body: Mapping[str, Any]) -> str:
    """Return what an enricher found, in a few words; nothing for what it does not know."""
    data = body.get("data")
    found = data.get(service) if isinstance(data, Mapping) else None
    if not isinstance(found, Mapping):
        return ""
    place = ", ".join(str(found[key]) for key in ("city_en", "country_en") if found.get(key))
    return place or " on ".join(str(found[key]) for key in ("browser_family", "os_family") if found.get(key))
