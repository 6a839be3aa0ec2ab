"""The head of a Sypex Geo 2.2 file: 40 bytes that say how long every other part is."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from typing import Final, NamedTuple

from geo.dataset import BadData

MAGIC: Final = b"SxG"
VERSION: Final = 22
HEADER: Final = struct.Struct(">3sBLBBBHHLBHHLLHLH")
"""All big-endian; the records further down are little-endian."""
CHARSETS: Final = ("utf-8", "latin-1", "cp1251")


class Header(NamedTuple):
    """The fields in the order of the file; lengths in items for the indexes and blocks, else in bytes."""

    magic: bytes
    version: int
    time: int
    kind: int
    charset: int
    b_idx_len: int
    m_idx_len: int
    range: int
    db_items: int
    id_len: int
    max_region: int
    max_city: int
    region_size: int
    city_size: int
    max_country: int
    country_size: int
    pack_size: int

    @property
    def b_idx_at(self) -> int:
        """Where the first-octet index begins."""
        return HEADER.size + self.pack_size

    @property
    def blocks_at(self) -> int:
        """Where the blocks begin; the main index before them is not read, because published ones have wrong items."""
        return self.b_idx_at + 4 * (self.b_idx_len + self.m_idx_len)

    @property
    def regions_at(self) -> int:
        """Where the region directory begins; countries and cities follow it."""
        return self.blocks_at + self.db_items * (3 + self.id_len)

    @property
    def file_size(self) -> int:
        """The size that a whole file has."""
        return self.regions_at + self.region_size + self.country_size + self.city_size

    @property
    def encoding(self) -> str:
        """The Python name of the charset of all texts."""
        return CHARSETS[self.charset]

    @property
    def built(self) -> datetime:
        """When the database was built."""
        return datetime.fromtimestamp(self.time, UTC)


def read_header(data: bytes, size: int) -> Header:
    """Read and check the header of a file of ``size`` bytes.

    Raises:
        BadData: it is no Sypex Geo 2.2 file, or not a whole one.
    """
    if len(data) < HEADER.size or data[:3] != MAGIC:
        raise BadData("not a Sypex Geo file: it does not begin with SxG")
    header = Header(*HEADER.unpack_from(data))
    if header.version != VERSION:
        raise BadData(f"Sypex Geo version {header.version / 10}; only 2.2 is supported")
    empty = [name for name in ("b_idx_len", "db_items", "time", "id_len") if not getattr(header, name)]
    if empty:
        raise BadData(f"its header has no {', '.join(empty)}")
    if header.charset >= len(CHARSETS) or header.id_len > 3:
        raise BadData(f"charset {header.charset}, ids of {header.id_len} bytes: not a known format")
    if header.file_size != size:
        raise BadData(f"{size} bytes, but its header says {header.file_size}: truncated or damaged")
    return header
