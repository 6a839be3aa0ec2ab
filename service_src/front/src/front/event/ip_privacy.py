"""Masking of the client's address, once the place is known."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache

from front.event.client_address import is_plain_v4, parse

MODES = ("truncate", "hash", "raw")
"""`truncate` to /24 and /48, 6to4 to /40 (default); `hash` with a key; `raw` keeps everything."""

_V4_DROPPED = 32 - 24
_V6_DROPPED = 128 - 48
_6TO4_DROPPED = 128 - (16 + 24)
"""A 6to4 address (2002::/16) has a whole IPv4 address in its first 48 bits; a Teredo address has 16 bits of one."""
_6TO4 = 0x2002

Masker = Callable[[str], str]


def masker(mode: str, key: str = "") -> Masker:
    """Return a function from an address to the form that may be stored; empty for an invalid address."""
    if mode == "raw":
        return str
    if mode == "hash":
        secret = hashlib.sha256(key.encode()).digest()
        return lru_cache(maxsize=8192)(lambda text: _hashed(text, secret))
    if mode == "truncate":
        return _truncated
    raise ValueError(f"ip_privacy is {mode!r}; it may be {', '.join(MODES)}")


@lru_cache(maxsize=8192)
def _truncated(text: str) -> str:
    if is_plain_v4(text):
        return f"{text[: text.rindex('.')]}.0"
    address = parse(text)
    if address is None:
        return ""
    whole = int(address)
    v6_dropped = _6TO4_DROPPED if whole >> 112 == _6TO4 else _V6_DROPPED
    dropped = _V4_DROPPED if address.version == 4 else v6_dropped
    return str(type(address)(whole >> dropped << dropped))


def _hashed(text: str, secret: bytes) -> str:
    address = parse(text)
    return "" if address is None else hashlib.blake2b(address.packed, key=secret, digest_size=16).hexdigest()
