"""Access control. GET changes state here, so web pages of other sites must not be able to send even that."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from http.cookies import CookieError, SimpleCookie

import msgspec

from band.platform import LOOPBACK, Header, SitePolicy, hostname, reader
from director.errors import ConfigError, Refused, TokenMissing, WrongToken

COOKIE = "band_session"
LIFETIME = 12 * 3600
"""Seconds that a session lasts."""
_LONGEST = 4096
_ended: dict[str, int] = {}
"""Logged-out sessions, and when they would have expired. A restart of the director forgets them."""


def issue_session(token: str, now: float) -> str:
    """Return the cookie's value for a session that begins at `now` (seconds since 1970)."""
    claim = f"{int(now) + LIFETIME}.{secrets.token_urlsafe(12)}"
    return f"{claim}.{_sign(token, claim)}"


def is_session(value: str, token: str, now: float) -> bool:
    """Return whether a cookie's value is a valid session of this token."""
    claim, _, signature = value.rpartition(".")
    end = claim.partition(".")[0]
    if not hmac.compare_digest(_bytes(signature), _sign(token, claim).encode()):
        return False
    return end.isascii() and end.isdigit() and now < int(end) and value not in _ended


def end_session(value: str, token: str, now: float) -> None:
    """End a session before its time, wherever else its cookie was kept."""
    if is_session(value, token, now):
        for ended in [known for known, end in _ended.items() if end <= now]:
            del _ended[ended]
        _ended[value] = int(value.partition(".")[0])


def session_cookie(headers: Mapping[str, str]) -> str:
    """Return the session cookie of a request; empty when it has none."""
    raw = headers.get("Cookie", "")
    if COOKIE not in raw or len(raw) > _LONGEST:
        return ""
    try:
        found = SimpleCookie(raw).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def _sign(token: str, claim: str) -> str:
    key = hashlib.sha256(b"band session\0" + token.encode()).digest()
    return hmac.new(key, _bytes(claim), hashlib.sha256).hexdigest()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")  # a header may hold any bytes


_SHOW = "send `Authorization: Bearer <token>` or `X-Band-Token: <token>`"


class Guard(msgspec.Struct, frozen=True):
    """Judges a request by its headers.

    Attributes:
        hosts: the names the director is reached under, without ports.
        token: what a request must send; None on loopback.
        open_paths: paths that need no token.
        open_prefixes: beginnings of such paths.
        reading: first segments of read-only paths, which a browser may also open directly.
        gateways: returns the addresses that connections of the host to the director's container come from, besides
            loopback; None outside of a container, where a director without a token listens on loopback only.
    """

    hosts: frozenset[str]
    token: str | None = None
    open_paths: frozenset[str] = frozenset()
    open_prefixes: tuple[str, ...] = ()
    reading: frozenset[str] = frozenset()
    gateways: Callable[[], Collection[str]] | None = None

    def check(self, path: str, headers: Mapping[str, str], peer: str | None = None) -> None:
        """Check a request, whose connection comes from the address `peer`.

        Raises:
            Refused: a foreign Host (DNS rebinding), Origin or Referer, a browser's request of unknown origin, or,
                without a token, a request of another container that would change something.
            TokenMissing: neither the token nor a session of the dashboard.
            WrongToken: a wrong token; whether there is another reason to refuse the request is not revealed.
        """
        header = reader(headers)
        given = _given_token(header) if self.token is not None else ""
        shown = self.token is not None and _same(given, self.token)
        closed = self.token is not None and not self._is_open(path) and not shown
        closed = closed and not _in_session(self.token or "", headers)
        if given and closed:
            raise WrongToken("the token is wrong", _SHOW)
        policy = SitePolicy(self.hosts, owner="this director", host_hint="BAND_ALLOWED_HOSTS adds names")
        refusal = policy.refusal(header, reads=self._only_reads(path), trusted=shown)
        if refusal is not None:
            raise Refused(refusal.reason, refusal.hint)
        if closed:
            raise TokenMissing("the token is missing", _SHOW)
        if self.token is None and not (self._only_reads(path) or self._is_open(path) or self._is_host(peer)):
            raise Refused(
                f"without a token only this host may change anything, and this request comes from {peer}",
                f"set a token (BAND_TOKEN; band_token in the inventory), and {_SHOW}",
            )

    def _is_host(self, peer: str | None) -> bool:
        """Return whether a connection comes from this host: a published port is reached through the gateway."""
        if self.gateways is None:
            return True
        try:
            address = ipaddress.ip_address(peer or "")
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        return address.is_loopback or str(address) in self.gateways()

    def _only_reads(self, path: str) -> bool:
        return path.lstrip("/").split("/")[0] in self.reading

    def _is_open(self, path: str) -> bool:
        return path in self.open_paths or path.startswith(self.open_prefixes)


def _given_token(header: Header) -> str:
    """Return the token that a request shows, right or wrong; empty when it shows none."""
    scheme, _, bearer = (header("Authorization") or "").partition(" ")
    return bearer.strip() if scheme.lower() == "bearer" else header("X-Band-Token") or ""


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode())


def _in_session(token: str, headers: Mapping[str, str]) -> bool:
    return is_session(session_cookie(headers), token, time.time())


def check_exposure(
    *, token: bool, host: str, in_container: bool, published: Iterable[str] = (), host_network: bool = False
) -> None:
    """Refuse to listen beyond loopback without a token.

    Inside a container listening on 0.0.0.0 is normal: what counts is the host address its port is published on.

    Raises:
        ConfigError: other machines can reach it, so anybody could run containers.
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
