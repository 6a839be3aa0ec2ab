"""The visitor's id (`uid`), and the cookie that keeps it."""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

from front.event.coercion import percent_decoded

COOKIE_SECONDS = 3 * 365 * 24 * 3600
"""Seconds that the cookie lives after the start of this process."""

MAX_TEXT = 128
"""Characters of a uid that another product's client made."""
_MIN_DIGITS = 10
_MAX_DIGITS = 22
_LOWEST = int(f"1{'0' * (_MIN_DIGITS - 1)}")
_HIGHEST = int("9" * _MAX_DIGITS)


def valid_uid(value: Any) -> bool:
    """Return whether a value is a uid: 10 to 22 decimal digits, as text or as a whole number."""
    if isinstance(value, str):
        return _MIN_DIGITS <= len(value) <= _MAX_DIGITS and value.isascii() and value.isdigit()
    if isinstance(value, int) and not isinstance(value, bool):
        return _LOWEST <= value <= _HIGHEST
    return False


def text_uid(text: str) -> str:
    """Return a client's own id of a visitor if it can be a uid: up to 128 printable characters. Empty if it cannot."""
    return text if len(text) <= MAX_TEXT and text.isprintable() else ""


def cookie_uid(header: str | None) -> str:
    """Return the value of the first cookie `uid` in a Cookie header, percent-decoded; empty when there is none."""
    if not header or "uid" not in header:
        return ""
    for part in header.split(";"):
        name, _, value = part.partition("=")
        if name.strip() == "uid":
            value = value.strip().strip('"')
            return percent_decoded(value) if "%" in value else value
    return ""


class UidCookie:
    """Writes `Set-Cookie: uid=…` for one domain or another."""

    def __init__(self, domain: str, started: float) -> None:
        self._expires = formatdate(started + COOKIE_SECONDS, usegmt=True)
        self._default = self.tail(domain)

    def tail(self, domain: str) -> str:
        """Return everything after the uid; an empty domain makes a host-only cookie."""
        place = f"Domain={domain}; " if domain else ""
        return f"; {place}Path=/; Expires={self._expires}; HttpOnly; Secure; SameSite=None"

    def value(self, uid: Any, forwarded_host: str = "") -> str:
        """Return the header's value. `forwarded_host` must be a validated host name or empty."""
        return f"uid={uid}{self.tail(forwarded_host) if forwarded_host else self._default}"

    def removal(self, forwarded_host: str = "") -> str:
        """Return the header's value that ends the cookie in the browser, wherever `value` set it."""
        kept = self.tail(forwarded_host) if forwarded_host else self._default
        return f"uid=; Max-Age=0{kept}"
