"""Visitors without a cookie: one is the same for a day, and nobody can say afterwards who it was.

The id is a keyed hash of the site, the address and the User-Agent. The key is in memory only, and at the end of a day,
by UTC, it is replaced by its own hash, so that ids of days that are over cannot be computed again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from hashlib import blake2b, sha256
from typing import Final

_DAY_SECONDS: Final = 86_400
_KEY_BYTES: Final = 32
_MAX_DAYS: Final = 4000
"""A clock that jumps further makes a new key instead of that many hashes."""


class DailyVisitors:
    """Makes ids. Made before front's workers are forked, so that all of them make the same."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._day = self._today()
        self._key = os.urandom(_KEY_BYTES)

    def forget(self) -> None:
        """Replace the key if a new day has begun. A clock that goes back changes nothing."""
        days = self._today() - self._day
        if days <= 0:
            return
        for _ in range(min(days, _MAX_DAYS)):
            self._key = sha256(self._key).digest()
        self._day += days

    def uid(self, site: object, address: str, user_agent: str) -> str:
        """Return the uid of a visitor of a site today: 19 or 20 digits, as ids of front's own."""
        self.forget()
        who = f"{site}\0{address}\0{user_agent}".encode("utf-8", "replace")
        digest = blake2b(who, key=self._key, digest_size=8).digest()
        return str(int.from_bytes(digest) | 1 << 63)

    def _today(self) -> int:
        return int(self._clock() // _DAY_SECONDS)
