"""Who may call. GET changes state here, so a web page of another site must not be able to send even that."""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Collection, Iterable, Mapping
from urllib.parse import urlsplit

import msgspec
from multidict import CIMultiDictProxy

from director import sessions
from director.errors import ConfigError, Refused, TokenMissing
from director.settings import LOOPBACK

_OWN_SITE = frozenset({"same-origin", "none"})
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(:[0-9]{1,5})?", re.IGNORECASE)
_FOREIGN = "requests from pages of other sites are refused"
_OWN_PAGE = "open the director's own page"


class Guard(msgspec.Struct, frozen=True):
    """Judges a request by its headers.

    Attributes:
        hosts: the names the director is reached under, without ports.
        token: what a request has to show; None on loopback.
        open_paths: paths that need no token.
        open_prefixes: beginnings of such paths.
        reading: first words of the paths that change nothing, which a browser may also open out of nowhere.
    """

    hosts: frozenset[str]
    token: str | None = None
    open_paths: frozenset[str] = frozenset()
    open_prefixes: tuple[str, ...] = ()
    reading: frozenset[str] = frozenset()

    def check(self, path: str, headers: Mapping[str, str]) -> None:
        """Return if the request may pass.

        Raises:
            Refused: a foreign Host (DNS rebinding), Origin or Referer, or a browser's request from who knows where.
            TokenMissing: neither the token nor a session of the page.
        """
        host = headers.get("Host", "")
        if hostname(host) not in self.hosts or _several(headers, "Host"):
            raise Refused(f"Host {host[:100]!r} is not one of this director's names", "BAND_ALLOWED_HOSTS adds a name")
        shown = self.token is not None and self._shows_token(self.token, headers)
        self._check_site(path, host, headers, shown=shown)
        if self.token is not None and not self._is_open(path) and not shown and not _in_session(self.token, headers):
            raise TokenMissing(
                "the token is missing or wrong", "send `Authorization: Bearer <token>` or `X-Band-Token: <token>`"
            )

    def _check_site(self, path: str, host: str, headers: Mapping[str, str], *, shown: bool) -> None:
        """Refuse what a page of another site had a browser send. `shown`: it brings the token, which no page can."""
        origin, site = headers.get("Origin"), headers.get("Sec-Fetch-Site")
        if _ahead_of_time(headers) and not self._only_reads(path):
            raise Refused("a browser asks for this before anybody has opened it", _OWN_PAGE)
        if origin is not None and _site_of(origin) != host.lower():
            raise Refused(_FOREIGN, _OWN_PAGE)
        if site is not None and site.lower() not in _OWN_SITE:
            raise Refused(_FOREIGN, _OWN_PAGE)
        if origin is not None or site is not None or shown:
            return
        # Browsers leave out both on a GET of a picture: Safari before 16.4, and all of them towards plain http beyond
        # loopback. There the Referer must tell, and what changes nothing may be opened without one.
        referer = headers.get("Referer")
        if referer is not None and _site_of(referer) != host.lower():
            raise Refused(_FOREIGN, _OWN_PAGE)
        if referer is None and _is_browser(headers) and not self._only_reads(path):
            raise Refused("the browser does not say which page this request comes from", _OWN_PAGE)

    def _only_reads(self, path: str) -> bool:
        return path.lstrip("/").split("/")[0] in self.reading

    def _is_open(self, path: str) -> bool:
        return path in self.open_paths or path.startswith(self.open_prefixes)

    @staticmethod
    def _shows_token(token: str, headers: Mapping[str, str]) -> bool:
        scheme, _, bearer = headers.get("Authorization", "").partition(" ")
        given = bearer.strip() if scheme.lower() == "bearer" else headers.get("X-Band-Token", "")
        return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode())


def _in_session(token: str, headers: Mapping[str, str]) -> bool:
    return sessions.valid(sessions.cookie_of(headers), token, time.time())


def _ahead_of_time(headers: Mapping[str, str]) -> bool:
    """Tell whether a browser guesses that somebody will want this: it does so while an address is typed."""
    words = (headers.get(name, "") for name in ("Sec-Purpose", "Purpose", "X-Moz", "X-Purpose"))
    return any("prefetch" in word.lower() or "preview" in word.lower() for word in words)


def _is_browser(headers: Mapping[str, str]) -> bool:
    return headers.get("User-Agent", "").startswith("Mozilla/")


def _several(headers: Mapping[str, str], name: str) -> bool:
    return isinstance(headers, CIMultiDictProxy) and len(headers.getall(name, ())) > 1


def _site_of(url: str) -> str:
    """Return host and port of an Origin or Referer, in lower case; empty when it has none."""
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""


def hostname(host: str) -> str:
    """Return the name of a Host header without its port, in lower case; empty when it is no such thing."""
    match = _HOST.fullmatch(host)
    return match["name"].lower().strip("[]").rstrip(".") if match else ""


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
