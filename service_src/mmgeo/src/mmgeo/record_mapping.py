"""A database record turned into the place that events carry."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol

from geo.address import UNKNOWN, no_place
from geo.dataset import Dataset
from geo.lookup import Locator
from mmgeo.asn import Networks
from mmgeo.reader import Database

_NOTHING: Mapping[str, Any] = {}
_DISTRICT = re.compile(r"^(.+?)\s*\((.+)\)$")


class Names(Protocol):
    """Fills what a database leaves out."""

    def country_ru(self, iso: str, english: str) -> str:
        """Return the Russian name of a country."""

    def region_iso(self, country: str, english: str) -> str:
        """Return the part after the dash of ISO 3166-2, or an empty string."""

    def region_ru(self, country: str, iso: str, english: str) -> str:
        """Return the Russian name of a region."""

    def city_ru(self, country: str, english: str) -> str:
        """Return the Russian name of a city."""


def make_locator(
    database: Dataset[Database], names: Names, cache_size: int = 40_000, networks: Networks | None = None
) -> Locator[Database]:
    """Return what answers the places of addresses, with the names filled that the database leaves out."""
    return Locator(
        database,
        lambda reader, address: reader.find(address),
        lambda reader, _key, address: make_place(reader.record(address), names),
        cache_size,
        networks,
    )


def make_place(record: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """Return a record in the keys that docs/mmgeo.md lists.

    What is missing or of a wrong type in the record is missing in the place; a record without a country is nowhere.
    """
    country = _map(record, "country")
    iso = _text(country, "iso_code")
    if not iso:
        return no_place(UNKNOWN)
    english = _name(country, "en")
    place: dict[str, Any] = {
        "country_en": english,
        "country_ru": _name(country, "ru") or names.country_ru(iso, english),
        "country_iso": iso,
    }
    _add_region(place, record, iso, names)
    _add_city(place, _map(record, "city"), iso, names)
    _add_point(place, _map(record, "location"))
    place["postal"] = _text(_map(record, "postal"), "code")
    place["country_geoname_id"] = _whole(country, "geoname_id")
    traits = _map(record, "traits")
    place["asn"] = _whole(traits, "autonomous_system_number")
    place["as_org"] = _text(traits, "autonomous_system_organization")
    return {key: value for key, value in place.items() if value not in (None, "")}


def _add_region(place: dict[str, Any], record: Mapping[str, Any], iso: str, names: Names) -> None:
    divisions = record.get("subdivisions")
    if not isinstance(divisions, list) or not divisions or not isinstance(divisions[0], dict):
        return
    region = divisions[0]
    english = _name(region, "en")
    if not english:
        return
    code = _text(region, "iso_code") or names.region_iso(iso, english)
    place["region_en"] = english
    place["region_ru"] = _name(region, "ru") or names.region_ru(iso, code, english)
    place["region_iso"] = code
    place["region_geoname_id"] = _whole(region, "geoname_id")


def _add_city(place: dict[str, Any], city: Mapping[str, Any], iso: str, names: Names) -> None:
    english = _name(city, "en")
    if not english:
        return
    split = _DISTRICT.match(english)  # DB-IP: "London (Shadwell)"
    if split:
        english, place["district_en"] = split[1], split[2]
    place["city_en"] = english
    place["city_ru"] = _name(city, "ru") or names.city_ru(iso, english)
    place["city_geoname_id"] = _whole(city, "geoname_id")


def _add_point(place: dict[str, Any], location: Mapping[str, Any]) -> None:
    lat, lon = location.get("latitude"), location.get("longitude")
    if isinstance(lat, float) and isinstance(lon, float) and -90 <= lat <= 90 and -180 <= lon <= 180:
        place["lat"], place["lon"] = round(lat, 5), round(lon, 5)
    place["accuracy"] = _whole(location, "accuracy_radius")
    place["time_zone"] = _text(location, "time_zone")


def _map(record: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = record.get(key, _NOTHING)
    return value if isinstance(value, dict) else _NOTHING


def _text(record: Mapping[str, Any], key: str) -> str:
    value = record.get(key)
    return value if isinstance(value, str) else ""


def _whole(record: Mapping[str, Any], key: str) -> int | None:
    value = record.get(key)
    return value if type(value) is int else None


def _name(record: Mapping[str, Any], language: str) -> str:
    return _text(_map(record, "names"), language)
