"""The place of an address in a City database."""

from __future__ import annotations

from typing import Any

from band.geoip import IPV6, UNKNOWN, Address, nowhere
from mmgeo.place import Names, make_place
from mmgeo.reader import CityReader


class LookUp:
    """Looks an address up and fills what the database leaves out."""

    def __init__(self, names: Names) -> None:
        self._names = names

    def __call__(self, reader: CityReader, address: Address) -> dict[str, Any]:
        """Return the place of an address.

        Raises:
            BadData: the database is damaged at this place.
        """
        try:
            record = reader.record(address)
        except LookupError:
            return nowhere(IPV6)
        return make_place(record, self._names) if record else nowhere(UNKNOWN)
