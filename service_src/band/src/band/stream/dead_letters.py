"""Redis streams of events with facts: dead letters, and other events that a service sets aside."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from band import json_codec
from band.errors import DecodingError
from band.json_codec import decode_loosely
from band.redis.link import RedisLink

Event = Mapping[str, Any]
RETRY_SECONDS = 1.0
READ_BYTES = 4_000_000
"""Bytes that are read at once: letters may be as large as events are, so that a number alone is no bound."""
_PAGE = 50
# Until it is known how large they are.
_FIRST_PAGE = 10
_ID = re.compile(r"[0-9]{1,20}(-[0-9]{1,20})?")


class Letter(msgspec.Struct, frozen=True):
    """One entry of a stream of dead letters.

    Attributes:
        stream_id: its own id in that stream.
        event: the event; of an entry that is not ``readable``, ``{"unreadable": …}`` with what it holds instead.
        facts: the other fields of the entry: ``reason`` and more.
        readable: whether it holds an event.
        size: of the entry, in bytes.
    """

    stream_id: str
    event: dict[str, Any]
    facts: Mapping[str, str]
    readable: bool = True
    size: int = 0

    @property
    def origin(self) -> str:
        """The event's id in the stream `events`, empty if unknown."""
        return self.facts.get("stream_id", "")

    def shown(self) -> dict[str, Any]:
        """Return it as shown to operators: `stream_id` is the letter's own id, for replay and deletion."""
        origin = {"event_stream_id": self.origin} if self.origin else {}
        return {**self.facts, **origin, "stream_id": self.stream_id, "event": self.event}


class LetterStream:
    """A stream of events with facts beside each, in the form of band's own dead letters.

    Args:
        redis: the connection.
        key: of the stream.
        most: about so many entries are kept, the newest; 0: all.
        errors: exceptions after which an entry is added again a second later. All others are raised.

    Raises:
        RedisError: Redis refused or could not be asked; raised by all methods, by ``add`` as ``errors`` says.
    """

    def __init__(self, redis: RedisLink, key: str, most: int = 0, errors: tuple[type[Exception], ...] = ()) -> None:
        self.key = key
        self._redis = redis
        self._limit: tuple[Any, ...] = ("MAXLEN", "~", most) if most else ()
        self._errors = errors

    async def add(self, letters: Sequence[tuple[Event, Mapping[str, str]]]) -> None:
        """Append all. Retries while Redis is unavailable: otherwise the letters would be lost."""
        at = str(int(time.time() * 1000))
        left = list(letters)
        while left:
            results = await asyncio.gather(
                *(self._add_one(event, {**facts, "at": at}) for event, facts in left), return_exceptions=True
            )
            failed = []
            for letter, result in zip(left, results, strict=True):
                if isinstance(result, self._errors):
                    failed.append(letter)
                elif isinstance(result, BaseException):
                    raise result
            left = failed
            if left:
                await asyncio.sleep(RETRY_SECONDS)

    async def read(self, count: int, after: str = "-", size: int = READ_BYTES, end: str = "+") -> list[Letter]:
        """Return the oldest entries after the id `after`, up to `end`: at most `count`, or about `size` bytes."""
        return await self._pages("XRANGE", after, end, count, size)

    async def newest(self, count: int) -> list[Letter]:
        """Return the newest entries, newest first: at most `count`, or about 4 MB."""
        return await self._pages("XREVRANGE", "+", "-", count, READ_BYTES)

    async def portions(
        self, count: int, chosen: Iterable[str] | None = None, *, entries: int = _PAGE, size: int = READ_BYTES
    ) -> AsyncIterator[list[Letter]]:
        """Yield the oldest `count` entries, or the `chosen` ones, in portions of `entries`, or about `size` bytes."""
        if chosen is None:
            after = "-"
            while count > 0 and (letters := await self.read(min(count, entries), after, size)):
                yield letters
                after, count = letters[-1].stream_id, count - len(letters)
            return
        letters = []
        for one in chosen:
            letters += await self._one(one)
            if len(letters) >= entries or sum(letter.size for letter in letters) >= size:
                yield letters
                letters = []
        if letters:
            yield letters

    async def _pages(self, command: str, begin: str, end: str, count: int, most: int) -> list[Letter]:
        letters: list[Letter] = []
        size, page = 0, _FIRST_PAGE
        while len(letters) < count and size < most:
            start = begin if begin in ("-", "+") else f"({begin}"
            rows = await self._redis.command(command, self.key, start, end, "COUNT", min(page, count - len(letters)))
            if not rows:
                break
            found = [_letter(row) for row in rows]
            letters += found
            size += sum(letter.size for letter in found)
            begin = letters[-1].stream_id
            page = max(1, min(_PAGE, (most - size) * len(letters) // max(1, size)))
        return letters

    async def _one(self, stream_id: str) -> list[Letter]:
        if not _ID.fullmatch(stream_id):
            return []
        return [_letter(row) for row in await self._redis.command("XRANGE", self.key, stream_id, stream_id)]

    async def present(self, stream_ids: Iterable[str]) -> list[str]:
        """Return the ids that exist."""
        # One after another: entries may be large, and only their ids are needed.
        return [letter.stream_id for one in dict.fromkeys(stream_ids) for letter in await self._one(one)]

    async def length(self) -> int:
        """Return the number of entries."""
        return int(await self._redis.command("XLEN", self.key))

    async def remove(self, stream_ids: Iterable[str]) -> int:
        """Remove entries by id; returns how many existed."""
        ids = [one for one in stream_ids if _ID.fullmatch(one)]
        return int(await self._redis.command("XDEL", self.key, *ids)) if ids else 0

    async def clear(self) -> int:
        """Remove all; returns their number."""
        count = await self.length()
        await self._redis.command("DEL", self.key)
        return count

    async def _add_one(self, event: Event, facts: Mapping[str, str]) -> None:
        fields = [part for pair in facts.items() for part in pair]
        await self._redis.command("XADD", self.key, *self._limit, "*", "event", json_codec.encode(event), *fields)


def _letter(row: Any) -> Letter:
    stream_id, fields = row
    pairs = {_text(name): value for name, value in zip(fields[::2], fields[1::2], strict=True)}
    raw = pairs.pop("event", b"null")
    try:
        event = decode_loosely(raw)
    except DecodingError:
        event = _text(raw)
    readable = isinstance(event, dict)
    facts = {name: _text(value) for name, value in pairs.items()}
    size = sum(map(len, fields))
    return Letter(_text(stream_id), event if readable else {"unreadable": event}, facts, readable, size)


def read_ids(ids: str | list[str]) -> list[str]:
    """Return the ids in a call's parameter: a list, or a string separated by commas or spaces."""
    return ids.replace(",", " ").split() if isinstance(ids, str) else [str(one) for one in ids]


def read_count(value: Any, most: int) -> int:
    """Return a number of letters from 1 to `most`; `most` if it is not a number."""
    try:
        return max(1, min(int(value), most))
    except (TypeError, ValueError):
        return most


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
