"""A project as the director wrote it, checked and compiled into what a request needs."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Annotated, Final, Literal, NamedTuple

import msgspec

from front.event.client_address import Network, parse

MAX_KEY_LENGTH: Final = 256
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://(?:\*\.)?(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_MAX_ITEMS: Final = 1000

Count = Annotated[float, msgspec.Meta(ge=0, le=1_000_000_000)]
Items = Annotated[tuple[str, ...], msgspec.Meta(max_length=_MAX_ITEMS)]
Bots = Literal["mark", "aside", "drop"]
Consent = Literal["off", "opt-out", "opt-in", "cookieless"]


class _Document(msgspec.Struct, frozen=True):
    """The fields of a project's JSON that front uses; others are ignored."""

    public_keys: Items = ()
    secret_keys: Items = ()
    origins: Items = ()
    events_per_second: Count = 0
    burst: Count = 0
    visitor_events_per_second: Count = 0
    visitor_burst: Count = 0
    body_limit: Annotated[int, msgspec.Meta(ge=0, le=1 << 30)] = 0
    bots: Bots = "mark"
    project_ids: Items = ()
    ignored_addresses: Items = ()
    consent: Consent = "off"


_decode = msgspec.json.Decoder(_Document).decode


class Rate(NamedTuple):
    """A limit: events per second, and how many may come at once."""

    per_second: float
    burst: float

    @classmethod
    def of(cls, per_second: float, burst: float) -> Rate | None:
        """Return a limit, None for 0. Without a burst it is what may come in a second."""
        return cls(per_second, max(1.0, burst or per_second)) if per_second else None


class Origins:
    """Origins of pages: `https://shop.example`, or all subdomains: `https://*.shop.example`."""

    def __init__(self, listed: Iterable[str]) -> None:
        """ValueError names an entry that is no origin."""
        self._exact: set[str] = set()
        self._below: list[tuple[str, str]] = []
        for entry in listed:
            origin = entry.strip().lower().rstrip("/")
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(f"{entry[:100]!r} is not an origin such as https://shop.example")
            scheme, wildcard, domain = origin.partition("://*.")
            if wildcard:
                self._below.append((f"{scheme}://", f".{domain}"))
            else:
                self._exact.add(origin)

    def admits(self, origin: str) -> bool:
        """Return whether an Origin header names one of them."""
        if origin in self._exact:
            return True
        return any(origin.startswith(scheme) and origin.endswith(domain) for scheme, domain in self._below)


class Project(NamedTuple):
    """A compiled project."""

    id: str
    origins: Origins | None = None
    """Pages that may send; None: all."""
    rate: Rate | None = None
    """Of each key."""
    visitor_rate: Rate | None = None
    """Of each visitor's address."""
    body_limit: int = 0
    """Bytes of a request; 0: front's own limits."""
    bots: Bots = "mark"
    ignored: tuple[Network, ...] = ()
    consent: Consent = "off"
    """What the browser SDK does unless its page says otherwise."""

    def ignores(self, address: str) -> bool:
        """Return whether events of an address are answered and not stored."""
        found = parse(address)
        return found is not None and any(
            found.version == network.version and found in network for network in self.ignored
        )


class Stored(NamedTuple):
    """A compiled project with its keys."""

    project: Project
    public_keys: tuple[str, ...]
    secret_hashes: tuple[str, ...]
    project_ids: tuple[str, ...]


def read_project(name: str, raw: bytes) -> Stored:
    """Read a project's JSON. ValueError says what is wrong with it."""
    document = _decode(raw)
    for key in document.public_keys:
        if not 0 < len(key) <= MAX_KEY_LENGTH:
            raise ValueError(f"a public key has {len(key)} characters; 1 to {MAX_KEY_LENGTH} are possible")
    hashes = tuple([digest.lower() for digest in document.secret_keys])
    if not all(map(_HASH.fullmatch, hashes)):
        raise ValueError("`secret_keys` must be SHA-256 hashes in hexadecimal")
    project = Project(
        name,
        Origins(document.origins) if document.origins else None,
        Rate.of(document.events_per_second, document.burst),
        Rate.of(document.visitor_events_per_second, document.visitor_burst),
        document.body_limit,
        document.bots,
        tuple([ipaddress.ip_network(address.strip(), strict=False) for address in document.ignored_addresses]),
        document.consent,
    )
    return Stored(project, document.public_keys, hashes, document.project_ids)
