"""A Sypex Geo database, whole in memory: which record belongs to an address, and what it says."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from importlib import resources
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, NamedTuple

from geo.dataset import BadData, Loaded
from sxgeo.blocks import Blocks, read_blocks
from sxgeo.header import HEADER, Header, read_header
from sxgeo.packs import Pack, split_packs

_EARLIEST = datetime(2010, 1, 1, tzinfo=UTC)


class Found(NamedTuple):
    """The records of an address, as they stand in the file; an absent one is None."""

    country: dict[str, Any]
    region: dict[str, Any] | None
    city: dict[str, Any] | None


class SypexReader:
    """An open database."""

    def __init__(self, header: Header, blocks: Blocks, packs: bytes, regions: bytes, places: bytes) -> None:
        country, region, city = (Pack(text, header.encoding) for text in split_packs(packs))
        self.header = header
        self.blocks = blocks
        self._country, self._region, self._city = country, region, city
        self._regions, self._places = regions, places
        self._countries = [] if header.country_size else countries_by_number()
        self._parents: dict[int, tuple[dict[str, Any] | None, dict[str, Any] | None]] = {}
        self._by_number: dict[int, dict[str, Any]] = {}

    def record(self, key: int) -> Found | None:
        """Return the records behind an id.

        Raises:
            BadData: the record is damaged or lies outside of its directory.
        """
        if not self.header.country_size:
            country = self._countries[key] if key < len(self._countries) else None
            return Found(country, None, None) if country else None
        if key >= len(self._places):
            raise BadData(f"an id {key} in a directory of {len(self._places)} bytes")
        if key < self.header.country_size:
            return Found(self._country.read(self._places, key), None, None)
        city = self._city.read(self._places, key)
        region, region_country = self._parent(city.get("region_seek", 0))
        country = self._by_number.get(city.get("country_id", 0)) or region_country
        if country is None:
            return None
        if region_country is not None and region_country.get("id") != country.get("id"):
            region = None  # four cities of the 2020 file: the city's own country_id wins, the region is another's
        return Found(country, region, city)

    def _parent(self, seek: int) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        """Return a region and the country it names."""
        if not seek:
            return None, None
        if seek not in self._parents:
            region = self._region.read(self._regions, seek)
            at = region.get("country_seek", 0)
            country = self._country.read(self._places, at) if 0 < at < self.header.country_size else None
            self._parents[seek] = region, country
        return self._parents[seek]

    def forget(self) -> None:
        """Drop what is remembered of records: after the check it is all of them, scattered over memory."""
        self._parents = {}

    def learn_countries(self, ids: set[int]) -> None:
        """Read all countries by number: their records lie one after the other from the first that ``ids`` names.

        What lies before that one is filler, of no fixed length.
        """
        size = self.header.country_size
        at = min((key for key in ids if 0 < key < size), default=size)
        while at < size:
            country = self._country.read(self._places, at)
            self._by_number.setdefault(country.get("id", 0), country)
            at = self._country.skip(self._places, at)


def countries_by_number() -> list[dict[str, Any] | None]:
    """Return what stands for the records that a country file does not have; None where a number is no country.

    Four numbers are none: anonymous proxies (A1), others (O1), and two parts of the world (AP, EU).
    """
    names = {iso: (english, russian) for iso, english, russian in _lines("countries.tsv")}
    return [
        {"id": int(number), "iso": iso, "name_en": names[iso][0], "name_ru": names[iso][1]} if iso in names else None
        for number, iso in _lines("country_ids.tsv")
    ]


def _lines(name: str) -> list[list[str]]:
    """Return the fields of a table without its first line, which says what they are."""
    lines = resources.files("sxgeo").joinpath("data", name).read_text("utf-8").splitlines()
    return [line.split("\t") for line in lines[1:]]


def open_sypex(path: Path) -> Loaded[SypexReader]:
    """Read a database and try it out. The file is not needed afterwards.

    Raises:
        BadData: it is no such database, or is damaged; the text says how.
    """
    size = path.stat().st_size
    if size < HEADER.size:
        raise BadData(f"{size} bytes are not a Sypex Geo database")
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as mapped:
        header = read_header(mapped[: HEADER.size], size)
        blocks = read_blocks(mapped, header)
        middle = header.regions_at + header.region_size
        packs, regions = mapped[HEADER.size : header.b_idx_at], mapped[header.regions_at : middle]
        reader = SypexReader(header, blocks, packs, regions, mapped[middle : header.file_size])
    _check(reader)
    reader.forget()
    _give_back()
    about = {
        "database": "Sypex Geo City" if header.country_size else "Sypex Geo Country",
        "ip_version": 4,
        "ranges": len(blocks),
        "repaired_octets": blocks.repaired,
    }
    return Loaded(reader, header.built, about)


def _give_back() -> None:
    """Return the memory that decoding took to the system, where the C library can; it keeps it otherwise."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _check(reader: SypexReader) -> None:
    """Read every record that an address can lead to."""
    if not _EARLIEST < reader.header.built < datetime.now(UTC) + timedelta(days=2):
        raise BadData(f"its build date is {reader.header.built:%Y-%m-%d}")
    good, ids = 0, reader.blocks.ids()
    try:
        reader.learn_countries(ids)
        for key in ids:
            found = reader.record(key) if key else None
            if found and not isinstance(found.country.get("iso"), str):
                raise BadData("its countries have no ISO code")
            good += bool(found and found.country["iso"])
    except UnicodeDecodeError as error:
        raise BadData(f"a string is not valid {reader.header.encoding}: {error}") from error
    if not good:
        raise BadData("none of its records has a country")
