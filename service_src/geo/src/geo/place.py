"""The reasons why an address has no place; docs/mmgeo.md and docs/sxgeo.md list the keys of places."""

from __future__ import annotations

from typing import Any, Final

MISSING: Final = "missing"
MALFORMED: Final = "malformed"
PRIVATE: Final = "private"
LOOPBACK: Final = "loopback"
LINK_LOCAL: Final = "link-local"
MULTICAST: Final = "multicast"
RESERVED: Final = "reserved"
UNSPECIFIED: Final = "unspecified"
UNKNOWN: Final = "unknown"
IPV6: Final = "ipv6"
NO_DATABASE: Final = "no database yet"
BAD_RECORD: Final = "bad record"


def no_place(reason: str) -> dict[str, Any]:
    """Return the answer for an address without a place."""
    return {"reason": reason}
