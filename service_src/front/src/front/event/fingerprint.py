"""The fingerprint `fpid` of an address and a User-Agent; of the whole address it equals the original collector's."""

from __future__ import annotations

from collections.abc import Callable

import xxhash

Fingerprint = Callable[[str, str], str]

FINGERPRINTS = ("original", "masked", "none")
"""`original` of the whole address; `masked` (default) of what may be kept of it; `none` makes no fingerprint."""

_SEED = 0xCACA3ADA


def fpid(ip: str, user_agent: str) -> str:
    """Return the xxHash64 of `<ip>:<ua>`, its eight bytes reversed, as an unsigned decimal number in text."""
    digest = xxhash.xxh64_digest(f"{ip}:{user_agent}".encode("utf-8", "replace"), seed=_SEED)
    return str(int.from_bytes(digest, "little"))


def fingerprint_of(mode: str, mask: Callable[[str], str]) -> Fingerprint | None:
    """Return the function that makes fingerprints. From one of a whole address, the address can be found by trying."""
    if mode == "none":
        return None
    return (lambda ip, user_agent: fpid(mask(ip), user_agent)) if mode == "masked" else fpid
