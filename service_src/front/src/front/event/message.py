"""The message that an HTTP request becomes: its keys stand in the order that listeners of the original saw."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from front.errors import BadRequest
from front.event.coercion import to_name, to_number
from front.event.ids import Snowflakes
from front.event.url_path import EventPath
from front.event.visitor_id import valid_uid

KEY_PREFIX = "in.gen"
CHANNEL_HTTP = "http"
CHANNEL_PIXEL = "pixel"
CHANNEL_WS = "ws"
MAX_NAME_LENGTH = 256
DEFAULT_PROJECT = "default"
"""The project of events without a key."""

Message = dict[str, Any]


def key_prefixes(key: str) -> Iterator[str]:
    """Yield the dotted prefixes of an event key, shortest first, the key itself last."""
    end = key.find(".")
    while end >= 0:
        yield key[:end]
        end = key.find(".", end + 1)
    yield key


def event_key(service: Any, name: Any) -> str:
    """Return `in.gen.<service>.<name>`; BadRequest when one of them cannot be a name."""
    first, second = to_name(service), to_name(name)
    if first is None or second is None:
        raise BadRequest("bad_name", "`service` and `name` must be text or numbers")
    if len(first) > MAX_NAME_LENGTH or len(second) > MAX_NAME_LENGTH:
        raise BadRequest("long_name", f"`service` and `name` may have {MAX_NAME_LENGTH} characters each")
    return f"{KEY_PREFIX}.{first}.{second}"


def service_and_name(place: EventPath, query: Message, body: Message) -> tuple[Any, Any]:
    """Return the service and the name of an event, each None or empty when the request names none."""
    return (
        query.get("service") or body.get("service") or place.service,
        place.name or query.get("name") or body.get("name"),
    )


def uid_of(query: Message, body: Message, cookie: str, flakes: Snowflakes) -> Any:
    """Return the visitor's uid: query, body, cookie, else a new one. A number of the body stays a number."""
    for candidate in (query.get("uid"), body.get("uid"), cookie):
        if candidate and valid_uid(candidate):
            return candidate
    return str(flakes.next())


def client_facts(
    ip: str, user_agent: str | None, referer: str | None, host: str | None, hints: Message | None = None
) -> Message:
    """Return the `td` of a message, without missing values."""
    td: Message = {}
    if ip:
        td["ip"] = ip
    if user_agent is not None:
        td["ua"] = user_agent
    if referer is not None:
        td["ref"] = referer
    if host is not None:
        td["host"] = host
    if hints:
        td["ch"] = hints
    return td


def http_message(
    key: str,
    channel: str,
    service: Any,
    name: Any,
    place: EventPath,
    query: Message,
    body: Message,
    uid: Any,
    td: Message,
    flakes: Snowflakes,
) -> Message:
    """Return a message of HTTP. The query wins over the body; the id is drawn last, so it follows a new uid's."""
    flake = flakes.next()
    return {
        "key": key,
        "channel": channel,
        "service": service,
        "name": name,
        "projectId": to_number(place.project or query.get("projectId") or body.get("projectId") or 0),
        "uid": uid,
        "td": td,
        "data": {**body, **query},
        "id": str(flake),
        "time": flakes.event_time(flake),
        "project": DEFAULT_PROJECT,
    }


def ws_message(key: str, service: Any, name: Any, data: Message, uid: str, td: Message, flakes: Snowflakes) -> Message:
    """Return a message of a WebSocket: `data` is the whole object that the client sent, `td` is of the handshake.

    The original had no `td` here, so nothing that came over a WebSocket was enriched.
    """
    flake = flakes.next()
    return {
        "key": key,
        "name": name,
        "service": service,
        "channel": CHANNEL_WS,
        "data": dict(data),
        "uid": uid,
        "td": dict(td),
        "id": str(flake),
        "time": flakes.event_time(flake),
        "project": DEFAULT_PROJECT,
    }


_BROADCAST_HEAD = b'{"jsonrpc":"2.0","from":"front","to":"broadcast","method":"broadcast:broadcast:front","params":'


def broadcast_of(payload: bytes) -> bytes:
    """Return the notification for channel `broadcast` around an encoded message, byte for byte as the original's."""
    return b"%b%b}" % (_BROADCAST_HEAD, payload)
