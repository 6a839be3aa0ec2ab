"""The fingerprint `fpid` of an address and a User-Agent, equal to the one that the original collector computed."""

from __future__ import annotations

import xxhash

_SEED = 0xCACA3ADA


def fpid(ip: str, user_agent: str) -> str:
    """xxHash64 of `<ip>:<ua>`, its eight bytes reversed, as an unsigned decimal number in text."""
    digest = xxhash.xxh64_digest(f"{ip}:{user_agent}".encode("utf-8", "replace"), seed=_SEED)
    return str(int.from_bytes(digest, "little"))
