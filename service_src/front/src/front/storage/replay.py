"""Replay a segment of the journal into the stream: every event exactly once, despite crashes.

Commands of Redis: GET, EVAL (in it GET, XADD, SET), XRANGE.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from band import DecodingError
from band.platform import EVENTS_STREAM, RedisLink, decode
from front.storage.journal.format import Entry
from front.storage.redis_persistence import RedisPersistence

POSITION = "front:journal:{key}"
POSITION_TTL_SECONDS = 30 * 86_400
_ALL_TTL_SECONDS = 86_400
"""Of the position at the end of a segment: its file goes in seconds."""
_BATCH_EVENTS = 500
_BATCH_BYTES = 1024 * 1024
_ROOM_EVERY_SECONDS = 0.5

# The events and the place up to which they went are written together or not at all, so a batch that is sent again
# after a crash, a lost connection or a lost reply finds out how far it was. Returns that position.
_APPEND = """
local at = tonumber(redis.call('GET', KEYS[2]) or '0')
if at ~= tonumber(ARGV[1]) then return at end
for i = 4, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('XADD', KEYS[1], '*', 'event', ARGV[i])
  else
    redis.call('XADD', KEYS[1], '*', 'event', ARGV[i], 'trace', ARGV[i + 1])
  end
end
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
return tonumber(ARGV[2])
"""


JOURNALED = b'"journaled":true'
UNSURE = b'"unsure":true'
"""Marks the trace of an event whose first append was never confirmed: it may be in the stream already."""
CONFIRMED = b'"confirmed":true'
"""Marks the trace of an event that Redis confirmed and may have lost: it was published already."""
_SCAN_PAGE = 200
"""Entries of one XRANGE: of the largest events, 20 MB."""
_MAX_SCANNED = 100_000
_CLOCK_SKEW_MS = 2000
"""How far Redis' clock may be behind front's."""
_MAX_DELAY_MS = 60_000
"""How long after its arrival an event may have reached the stream."""


class _Known(msgspec.Struct):
    """What of an event is needed to find it again."""

    id: str = ""
    time: int = 0


class _Arrival(msgspec.Struct):
    """What of a trace is needed: an event's own `time` may be that of the client's clock."""

    at: int = 0


class Batch(NamedTuple):
    """Events that go in one step: from one place of the segment to another."""

    begin: int
    end: int
    entries: list[Entry]


class Replayer:
    """Appends the entries of segments; `on_event` is called for each event in the stream, in order.

    Also for those whose append was not confirmed and is found later: they have not been published.
    """

    def __init__(self, link: RedisLink, redis: RedisPersistence, on_event: Callable[[bytes], object]) -> None:
        self.replayed = 0
        self._link = link
        self._redis = redis
        self._on_event = on_event
        self._told_to: dict[str, int] = {}

    async def replay(self, key: str, entries: list[Entry]) -> int:
        """Append events that are not in the stream, in order; returns their number. May raise RedisError."""
        position = POSITION.format(key=key)
        new = await self._without_those_that_came(entries)
        at = int(await self._link.command("GET", position) or 0)
        # Events that an earlier process appended were probably published by it.
        self._told_to.setdefault(key, at)
        count = 0
        while True:
            self._tell(key, entries, at)
            batch = next_batch(new, at)
            if not batch.entries:
                self._tell(key, entries, entries[-1].end if entries else 0)
                return count
            await self.wait_for_room()
            texts = [text for entry in batch.entries for text in (entry.payload, marked(entry.trace))]
            found = await self._link.command(
                "EVAL", _APPEND, 2, EVENTS_STREAM, position,
                at, batch.end, POSITION_TTL_SECONDS if batch.end < entries[-1].end else _ALL_TTL_SECONDS, *texts,
            )  # fmt: skip
            if found == batch.end:
                count += len(batch.entries)
                self.replayed += len(batch.entries)
            at = int(found)
            await asyncio.sleep(0)

    def forget(self, key: str) -> None:
        """Forget the published position of a segment that is done."""
        self._told_to.pop(key, None)

    async def wait_for_room(self) -> None:
        """Wait until Redis has room for a batch: what fills it must not come from here."""
        await self._redis.look()
        while self._redis.full:
            await asyncio.sleep(_ROOM_EVERY_SECONDS)
            await self._redis.look()

    def _tell(self, key: str, entries: list[Entry], upto: int) -> None:
        """Publish the entries between the published position and `upto`."""
        first = bisect_right(entries, self._told_to[key], key=_end)
        for entry in entries[first : bisect_right(entries, upto, key=_end)]:
            if CONFIRMED not in entry.trace:
                self._on_event(entry.payload)
        self._told_to[key] = max(self._told_to[key], upto)

    async def _without_those_that_came(self, entries: list[Entry]) -> list[Entry]:
        """Drop events that are in the stream: the confirmation was lost, or Redis did not lose them after all."""
        unsure = {
            known.id: max(_arrival(entry.trace), known.time)
            for entry in entries
            if _in_doubt(entry) and (known := _known(entry.payload))
        }
        if not unsure:
            return entries
        there: set[str] = set()
        times = unsure.values()
        after, last = str(max(0, min(times) - _CLOCK_SKEW_MS)), str(max(times) + _MAX_DELAY_MS)
        for _ in range(_MAX_SCANNED // _SCAN_PAGE):
            rows = await self._link.command("XRANGE", EVENTS_STREAM, after, last, "COUNT", _SCAN_PAGE)
            there.update(known.id for _, fields in rows if (known := _known(fields[1])) and known.id in unsure)
            if len(rows) < _SCAN_PAGE:
                break
            after = f"({rows[-1][0].decode()}"
        return [
            entry
            for entry in entries
            if not _in_doubt(entry) or (known := _known(entry.payload)) is None or known.id not in there
        ]


def _end(entry: Entry) -> int:
    return entry.end


def _in_doubt(entry: Entry) -> bool:
    return UNSURE in entry.trace or CONFIRMED in entry.trace


def _known(payload: bytes) -> _Known | None:
    try:
        known = decode(payload, _Known)
    except DecodingError:
        return None
    return known if known.id else None


def _arrival(trace: bytes) -> int:
    try:
        return decode(trace, _Arrival).at
    except DecodingError:
        return 0


def next_batch(entries: list[Entry], at: int) -> Batch:
    """Return the next entries behind the place `at` of their segment."""
    chosen: list[Entry] = []
    size = 0
    for entry in entries:
        if entry.end <= at:
            continue
        size += len(entry.payload) + len(entry.trace)
        if chosen and (len(chosen) >= _BATCH_EVENTS or size > _BATCH_BYTES):
            break
        chosen.append(entry)
    return Batch(at, chosen[-1].end if chosen else at, chosen)


def marked(trace: bytes, mark: bytes = JOURNALED) -> bytes:
    """Return a trace with one more field."""
    inside = trace[1:-1].strip() if trace.startswith(b"{") and trace.endswith(b"}") else b""
    return b"{%b,%b}" % (inside, mark) if inside else b"{%b}" % mark
