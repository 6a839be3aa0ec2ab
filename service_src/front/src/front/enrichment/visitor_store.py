"""What other services have stored about a visitor: the Redis hash `s:<uid>`, added to the visitor's events.

It is read once and kept as long as Redis does not say that the key changed: most visitors send several events, and for
most of them nothing is stored.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import hiredis
import msgspec

from band import RedisError
from band.platform import Recent, RedisLink, decode_loosely, encode
from front.event.unicode_repair import valid_unicode

PREFIX: Final = "s:"
MAX_KEPT: Final = 20_000
"""Visitors whose hash is cached."""
MAX_KEPT_BYTES: Final = 4096
"""Bytes of one; larger ones are read each time."""
MAX_BYTES: Final = 8 * 1024 * 1024
"""Bytes that the cache may take, approximately."""
_OVERHEAD_BYTES: Final = 250
"""What Python needs for one visitor, approximately."""

Stored = msgspec.Raw | None
"""The stored data as a JSON object; None: there is none, or it is unusable."""

_UNKNOWN: Final = (False, None)


class VisitorStore:
    """Reads and caches hashes of visitors."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._watch = link.keys
        self._kept: Recent[str, tuple[bool, Stored]] = Recent(MAX_KEPT, MAX_BYTES)
        self._asked: dict[str, object] = {}
        self._watch.add(PREFIX, self._forget)

    def known(self, uid: str) -> tuple[bool, Stored]:
        """Return whether a visitor's hash is cached, and what it is."""
        return self._kept.get(uid) or _UNKNOWN

    @property
    def kept_bytes(self) -> int:
        """Approximate size of the cache in bytes."""
        return self._kept.kept_bytes

    def read(self, uid: str) -> asyncio.Future[Stored]:
        """Ask Redis; the future gets the stored data, None if Redis is unavailable. Others may resolve it earlier."""
        future: asyncio.Future[Stored] = asyncio.get_running_loop().create_future()
        ask = self._asked[uid] = object()

        def on_reply(reply: Any) -> None:
            stored = _read(reply)
            # Not cached if it has changed, or was requested again, since the request.
            if self._asked.get(uid) is ask:
                del self._asked[uid]
                if self._watch.active and not isinstance(reply, Exception):
                    self._keep(uid, stored)
            if not future.done():
                future.set_result(stored)

        try:
            self._link.send("HGETALL", f"{PREFIX}{uid}", on_reply=on_reply)
        except RedisError as error:
            on_reply(error)
        return future

    def _keep(self, uid: str, stored: Stored) -> None:
        size = 0 if stored is None else len(bytes(stored))
        if size <= MAX_KEPT_BYTES:
            self._kept.put(uid, (True, stored), _OVERHEAD_BYTES + len(uid) + size)

    def _forget(self, keys: list[bytes] | None) -> None:
        if keys is None:
            self._kept.clear()
            self._asked.clear()
            return
        for key in keys:
            uid = key.decode("utf-8", "replace")[len(PREFIX) :]
            self._kept.drop(uid)
            self._asked.pop(uid, None)


def _read(reply: Any) -> Stored:
    """Return the hash as a JSON object. One value that is not JSON invalidates all, as in the original."""
    if not reply or isinstance(reply, (Exception, hiredis.ReplyError)):
        return None
    try:
        found = {name.decode("utf-8", "replace"): decode_loosely(valid_unicode(value)) for name, value in reply.items()}
        return msgspec.Raw(encode(found))
    except (ValueError, RecursionError):
        return None
