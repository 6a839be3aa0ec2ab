"""A database in MaxMind's format, of places or of networks: opened on a private copy, checked, asked."""

from __future__ import annotations

import random
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import msgspec

from geo.address import Address, check_address
from geo.dataset import BadData, Loaded
from mmgeo.decoder import Buffer, Decoder
from mmgeo.tree import WALKS, Tree

_MARKER = b"\xab\xcd\xefMaxMind.com"
_MARKER_WITHIN = 128 * 1024
_SEPARATOR = 16
_LANGUAGES = frozenset({"en", "ru"})
_IGNORED = frozenset({"continent", "registered_country", "represented_country"})
_PLACES = re.compile(r"city|country|enterprise", re.IGNORECASE)
_NETWORKS = re.compile(r"asn|isp|enterprise", re.IGNORECASE)
_WELL_KNOWN = ("1.1.1.1", "2.125.160.216", "8.8.8.8", "77.88.8.8", "81.2.69.142", "2001:4860:4860::8888", "2a02:6b8::1")
_WALKED = 2000
_RANDOM = 2000
_EARLIEST = datetime(2005, 1, 1, tzinfo=UTC)


class Metadata(msgspec.Struct):
    """What a database says of itself."""

    node_count: int
    record_size: int
    ip_version: int
    database_type: str
    build_epoch: int


class CityReader:
    """An open database; give it up and it closes itself."""

    def __init__(self, tree: Tree, decoder: Decoder) -> None:
        self._tree, self._decoder = tree, decoder

    def find(self, address: Address) -> int | None:
        """Return where the record of an address lies; many addresses share one.

        Raises:
            LookupError: the database has no IPv6 addresses.
        """
        return self._tree.find(address.number, address.version)

    def record(self, offset: int) -> dict[str, Any]:
        """Return the record at a place: names in English and Russian, without continents and registered countries.

        Raises:
            BadData: the database is damaged at this place.
        """
        found = self._decoder.read(offset)
        if not isinstance(found, dict):
            raise BadData(f"a record is of type {type(found).__name__}, not a map")
        return found

    def networks(self, limit: int) -> Iterator[int]:
        """Yield the places of the records of the first networks in the order of addresses, IPv4 first."""
        return self._tree.records(limit)

    def samples(self) -> Iterator[dict[str, Any]]:
        """Yield the records of the first networks, of well-known addresses, and of random ones, always the same."""
        for offset in self.networks(_WALKED):
            yield self.record(offset)
        draw = random.Random(20)  # noqa: S311 - test look-ups, no secrets
        numbers = [Address(4, draw.randrange(0x01000000, 0xDF000000), "") for _ in range(_RANDOM)]
        known = [address for text in _WELL_KNOWN if not isinstance(address := check_address(text), str)]
        for address in known + numbers:
            if address.version == 6 and self._tree.version == 4:
                continue
            found = self.find(address)
            if found is not None:
                yield self.record(found)


def open_city(path: Path) -> Loaded[CityReader]:
    """Open a database of places and try it out.

    Raises:
        BadData: it is no such database, is damaged, or has another schema; the text says which.
    """
    return _open(path, _PLACES, "City or Country", _has_place, "a country with iso_code and names")


def open_asn(path: Path) -> Loaded[CityReader]:
    """Open a database of networks (autonomous systems) and try it out; raises as ``open_city`` does."""
    return _open(path, _NETWORKS, "ASN or ISP", _has_network, "an autonomous_system_number")


def _open(
    path: Path, known: re.Pattern[str], wanted: str, has: Callable[[dict[str, Any]], bool], what: str
) -> Loaded[CityReader]:
    if _find_marker(path) < 0:  # before the copy: the cheapest look is enough to refuse most of what is no database
        raise BadData("not a MaxMind DB, or cut short: it has no metadata at its end")
    buffer = _map_copy(path)
    at = buffer.rfind(_MARKER)
    metadata = _read_metadata(buffer, at + len(_MARKER))
    if not known.search(metadata.database_type):
        raise BadData(f"a database of type {metadata.database_type[:80]!r}; one with {wanted} in its type is needed")
    built = _check_metadata(metadata, at)
    begin = metadata.node_count * metadata.record_size // 4 + _SEPARATOR
    tree = Tree(buffer, metadata.node_count, metadata.record_size, metadata.ip_version)
    reader = CityReader(tree, Decoder(buffer, begin, at, _LANGUAGES, _IGNORED))
    if not sum(has(record) for record in reader.samples()):
        raise BadData(f"{metadata.database_type}: not one test look-up has {what}")
    about = {"database": metadata.database_type, "ip_version": metadata.ip_version, "tree_nodes": metadata.node_count}
    return Loaded(reader, built, about)


def _find_marker(path: Path) -> int:
    """Return where the metadata's marker stands in the last part of a file, counted from that part's beginning."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _MARKER_WITHIN))
        return file.read().rfind(_MARKER)


def _map_copy(path: Path) -> Buffer:
    """Map a private copy without a name: nobody can cut it short under the reader, which would kill the process."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.map-") as copy:
        with path.open("rb") as source:
            shutil.copyfileobj(source, copy, 1 << 20)
        copy.flush()
        return mmap(copy.fileno(), 0, access=ACCESS_READ)


def _read_metadata(buffer: Buffer, at: int) -> Metadata:
    found = Decoder(buffer, at, len(buffer)).read(0)
    try:
        return msgspec.convert(found, Metadata)
    except msgspec.ValidationError as error:
        raise BadData(f"its metadata is damaged: {error}") from error


def _check_metadata(metadata: Metadata, end: int) -> datetime:
    """Return the build date of a database whose numbers fit its file."""
    if metadata.record_size not in WALKS or metadata.ip_version not in (4, 6):
        raise BadData(f"record size {metadata.record_size}, IP version {metadata.ip_version}: not a known format")
    tree = metadata.node_count * metadata.record_size // 4
    if not 0 < tree < end - _SEPARATOR:
        raise BadData(f"a search tree of {tree} bytes before metadata at {end}: the file is cut short or damaged")
    try:
        built = datetime.fromtimestamp(metadata.build_epoch, UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise BadData(f"its build time {metadata.build_epoch} is no date") from error
    if not _EARLIEST < built < datetime.now(UTC) + timedelta(days=2):
        raise BadData(f"its build date is {built:%Y-%m-%d}")
    return built


def _has_place(record: dict[str, Any]) -> bool:
    """Tell whether a record has a country; raise when it is of another schema."""
    country = record.get("country")
    if country is None:
        if "country_code" in record or "country_name" in record:
            raise BadData("records are flat (country_code); only MaxMind's nested City schema is understood")
        return False
    if not isinstance(country, dict):
        raise BadData(f"country is of type {type(country).__name__}, not a map as in MaxMind's City schema")
    return isinstance(country.get("iso_code"), str) and isinstance(country.get("names"), dict)


def _has_network(record: dict[str, Any]) -> bool:
    return type(record.get("autonomous_system_number")) is int
