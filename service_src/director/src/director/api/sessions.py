"""A browser that showed the token once carries a cookie: signed with the token, without it, and with an end.

Nothing is stored: a director that was started anew still knows its sessions, and another token ends them all.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie

COOKIE = "band_session"
LIFETIME = 12 * 3600
"""Seconds that a session lasts."""
_LONGEST = 4096


def issue(token: str, now: float) -> str:
    """Return the cookie's value for a session that begins at `now` (seconds since 1970)."""
    claim = f"{int(now) + LIFETIME}.{secrets.token_urlsafe(12)}"
    return f"{claim}.{_sign(token, claim)}"


def valid(value: str, token: str, now: float) -> bool:
    """Tell whether a cookie's value is a session of this token that has not ended."""
    claim, _, signature = value.rpartition(".")
    end = claim.partition(".")[0]
    if not hmac.compare_digest(_bytes(signature), _sign(token, claim).encode()):
        return False
    return end.isascii() and end.isdigit() and now < int(end)


def cookie_of(headers: Mapping[str, str]) -> str:
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
