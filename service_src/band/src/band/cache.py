"""A cache that forgets what is not used."""

from __future__ import annotations

from typing import Generic, TypeVar

K = TypeVar("K")
T = TypeVar("T")


class Recent(Generic[K, T]):
    """A cache in two generations: when the young one is full it becomes the old one, and what was old is forgotten.

    What is used stays. (Deleting the first key of a dict, the obvious way, takes longer the more were deleted before.)

    Args:
        size: values that are remembered at most.
    """

    __slots__ = ("_half", "_old", "_young")

    def __init__(self, size: int) -> None:
        self._half = max(1, size // 2)
        self._young: dict[K, T] = {}
        self._old: dict[K, T] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, key: K) -> T | None:
        """Return what is remembered of ``key``, or None."""
        value = self._young.get(key)
        if value is None and (value := self._old.pop(key, None)) is not None:
            self.put(key, value)
        return value

    def put(self, key: K, value: T) -> None:
        """Remember a value."""
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
        self._young[key] = value
