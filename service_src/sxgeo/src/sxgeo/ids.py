"""The ids of six million ranges in a little more than two bytes each.

An id has three bytes, but a city file leads to some 70,000 records only: so each range keeps the number of its id in a
table of them, 16 bits in an array and the 17th, where one is needed, in a set of bits.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator

_STEP = 1 << 15
_LITTLE = sys.byteorder == "little"
_DIGITS = bytes.maketrans(b"\0\1", b"01")
_BITSET = 1 << 17


class Ids:
    """The ids in order; ``ids[at]`` is the id of a range.

    Args:
        lows: the lower 16 bits of each; it is taken over.
        highs: the upper 8 bits of each.
    """

    __slots__ = ("_bits", "_bytes", "_lows", "_table")

    def __init__(self, lows: array[int], highs: bytearray) -> None:
        distinct: set[int] = set()
        for _begin, numbers in _whole(lows, highs):
            distinct.update(numbers)
        self._table = array("I", sorted(distinct))
        self._lows = lows
        self._bits = bytearray()
        self._bytes: bytearray | None = highs if len(distinct) > _BITSET else None
        if self._bytes is not None:  # no known file: they stay as they are
            return
        place = {number: at for at, number in enumerate(self._table)}
        for begin, numbers in _whole(lows, highs):
            places = [place[number] for number in numbers]
            lows[begin : begin + len(places)] = array("H", [at & 0xFFFF for at in places])
            if len(distinct) > 1 << 16:
                flags = bytes([at >> 16 for at in places])
                self._bits += int(flags[::-1].translate(_DIGITS), 2).to_bytes(_STEP >> 3, "little")

    def __getitem__(self, at: int) -> int:
        low = self._lows[at]
        if self._bytes is not None:
            return self._bytes[at] << 16 | low
        if self._bits:
            low |= (self._bits[at >> 3] >> (at & 7) & 1) << 16
        return self._table[low]

    def distinct(self) -> set[int]:
        """Return all ids that occur."""
        return set(self._table)


def _whole(lows: array[int], highs: bytearray) -> Iterator[tuple[int, array[int]]]:
    """Yield (place of the first, ids) in steps: one long call would keep all other threads waiting."""
    for begin in range(0, len(lows), _STEP):
        high, low = highs[begin : begin + _STEP], lows[begin : begin + _STEP].tobytes()
        wide = bytearray(4 * len(high))
        wide[0 if _LITTLE else 3 :: 4] = low[0 if _LITTLE else 1 :: 2]
        wide[1 if _LITTLE else 2 :: 4] = low[1 if _LITTLE else 0 :: 2]
        wide[2 if _LITTLE else 1 :: 4] = high
        numbers = array("I")
        numbers.frombytes(wide)
        yield begin, numbers
