"""What both ways in, HTTP and WebSocket, share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from front.errors import BadRequest, NotAccepted, Overloaded
from front.event import message
from front.event.client_address import ClientAddresses
from front.event.daily_visitor import DailyVisitors
from front.event.ids import Snowflakes
from front.event.webhook_secrets import Sources
from front.http1.request import Request, text_of
from front.intake.admission import Admission
from front.intake.client_hints import read_hints
from front.intake.door import Door
from front.intake.families.webhooks import is_reserved
from front.metrics import Counters
from front.pipeline.pipeline import Pipeline

_PROXIED: Final = frozenset({
    b"cdn-loop", b"cf-connecting-ip", b"cf-connecting-ipv6", b"cf-ray", b"cloudfront-viewer-address", b"via",
    b"x-envoy-external-address",
})  # fmt: skip
_PROXY_WORDS: Final = (b"forwarded", b"client-ip", b"clientip", b"real-ip")
"""Headers that only proxies add have these names, or these words in them. Presence counts, whatever the value."""


@dataclass(frozen=True, slots=True)
class Intake:
    """The parts that make an event of what a client sends, and the limits that hold for it."""

    pipeline: Pipeline
    flakes: Snowflakes
    addresses: ClientAddresses
    counters: Counters
    admission: Admission
    body_limit: int
    """Bytes of an event: of a body with one, or of a WebSocket message."""
    batch_limit: int
    """Bytes of a body with several events."""
    door: Door
    visitors: DailyVisitors
    require_consent: bool = False
    webhook_sources: Sources = field(default_factory=dict)

    def event_key(self, service: Any, name: Any) -> str:
        """Return the key of an event in the native form; BadRequest when it cannot have one, or must be signed."""
        key = message.event_key(service, name)
        if self.webhook_sources and is_reserved(key):
            raise BadRequest("unsigned", "events of webhooks must be signed: POST /webhooks/<source>", 401)
        return key

    def count(self, error: BadRequest | NotAccepted) -> None:
        """Count a refused request."""
        if isinstance(error, BadRequest):
            self.counters.add("rejected", error.code)
        else:
            self.counters.add("overloaded" if isinstance(error, Overloaded) else "not_accepted")

    def objects(self, *said: bool | None) -> bool:
        """Return whether consent was refused, or is required and was not given; `said` has each source's value."""
        return False in said or (self.require_consent and True not in said)


def td_of(request: Request, addresses: ClientAddresses) -> message.Message:
    """Return the `td` of a request's events: its sender, from the headers."""
    header = request.header
    return message.client_facts(
        # Some proxies add a line of their own below the client's: all lines together are the chain.
        addresses.find(request.peer, header(b"x-real-ip"), header(b"x-forwarded-for")),
        header(b"user-agent"),
        header(b"referer"),
        header(b"x-forwarded-host"),
        read_hints(request),
    )


def came_by_proxy(request: Request) -> bool:
    """Return whether a request has a header that proxies add."""
    return any(name in _PROXIED or any(word in name for word in _PROXY_WORDS) for name in request.headers)


def target_of(raw: bytes) -> tuple[str, str]:
    """Path and query of a request's target, not decoded, as valid text."""
    target = text_of(raw)
    if not target.startswith("/"):
        try:
            parts = urlsplit(target)
        except ValueError:
            raise BadRequest("target", "the request target is not a path") from None
        return parts.path or "/", parts.query
    path, _, query = target.partition("?")
    return path, query
