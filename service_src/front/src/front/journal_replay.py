"""From a segment of the journal into the stream: all of it once, whatever dies in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from band.constants import EVENTS_STREAM
from front.journal_format import Entry

POSITION = "front:journal:{key}"
POSITION_TTL_S = 30 * 86_400
_BATCH_EVENTS = 500
_BATCH_BYTES = 1024 * 1024

# The events and the place up to which they went are written together or not at all, so a batch that is sent again
# after a crash, a cut connection or a lost answer finds out how far it was. Returns that place.
_APPEND = """
local at = tonumber(redis.call('GET', KEYS[2]) or '0')
if at ~= tonumber(ARGV[1]) then return at end
for i = 5, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[4], '*', 'event', ARGV[i])
  else
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[4], '*', 'event', ARGV[i], 'trace', ARGV[i + 1])
  end
end
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
return tonumber(ARGV[2])
"""


class Commands(Protocol):
    """What is needed of band's connection to Redis."""

    async def command(self, *parts: Any, timeout: float = ...) -> Any:
        """Send one command and return its reply."""


class Batch(NamedTuple):
    """Events that go in one step: from one place of the segment to another."""

    begin: int
    end: int
    entries: list[Entry]


class Replayer:
    """Appends the entries of segments; `on_event` hears of each event that is in the stream now."""

    def __init__(self, link: Commands, max_length: int, on_event: Callable[[bytes], object]) -> None:
        self.replayed = 0
        self._link = link
        self._max_length = str(max_length)
        self._on_event = on_event

    async def replay(self, key: str, entries: list[Entry]) -> int:
        """Append what is not in the stream yet, in order; returns how many. RedisError when Redis goes away."""
        position = POSITION.format(key=key)
        at = int(await self._link.command("GET", position) or 0)
        count = 0
        while True:
            batch = next_batch(entries, at)
            if not batch.entries:
                return count
            texts = [text for entry in batch.entries for text in (entry.payload, marked(entry.trace))]
            found = await self._link.command(
                "EVAL", _APPEND, 2, EVENTS_STREAM, position,
                at, batch.end, POSITION_TTL_S, self._max_length, *texts,
            )  # fmt: skip
            if found == batch.end:
                count += len(batch.entries)
                self.replayed += len(batch.entries)
                for entry in batch.entries:
                    self._on_event(entry.payload)
            at = int(found)
            await asyncio.sleep(0)


def next_batch(entries: list[Entry], at: int) -> Batch:
    """The next entries behind the place `at` of their segment."""
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


def marked(trace: bytes) -> bytes:
    """The trace with `"journaled": true` in it."""
    if not trace.startswith(b"{") or not trace.endswith(b"}"):
        return b'{"journaled":true}'
    inside = trace[1:-1].strip()
    return b'{"journaled":true}' if not inside else b'{%b,"journaled":true}' % inside
