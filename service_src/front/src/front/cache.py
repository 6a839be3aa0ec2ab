"""The one cache of front: bounded in values and in bytes, and it forgets what is not used."""

from __future__ import annotations

import sys
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Cache(Generic[K, V]):
    """A cache in two generations: when the young one is full it becomes the old one, and what was old is forgotten.

    What is used stays. It is as good as a strict order of use, and costs nothing to keep.
    """

    __slots__ = ("_max_bytes", "_max_values", "_old", "_old_bytes", "_young", "_young_bytes")

    def __init__(self, max_values: int, max_bytes: int = sys.maxsize) -> None:
        self._max_values = max(1, max_values // 2)
        self._max_bytes = max_bytes // 2
        self._young: dict[K, tuple[V, int]] = {}
        self._old: dict[K, tuple[V, int]] = {}
        self._young_bytes = self._old_bytes = 0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    @property
    def kept_bytes(self) -> int:
        """The sizes of all values; one that stands in both generations counts twice."""
        return self._young_bytes + self._old_bytes

    def get(self, key: K) -> V | None:
        """Return the value of a key; None when there is none."""
        found = self._young.get(key)
        if found is None:
            found = self._old.get(key)
            if found is None:
                return None
            self.put(key, *found)
        return found[0]

    def put(self, key: K, value: V, size: int = 0) -> None:
        """Remember a value that counts for `size` bytes."""
        replaced = self._young.get(key)
        self._young[key] = (value, size)
        self._young_bytes += size - (replaced[1] if replaced is not None else 0)
        if self._young_bytes > self._max_bytes or len(self._young) >= self._max_values:
            self._old, self._old_bytes = self._young, self._young_bytes
            self._young, self._young_bytes = {}, 0

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
