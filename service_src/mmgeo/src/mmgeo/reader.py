"""A City or Country database in MaxMind's format: opened on a private copy, checked, asked."""

from __future__ import annotations

import ipaddress
import random
import re
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import maxminddb

from band.dataset import BadData, Loaded
from band.geoip import Address

_KNOWN_TYPE = re.compile(r"city|country|enterprise", re.IGNORECASE)
_FAULTS = (maxminddb.InvalidDatabaseError, ValueError, OverflowError, TypeError, KeyError, IndexError, RecursionError)
_WELL_KNOWN = ("1.1.1.1", "2.125.160.216", "8.8.8.8", "77.88.8.8", "81.2.69.142", "2001:4860:4860::8888", "2a02:6b8::1")
_WALKED = 2000
_RANDOM = 2000
_EARLIEST = datetime(2005, 1, 1, tzinfo=UTC)
_NODE_BITS = (24, 28, 32)


class Metadata(Protocol):
    """What a database says of itself; maxminddb has one such class a reader."""

    node_count: int
    record_size: int
    ip_version: int
    database_type: str
    build_epoch: int
    languages: list[str]


class CityReader:
    """An open database; give it up and it closes itself."""

    def __init__(self, reader: maxminddb.Reader, kind: str) -> None:
        self._reader = reader
        self.kind = kind

    def record(self, address: Address) -> dict[str, Any] | None:
        """Return what the database has of an address, as it stands there, or None.

        Raises:
            BadData: the database is damaged at this place.
            LookupError: the database has no IPv6 addresses.
        """
        try:
            found = self._reader.get(address.text)
        except ValueError as error:
            raise LookupError("this database knows IPv4 addresses only") from error
        except maxminddb.InvalidDatabaseError as error:
            raise BadData(f"the record of an address cannot be read: {error}") from error
        return found if isinstance(found, dict) else None


def open_city(path: Path) -> Loaded[CityReader]:
    """Open a database and try it out.

    Raises:
        BadData: it is no such database, is damaged, or has another schema; the text says which.
    """
    try:
        reader = _open_copy(path)
        metadata: Metadata = reader.metadata()  # type: ignore[assignment]
        built = _check_metadata(metadata, path.stat().st_size)
        found = sum(_check_record(record) for record in _samples(reader))
    except _FAULTS as error:
        raise BadData(f"not a usable MaxMind DB: {error or type(error).__name__}") from error
    if not found:
        raise BadData(f"{metadata.database_type}: not one test look-up has a country with iso_code and names")
    about = {"database": metadata.database_type, "ip_version": metadata.ip_version, "tree_nodes": metadata.node_count}
    return Loaded(CityReader(reader, metadata.database_type), built, about)


def _open_copy(path: Path) -> maxminddb.Reader:
    """Map a private copy without a name: nobody can cut it short under the reader, which would kill the process."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.map-") as copy:
        with path.open("rb") as source:
            shutil.copyfileobj(source, copy, 1 << 20)
        copy.flush()
        return maxminddb.open_database(copy.name)


def _check_metadata(metadata: Metadata, size: int) -> datetime:
    """Return the build date of a database whose numbers fit its file."""
    kind = metadata.database_type
    if not isinstance(kind, str) or not _KNOWN_TYPE.search(kind):
        raise BadData(f"a database of type {kind!r}; one with City or Country in its type is needed")
    if metadata.record_size not in _NODE_BITS or metadata.ip_version not in (4, 6):
        raise BadData(f"record size {metadata.record_size}, IP version {metadata.ip_version}: not a known format")
    tree = metadata.node_count * metadata.record_size // 4
    if not 0 < tree < size:
        raise BadData(f"a search tree of {tree} bytes in a file of {size}: the file is cut short")
    built = datetime.fromtimestamp(metadata.build_epoch, UTC)
    if not _EARLIEST < built < datetime.now(UTC) + timedelta(days=2):
        raise BadData(f"its build date is {built:%Y-%m-%d}")
    return built


def _samples(reader: maxminddb.Reader) -> Iterator[Any]:
    """Yield the records of the first networks, of well-known addresses, and of random ones, always the same."""
    for _network, record in islice(reader, _WALKED):
        yield record
    version = reader.metadata().ip_version
    for text in _WELL_KNOWN:
        if version == 6 or ":" not in text:
            yield reader.get(text)
    draw = random.Random(20)  # noqa: S311 - test look-ups, no secrets
    for _ in range(_RANDOM):
        yield reader.get(ipaddress.IPv4Address(draw.randrange(0x01000000, 0xDF000000)))


def _check_record(record: Any) -> bool:
    """Tell whether a record has a country; raise when it is of another schema."""
    if record is None:
        return False
    if not isinstance(record, dict):
        raise BadData(f"records are of type {type(record).__name__}, not maps")
    country = record.get("country")
    if country is None:
        if "country_code" in record or "country_name" in record:
            raise BadData("records are flat (country_code); only MaxMind's nested City schema is understood")
        return False
    if not isinstance(country, dict):
        raise BadData(f"country is of type {type(country).__name__}, not a map as in MaxMind's City schema")
    return isinstance(country.get("iso_code"), str) and isinstance(country.get("names"), dict)
