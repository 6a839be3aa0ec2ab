"""The director's access to Redis: commands, hashes of JSON documents with a copy in memory, ids of stream entries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from band import DecodingError, logger
from band.platform import decode
from director.errors import RedisUnavailable

T = TypeVar("T")


class Store(Protocol):
    """The required part of a Redis link: commands with arguments, replies with bytes."""

    async def command(self, *args: Any) -> Any:
        """Run one Redis command."""


class RedisHash(Generic[T]):
    """A hash of JSON documents, one per service, with a copy in memory. The director is its only writer.

    Once loaded, reads do not need Redis. Writes raise RedisUnavailable while Redis is unavailable, and then change
    nothing. `valid` returns whether a document is used.
    """

    def __init__(self, store: Store, key: str, kind: Any, valid: Callable[[str, T], bool] = lambda *_: True) -> None:
        self._store = store
        self._key = key
        self._kind = kind
        self._valid = valid
        self._documents: dict[str, T] = {}
        self.loaded = False

    async def load(self) -> None:
        """Read everything from Redis; a malformed document is logged and ignored, but not removed."""
        self._documents = await self.read()
        self.loaded = True

    async def read(self) -> dict[str, T]:
        """Return the documents in Redis by field; the copy in memory does not change."""
        found: dict[str, T] = {}
        for name, raw in pairs(await self._store.command("HGETALL", self._key)):
            try:
                value: T = decode(raw, self._kind)
            except DecodingError as error:
                logger.error("document_unreadable", key=self._key, field=name[:80], reason=str(error))
                continue
            if self._valid(name, value):
                found[name] = value
        return found

    def get(self, name: str) -> T | None:
        return self._documents.get(name)

    def all(self) -> dict[str, T]:
        return dict(self._documents)

    async def write(self, name: str, document: T) -> None:
        await self.write_all({name: document})

    async def write_all(self, documents: Mapping[str, T]) -> None:
        """Write these documents in one step: readers see all of them or none."""
        self._need_loaded()
        fields = [part for name, document in documents.items() for part in (name, msgspec.json.encode(document))]
        if fields:
            await self._store.command("HSET", self._key, *fields)
        self._documents.update(documents)

    async def forget(self, *names: str) -> None:
        self._need_loaded()
        if names:
            await self._store.command("HDEL", self._key, *names)
        for name in names:
            self._documents.pop(name, None)

    def _need_loaded(self) -> None:
        if not self.loaded:
            raise RedisUnavailable("the desired state is not loaded yet (Redis)", "check Redis: GET /health")


def pairs(reply: Any) -> list[tuple[str, Any]]:
    """Return the (field, value) pairs of a reply: a flat list (RESP2) or a map (RESP3).

    Invalid UTF-8 in a field is replaced.
    """
    items = reply.items() if isinstance(reply, dict) else zip(*[iter(reply or ())] * 2, strict=False)
    return [(text(key), value) for key, value in items]


def text(value: Any) -> str:
    """Return a value of a reply as text; invalid UTF-8 is replaced."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def stream_order(stream_id: str) -> tuple[int, int]:
    """Return a stream entry's id (`1795470000000-0`) as numbers to compare: milliseconds, sequence.

    Anything else sorts before all ids.
    """
    milliseconds, _, sequence = stream_id.partition("-")
    return _number(milliseconds), _number(sequence)


def _number(digits: str) -> int:
    return int(digits) if digits.isascii() and digits.isdigit() else 0
