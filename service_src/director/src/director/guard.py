"""Who may call. GET changes state here, so a web page of another site must not be able to send even that."""

from __future__ import annotations

import hmac
import time
from collections.abc import Collection, Iterable, Mapping
from urllib.parse import urlsplit

import msgspec

from director import sessions
from director.errors import ConfigError, Refused, TokenMissing
from director.settings import LOOPBACK

_OWN_SITE = frozenset({"same-origin", "none"})


class Guard(msgspec.Struct, frozen=True):
    """Judges a request by its headers. `hosts` are the names the director is reached under, without ports."""

    hosts: frozenset[str]
    token: str | None = None
    open_paths: frozenset[str] = frozenset()
    open_prefixes: tuple[str, ...] = ()

    def check(self, path: str, headers: Mapping[str, str]) -> None:
        """Return if the request may pass.

        Raises:
            Refused: a foreign Host (DNS rebinding) or Origin, or a request of another site's page.
            TokenMissing: neither the token nor a session of the page.
        """
        host = headers.get("Host", "")
        if hostname(host) not in self.hosts:
            raise Refused(f"Host {host[:100]!r} is not one of this director's names", "BAND_ALLOWED_HOSTS adds a name")
        origin = headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            raise Refused("requests from pages of other sites are refused", "open the director's own page")
        site = headers.get("Sec-Fetch-Site")
        if site is not None and site.lower() not in _OWN_SITE:
            raise Refused("requests from pages of other sites are refused", "open the director's own page")
        if self.token is not None and not self._is_open(path) and not self._has_token(self.token, headers):
            raise TokenMissing(
                "the token is missing or wrong", "send `Authorization: Bearer <token>` or `X-Band-Token: <token>`"
            )

    def _is_open(self, path: str) -> bool:
        return path in self.open_paths or path.startswith(self.open_prefixes)

    def _has_token(self, token: str, headers: Mapping[str, str]) -> bool:
        scheme, _, bearer = headers.get("Authorization", "").partition(" ")
        given = bearer.strip() if scheme.lower() == "bearer" else headers.get("X-Band-Token", "")
        if hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode()):
            return True
        return sessions.valid(sessions.cookie_of(headers), token, time.time())


def hostname(host: str) -> str:
    """Return the name of a Host header without its port, in lower case; empty when it is no such thing."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def allowed_hosts(own: Iterable[str], extra: Collection[str]) -> frozenset[str]:
    """Return the names to accept: loopback, those of the director itself, and those of BAND_ALLOWED_HOSTS."""
    return frozenset({*LOOPBACK, *(hostname(name) for name in [*own, *extra])} - {""})


def check_exposure(
    *, token: str | None, host: str, in_container: bool, published: Iterable[str] = (), host_network: bool = False
) -> None:
    """Return if the director may listen: beyond loopback only with a token.

    Inside a container listening on 0.0.0.0 is normal: what counts is the host address its port is published on.

    Raises:
        ConfigError: it can be reached from other machines, and anybody could run containers there.
    """
    if token:
        return
    reachable = list(published) if in_container and not host_network else [host]
    beyond = sorted({address for address in reachable if hostname(address) not in LOOPBACK and address not in LOOPBACK})
    if beyond:
        raise ConfigError(
            f"refusing to start: the director can be reached at {', '.join(beyond)} and has no token; "
            "publish it on loopback (-p 127.0.0.1:10000:8080), or set BAND_TOKEN"
        )
