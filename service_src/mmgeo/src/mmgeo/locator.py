"""Places in a City database."""

from __future__ import annotations

from band.locator import Database, Locator
from mmgeo.networks import Networks
from mmgeo.place import Names, make_place
from mmgeo.reader import CityReader


def make_locator(
    database: Database[CityReader], names: Names, cache_size: int = 40_000, networks: Networks | None = None
) -> Locator[CityReader]:
    """Return what answers the places of addresses, with the names filled that the database leaves out."""
    return Locator(
        database,
        lambda reader, address: reader.find(address),
        lambda reader, offset: make_place(reader.record(offset), names),
        cache_size,
        networks,
    )
