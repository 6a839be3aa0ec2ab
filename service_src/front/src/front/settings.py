"""The settings of front, read once: from `config.yaml`, which reads the environment."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

import msgspec

from band import Secret
from band.platform import OF_EVERY_SERVICE, first, load_settings
from front.container_networks import surroundings
from front.event.client_address import Network
from front.event.fingerprint import FINGERPRINTS
from front.event.hostnames import cookie_domain_of
from front.event.ip_privacy import MODES
from front.event.webhook_secrets import Sources, sources_of
from front.http1.limits import Limits
from front.process import cores

GATEWAY = "gateway"
"""Stands for the gateway of this container's networks in `trusted_proxies`."""
LOOPBACK = "127.0.0.0/8,::1/128"
DEFAULT_PROXIES = f"{LOOPBACK},{GATEWAY}"
"""Loopback, and where connections of the host itself come from: of a proxy there, or of Docker's user-space proxy."""
MAX_WORKERS = 64

Milliseconds = Annotated[int, msgspec.Meta(ge=1, le=60_000)]
Mebibytes = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Connections = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]


def _workers(value: Any) -> int:
    if str(value).strip().lower() == "auto":
        return cores()
    if not str(value).isdecimal() or not 1 <= int(value) <= MAX_WORKERS:
        raise ValueError(f"is neither auto nor a whole number from 1 to {MAX_WORKERS}")
    return int(value)


def _one_of(choices: tuple[str, ...]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"is not one of {', '.join(choices)}")
        return str(value)

    return read


def _items(value: Any) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else [str(item) for item in value]
    return tuple([part.strip().lower() for part in parts if part.strip()])


def _public_url(value: Any) -> str:
    url = str(value).strip().rstrip("/")
    if url and not re.fullmatch(r"https?://[A-Za-z0-9._-]+(:\d{1,5})?(/[A-Za-z0-9._~-]+)*", url):
        raise ValueError("is not a URL such as https://t.example.com or https://shop.example/t")
    return url


def _networks(value: Any) -> tuple[Network, ...]:
    networks: list[Network] = []
    for item in _items(value):
        if item == GATEWAY:
            networks += surroundings().gateways
            continue
        try:
            networks.append(ipaddress.ip_network(item, strict=False))
        except ValueError:
            raise ValueError(
                f"has {item!r}, which is not an address, a network such as 10.0.0.0/8, or the word {GATEWAY}"
            ) from None
    return tuple(networks)


_READERS: Mapping[str, tuple[Any, Callable[[Any], Any]]] = {
    "domain": ("", lambda value: cookie_domain_of(str(value))),
    "public_url": ("", _public_url),
    "demo": ("near", _one_of(("near", "public", "off"))),
    "ip_privacy": ("truncate", _one_of(MODES)),
    "fpid": ("masked", _one_of(FINGERPRINTS)),
    "trusted_proxies": (DEFAULT_PROXIES, _networks),
    "allowed_hosts": ("", _items),
    "redirect_hosts": ("", _items),
    "workers": ("auto", _workers),
}
"""Settings that are more than a number or a text: the default as an operator writes it, and what reads it."""


class FrontSettings(msgspec.Struct, frozen=True):
    """What an operator may set. Times in milliseconds, sizes in bytes."""

    domain: str
    """Cookie domain with its leading dot (`.example.com`), or empty for a host-only cookie."""
    public_url: str
    """How visitors' browsers call front, without a slash at the end; empty: not known."""
    demo: str
    """Who sees the page `/demo`."""
    ip_privacy: str
    fpid: str
    trusted_proxies: tuple[Network, ...]
    allowed_hosts: tuple[str, ...]
    """Further host names under which health and metrics may be requested."""
    redirect_hosts: tuple[str, ...]
    workers: int
    """Processes that take events."""
    enrich_timeout_ms: Milliseconds = 200
    handler_timeout_ms: Milliseconds = 200
    accept_timeout_ms: Annotated[int, msgspec.Meta(ge=10, le=60_000)] = 1000
    body_limit: Annotated[int, msgspec.Meta(ge=1024, le=64 * 1024 * 1024)] = 100 * 1024
    """Bytes of one event."""
    batch_limit: Annotated[int, msgspec.Meta(ge=1024, le=64 * 1024 * 1024)] = 1024 * 1024
    """Bytes of a request with several events."""
    events_maxlen: Annotated[int, msgspec.Meta(ge=1000, le=1_000_000_000)] = 1_000_000
    """With so many events in the stream new ones go to the journal."""
    events_keep: Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)] = 10_000
    """Events that stay although every listener is done with them."""
    events_keep_mb: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    """MiB that they may take; 0: a quarter of Redis' maxmemory."""
    journal_dir: str = ""
    """Folder on front's own disk for events that Redis does not accept; empty: there is no journal."""
    journal_max_mb: Mebibytes = 256
    """MiB that the journal of one worker may take."""
    max_connections: Annotated[int, msgspec.Meta(ge=10, le=1_000_000)] = 1500
    """HTTP connections of all workers together, as all limits below; each worker has its share."""
    max_connections_per_address: Connections = 200
    max_websockets: Connections = 1000
    max_websockets_per_address: Connections = 100
    max_held_mb: Mebibytes = 32
    """MiB held for incomplete or waiting requests and messages, and for unread responses."""
    ip_hash_key: Secret = Secret()
    redirect_key: Secret = Secret()
    webhook_secrets: Secret = Secret()
    """JSON: each source of webhooks, and the secrets that it signs with."""
    stored: bool = True
    require_consent: bool = False
    """Whether a visitor without consent is treated like one who refused."""
    require_key: bool = False
    """Whether events without a write key are refused."""
    worker_id: Annotated[int, msgspec.Meta(ge=0, le=1023)] = 0
    ws_port: Port = 0
    """A second port for WebSocket clients of the original (it used its port + 2); 0: only `/wss` on the main port."""
    http_prefix: str = "/_band"
    event_host: str = "0.0.0.0"  # noqa: S104 - in a container; the director publishes it on loopback
    event_port: Port = 8080

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> FrontSettings:
        """Read all settings. SettingsError names every problem at once."""
        problems: list[str] = []
        ready: dict[str, Any] = {}
        for name, (default, read) in _READERS.items():
            value = first(values.get(name))
            value = default if value is None else value
            try:
                ready[name] = read(value)
            except (ValueError, TypeError) as error:
                problems.append(f"{name}={value!r} {error}")
                ready[name] = read(default)
        return load_settings(cls, values, problems=problems, others=OF_EVERY_SERVICE, **ready)

    def problems(self) -> Iterator[str]:
        """Yield what does not fit together."""
        if self.worker_id + self.workers > 1024:
            yield "worker_id + workers is more than 1024, the limit of event ids"
        if self.ip_privacy == "hash" and len(self.ip_hash_key.reveal()) < 16:
            yield (
                "ip_privacy is `hash`, but ip_hash_key is missing or shorter than 16 characters: set IP_HASH_KEY to a "
                "long random secret, or ip_privacy to `truncate`"
            )

        try:
            sources_of(self.webhook_secrets.reveal())
        except ValueError as error:
            yield f"webhook_secrets {error}"

    @property
    def sources(self) -> Sources:
        """The sources of webhooks, and the keys that they sign with."""
        return sources_of(self.webhook_secrets.reveal())

    @property
    def near(self) -> tuple[Network, ...]:
        """The networks that may request health and metrics: this container's own, and the proxies."""
        return (*_networks(LOOPBACK), *surroundings().attached, *self.trusted_proxies)

    @property
    def limits(self) -> Limits:
        """The limits of one worker: its share."""

        def share(whole: int) -> int:
            return -(-whole // self.workers)

        return Limits(
            connections=share(self.max_connections),
            connections_per_address=share(self.max_connections_per_address),
            websockets=share(self.max_websockets),
            websockets_per_address=share(self.max_websockets_per_address),
            held_bytes=share(self.max_held_mb << 20),
            held_bytes_per_address=share(self.max_held_mb << 18),
        )
