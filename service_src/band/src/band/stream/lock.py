"""The lock of a replay: one runs at a time among all instances of a service."""

from __future__ import annotations

import contextlib
import secrets
from typing import Final

from band.errors import RedisError
from band.redis.link import RedisLink

LOCK_MS: Final = 15_000
LOCK_INTERVAL: Final = 5.0
"""Seconds between two extensions of the lock."""
# Atomic: between a read and a write, the lock may expire and be taken by another instance.
_FREE: Final = "return redis.call('get', KEYS[1]) == ARGV[1] and redis.call('del', KEYS[1]) or 0"
_EXTEND: Final = "return redis.call('get', KEYS[1]) == ARGV[1] and redis.call('pexpire', KEYS[1], ARGV[2]) or 0"


class ReplayLock:
    """The key ``<key>:replay``, where the service's Redis user needs SET and EVAL. It expires after 15 seconds."""

    def __init__(self, redis: RedisLink, key: str) -> None:
        self._redis = redis
        self.key = f"{key}:replay"
        self._token = secrets.token_hex(8).encode()

    async def take(self) -> bool:
        """Take the lock; False: another instance has it. May raise RedisError."""
        return bool(await self._redis.command("SET", self.key, self._token, "NX", "PX", LOCK_MS))

    async def extend(self) -> bool:
        """Keep the lock for 15 more seconds; False: it is lost. May raise RedisError."""
        return bool(await self._redis.command("EVAL", _EXTEND, 1, self.key, self._token, LOCK_MS))

    async def free(self) -> None:
        """Give the lock back if it is still ours; without Redis it expires."""
        with contextlib.suppress(RedisError):
            await self._redis.command("EVAL", _FREE, 1, self.key, self._token)
