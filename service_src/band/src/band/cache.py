"""A cache that forgets what is not used."""

from __future__ import annotations

import sys
from typing import Generic, TypeVar

K = TypeVar("K")
T = TypeVar("T")


class Recent(Generic[K, T]):
    """A cache in two generations: when the young one is full it becomes the old one, and what was old is forgotten.

    What is used stays. (Deleting the first key of a dict, the obvious way, takes longer the more were deleted before.)

    Args:
        size: values that are remembered at most.
        max_bytes: what they may take together, by the sizes that ``put`` is told.
    """

    __slots__ = ("_half", "_half_bytes", "_old", "_old_bytes", "_young", "_young_bytes")

    def __init__(self, size: int, max_bytes: int = sys.maxsize) -> None:
        self._half = max(1, size // 2)
        self._half_bytes = max_bytes // 2
        self._young: dict[K, tuple[T, int]] = {}
        self._old: dict[K, tuple[T, int]] = {}
        self._young_bytes = self._old_bytes = 0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    @property
    def kept_bytes(self) -> int:
        """What the values take together."""
        return self._young_bytes + self._old_bytes

    def get(self, key: K) -> T | None:
        """Return what is remembered of ``key``, or None."""
        found = self._young.get(key)
        if found is None:
            found = self._old.pop(key, None)
            if found is None:
                return None
            self._old_bytes -= found[1]
            self.put(key, *found)
        return found[0]

    def put(self, key: K, value: T, size: int = 0) -> None:
        """Remember a value that takes ``size`` bytes."""
        if (replaced := self._young.pop(key, None)) is not None:
            self._young_bytes -= replaced[1]
        if len(self._young) >= self._half or self._young_bytes + size > self._half_bytes:
            self._old, self._old_bytes = self._young, self._young_bytes
            self._young, self._young_bytes = {}, 0
        self._young[key] = (value, size)
        self._young_bytes += size

    def drop(self, key: K) -> None:
        """Forget a value."""
        if (young := self._young.pop(key, None)) is not None:
            self._young_bytes -= young[1]
        if (old := self._old.pop(key, None)) is not None:
            self._old_bytes -= old[1]

    def clear(self) -> None:
        """Forget everything."""
        self._young, self._old = {}, {}
        self._young_bytes = self._old_bytes = 0
