"""A cache of enrichers' responses: the registration says for which parameters, and for how long.

A response is kept as the received JSON, so that a message only copies bytes.
"""

from __future__ import annotations

from typing import Final

import msgspec

from band.platform import Recent
from front.routing.enrichment_plan import CacheKey

MAX_BYTES: Final = 24 * 1024 * 1024
"""What the responses and their keys may take together, approximately."""
MAX_RESPONSES: Final = 60_000
OVERHEAD_BYTES: Final = 300
"""What Python needs for one response besides its key and its JSON, approximately."""
MAX_CHARACTER_BYTES: Final = 4
"""The most bytes of a character that is not ASCII."""


class ResponseCache:
    """At most so many bytes and responses, each for its time."""

    def __init__(self, max_bytes: int = MAX_BYTES, max_responses: int = MAX_RESPONSES) -> None:
        self._cache: Recent[CacheKey, tuple[float, msgspec.Raw]] = Recent(max_responses, max_bytes)
        self.epoch = 0
        """How often the cache was cleared: a response that was requested before is not cached after."""
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._cache)

    @property
    def kept_bytes(self) -> int:
        """What the responses and their keys take together, approximately."""
        return self._cache.kept_bytes

    def get(self, key: CacheKey, now: float) -> msgspec.Raw | None:
        """Return a fresh response; None when there is none. `now` in seconds of a monotonic clock."""
        found = self._cache.get(key)
        if found is not None and found[0] > now:
            self.hits += 1
            return found[1]
        self.misses += 1
        return None

    def put(self, key: CacheKey, response: bytes, ttl: float, now: float) -> None:
        """Keep a response (JSON) for `ttl` seconds."""
        size = OVERHEAD_BYTES + len(response)
        for part in key:
            if part:  # `getsizeof` is exact, and takes as long as everything else here
                size += len(part) if part.isascii() else MAX_CHARACTER_BYTES * len(part)
        self._cache.put(key, (now + ttl, msgspec.Raw(response)), size)

    def clear(self) -> None:
        """Forget everything: what enrichers say of themselves has changed."""
        self.epoch += 1
        self._cache.clear()
