"""From what a client sent as its address to a place: checked, looked up, remembered."""

from __future__ import annotations

from typing import Any, Protocol

from band.dataset import BadData
from band.geoip import BAD_RECORD, IPV6, NO_DATABASE, UNKNOWN, Address, check_address, nowhere
from mmgeo.place import Names, make_place
from mmgeo.reader import CityReader


class Database(Protocol):
    """The part of a dataset that look-ups need."""

    value: CityReader | None
    source: str
    build_date: str


class Locator:
    """Answers places; the newest ``cache_size`` addresses are remembered until the database changes."""

    def __init__(self, database: Database, names: Names, cache_size: int = 10_000) -> None:
        self._database = database
        self._names = names
        self._size = cache_size
        self._cache: dict[str, dict[str, Any]] = {}
        self._cached_of: CityReader | None = None

    def locate(self, ip: object) -> dict[str, Any]:
        """Return the place of an address, or ``{"reason": …}``; never raises.

        The answer is shared with later calls: do not change it.
        """
        reader = self._database.value
        if reader is not self._cached_of:
            self._cache, self._cached_of = {}, reader
        if isinstance(ip, str) and (known := self._cache.get(ip)) is not None:
            return known
        address = check_address(ip)
        if isinstance(address, str):
            return nowhere(address)
        if reader is None:
            return nowhere(NO_DATABASE)
        place = self._look_up(reader, address)
        self._remember(str(ip), place)
        return place

    def _look_up(self, reader: CityReader, address: Address) -> dict[str, Any]:
        try:
            record = reader.record(address)
        except LookupError:
            return nowhere(IPV6)
        except BadData:
            return nowhere(BAD_RECORD)
        place = make_place(record, self._names) if record else nowhere(UNKNOWN)
        place["source"], place["build_date"] = self._database.source, self._database.build_date
        return place

    def _remember(self, ip: str, place: dict[str, Any]) -> None:
        if len(self._cache) >= self._size:  # the oldest goes: cheaper than order of use, nearly as good
            del self._cache[next(iter(self._cache))]
        self._cache[ip] = place
