"""The search tree of a MaxMind DB: from an address to the key of its record.

maxminddb finds and decodes records, and does not tell which addresses share one. Millions of networks share a few
hundred thousand records, so this walk of 2 µs saves decoding and naming the same place again (some 25 µs).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from mmap import mmap
from typing import Final

Buffer = bytes | mmap
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
        start = self._walk(buffer, nodes, 0, 0, 95) if version == 6 else 0
        if table_bits is None:
            table_bits = _TABLE_BITS if nodes > _LARGE else 0
        level = array("I", [start])
        for _ in range(table_bits):
            level = array("I", [self._walk(buffer, nodes, node, side, 0) for node in level for side in (0, 1)])
        self._table, self._rest = level, 32 - table_bits

    def find(self, number: int, version: int) -> int | None:
        """Return the key of an address's record, or None.

        Raises:
            LookupError: an IPv6 address in a tree of IPv4.
        """
        if version == 4:
            node, bit = self._table[number >> self._rest], self._rest - 1
        elif self.version == 6:
            node, bit = 0, 127
        else:
            raise LookupError("this database contains IPv4 addresses only")
        node = self._walk(self._buffer, self._nodes, node, number, bit)
        return node if node > self._nodes else None  # the number of nodes means "nothing", less is a damaged tree

    def one_of_each(self) -> Iterator[int]:
        """Yield one address of each record, as a number in the tree's own version.

        Raises:
            ValueError: the tree is deeper than an address has bits, or has a cycle.
        """
        width = 32 if self.version == 4 else 128
        visited, found, waiting = bytearray(self._nodes), set(), [(0, 0, 1)]
        while waiting:
            node, prefix, depth = waiting.pop()
            if visited[node]:  # IPv4 is reached in several ways
                continue
            visited[node] = True
            for side in (0, 1):
                below, number = self._walk(self._buffer, self._nodes, node, side, 0), prefix << 1 | side
                if below < self._nodes:
                    if depth == width:
                        raise ValueError("its search tree has more levels than an address has bits")
                    waiting.append((below, number, depth + 1))
                elif below > self._nodes and below not in found:
                    found.add(below)
                    yield number << (width - depth)
