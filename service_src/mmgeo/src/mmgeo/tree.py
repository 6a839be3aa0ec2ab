"""The search tree of a MaxMind DB: from an address to the place of its record."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from typing import Final

from mmgeo.decoder import Buffer

_TABLE_BITS = 16
_LARGE = 100_000
Walk = Callable[[Buffer, int, int, int, int], int]
"""Follows an address: (buffer, number of nodes, node, address, its first bit that counts); returns where it ends.

One for each size of records, written out: a call for each bit would take twice as long.
"""
_number = int.from_bytes


def _walk24(buffer: Buffer, nodes: int, node: int, number: int, bit: int) -> int:
    while node < nodes and bit >= 0:
        at = node * 6 + 3 * (number >> bit & 1)
        node, bit = _number(buffer[at : at + 3]), bit - 1
    return node


def _walk28(buffer: Buffer, nodes: int, node: int, number: int, bit: int) -> int:
    while node < nodes and bit >= 0:
        at = node * 7
        if number >> bit & 1:
            node = _number(buffer[at + 3 : at + 7]) & 0x0FFFFFFF
        else:
            node = (buffer[at + 3] & 0xF0) << 20 | _number(buffer[at : at + 3])
        bit -= 1
    return node


def _walk32(buffer: Buffer, nodes: int, node: int, number: int, bit: int) -> int:
    while node < nodes and bit >= 0:
        at = node * 8 + 4 * (number >> bit & 1)
        node, bit = _number(buffer[at : at + 4]), bit - 1
    return node


WALKS: Final[dict[int, Walk]] = {24: _walk24, 28: _walk28, 32: _walk32}


class Tree:
    """Follows the bits of addresses; the first bits of IPv4 by a table, because half of the way is there.

    Args:
        buffer: the file, which begins with the tree.
        nodes: how many nodes it has.
        bits: size of a record, 24, 28 or 32.
        version: 4 or 6; in a tree of IPv6 the IPv4 addresses lie under ::/96.
        table_bits: how many bits of IPv4 the table covers; None: 16 for a large tree, none for a small one.
    """

    def __init__(self, buffer: Buffer, nodes: int, bits: int, version: int, table_bits: int | None = None) -> None:
        self._buffer, self._nodes, self._walk, self.version = buffer, nodes, WALKS[bits], version
        start = 0
        for _ in range(96 if version == 6 else 0):
            start = self._child(start, 0)
        self._v4_root = start
        if table_bits is None:
            table_bits = _TABLE_BITS if nodes > _LARGE else 0
        level = array("I", [start])
        for _ in range(table_bits):
            level = array("I", [self._child(node, side) for node in level for side in (0, 1)])
        self._table, self._rest = level, 32 - table_bits

    def find(self, number: int, version: int) -> int | None:
        """Return the record's offset in the data section, or None.

        Raises:
            LookupError: an IPv6 address in a tree of IPv4.
        """
        if version == 4:
            node, bit = self._table[number >> self._rest], self._rest - 1
        elif self.version == 6:
            node, bit = 0, 127
        else:
            raise LookupError("this database knows IPv4 addresses only")
        return self._offset(self._walk(self._buffer, self._nodes, node, number, bit))

    def records(self, limit: int) -> Iterator[int]:
        """Yield the offsets of the first records on the way from left to right, IPv4 first, at most ``limit``."""
        waiting, seen = [(self._v4_root, 32)], 0
        while waiting and seen < limit:
            node, depth = waiting.pop()
            if node < self._nodes and depth > 0:
                waiting += [(self._child(node, 1), depth - 1), (self._child(node, 0), depth - 1)]
            elif (offset := self._offset(node)) is not None:
                seen += 1
                yield offset

    def _child(self, node: int, side: int) -> int:
        return self._walk(self._buffer, self._nodes, node, side, 0)

    def _offset(self, node: int) -> int | None:
        """Return where the data of a leaf lies; a node itself means that the tree is damaged, and has no data."""
        return node - self._nodes - 16 if node >= self._nodes + 16 else None
