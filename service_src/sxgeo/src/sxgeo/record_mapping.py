"""Sypex Geo records turned into the place that events carry."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from geo.address import UNKNOWN, Address, no_place
from geo.translit import transliterate
from sxgeo.reader import Found, SypexReader

_CYRILLIC = re.compile("[а-яё]", re.IGNORECASE)


def find(reader: SypexReader, address: Address) -> int | None:
    """Return the key of an address's record, None when it has none.

    Raises:
        LookupError: an IPv6 address; Sypex Geo knows IPv4 only.
    """
    if address.version != 4:
        raise LookupError("Sypex Geo has no IPv6 addresses")
    return reader.blocks.find(address.number) or None


def read(reader: SypexReader, key: int, _address: Address) -> dict[str, Any]:
    """Return the place behind a key.

    Raises:
        BadData: the record is damaged.
    """
    found = reader.record(key)
    return make_place(found) if found and found.country.get("iso") else no_place(UNKNOWN)


def make_place(found: Found) -> dict[str, Any]:
    """Return records in the keys that docs/sxgeo.md lists; what the file leaves out is left out."""
    iso = str(found.country["iso"])
    place: dict[str, Any] = {**_names("country", found.country, iso), "country_iso": iso}
    if found.region:
        place |= _names("region", found.region, iso)
        place["region_iso"] = str(found.region.get("iso", "")).partition("-")[2]
        place["region_geoname_id"] = found.region.get("id", 0)
    if found.city:
        place |= _names("city", found.city, iso)
        place["city_geoname_id"] = found.city.get("id", 0)
        place |= _point(found.city)
    return {key: value for key, value in place.items() if value or key in ("lat", "lon")}


def _names(level: str, record: Mapping[str, Any], iso: str) -> dict[str, str]:
    english, russian = str(record.get("name_en", "")), str(record.get("name_ru", ""))
    if not _CYRILLIC.search(russian):  # many small places have their Latin name in both
        russian = transliterate(russian or english, iso)
    return {f"{level}_en": english, f"{level}_ru": russian}


def _point(record: Mapping[str, Any]) -> dict[str, float]:
    lat, lon = record.get("lat"), record.get("lon")
    if isinstance(lat, float) and isinstance(lon, float) and abs(lat) <= 90 and abs(lon) <= 180 and (lat or lon):
        return {"lat": lat, "lon": lon}
    return {}
