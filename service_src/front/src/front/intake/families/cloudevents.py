"""CloudEvents 1.0 over HTTP: structured, batched and binary, at `/cloudevents`.

They tell what happened in programs, not what visitors did: their service is `cloudevents`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any, Final

from front.errors import BadRequest
from front.event.coercion import percent_decoded
from front.event.message import Message
from front.http1.request import text_of
from front.intake.body import decode_json
from front.intake.families.family import (
    Draft,
    Family,
    Post,
    as_list,
    as_object,
    milliseconds,
    rest_of,
    text,
    without_addresses,
    without_empty,
)

_PREFIX: Final = b"ce-"
_TAKEN: Final = frozenset({
    "data", "data_base64", "datacontenttype", "id", "source", "specversion", "subject", "time", "type",
})  # fmt: skip
"""Attributes that have their own place; the others are extensions."""


def _read(post: Post) -> Iterable[Draft]:
    if "cloudevents-batch" in post.content_type:
        return (
            _draft(as_object(event, f"event {number} of the batch"))
            for number, event in enumerate(as_list(post.json(), "a batch"), 1)
        )
    return [_draft(post.object() if "cloudevents" in post.content_type else _binary(post))]


def _binary(post: Post) -> Message:
    """Return an event whose attributes are headers, and whose data is the body."""
    event: Message = {
        name[len(_PREFIX) :].decode("latin-1"): percent_decoded(text_of(value))
        for name, value in post.headers.items()
        if name.startswith(_PREFIX)
    }
    if post.content_type:
        event["datacontenttype"] = post.content_type
    if post.body:
        event |= _data(post.body, post.content_type)
    return event


def _data(body: bytes, content_type: str) -> Message:
    if not content_type or "json" in content_type:
        return {"data": decode_json(body)}
    try:
        return {"data": body.decode()}
    except UnicodeDecodeError:
        return {"data_base64": base64.b64encode(body).decode()}


def _draft(event: Message) -> Draft:
    kind, source, own_id = text(event.get("type")), text(event.get("source")), text(event.get("id"))
    version: Any = event.get("specversion")
    if not (kind and source and own_id) or not text(version).startswith("1."):
        raise BadRequest("not_a_cloudevent", "a CloudEvent needs `specversion` 1.0, `id`, `source` and `type`")
    return Draft(
        kind,
        without_empty(
            data=event.get("data"),
            data_base64=event.get("data_base64"),
            source=source,
            subject=event.get("subject"),
            contentType=event.get("datacontenttype"),
            extensions=without_addresses(rest_of(event, _TAKEN)),
            ts=event.get("time"),
        ),
        service="cloudevents",
        ts=milliseconds(event.get("time")),
        dedup=f"{source} {own_id}",
        said=(event,),
    )


CLOUDEVENTS: Final = Family("CloudEvents", _read)
