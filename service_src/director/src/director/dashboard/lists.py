"""What the page lists: events, dead letters, image folders, releases, the variables of a form. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec

from director.api.schemas import ServiceRow
from director.redact import MASK, is_secret
from director.state.event_stream import StoredEvent
from director.state.store import stream_order

MAX_PATH = 120
"""Characters of a page's path in the list of events."""


MAX_MILLISECONDS = 253_402_300_000_000
"""The last day that the calendar of Python knows."""


class EventItem(msgspec.Struct, frozen=True):
    """One event: its stream id, arrival (seconds since 1970), key, and what is known about its sender."""

    stream_id: str
    at: float
    key: str
    about: str
    id: str
    event: Any


def item(stored: StoredEvent) -> EventItem:
    """Return an entry of `/events` as the page shows it; malformed events do not raise."""
    body: Mapping[str, Any] = stored.event if isinstance(stored.event, Mapping) else {}
    number = body.get("id")
    return EventItem(
        stream_id=stored.stream_id,
        at=min(stream_order(stored.stream_id)[0], MAX_MILLISECONDS) / 1000,
        key=str(body.get("key") or "no key").removeprefix("in.gen."),
        about=" · ".join(_about(body)),
        id=number if isinstance(number, str) and number.isascii() and number.isdigit() else "",
        event=stored.event,
    )


def _about(body: Mapping[str, Any]) -> Iterator[str]:
    page = page_of(body)
    yield from [page] if page else []
    place = about_of("mmgeo", body) or about_of("sxgeo", body)
    yield from [place] if place else []
    device = about_of("uaparser", body)
    yield from [device] if device else []


def page_of(body: Mapping[str, Any]) -> str:
    """Return the path of the page that sent an event, without its query; empty if unknown."""
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


SHOWN = 50


class Letter(msgspec.Struct, frozen=True):
    """One dead letter, its reason, and its time (seconds since 1970, 0 if unknown)."""

    id: str
    at: float
    reason: str
    whole: Any


class Queue(msgspec.Struct, frozen=True):
    """The dead letters of a service: how many there are, and the newest."""

    name: str
    total: int
    letters: list[Letter]


def may_have_letters(row: ServiceRow) -> bool:
    """Return whether a row of `/list` belongs to a listener: only those have dead letters."""
    register = row.register or []
    return any(isinstance(item, Mapping) and item.get("role") == "listener" for item in register)


def queue(name: str, answer: Any) -> Queue | None:
    """Return the response of `/dead_letters/<name>` as the page shows it; None if it is malformed."""
    if not isinstance(answer, Mapping):
        return None
    listed = answer.get("letters")
    if not isinstance(listed, list):
        return None
    letters = [_letter(item) for item in listed[:SHOWN] if isinstance(item, Mapping)]
    total = answer.get("count")
    return Queue(name, total if isinstance(total, int) else len(listed), letters)


def _letter(item: Mapping[str, Any]) -> Letter:
    number = str(item.get("stream_id") or item.get("id") or "")
    reason = item.get("reason") or item.get("error") or "no reason was given"
    return Letter(number, _moment(item.get("at"), number), str(reason), item)


def _moment(at: Any, number: str) -> float:
    """Return when it became a dead letter: its field `at` (milliseconds), or its stream id."""
    moment = stream_order(str(at) if at is not None else number)[0]
    return moment / 1000 if 10**12 <= moment < 10**13 else 0.0


class Field(msgspec.Struct, frozen=True):
    """A variable of the form of running: its value is shown only when it is no secret."""

    key: str
    secret: bool
    set: bool
    shown: str


def fields(secrets: Collection[str], env: Mapping[str, Any]) -> list[Field]:
    """Return the variables of the form: declared secrets, and those that are set (`env`, already masked)."""
    found: list[Field] = []
    for key in [*secrets, *(key for key in sorted(env) if key not in secrets)]:
        secret = key in secrets or is_secret(key) or env.get(key) == MASK
        value = env.get(key)
        found.append(Field(key, secret, key in env, "" if secret or value is None else str(value)))
    return found
