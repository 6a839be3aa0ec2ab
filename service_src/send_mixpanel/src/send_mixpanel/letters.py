"""Redis streams of our own: dead letters, and events held for a project that takes none at the moment."""

import asyncio
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from band import jsonio
from send_mixpanel.mapping import Event

RETRY_SECONDS = 1.0
# Letters may be as large as events are: what is read at once is bounded in bytes, not only in number.
READ_BYTES = 4_000_000
_PAGE = 50
_ID = re.compile(r"\d{1,20}(-\d{1,20})?")


class RedisLink(Protocol):
    """What is needed of band's connection."""

    async def command(self, *parts: Any) -> Any:
        """Send one command and return its reply."""
        ...


class Letter(msgspec.Struct, frozen=True):
    """One entry: its id in the stream, the event, and why it is here."""

    stream_id: str
    event: Event
    facts: Mapping[str, str]

    def shown(self) -> dict[str, Any]:
        """As an operator sees it."""
        return {"stream_id": self.stream_id, **self.facts, "event": self.event}


class LetterStream:
    """A stream of events with facts beside each, in the form of band's own dead letters."""

    def __init__(self, redis: RedisLink, key: str, most: int = 0, errors: tuple[type[Exception], ...] = ()) -> None:
        self.key = key
        self._redis = redis
        self._limit: tuple[Any, ...] = ("MAXLEN", "~", most) if most else ()
        self._errors = errors

    async def add(self, letters: Sequence[tuple[Event, Mapping[str, str]]]) -> None:
        """Append all. While Redis is away it tries again: what is not written here would be lost."""
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

    async def read(self, count: int, after: str = "-") -> list[Letter]:
        """The oldest entries behind the id `after`: at most `count`, or about 4 MB; empty only when there are none."""
        return await self._pages("XRANGE", after, "+", count)

    async def newest(self, count: int) -> list[Letter]:
        """The newest entries, newest first: at most `count`, or about 4 MB."""
        return await self._pages("XREVRANGE", "+", "-", count)

    async def _pages(self, command: str, begin: str, end: str, count: int) -> list[Letter]:
        letters: list[Letter] = []
        size = 0
        while len(letters) < count and size < READ_BYTES:
            start = begin if begin in ("-", "+") else f"({begin}"
            rows = await self._redis.command(command, self.key, start, end, "COUNT", min(_PAGE, count - len(letters)))
            if not rows:
                break
            letters += map(_letter, rows)
            size += sum(len(part) for _, fields in rows for part in fields)
            begin = letters[-1].stream_id
        return letters

    async def find(self, stream_ids: Iterable[str]) -> list[Letter]:
        """The entries with these ids, those that there are. An id that cannot be one is left out."""
        ids = [one for one in stream_ids if _ID.fullmatch(one)]
        found = await asyncio.gather(*(self._redis.command("XRANGE", self.key, one, one) for one in ids))
        return [_letter(row) for rows in found for row in rows]

    async def present(self, stream_ids: Iterable[str]) -> list[str]:
        """Those of the ids that there are; the entries themselves stay where they are."""
        ids = [one for one in dict.fromkeys(stream_ids) if _ID.fullmatch(one)]
        found = []
        for begin in range(0, len(ids), _PAGE):
            found += [letter.stream_id for letter in await self.find(ids[begin : begin + _PAGE])]
        return found

    async def length(self) -> int:
        """How many there are."""
        return int(await self._redis.command("XLEN", self.key))

    async def remove(self, stream_ids: Iterable[str]) -> int:
        """Remove entries by id; returns how many there were."""
        ids = [one for one in stream_ids if _ID.fullmatch(one)]
        return int(await self._redis.command("XDEL", self.key, *ids)) if ids else 0

    async def clear(self) -> int:
        """Remove all; returns how many there were."""
        count = await self.length()
        await self._redis.command("DEL", self.key)
        return count

    async def _add_one(self, event: Event, facts: Mapping[str, str]) -> None:
        fields = [part for pair in facts.items() for part in pair]
        await self._redis.command("XADD", self.key, *self._limit, "*", "event", jsonio.encode(event), *fields)


def _letter(row: Any) -> Letter:
    stream_id, fields = row
    pairs = {_text(name): value for name, value in zip(fields[::2], fields[1::2], strict=True)}
    raw = pairs.pop("event", b"null")
    try:
        event = jsonio.decode(raw)
    except (ValueError, RecursionError):
        event = {"unreadable": _text(raw)}
    facts = {name: _text(value) for name, value in pairs.items()}
    return Letter(_text(stream_id), event if isinstance(event, dict) else {"unreadable": event}, facts)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
