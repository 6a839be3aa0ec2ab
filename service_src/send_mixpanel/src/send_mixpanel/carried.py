"""What Mixpanel's own libraries sent through front → records like those that they would have sent to Mixpanel.

Events keep their name, time, distinct_id, `$insert_id` and properties, so Mixpanel counts an event once that it also
got straight from the library; front's enrichment is added. Changes of profiles (`/engage`, `/groups`) stay as they are.
"""

from collections.abc import Mapping
from typing import Any, Final

from send_mixpanel.mapping import (
    MAX_EVENT_BYTES,
    Event,
    Record,
    UnusableEvent,
    add_device,
    add_place,
    as_mapping,
    distinct_id,
    encode_record,
    event_time,
    insert_id,
    project_id,
    to_record,
)
from send_mixpanel.options import ENGAGE, GROUPS
from send_mixpanel.properties import MAX_ITEMS, MAX_PROPERTIES, MAX_TEXT, as_text, leaf

FAMILY: Final = "mixpanel"
"""The field `family` of such an event: front sets it, no client can."""
_CHANGES: Final = {ENGAGE: "user", GROUPS: "group"}
"""Where the data of an event has the change that an endpoint takes."""
_DEPTH: Final = 3
_FUTURE_MS: Final = 3_600_000
_YEAR_5138: Final = 100_000_000_000


def record_of(event: Event) -> Record:
    """Make the record of any event.

    Raises:
        UnusableEvent: it cannot be sent; the text says why.
    """
    if event.get("family") != FAMILY:
        return to_record(event)
    try:
        name = str(event.get("name"))
        if event.get("service") == FAMILY and name in _CHANGES:
            return _change(event, name)
        return _event(event)
    except UnusableEvent:
        raise
    except Exception as error:
        raise UnusableEvent(f"the event cannot become a record: {type(error).__name__}: {error}"[:300]) from error


def _change(event: Event, endpoint: str) -> Record:
    update = as_mapping(as_mapping(as_mapping(event.get("data")).get(_CHANGES[endpoint])).get("update"))
    if not update:
        raise UnusableEvent(f"the event has no change for /{endpoint}")
    return Record(insert_id(event), _within_limit(encode_record(dict(update))), event, endpoint)


def _event(event: Event) -> Record:
    data = as_mapping(event.get("data"))
    own = as_mapping(data.get("context"))
    event_id = insert_id({"id": own.get("$insert_id")}) if own.get("$insert_id") else insert_id(event)
    properties: dict[str, Any] = {
        "time": _time(event, own.get("time")),
        "distinct_id": distinct_id({"uid": own.get("distinct_id", event.get("uid"))}),
        "$insert_id": event_id,
        "ip": 0,  # the place is ours to say; without this Mixpanel would look up this server's own address
    }
    left_out = 0
    for source in (own, as_mapping(data.get("data"))):
        for name, value in source.items():
            if name in properties:
                continue
            if len(properties) >= MAX_PROPERTIES:
                left_out += 1
            else:
                properties[name] = _fitting(value, 1)
    if left_out:
        properties["_properties_left_out"] = left_out
    for name, value in _enrichment(event, data, properties).items():
        if value is not None and len(properties) < MAX_PROPERTIES:
            properties.setdefault(name, leaf(value))
    name = str(data.get("event") or event.get("name"))[:MAX_TEXT]
    return Record(event_id, _within_limit(encode_record({"event": name, "properties": properties})), event)


def _within_limit(body: bytes) -> bytes:
    if len(body) >= MAX_EVENT_BYTES:
        raise UnusableEvent(f"the record has {len(body)} bytes; Mixpanel accepts less than {MAX_EVENT_BYTES}")
    return body


def _enrichment(event: Event, data: Event, sent: Mapping[str, Any]) -> dict[str, Any]:
    """Return what front adds; of the device only if the library itself says something about it, as on no server."""
    found: dict[str, Any] = {
        "_key": event.get("key"),
        "_channel": event.get("channel"),
        "_id": str(event.get("id")),
        "_projectId": project_id(event),
    }
    add_place(found, data)
    if "$os" in sent or "$browser" in sent:
        add_device(found, as_mapping(data.get("uaparser")))
    return found


def _time(event: Event, sent: Any) -> int:
    """Return when it happened, as the library says: whole seconds, or milliseconds, which `/import` takes too.

    Of a library whose clock is ahead, Mixpanel would take the time of arrival; front's time of the event is that.
    """
    if isinstance(sent, bool) or not isinstance(sent, int | float) or sent <= 0:
        return event_time(event)
    in_seconds = sent < _YEAR_5138
    milliseconds = round(sent * 1000) if in_seconds else int(sent)
    if milliseconds > event_time(event) + _FUTURE_MS:
        return event_time(event)
    return int(sent) if in_seconds and sent == int(sent) else milliseconds


def _fitting(value: Any, depth: int) -> Any:
    """Return a value as it was sent; what is deeper or longer than `/import` takes is cut, or becomes JSON text."""
    if isinstance(value, dict):
        if depth > _DEPTH or len(value) > MAX_ITEMS:
            return as_text(value)
        return {name: _fitting(inner, depth + 1) for name, inner in value.items()}
    if isinstance(value, list):
        return as_text(value) if depth > _DEPTH else [_fitting(inner, depth + 1) for inner in value[:MAX_ITEMS]]
    return value if isinstance(value, str) else leaf(value)
