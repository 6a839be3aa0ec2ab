"""What a family of clients is: a reader from a request to events, and the response that its clients expect."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from front.errors import BadRequest
from front.event.consent import consent_of
from front.event.message import Message
from front.http1.request import Headers, text_of
from front.intake.body import decode_json
from front.intake.keys import key_in_head, key_in_json
from front.pipeline.replies import HttpReply

TRACK: Final = "track"
"""The service of what visitors do, as the native form names it: enrichers and destinations wait for its events."""
_ADDRESS: Final = re.compile(r"(?:.*[_$])?(?:client)?_?ip(?:_?address)?", re.IGNORECASE | re.DOTALL)
"""A name that libraries give to an address: `ip`, `ipAddress`, `$geoip_ip`, `clientip` …"""
_MAX_DIGITS: Final = 16
"""Digits of a time in a query."""
_SECONDS_BELOW: Final = 100_000_000_000
"""A number below this is a time in seconds: as milliseconds it would be before 1974."""


class Draft(NamedTuple):
    """An event as its client described it."""

    name: str
    data: Message
    service: str = TRACK
    uid: str = ""
    """Who did it; empty: the client does not say."""
    ts: int | None = None
    """When it happened and when it was sent, by the client's clock, in milliseconds since 1970."""
    sent_at: int | None = None
    dedup: str = ""
    """The client's own id of the event."""
    ip: str = ""
    """The visitor's address and User-Agent, if a server sends for others."""
    user_agent: str = ""
    said: Sequence[Message] = ()
    """Objects of the request in which the client may say `consent`, besides `data` and `data.data`."""
    family: str = ""
    """The field `family` of the event, for those downstream that must know whose form its data has."""
    is_server: bool = False
    """Whether the sender says that its own address is no visitor's."""
    key: str = ""
    """The write key that the event itself has; it counts if the request has none for all its events."""

    @property
    def consent(self) -> bool | None:
        """What the client says of this event: False refused, True given, None unknown."""
        return consent_of(*self.said, self.data)


class Post(NamedTuple):
    """A request of a family's client, its body unpacked."""

    path: str
    query: Message
    body: bytes
    content_type: str
    headers: Headers
    received: int
    """When it arrived, in milliseconds since 1970."""
    server: str = ""
    """The URL of this server, as the client calls it."""
    webhook_sources: Mapping[str, Sequence[bytes]] = MappingProxyType({})
    """What each source of webhooks signs with."""

    @property
    def last_segment(self) -> str:
        """The last segment of the path."""
        return self.path.rstrip("/").rpartition("/")[2]

    def header(self, name: bytes) -> str:
        """Return the value of a header; empty when it is not there. `name` is in lower case."""
        return text_of(self.headers.get(name, b""))

    def key_in_head(self, *names: str) -> str:
        """Return the write key in the headers, or in the query under `writeKey` or one of `names`; empty for none."""
        return key_in_head(self.headers, self.query, *names)

    def key(self, *names: str) -> str:
        """Return the write key in the head, or else at the top of a JSON body; `names` are its names there.

        The rest of the body is not decoded.
        """
        return self.key_in_head(*names) or key_in_json(self.body, names)

    def json(self) -> Any:
        """Return the body as any JSON value; BadRequest when it is none."""
        return decode_json(self.body)

    def object(self) -> Message:
        """Return the body as a JSON object; BadRequest when it is none."""
        return as_object(self.json(), "the body")


@dataclass(frozen=True, slots=True)
class Family:
    """A family: `title` is how its documentation calls it."""

    title: str
    read: Callable[[Post], Iterable[Draft]]
    """Reads one event after another; BadRequest when the request is not what the family's clients send."""
    respond: Callable[[Post, Sequence[Draft]], HttpReply] = field(
        default=lambda _post, _drafts: HttpReply(200, b'{"success":true}')
    )
    unpack: Callable[[bytes, Message, int], bytes] = lambda body, _query, _limit: body
    """Returns a body that clients compressed without a header that says so, of at most `limit` bytes."""
    refusal: Callable[[int, str], Message] | None = None
    """Makes the body of a response to a refused request, from its status and the reason, if not the native one."""
    key: Callable[[Post], str] = lambda post: post.key_in_head()
    """Reads the write key of a request, before its events are read; empty if there is none for all of them."""
    not_admitted: Callable[[str], tuple[int, Message | None]] = lambda _reason: (403, None)
    """Returns status and body of a response to a request whose key is refused, from the reason; the body is None if it
    is as for any refused request."""


def as_object(value: Any, what: str) -> Message:
    """Return a JSON object; BadRequest when the value is another type."""
    if not isinstance(value, dict):
        raise BadRequest("not_an_object", f"{what} must be a JSON object")
    return value


def as_list(value: Any, what: str) -> list[Any]:
    """Return a JSON array; BadRequest when the value is another type."""
    if not isinstance(value, list):
        raise BadRequest("not_a_list", f"{what} must be a JSON array")
    return value


def mapping(value: Any) -> Message:
    """Return an object, or an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def text(value: Any) -> str:
    """Return text, or a number as text; empty for anything else."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def without_empty(**fields: Any) -> Message:
    """Return the fields that have a value."""
    return {name: value for name, value in fields.items() if value not in (None, "", {}, [])}


def rest_of(fields: Message, taken: Container[str]) -> Message:
    """Return the fields that have a value and were not taken."""
    return {name: value for name, value in fields.items() if name not in taken and value not in (None, "", {}, [])}


def without_addresses(fields: Message) -> Message:
    """Return fields without those that are named as an address, at any depth: none is stored as it came."""
    return {name: _without_addresses(value) for name, value in fields.items() if not _ADDRESS.fullmatch(name)}


def _without_addresses(value: Any) -> Any:
    if isinstance(value, dict):
        return without_addresses(value)
    return [_without_addresses(one) for one in value] if isinstance(value, list) else value


def milliseconds(value: Any) -> int | None:
    """Return a time in milliseconds since 1970, from ISO 8601 text or a number; None when it is none."""
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
            return int(value * 1000 if value < _SECONDS_BELOW else value)
    except (ValueError, OverflowError):
        return None
    return None


def time_said(value: Any) -> int | None:
    """Return a time in milliseconds since 1970 as `milliseconds`, also from digits in a query; None when it is none."""
    digits = value if isinstance(value, str) and value.isdecimal() and len(value) <= _MAX_DIGITS else ""
    return milliseconds(int(digits) if digits else value)
