"""Allowed targets of the built-in redirect: our own site, allowed hosts, and targets that we signed."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any
from urllib.parse import urlsplit

ANY_HOST = "*"

_REQUIRED = 'Parameter "to" is required'


class Redirects:
    """Checks redirect targets against an allow list: an open redirect would help phishing."""

    def __init__(self, allowed: tuple[str, ...] = (), site: str = "", key: str = "") -> None:
        self._any = ANY_HOST in allowed
        names = [name.removeprefix("*.").removeprefix(".") for name in allowed if name.startswith(("*.", "."))]
        self._suffixes = tuple(f".{name}" for name in [*names, *([site.lstrip(".")] if site else [])])
        self._hosts = frozenset([name for name in allowed if not name.startswith(("*", "."))] + names)
        self._site = site.lstrip(".")
        self._key = key.encode()

    def refusal(self, target: Any, own_hosts: tuple[str, ...], signature: Any = None) -> str:
        """Return why a target is refused; empty when it is allowed. `own_hosts`: the names this request came to."""
        if not target or not isinstance(target, str):
            return _REQUIRED
        if any(ord(char) <= 0x20 or ord(char) == 0x7F or char == "\\" for char in target):
            return 'Parameter "to" must be a URL without spaces, line breaks and backslashes'
        if target.startswith("/") and not target.startswith("//"):
            return ""
        try:
            parts = urlsplit(target)
            host = (parts.hostname or "").removesuffix(".")
        except ValueError:
            host = ""
        if not host or parts.scheme not in {"http", "https"}:
            return 'Parameter "to" must be a path or an http(s) URL'
        if self._allowed(host, own_hosts) or self._signed(target, signature):
            return ""
        return (
            f'Redirects to "{host[:100]}" are not allowed here; '
            "the operator allows hosts with the setting REDIRECT_HOSTS"
        )

    def sign(self, target: str) -> str:
        """Return the value of `sig` that allows one target (hex HMAC-SHA256 of the target with the key)."""
        return hmac.new(self._key, target.encode(), hashlib.sha256).hexdigest()

    def _allowed(self, host: str, own_hosts: tuple[str, ...]) -> bool:
        return (
            self._any
            or host in own_hosts
            or host in self._hosts
            or (bool(self._site) and host == self._site)
            or host.endswith(self._suffixes)
        )

    def _signed(self, target: str, signature: Any) -> bool:
        return (
            bool(self._key)
            and isinstance(signature, str)
            and hmac.compare_digest(self.sign(target).encode(), signature.encode("utf-8", "replace"))
        )
