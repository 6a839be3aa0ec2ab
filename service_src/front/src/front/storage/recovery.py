"""Recovery of events that Redis has confirmed and may have lost: from the journal, or from memory without a disk."""

from __future__ import annotations

import asyncio
import secrets
from functools import partial

from front.errors import NotAccepted
from front.storage.journal.format import Entry
from front.storage.journal.journal import Journal
from front.storage.journal.writer import Segment
from front.storage.replay import CONFIRMED, Replayer, marked
from front.storage.stream_acceptor import Event
from front.storage.unpersisted import Unpersisted

Given = Unpersisted[list[Event] | Segment]
"""Events that Redis received and confirmed: those of a turn, or of a segment."""


class Recovery:
    """Keeps events and segments until Redis has written them; appends them again when it may have lost them."""

    def __init__(self, given: Given, journal: Journal, replayer: Replayer) -> None:
        """`given` is filled by the stream's acceptor, and by `replayed`."""
        self._given = given
        self._journal = journal
        self._replayer = replayer
        self._in_memory: list[Entry] = []

    def __len__(self) -> int:
        """Events that are to be appended again and are in memory only."""
        return len(self._in_memory)

    @property
    def needed(self) -> bool:
        """Whether there is anything that Redis may lose."""
        return len(self._given) > 0

    def replayed(self, segment: Segment, size: int) -> None:
        """Keep a segment that Redis has confirmed; in its file are at least `size` bytes of it."""
        self._journal.finish(segment)
        self._given.add(segment, size)

    def redis_wrote(self, left: int) -> None:
        """Forget the events in Redis' file: all but the last `left` bytes that it received."""
        for item in self._given.written(left):
            if isinstance(item, Segment):
                self._replayer.forget(item.key)
                self._journal.done(item)

    def save(self) -> None:
        """Put in the journal what Redis may have lost; what the disk refuses is kept in memory."""
        segments: list[Segment] = []
        for item in self._given.take():
            if isinstance(item, Segment):
                segments.append(item)
                continue
            for payload, trace in item:
                self._save_event(Entry(payload, marked(trace, CONFIRMED), 0))
        for segment in reversed(segments):
            self._journal.take_back(segment)

    async def bring(self) -> None:
        """Append events that are only in memory, unless they are in the stream."""
        while self._in_memory:
            entries = [entry._replace(end=end) for end, entry in enumerate(self._in_memory, 1)]
            key = f"memory-{secrets.token_hex(8)}"
            await self._replayer.replay(key, entries)
            self._replayer.forget(key)
            del self._in_memory[: len(entries)]

    def _save_event(self, entry: Entry) -> None:
        try:
            saved = self._journal.append(entry.payload, entry.trace)
        except NotAccepted:
            self._in_memory.append(entry)
        else:
            saved.add_done_callback(partial(self._unless_saved, entry))

    def _unless_saved(self, entry: Entry, saved: asyncio.Future[None]) -> None:
        if saved.cancelled() or saved.exception() is not None:
            self._in_memory.append(entry)
