"""Host names: which are valid, and which domain a cookie may be set for."""

from __future__ import annotations

import re
from functools import lru_cache

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_MAX_LENGTH = 512
"""Characters of a header that is parsed, and perhaps cached."""
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})+")


def host_of(text: str) -> str:
    """Return the host name in a Host-like header, lower case, without port; empty when it is not a full host name."""
    return _host_of(text) if len(text) <= _MAX_LENGTH else ""


@lru_cache(maxsize=1024)
def _host_of(text: str) -> str:
    host, _, port = text.split(",", 1)[0].strip().rpartition(":")
    if not host or not port.isascii() or not port.isdigit():
        host = text.split(",", 1)[0].strip()
    host = host.lower().removesuffix(".")
    if len(host) > 253 or not _HOST.fullmatch(host) or host.rpartition(".")[2].isdigit():
        return ""
    return host


def cookie_domain_of(domain: str) -> str:
    """Return the cookie domain for a configured host name: `www.shop.example.com` gives `.example.com`.

    `www.` is dropped, then the first label if more than two remain; a name of one label gives no domain (empty).
    Raises ValueError for an invalid host name.
    """
    name = domain.strip().lower().lstrip(".").removesuffix(".")
    if not name or "." not in name:
        if name and not re.fullmatch(_LABEL, name):
            raise ValueError("is not a host name")
        return ""
    if not host_of(name):
        raise ValueError("is not a host name; write it as t.example.com, without scheme, port or path")
    labels = name.removeprefix("www.").split(".")
    if len(labels) > 2:
        labels = labels[1:]
    return "." + ".".join(labels) if len(labels) > 1 else ""
