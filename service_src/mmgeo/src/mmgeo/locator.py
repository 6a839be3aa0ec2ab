"""The place of an address in a City database."""

from __future__ import annotations

from typing import Any

from band.geoip import IPV6, UNKNOWN, Address, nowhere
from mmgeo.place import Names, make_place
from mmgeo.reader import CityReader


class LookUp:
    """Looks an address up and fills what the database leaves out; the places of the newest records are remembered."""

    def __init__(self, names: Names, cache_size: int = 10_000) -> None:
        self._names = names
        self._size = max(1, cache_size)
        self._places: dict[int, dict[str, Any]] = {}
        self._places_of: CityReader | None = None

    def __call__(self, reader: CityReader, address: Address) -> dict[str, Any]:
        """Return the place of an address.

        Raises:
            BadData: the database is damaged at this place.
        """
        try:
            offset = reader.find(address)
        except LookupError:
            return nowhere(IPV6)
        if offset is None:
            return nowhere(UNKNOWN)
        if reader is not self._places_of:
            self._places, self._places_of = {}, reader
        place = self._places.get(offset)
        if place is None:
            place = make_place(reader.record(offset), self._names)
            if len(self._places) >= self._size:
                del self._places[next(iter(self._places))]
            self._places[offset] = place
        return place
