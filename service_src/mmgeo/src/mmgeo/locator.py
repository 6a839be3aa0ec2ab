"""Places in a City database."""

from __future__ import annotations

from geo.lookup import Database, Locator
from mmgeo.asn import Networks
from mmgeo.reader import CityReader
from mmgeo.record_mapping import Names, make_place


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
