"""Client-side caching: Redis reports changes of keys, so that their values may be cached."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import hiredis

from band.redis.connection import Connection
from band.telemetry.logs import logger

OnChange = Callable[[list[bytes] | None], None]

_ANSWER_WITHIN: Final = 3.0


class KeyInvalidation:
    """The prefixes that one connection watches. In this mode (BCAST) Redis reports every write to a prefix."""

    def __init__(self) -> None:
        self._watched: dict[str, OnChange] = {}
        self._wire: Connection | None = None
        self.active = False
        """Whether Redis reports changes; otherwise nothing may be cached."""

    def add(self, prefix: str, on_change: OnChange) -> None:
        """Watch the keys with ``prefix`` on this and every later connection.

        ``on_change`` gets the changed keys, or None: any may have changed, because there was no connection.
        """
        self._watched[prefix] = on_change
        if self._wire is not None:
            self.begin(self._wire)

    def begin(self, wire: Connection) -> None:
        """Enable reports on a new connection."""
        self._wire = wire
        if not self._watched:
            return
        prefixes = [part for prefix in self._watched for part in ("PREFIX", prefix)]
        deadline = asyncio.get_running_loop().time() + _ANSWER_WITHIN
        wire.send(("CLIENT", "TRACKING", "OFF"), None, deadline)
        wire.send(("CLIENT", "TRACKING", "ON", "BCAST", *prefixes), self._on_reply, deadline)

    def end(self) -> None:
        """The connection is gone: cached values may be outdated."""
        self._wire = None
        self.active = False
        self.take(None)

    def take(self, keys: list[bytes] | None) -> None:
        """Pass on the changed keys, None if all may have changed."""
        for prefix, on_change in self._watched.items():
            if keys is None:
                on_change(None)
                continue
            start = prefix.encode()
            own = [key for key in keys if key.startswith(start)]
            if own:
                on_change(own)

    def _on_reply(self, reply: Any) -> None:
        self.active = not isinstance(reply, Exception)
        if isinstance(reply, hiredis.ReplyError):  # no permission, or an old Redis: nothing is cached
            logger.info("redis_tracking_unavailable", formerly="redis_does_not_track", reason=str(reply))
