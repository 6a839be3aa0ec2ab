"""Events that Redis has confirmed and may not have written to its append-only file yet.

With `appendfsync everysec` Redis responds first and writes later: up to two seconds later on a slow disk, never on a
full one. If it exits in between, confirmed events are lost. So they are remembered here until Redis reports them as
written (`aof_buffer_length` of INFO), and are appended again if Redis lost its data.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Generic, TypeVar

T = TypeVar("T")

MAX_BYTES: Final = 16 * 1024 * 1024
"""When more is remembered, new events go to the journal: Redis is slow to write, and front's memory is bounded."""


class Unpersisted(Generic[T]):
    """Remembers items in the order in which Redis received them, and the least bytes of each in its file."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.bytes = 0
        self._max_bytes = max_bytes
        self._items: deque[tuple[int, T]] = deque()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def full(self) -> str:
        """Why nothing more is to be remembered; empty while there is room."""
        return "Redis is slow to write its append-only file" if self.bytes > self._max_bytes else ""

    def add(self, item: T, size: int) -> None:
        """Remember what Redis has just confirmed."""
        self._items.append((size, item))
        self.bytes += size

    def written(self, left: int) -> list[T]:
        """Remove and return the items that Redis has written, if the last `left` bytes are not written."""
        found = []
        while self._items and self.bytes - self._items[0][0] >= left:
            size, item = self._items.popleft()
            self.bytes -= size
            found.append(item)
        return found

    def take(self) -> list[T]:
        """Forget, and return, everything: Redis may have lost it."""
        found = [item for _, item in self._items]
        self._items.clear()
        self.bytes = 0
        return found
