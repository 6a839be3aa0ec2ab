"""Writes Sypex Geo 2.2 files, for tests: what it writes, other readers of the format read too."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from sxgeo.header import CHARSETS, HEADER, MAGIC, VERSION

COUNTRY_PACK = "T:id/c2:iso/n2:lat/n2:lon/b:name_ru/b:name_en"
REGION_PACK = "S:country_seek/M:id/b:name_ru/b:name_en/b:iso"
CITY_PACK = "M:region_seek/T:country_id/M:id/N5:lat/N5:lon/b:name_ru/b:name_en"
_PLAIN = {"t": "<b", "T": "<B", "s": "<h", "S": "<H", "i": "<i", "I": "<I", "f": "<f", "d": "<d"}
_OCTETS = 224
_KIND_COUNTRY, _KIND_CITY = 1, 4


def encode(pack: str, record: Mapping[str, Any], encoding: str) -> bytes:
    """Return a record as the description ``pack`` (``type:name/type:name``) has it."""
    done = b""
    for part in pack.split("/"):
        kind, _, name = part.partition(":")
        done += _field(kind, record[name], encoding)
    return done


def _field(kind: str, value: Any, encoding: str) -> bytes:
    letter, number = kind[0], kind[1:]
    if letter in _PLAIN:
        return struct.pack(_PLAIN[letter], value)
    if letter in "mM":
        return int(value).to_bytes(3, "little", signed=letter == "m")
    if letter in "nN":
        return struct.pack("<h" if letter == "n" else "<i", round(value * 10 ** int(number)))
    if letter == "c":
        return str(value).encode(encoding).ljust(int(number))[: int(number)]
    return str(value).encode(encoding) + b"\0"


class CityFile:
    """A city file in the making: directories first, then ranges that point into them.

    Args:
        charset: 0 UTF-8, 1 Latin-1, 2 Windows-1251.
        time: Unix time of the build.
        packs: descriptions of country, region and city records.
        step: ranges an item of the main index.
    """

    def __init__(
        self,
        charset: int = 0,
        time: int = 1_700_000_000,
        packs: tuple[str, str, str] = (COUNTRY_PACK, REGION_PACK, CITY_PACK),
        step: int = 4,
    ) -> None:
        self._charset, self._time, self._packs, self._step = charset, time, packs, step
        self._directories = [b"\0", b"\0", b"\0"]  # nothing can stand at 0: it means none
        self._longest = [0, 0, 0]
        self._ranges: list[tuple[int, str, int]] = []

    def add_country(self, **record: Any) -> int:
        """Add a country; return its place in the directory."""
        return self._add(0, record)

    def add_region(self, **record: Any) -> int:
        """Add a region; return its place, for a city's ``region_seek``."""
        return self._add(1, record)

    def add_city(self, **record: Any) -> int:
        """Add a city; return its place among the cities."""
        return self._add(2, record)

    def add_range(self, start: int, *, country: int = 0, city: int = 0) -> None:
        """Let a range begin at an address; without a country or city it is unknown. In any order."""
        self._ranges.append((start, "city" if city else "country", city or country))

    def build(self) -> bytes:
        """Return the file."""
        countries = len(self._directories[0])
        blocks = [(start, place + (countries if kind == "city" else 0)) for start, kind, place in sorted(self._ranges)]
        return assemble(
            blocks,
            id_len=3,
            kind=_KIND_CITY,
            charset=self._charset,
            time=self._time,
            step=self._step,
            packs="\0".join(self._packs).encode() + b"\0",
            directories=self._directories,
            longest=self._longest,
        )

    def _add(self, level: int, record: Mapping[str, Any]) -> int:
        data = encode(self._packs[level], record, CHARSETS[self._charset])
        place = len(self._directories[level])
        self._directories[level] += data
        self._longest[level] = max(self._longest[level], len(data))
        return place


def country_file(ranges: Sequence[tuple[int, int]], time: int = 1_700_000_000, step: int = 4) -> bytes:
    """Return a country file of (first address, country number) pairs."""
    return assemble(sorted(ranges), id_len=1, kind=_KIND_COUNTRY, charset=0, time=time, step=step)


def assemble(
    blocks: Sequence[tuple[int, int]],
    *,
    id_len: int,
    kind: int,
    charset: int,
    time: int,
    step: int,
    packs: bytes = b"",
    directories: Sequence[bytes] = (b"", b"", b""),
    longest: Sequence[int] = (0, 0, 0),
) -> bytes:
    """Return a file of blocks as they are given, in order of the first octet (country, region, city directories)."""
    countries, regions, cities = directories
    octets = [start >> 24 for start, _ in blocks]
    b_idx = [bisect_right(octets, octet) for octet in range(_OCTETS)]
    # Other readers refuse a file without a main index, so even one range gets an item.
    m_idx = [blocks[at][0] for at in range(step, len(blocks), step)] or [blocks[-1][0]]
    header = HEADER.pack(
        *(MAGIC, VERSION, time, kind, charset, _OCTETS, len(m_idx), step, len(blocks), id_len),
        *(longest[1], longest[2], len(regions), len(cities), longest[0], len(countries), len(packs)),
    )
    body = b"".join((start & 0xFFFFFF).to_bytes(3, "big") + key.to_bytes(id_len, "big") for start, key in blocks)
    indexes = struct.pack(f">{_OCTETS}I", *b_idx) + struct.pack(f">{len(m_idx)}I", *m_idx)
    return header + packs + indexes + body + regions + countries + cities
