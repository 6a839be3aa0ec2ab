"""The settings of front, read once: from `config.yaml`, which reads the environment."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from band.config import parse_bool
from front.container_networks import surroundings
from front.errors import BadSettings
from front.event.client_address import Network
from front.event.fingerprint import FINGERPRINTS
from front.event.hostnames import cookie_domain_of
from front.event.ip_privacy import MODES
from front.http1.limits import Limits
from front.process import cores

GATEWAY = "gateway"
"""Stands for the gateway of this container's networks in `trusted_proxies`."""
LOOPBACK = "127.0.0.0/8,::1/128"
DEFAULT_PROXIES = f"{LOOPBACK},{GATEWAY}"
"""Loopback, and where connections of the host itself come from: of a proxy there, or of Docker's user-space proxy."""
MAX_WORKERS = 64


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
    return cores() if str(value).strip().lower() == "auto" else _between(1, MAX_WORKERS)(value)


def _one_of(choices: tuple[str, ...]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"{value!r} is not one of {', '.join(choices)}")
        return str(value)

    return read


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


def _setting(default: Any, read: Callable[[Any], Any], *, secret: bool = False) -> Any:
    """Return a field that an operator may set; `default` is written as an operator writes it."""
    return field(default_factory=lambda: read(default), metadata={"read": read, "default": default}, repr=not secret)


@dataclass(frozen=True)
class FrontSettings:
    """What an operator may set. Times in milliseconds, sizes in bytes."""

    domain: str = _setting("", lambda value: cookie_domain_of(str(value)))
    """Cookie domain with its leading dot (`.example.com`), or empty for a host-only cookie."""
    enrich_timeout_ms: int = _setting(200, _between(1, 60_000))
    handler_timeout_ms: int = _setting(200, _between(1, 60_000))
    accept_timeout_ms: int = _setting(1000, _between(10, 60_000))
    body_limit: int = _setting(100 * 1024, _between(1024, 64 * 1024 * 1024))
    events_maxlen: int = _setting(1_000_000, _between(1000, 1_000_000_000))
    """With so many events in the stream new ones go to the journal."""
    events_keep: int = _setting(10_000, _between(0, 1_000_000_000))
    """Events that stay although every listener is done with them."""
    events_keep_mb: int = _setting(0, _between(0, 1_000_000))
    """MiB that they may take; 0: a quarter of Redis' maxmemory."""
    journal_dir: str = _setting("", str)
    """Folder on front's own disk for events that Redis does not take; empty: there is no journal."""
    journal_max_mb: int = _setting(256, _between(1, 1_000_000))
    """MiB that the journal of one worker may take."""
    max_connections: int = _setting(1500, _between(10, 1_000_000))
    """HTTP connections of all workers together, as all bounds below; each worker has its share."""
    max_connections_per_address: int = _setting(200, _between(1, 1_000_000))
    max_websockets: int = _setting(1000, _between(1, 1_000_000))
    max_websockets_per_address: int = _setting(100, _between(1, 1_000_000))
    max_held_mb: int = _setting(32, _between(1, 1_000_000))
    """MiB that are kept of requests and messages that are not complete, wait, or whose answers are not read."""
    ip_privacy: str = _setting("truncate", _one_of(MODES))
    ip_hash_key: str = _setting("", str, secret=True)
    fpid: str = _setting("masked", _one_of(FINGERPRINTS))
    trusted_proxies: tuple[Network, ...] = _setting(DEFAULT_PROXIES, lambda value: _networks(value))
    allowed_hosts: tuple[str, ...] = _setting("", lambda value: tuple(_items(value)))
    """Further names under which health and metrics may be asked for."""
    redirect_hosts: tuple[str, ...] = _setting("", lambda value: tuple(_items(value)))
    redirect_key: str = _setting("", str, secret=True)
    stored: bool = _setting(True, parse_bool)
    require_consent: bool = _setting(False, parse_bool)
    """Whether a visitor who has not consented is treated as one who refused."""
    worker_id: int = _setting(0, _between(0, 1023))
    workers: int = _setting("auto", _workers)
    """Processes that take events."""
    ws_port: int = _setting(0, _between(0, 65535))
    """A second port for WebSocket clients of the original (it used its port + 2); 0: only `/wss` on the main port."""
    http_prefix: str = _setting("/_band", str)
    event_host: str = _setting("0.0.0.0", str)  # noqa: S104 - in a container; the director publishes it on loopback
    event_port: int = _setting(8080, _between(0, 65535))

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> FrontSettings:
        """Read all settings; BadSettings lists every problem at once."""
        problems: list[str] = []
        given: dict[str, Any] = {}
        for setting in fields(cls):
            value = values.get(setting.name)
            try:
                if value is not None and value != "":
                    given[setting.name] = setting.metadata["read"](value)
            except (ValueError, TypeError) as error:
                problems.append(f"{setting.name}: {error}")
        settings = cls(**given)
        if settings.worker_id + settings.workers > 1024:
            problems.append("worker_id + workers is more than 1024: the ids of events have room for no more")
        if settings.ip_privacy == "hash" and len(settings.ip_hash_key) < 16:
            problems.append(
                "ip_privacy is `hash`, but ip_hash_key is missing or shorter than 16 characters: set IP_HASH_KEY to a "
                "long random secret, or ip_privacy to `truncate`"
            )
        if problems:
            raise BadSettings(problems)
        return settings

    @property
    def near(self) -> tuple[Network, ...]:
        """Who may see health and metrics: this container's own networks, and the proxies."""
        return (*_networks(LOOPBACK), *surroundings().attached, *self.trusted_proxies)

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
