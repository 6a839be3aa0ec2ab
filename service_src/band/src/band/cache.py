"""A bounded cache that keeps recently used values."""

from __future__ import annotations

import sys
from typing import Generic, TypeVar

K = TypeVar("K")
T = TypeVar("T")


class Recent(Generic[K, T]):
    """A cache in two generations: a full young one becomes the old one, and the previous old one is dropped.

    Used values move to the young one. (Deleting the first key of a dict, the obvious way, gets slower with each
    deletion.)

    Args:
        size: the maximum number of values.
        max_bytes: their maximum total size, by the sizes passed to ``put``.
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
        """The total size of the values."""
        return self._young_bytes + self._old_bytes

    def get(self, key: K) -> T | None:
        """Return the value of ``key``, or None."""
        found = self._young.get(key)
        if found is None:
            found = self._old.pop(key, None)
            if found is None:
                return None
            self._old_bytes -= found[1]
            self.put(key, *found)
        return found[0]

    def put(self, key: K, value: T, size: int = 0) -> None:
        """Store a value of ``size`` bytes."""
        if (replaced := self._young.pop(key, None)) is not None:
            self._young_bytes -= replaced[1]
        if len(self._young) >= self._half or self._young_bytes + size > self._half_bytes:
            self._old, self._old_bytes = self._young, self._young_bytes
            self._young, self._young_bytes = {}, 0
        self._young[key] = (value, size)
        self._young_bytes += size

    def drop(self, key: K) -> None:
        """Remove a value."""
        if (young := self._young.pop(key, None)) is not None:
            self._young_bytes -= young[1]
        if (old := self._old.pop(key, None)) is not None:
            self._old_bytes -= old[1]

    def clear(self) -> None:
        """Remove everything."""
        self._young, self._old = {}, {}
        self._young_bytes = self._old_bytes = 0
