"""An event of the stream → a record of Mixpanel's `/import`.

The same event always gives the same record: Mixpanel counts event + time + distinct_id + $insert_id once, so a record
that is sent again after a crash is not counted again.
"""

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from band.platform import encode
from send_mixpanel.options import IMPORT
from send_mixpanel.properties import MAX_PROPERTIES, MAX_TEXT, flatten, leaf

Event = Mapping[str, Any]

MAX_EVENT_BYTES = 1_000_000
REFUSED_IDS = frozenset(
    {
        "", "anon", "anonymous", "nil", "none", "null", "n/a", "na", "undefined", "unknown", "<nil>", "0", "-1", "true",
        "false", "[]", "{}", "00000000-0000-0000-0000-000000000000",
    }
)  # fmt: skip
"""Values that Mixpanel refuses as distinct_id and as $insert_id, in small letters."""

_INSERT_ID = re.compile(r"[A-Za-z0-9-]{1,36}")
# Mapped to Mixpanel's own names, or saying again what the event says.
_SKIP = frozenset({"mmgeo", "sxgeo", "uaparser", "data", "uid", "service", "name", "projectId", "id__"})
_FLAKE_SHIFT = 22
_FLAKE_DIGITS = 20
_LATEST_MS = 10**14
"""A time behind the year 5138 is none."""
# A visitor chooses the addresses: what is remembered of them must stay small, however long they are.
_REMEMBERED = 1024
_URL_READ = 2048
_MAX_CAMPAIGN = 20
"""`utm_…` that become properties of their own; Google's list has nine."""


class UnusableEvent(ValueError):
    """An event that no record can be made of; the text says why."""


class Record(msgspec.Struct, frozen=True):
    """One record as it goes over the wire, with the event that it came from."""

    insert_id: str
    body: bytes
    event: Event
    endpoint: str = IMPORT
    """Where Mixpanel takes it."""


def to_record(event: Event) -> Record:
    """Make the record of `event`.

    Raises:
        UnusableEvent: it has no time, or is too large for Mixpanel even when cut, or is odd in a way that nobody
            thought of. One such event must not hold back those behind it.
    """
    try:
        event_id = insert_id(event)
        properties = _own(event, event_id)
        _add_data(properties, event)
        body = encode_record({"event": event_name(event), "properties": properties})
    except UnusableEvent:
        raise
    except Exception as error:
        raise UnusableEvent(f"the event cannot become a record: {type(error).__name__}: {error}"[:300]) from error
    if len(body) >= MAX_EVENT_BYTES:
        raise UnusableEvent(
            f"the event has {len(body)} bytes as a record; Mixpanel accepts less than {MAX_EVENT_BYTES}"
        )
    return Record(event_id, body, event)


def event_name(event: Event) -> str:
    """`track/page`: service and name, as the original called them."""
    return f"{event.get('service') or 'none'}/{event.get('name') or 'none'}"[:MAX_TEXT]


def event_time(event: Event) -> int:
    """When it happened, in milliseconds; from the id where the event does not say (a flake id begins with its time).

    Raises:
        UnusableEvent: neither says.
    """
    time = event.get("time")
    if isinstance(time, int | float) and not isinstance(time, bool) and 0 < time < _LATEST_MS:
        return int(time)
    event_id = str(event.get("id") or "")
    if event_id.isascii() and event_id.isdigit() and len(event_id) <= _FLAKE_DIGITS:
        flake_time = int(event_id) >> _FLAKE_SHIFT
        if flake_time > 0:
            return flake_time
    raise UnusableEvent("the event has neither a time nor an id that contains one")


def project_id(event: Event) -> Any:
    """The projectId of the event; messages of a WebSocket have it in their data only."""
    return event["projectId"] if "projectId" in event else as_mapping(event.get("data")).get("projectId")


def distinct_id(event: Event) -> str:
    """The visitor's id as text; empty ("nobody") where it is missing or one of the values that Mixpanel refuses."""
    uid = event.get("uid")
    if uid is None or isinstance(uid, bool | dict | list):
        return ""
    text = str(uid).strip()
    if text.lower() in REFUSED_IDS:
        return ""
    return text if len(text) <= MAX_TEXT else hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def insert_id(event: Event) -> str:
    """The event's id where Mixpanel takes it as it is, else 36 characters of a hash of it, or of the event."""
    own = event.get("id")
    text = "" if own is None else str(own)
    if _INSERT_ID.fullmatch(text) and text.lower() not in REFUSED_IDS:
        return text
    source = text.encode("utf-8", "replace") if text else encode(event)
    return hashlib.sha256(source).hexdigest()[:36]


def _own(event: Event, event_id: str) -> dict[str, Any]:
    data = as_mapping(event.get("data"))
    properties: dict[str, Any] = {
        "time": event_time(event),
        "distinct_id": distinct_id(event),
        "$insert_id": event_id,
        "ip": 0,  # the place is ours to say; without this Mixpanel would look up this server's own address
        "mp_lib": "rockstat-band",
        "_key": event.get("key"),
        "_channel": event.get("channel"),
        "_id": None if event.get("id") is None else str(event["id"]),
        "_projectId": project_id(event),
    }
    add_place(properties, data)
    add_device(properties, as_mapping(data.get("uaparser")))
    _add_page(properties, data, as_mapping(event.get("td")))
    return {
        name: value[:MAX_TEXT] if isinstance(value, str) else leaf(value)
        for name, value in properties.items()
        if value is not None
    }


def add_place(properties: dict[str, Any], data: Event) -> None:
    """Add the visitor's country, region and city, from the data of an event."""
    for ours, theirs in (("country_iso", "mp_country_code"), ("region_en", "$region"), ("city_en", "$city")):
        for source in ("mmgeo", "sxgeo"):
            if value := as_mapping(data.get(source)).get(ours):
                properties[theirs] = value
                break


def add_device(properties: dict[str, Any], ua: Event) -> None:
    """Add what uaparser found out about the visitor's device."""
    if not ua.get("os_family"):
        return
    for family, version, names in (
        ("os_family", "os_version", ("$os", "$os_version")),
        ("browser_family", "browser_version", ("$browser", "$browser_version")),
    ):
        if (value := ua.get(family)) and value != "Other":
            properties[names[0]] = value
            if parts := ua.get(version):
                properties[names[1]] = ".".join(map(str, parts)) if isinstance(parts, list) else str(parts)
    if (device := ua.get("device_family")) and device != "Other":
        properties["$device"] = device
    properties["$brand"] = ua.get("device_brand")
    properties["$model"] = ua.get("device_model")
    properties["is_bot"] = bool(ua.get("is_bot"))
    kinds = (("is_tables", "tablet"), ("is_mob", "mobile"), ("is_pc", "desktop"))
    properties["device_type"] = next((word for flag, word in kinds if ua.get(flag)), None)


def _add_page(properties: dict[str, Any], data: Event, td: Event) -> None:
    page = as_mapping(data.get("page"))
    # A pixel's or a beacon's Referer is the page that it stands on.
    url = _text(page.get("url")) or _text(td.get("ref"))
    referrer = _text(page.get("ref"))
    properties["$current_url"] = url or None
    properties["$referrer"] = referrer or None
    properties["$referring_domain"] = _host(referrer[:_URL_READ])
    properties["_host"] = td.get("host")
    marks = as_mapping(as_mapping(data.get("sess")).get("marks"))
    campaign: dict[str, str] = {}
    for source in (data, marks, _marks(url[:_URL_READ])):
        for name, value in source.items():
            if name.startswith("utm_") and isinstance(value, str) and value and len(campaign) < _MAX_CAMPAIGN:
                campaign.setdefault(name[:MAX_TEXT], value)
    properties.update(campaign)


def _add_data(properties: dict[str, Any], event: Event) -> None:
    data = as_mapping(event.get("data"))
    left_out = 0
    for source, skip in ((as_mapping(data.get("data")), frozenset[str]()), (data, _SKIP)):
        for name, value in flatten(source, skip):
            if name in properties:
                continue
            if len(properties) >= MAX_PROPERTIES:
                left_out += 1
            else:
                properties[name] = value
    if left_out:
        properties["_properties_left_out"] = left_out


def as_mapping(value: Any) -> Mapping[str, Any]:
    """Return an object, or an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


@lru_cache(maxsize=_REMEMBERED)
def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


@lru_cache(maxsize=_REMEMBERED)
def _marks(url: str) -> Mapping[str, str]:
    """The utm_… of an address; pages repeat, hence the cache."""
    if "utm_" not in url:
        return {}
    try:
        return dict(parse_qsl(urlsplit(url).query, max_num_fields=100))
    except ValueError:
        return {}


def encode_record(record: dict[str, Any]) -> bytes:
    """Return a record as JSON; text without a form in UTF-8 is repaired."""
    try:
        return msgspec.json.encode(record)
    except (UnicodeEncodeError, OverflowError, TypeError):
        # Half of a surrogate pair has no UTF-8 form; one such letter must not cost the event.
        return msgspec.json.encode(_clean(record))


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_clean(key): _clean(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_clean(inner) for inner in value]
    return value
