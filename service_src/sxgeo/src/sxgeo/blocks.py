"""The ranges of a file as two compact arrays, and the look-up by bisection.

The start of a range has four octets. The first comes from the file's index, so starts lie in groups by their upper two
octets; only the lower two are kept (an array of 16-bit numbers), with one index of 65,537 group borders. Six million
ranges take 25 MB (with :mod:`sxgeo.ids`), and a look-up bisects one small group.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_right
from mmap import mmap

from geo.dataset import BadData
from sxgeo.header import Header
from sxgeo.ids import Ids

_GROUPS = 1 << 16
_STEP = 1 << 15


class Blocks:
    """All ranges of a database, in order. ``repaired`` counts the octets whose ranges had to be sorted."""

    def __init__(self, data: bytes | mmap, begin: int, count: int, b_idx: list[int], id_len: int) -> None:
        self._lows, self._id_lows = array("H", bytes(2 * count)), array("H", bytes(2 * count))
        self._id_highs, middle, repaired = bytearray(count), bytearray(count), 0
        width = 3 + id_len
        for at in range(0, count, _STEP):  # in steps: one long call would keep all other threads waiting
            raw = data[begin + at * width : begin + min(at + _STEP, count) * width]
            columns = [raw[place::width] for place in range(width)]
            columns[3:3] = [bytes(len(columns[0]))] * (3 - id_len)
            there = slice(at, at + len(columns[0]))
            middle[there], self._id_highs[there] = columns[0], columns[3]
            self._lows[there], self._id_lows[there] = _paired(columns[1], columns[2]), _paired(columns[4], columns[5])
        self._octets = len(b_idx)
        self._borders = array("I", bytes(4 * (_GROUPS + 1)))
        first = 0
        for octet, end in enumerate(b_idx):
            if not first <= end <= count:
                raise BadData(f"its first-octet index decreases at {octet}.0.0.0, or exceeds its {count} ranges")
            if not self._mark(octet, first, end, middle):
                self._sort(first, end, middle)
                repaired += 1
                self._mark(octet, first, end, middle)
            first = end
        rest = _GROUPS + 1 - (self._octets << 8)
        self._borders[self._octets << 8 :] = array("I", [first]) * rest
        self.repaired = repaired
        self._ids = Ids(self._id_lows, self._id_highs)
        del self._id_lows, self._id_highs

    def __len__(self) -> int:
        return len(self._lows)

    def _mark(self, octet: int, begin: int, end: int, middle: bytearray) -> bool:
        """Set the group borders of an octet; False when its ranges are not in order."""
        part, first, end_group = bytes(middle[begin:end]), octet << 8, (octet + 1) << 8
        if bytes(sorted(part)) != part:
            return False
        self._borders[first:end_group] = array("I", [begin]) * 256
        at = begin
        for second in sorted(set(part)):
            after = bisect_right(part, second, at - begin) + begin
            group = self._lows[at:after].tolist()
            if group != sorted(group):
                return False
            self._borders[first + second + 1 : end_group] = array("I", [after]) * (255 - second)
            at = after
        return True

    def _sort(self, begin: int, end: int, middle: bytearray) -> None:
        """Put the ranges of an octet in order; of two with one start the later stays the later, and so wins."""
        order = sorted(range(begin, end), key=lambda at: (middle[at], self._lows[at]))
        seconds = bytes(middle[at] for at in order)
        lows = array("H", [self._lows[at] for at in order])
        id_lows = array("H", [self._id_lows[at] for at in order])
        id_highs = bytes(self._id_highs[at] for at in order)
        self._id_highs[begin:end] = id_highs
        self._id_lows[begin:end] = id_lows
        middle[begin:end] = seconds
        self._lows[begin:end] = lows

    def find(self, number: int) -> int:
        """Return the id of the last range that starts at or before an IPv4 address; 0 is unknown."""
        group = number >> 16
        if group >> 8 >= self._octets:
            return 0
        at = bisect_right(self._lows, number & 0xFFFF, self._borders[group], self._borders[group + 1]) - 1
        return self._ids[at] if at >= 0 else 0

    def start_at(self, at: int) -> int:
        """Return the first address of a range by its place (slow; for tests and statistics)."""
        group = bisect_right(self._borders, at) - 1
        return group << 16 | self._lows[at]

    def ids(self) -> set[int]:
        """Return all ids that occur."""
        return self._ids.distinct()


def _paired(high: bytes, low: bytes) -> array[int]:
    """Return 16-bit numbers of their high and low bytes."""
    wide = bytearray(2 * len(high))
    little = sys.byteorder == "little"
    wide[1 if little else 0 :: 2], wide[0 if little else 1 :: 2] = high, low
    numbers = array("H")
    numbers.frombytes(wide)
    return numbers


def read_blocks(data: bytes | mmap, header: Header) -> Blocks:
    """Read the ranges of a file.

    Raises:
        BadData: the first-octet index makes no sense.
    """
    index = array("I", data[header.b_idx_at : header.b_idx_at + 4 * header.b_idx_len])
    if sys.byteorder == "little":
        index.byteswap()
    return Blocks(data, header.blocks_at, header.db_items, index.tolist(), header.id_len)
