"""The keys in which a place is told, and the reasons why an address has none."""

from __future__ import annotations

from typing import Any, Final, TypedDict

MISSING: Final = "missing"
MALFORMED: Final = "malformed"
PRIVATE: Final = "private"
LOOPBACK: Final = "loopback"
LINK_LOCAL: Final = "link-local"
MULTICAST: Final = "multicast"
RESERVED: Final = "reserved"
UNSPECIFIED: Final = "unspecified"
UNKNOWN: Final = "unknown"
IPV6: Final = "ipv6"
NO_DATABASE: Final = "no database yet"
BAD_RECORD: Final = "bad record"


class Place(TypedDict, total=False):
    """A place on Earth as geo services answer it; a key that the database cannot fill is left out.

    The first eight keys are the original platform's. ``region_iso`` is the part after the dash of ISO 3166-2
    (``ENG`` of ``GB-ENG``); ``lat`` and ``lon`` are degrees, ``accuracy`` kilometres, the ``*_geoname_id`` those of
    GeoNames, ``asn`` a number; ``build_date`` is the ISO day on which the database was built. An answer without a
    place has ``reason`` only.
    """

    country_en: str
    country_ru: str
    country_iso: str
    region_en: str
    region_ru: str
    region_iso: str
    city_en: str
    city_ru: str
    district_en: str
    lat: float
    lon: float
    accuracy: int
    time_zone: str
    postal: str
    country_geoname_id: int
    region_geoname_id: int
    city_geoname_id: int
    asn: int
    as_org: str
    asn_source: str
    source: str
    build_date: str
    reason: str


def no_place(reason: str) -> dict[str, Any]:
    """Return the answer for an address without a place."""
    return {"reason": reason}
