"""Amplitude's HTTP API V2: `/2/httpapi`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from band.platform import encode
from front.event.message import Message
from front.intake.families.family import (
    Draft,
    Family,
    Post,
    as_list,
    as_object,
    mapping,
    milliseconds,
    rest_of,
    text,
    without_addresses,
    without_empty,
)
from front.pipeline.replies import HttpReply

_CALLS: Final = {"$identify": "identify", "$groupidentify": "group", "[Amplitude] Page Viewed": "page"}
"""Names of Amplitude's own events -> their names here."""
_TAKEN: Final = frozenset({
    "device_id", "event_id", "event_properties", "event_type", "group_properties", "groups", "insert_id", "ip",
    "library", "time", "user_agent", "user_id", "user_properties",
})  # fmt: skip
"""Fields of an event that have their own place; the rest is its context."""


def _read(post: Post) -> Iterable[Draft]:
    body = post.object()
    sent_at = milliseconds(body.get("client_upload_time"))
    return (
        _draft(as_object(event, f"`events[{number}]`"), sent_at, body)
        for number, event in enumerate(as_list(body.get("events"), "`events`"))
    )


def _draft(event: Message, sent_at: int | None, body: Message) -> Draft:
    kind = text(event.get("event_type"))
    call = _CALLS.get(kind, "track")
    given = mapping(event.get("event_properties"))
    user, device = text(event.get("user_id")), text(event.get("device_id"))
    library, _, version = text(event.get("library")).partition("/")
    address, traits = text(event.get("ip")), _changes(event.get("user_properties"))
    return Draft(
        kind if call == "track" else call,
        without_empty(
            call=call,
            data=given,
            user=without_empty(id=user, anonymousId=device, traits=traits),
            group=_group(event) if call == "group" else {},
            groups=event.get("groups") if call != "group" else {},
            page=_page(given) if call == "page" else {},
            lib=without_empty(id=library, sv=version),
            context=without_addresses(rest_of(event, _TAKEN)),
            ts=event.get("time"),
        ),
        uid=user or device,
        ts=milliseconds(event.get("time")),
        sent_at=sent_at,
        dedup=text(event.get("insert_id")),
        ip="" if address == "$remote" else address,
        user_agent=text(event.get("user_agent")),
        said=(body, event, traits),
    )


def _changes(properties: object) -> Message:
    """Return the values that properties are set to; other changes (`$add`, `$unset` …) under their own names."""
    given = mapping(properties)
    set_to = {**mapping(given.get("$setOnce")), **mapping(given.get("$set"))}
    return {**set_to, **rest_of(given, {"$set", "$setOnce"})}


def _group(event: Message) -> Message:
    kind, name = next(iter(mapping(event.get("groups")).items()), ("", ""))
    return without_empty(type=kind, id=name, traits=_changes(event.get("group_properties")))


def _page(given: Message) -> Message:
    """Return `data.page` of a page view that the browser library made."""
    return without_empty(
        url=given.get("[Amplitude] Page Location") or given.get("[Amplitude] Page URL"),
        title=given.get("[Amplitude] Page Title"),
        path=given.get("[Amplitude] Page Path"),
        ref=given.get("referrer"),
    )


def _respond(post: Post, drafts: Sequence[Draft]) -> HttpReply:
    facts = {"events_ingested": len(drafts), "payload_size_bytes": len(post.body), "server_upload_time": post.received}
    return HttpReply(200, encode({"code": 200, **facts}))


def _not_admitted(reason: str) -> tuple[int, Message]:
    """Begin as Amplitude does: its libraries try again after any other 400."""
    return 400, {"code": 400, "error": f"Invalid API key: {reason}"}


AMPLITUDE: Final = Family(
    "Amplitude",
    _read,
    _respond,
    refusal=lambda status, reason: {"code": status, "error": reason},
    key=lambda post: post.key("api_key"),
    not_admitted=_not_admitted,
)
