"""The settings of front, read once: from `config.yaml`, which reads the environment."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from front import process
from front.container_networks import surroundings
from front.errors import BadSettings
from front.event.client_address import Network
from front.event.fingerprint import FINGERPRINTS
from front.event.hostnames import cookie_domain_of
from front.event.ip_privacy import MODES
from front.http1.limits import Limits

T = TypeVar("T")

GATEWAY = "gateway"
"""Stands for the gateway of this container's networks in `trusted_proxies`."""
LOOPBACK = "127.0.0.0/8,::1/128"
DEFAULT_PROXIES = f"{LOOPBACK},{GATEWAY}"
"""Loopback, and where connections of the host itself come from: of a proxy there, or of Docker's user-space proxy."""
MOST_WORKERS = 64


@dataclass(frozen=True)
class FrontSettings:
    """What an operator may set. Times in milliseconds, sizes in bytes."""

    domain: str = ""
    """Cookie domain with its leading dot (`.example.com`), or empty for a host-only cookie."""
    enrich_timeout_ms: int = 200
    handler_timeout_ms: int = 200
    accept_timeout_ms: int = 1000
    body_limit: int = 100 * 1024
    events_maxlen: int = 1_000_000
    """With so many events in the stream new ones go to the journal."""
    events_keep: int = 10_000
    """Events that stay although every listener is done with them."""
    events_keep_mb: int = 0
    """MiB that they may take; 0: a quarter of Redis' maxmemory."""
    journal_dir: str = ""
    """Folder on front's own disk for events that Redis does not take; empty: there is no journal."""
    journal_max_mb: int = 256
    """MiB that the journal of one worker may take."""
    max_connections: int = 1500
    """HTTP connections of all workers together, as all bounds below; each worker has its share."""
    max_connections_per_address: int = 200
    max_websockets: int = 1000
    max_websockets_per_address: int = 100
    max_held_mb: int = 32
    """MiB that are kept of requests and messages that are not complete, wait, or whose answers are not read."""
    ip_privacy: str = "truncate"
    ip_hash_key: str = field(default="", repr=False)
    fpid: str = "masked"
    trusted_proxies: tuple[Network, ...] = ()
    near: tuple[Network, ...] = ()
    """Who may see health and metrics: this container's own networks, and the proxies."""
    allowed_hosts: tuple[str, ...] = ()
    """Further names under which health and metrics may be asked for."""
    redirect_hosts: tuple[str, ...] = ()
    redirect_key: str = field(default="", repr=False)
    stored: bool = True
    require_consent: bool = False
    """Whether a visitor who has not consented is treated as one who refused."""
    worker_id: int = 0
    workers: int = 1
    """Processes that take events."""
    worker: int = 0
    """Which of them this one is, from 0."""
    ws_port: int = 0
    """A second port for WebSocket clients of the original (it used its port + 2); 0: only `/wss` on the main port."""
    http_prefix: str = "/_band"
    event_host: str = "0.0.0.0"  # noqa: S104 - in a container; the director publishes it on loopback
    event_port: int = 8080

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> FrontSettings:
        """Read all settings; BadSettings lists every problem at once."""
        reader = _Reader(values)
        proxies = reader.take("trusted_proxies", DEFAULT_PROXIES, _networks)
        settings = cls(
            domain=reader.take("domain", "", lambda value: cookie_domain_of(str(value))),
            enrich_timeout_ms=reader.take("enrich_timeout_ms", 200, _between(1, 60_000)),
            handler_timeout_ms=reader.take("handler_timeout_ms", 200, _between(1, 60_000)),
            accept_timeout_ms=reader.take("accept_timeout_ms", 1000, _between(10, 60_000)),
            body_limit=reader.take("body_limit", 100 * 1024, _between(1024, 64 * 1024 * 1024)),
            events_maxlen=reader.take("events_maxlen", 1_000_000, _between(1000, 1_000_000_000)),
            journal_dir=reader.take("journal_dir", "", str),
            journal_max_mb=reader.take("journal_max_mb", 256, _between(1, 1_000_000)),
            events_keep=reader.take("events_keep", 10_000, _between(0, 1_000_000_000)),
            events_keep_mb=reader.take("events_keep_mb", 0, _between(0, 1_000_000)),
            max_connections=reader.take("max_connections", 1500, _between(10, 1_000_000)),
            max_connections_per_address=reader.take("max_connections_per_address", 200, _between(1, 1_000_000)),
            max_websockets=reader.take("max_websockets", 1000, _between(1, 1_000_000)),
            max_websockets_per_address=reader.take("max_websockets_per_address", 100, _between(1, 1_000_000)),
            max_held_mb=reader.take("max_held_mb", 32, _between(1, 1_000_000)),
            ip_privacy=reader.take("ip_privacy", "truncate", _one_of(MODES)),
            ip_hash_key=reader.take("ip_hash_key", "", str),
            fpid=reader.take("fpid", "masked", _one_of(FINGERPRINTS)),
            trusted_proxies=proxies,
            near=(*_networks(LOOPBACK), *surroundings().attached, *proxies),
            allowed_hosts=reader.take("allowed_hosts", "", lambda value: tuple(_items(value))),
            redirect_hosts=reader.take("redirect_hosts", "", lambda value: tuple(_items(value))),
            redirect_key=reader.take("redirect_key", "", str),
            stored=reader.take("stored", True, _truth),
            require_consent=reader.take("require_consent", False, _truth),
            worker_id=reader.take("worker_id", 0, _between(0, 1023)),
            workers=reader.take("workers", "auto", _workers),
            worker=process.current.number,
            ws_port=reader.take("ws_port", 0, _between(0, 65535)),
            http_prefix=reader.take("http_prefix", "/_band", str),
            event_host=reader.take("event_host", "0.0.0.0", str),  # noqa: S104 - see above
            event_port=reader.take("event_port", 8080, _between(0, 65535)),
        )
        if settings.worker_id + settings.workers > 1024:
            reader.problems.append("worker_id + workers is more than 1024: the ids of events have room for no more")
        if settings.ip_privacy == "hash" and len(settings.ip_hash_key) < 16:
            reader.problems.append(
                "ip_privacy is `hash`, but ip_hash_key is missing or shorter than 16 characters: set IP_HASH_KEY to a "
                "long random secret, or ip_privacy to `truncate`"
            )
        if reader.problems:
            raise BadSettings(reader.problems)
        return settings

    @property
    def limits(self) -> Limits:
        """What one worker takes: its share."""

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


class _Reader:
    """Takes values one by one and keeps what was wrong with them."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self.problems: list[str] = []

    def take(self, name: str, default: Any, read: Callable[[Any], T]) -> T:
        value = self._values.get(name)
        if value is None or value == "":
            return read(default)
        try:
            return read(value)
        except (ValueError, TypeError) as error:
            self.problems.append(f"{name}: {error}")
            return read(default)


def _between(low: int, high: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        try:
            number = int(value)
        except (ValueError, TypeError):
            raise ValueError(f"{value!r} is not a whole number") from None
        if not low <= number <= high:
            raise ValueError(f"{number} is not between {low} and {high}")
        return number

    return read


def _workers(value: Any) -> int:
    return process.cores() if str(value).strip().lower() == "auto" else _between(1, MOST_WORKERS)(value)


def _one_of(choices: tuple[str, ...]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"{value!r} is none of {', '.join(choices)}")
        return str(value)

    return read


def _truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in {"1", "true", "yes", "on"}:
        return True
    if word in {"0", "false", "no", "off"}:
        return False
    raise ValueError(f"{value!r} is neither yes nor no")


def _items(value: Any) -> list[str]:
    parts = value.split(",") if isinstance(value, str) else [str(item) for item in value]
    return [part.strip().lower() for part in parts if part.strip()]


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
                f"{item!r} is not an address, a network such as 10.0.0.0/8, or the word {GATEWAY}"
            ) from None
    return tuple(networks)
