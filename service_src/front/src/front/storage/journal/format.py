"""The format of a segment on disk, and reading it after a crash or disk damage.

::

    segment  = 8 bytes of magic, then records until its end
    record   = marker (4 bytes) · length of the event · length of the trace · CRC32 · event · trace

Numbers are little-endian 32 bit; the checksum covers both lengths and both texts. Events are UTF-8, which never has the
bytes FF and FE, so the next marker after a damaged record can be found.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

MAGIC = b"\xff\xfeRBJ1\r\n"
_MARKER = b"\xff\xfe\xffR"
_HEAD = struct.Struct("<4sIII")
_LENGTHS = struct.Struct("<II")


class Entry(NamedTuple):
    """One event as it waits: its JSON, the trace's JSON (empty without one), and the offset behind its record."""

    payload: bytes
    trace: bytes
    end: int


class Scan(NamedTuple):
    """The contents of a segment: whole records in order, damaged ranges `(start, end)`, bytes of a torn tail."""

    entries: list[Entry]
    damaged: list[tuple[int, int]]
    torn: int


def pack(payload: bytes, trace: bytes) -> bytes:
    """Return the record of one event."""
    lengths = _LENGTHS.pack(len(payload), len(trace))
    checksum = zlib.crc32(trace, zlib.crc32(payload, zlib.crc32(lengths)))
    return b"".join((_HEAD.pack(_MARKER, len(payload), len(trace), checksum), payload, trace))


def scan(data: bytes) -> Scan:
    """Read a whole segment. Invalid bytes are damage if a record follows, else the torn tail."""
    entries: list[Entry] = []
    damaged: list[tuple[int, int]] = []
    position = len(MAGIC) if data.startswith(MAGIC) else 0
    while position < len(data):
        entry = _record(data, position)
        if entry is None:
            found = _next_record(data, position)
            if found < 0:
                return Scan(entries, damaged, len(data) - position)
            damaged.append((position, found))
            position = found
            continue
        entries.append(entry)
        position = entry.end
    return Scan(entries, damaged, 0)


def _record(data: bytes, start: int) -> Entry | None:
    if start + _HEAD.size > len(data):
        return None
    marker, length, trace_length, checksum = _HEAD.unpack_from(data, start)
    begin = start + _HEAD.size
    end = begin + length + trace_length
    if marker != _MARKER or end > len(data):
        return None
    payload, trace = data[begin : begin + length], data[begin + length : end]
    if zlib.crc32(trace, zlib.crc32(payload, zlib.crc32(_LENGTHS.pack(length, trace_length)))) != checksum:
        return None
    return Entry(payload, trace, end)


def _next_record(data: bytes, start: int) -> int:
    """Return where the next whole record begins behind `start`; -1 when there is none."""
    position = data.find(_MARKER, start + 1)
    while position >= 0:
        if _record(data, position) is not None:
            return position
        position = data.find(_MARKER, position + 1)
    return -1
