"""Records turned into places: what is missing is filled, what is of a wrong type is left out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pycountry
import pytest

from geo.address import Address
from mmgeo.localized_names import RussianNames, _lines
from mmgeo.reader import Database, open_database
from mmgeo.record_mapping import make_locator, make_place

_names = RussianNames()


def dbip(city: str = "London (Shadwell)", region: str = "England", country: str = "GB") -> dict[str, Any]:
    """A record as DB-IP City Lite has them: no ids of regions, no Russian names below the country."""
    return {
        "city": {"names": {"en": city}},
        "country": {"geoname_id": 2635167, "iso_code": country, "names": {"en": "X", "ru": "Икс"}},
        "location": {"latitude": 51.5181, "longitude": -0.0714189},
        "subdivisions": [{"names": {"en": region}}],
    }


class Held:
    """A database that a test can swap."""

    def __init__(self, value: Database | None) -> None:
        self.value = value
        self.source = "file"
        self.build_date = "2026-01-01"


@pytest.mark.parametrize(
    ("country", "region", "code", "russian"),
    [
        ("DE", "Bavaria", "BY", "Бавария"),
        ("DE", "North Rhine-Westphalia", "NW", "Северный Рейн-Вестфалия"),
        ("RU", "Moscow", "MOW", "Москва"),
        ("RU", "Moscow Oblast", "MOS", "Московская область"),
        ("RU", "St.-Petersburg", "SPE", "Санкт-Петербург"),
        ("RU", "Tatarstan Republic", "TA", "Татарстан"),
        ("US", "California", "CA", "Калифорния"),
        ("IT", "Lombardy", "25", "Ломбардия"),
        ("FR", "Île-de-France", "IDF", "Иль-де-Франс"),
        ("CN", "Guangdong", "GD", "Гуандун"),
        ("JP", "Tokyo", "13", "Токио"),
        ("SE", "Stockholm", "AB", "Стокгольм"),
        ("ES", "Valencia", "VC", "Валенсия"),
        ("LT", "Vilnius County", "VL", "Вильнюсский уезд"),
        ("UA", "Ternopil", "61", "Тернопольская область"),
        ("HR", "County of Lika-Senj", "09", "Лицко-Сеньская жупания"),
    ],
)
def test_a_region_that_is_only_named_gets_its_code(country: str, region: str, code: str, russian: str) -> None:
    """DB-IP names regions in English; events carry ISO 3166-2 and a Russian name all the same."""
    place = make_place(dbip(region=region, country=country), _names)
    assert (place["region_iso"], place["region_ru"]) == (code, russian)


def test_an_unknown_region_has_no_code() -> None:
    """A name that nobody knows is told without a code, not with a wrong one."""
    place = make_place(dbip(region="Nowhereshire"), _names)
    assert "region_iso" not in place and place["region_en"] == "Nowhereshire"


def test_the_tables_are_in_order() -> None:
    """A name stands once, and its Russian one has no Latin letter and no digit; codes of regions are of ISO 3166-2."""
    rows = [(country, *pair.strip().split("=")) for country, names in _lines("cities.tsv") for pair in names.split(";")]
    assert len({row[:2] for row in rows}) == len(rows) > 1000
    assert all(len(row) == 3 and re.fullmatch("[А-яЁё’ -]+", row[2]) for row in rows)
    regions = _lines("regions.tsv")
    assert {full for full, _english, _russian in regions} <= {division.code for division in pycountry.subdivisions}
    names = [(full[:2], name) for full, english, _russian in regions for name in filter(None, english.split("|"))]
    assert len(set(names)) == len(names)


def test_a_district_is_taken_out_of_the_citys_name() -> None:
    """DB-IP writes the part of a city behind its name in brackets."""
    place = make_place(dbip(), _names)
    assert (place["city_en"], place["city_ru"], place["district_en"]) == ("London", "Лондон", "Shadwell")


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"country": "GB"},
        {"country": {"iso_code": 5}},
        {"country": {"names": {"en": "x"}}},
        {"continent": {"code": "EU"}},
    ],
)
def test_a_record_without_a_country_is_nowhere(record: dict[str, Any]) -> None:
    """Without a country code there is no place to tell."""
    assert make_place(record, _names) == {"reason": "unknown"}


def test_wrong_types_are_left_out() -> None:
    """A damaged record never puts a number where a text belongs."""
    record = dbip()
    record |= {"city": {"names": {"en": 7}}, "location": {"latitude": "x", "longitude": 1.0, "accuracy_radius": True}}
    record |= {"postal": [], "subdivisions": ["x"], "traits": {"autonomous_system_number": "5"}}
    place = make_place(record, _names)
    assert not {"city_en", "lat", "lon", "accuracy", "postal", "region_en", "asn"} & place.keys()


def test_autonomous_system_where_the_database_has_it() -> None:
    """Enterprise databases carry the network's owner."""
    record = dbip() | {"traits": {"autonomous_system_number": 13238, "autonomous_system_organization": "YANDEX"}}
    place = make_place(record, _names)
    assert (place["asn"], place["as_org"]) == (13238, "YANDEX")


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("10.0.0.1", "private"),
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("fe80::1%eth0", "link-local"),
        ("203.0.113.5", "reserved"),
        ("not an address", "malformed"),
        ("1.2.3.4, 5.6.7.8", "malformed"),
        ("", "missing"),
        (None, "missing"),
        (12, "malformed"),
        (["8.8.8.8"], "malformed"),
        ("9.9.9.9", "unknown"),
    ],
)
def test_no_place_says_why(mmdb: Path, address: object, reason: str) -> None:
    """Whatever a client sends, the answer is a place or a reason."""
    held = Held(open_database(mmdb / "test-data" / "GeoLite2-City-Test.mmdb").value)
    assert make_locator(held, _names).locate(address)["reason"] == reason


def test_a_new_database_is_used_at_once(mmdb: Path) -> None:
    """Answers of the old database are not served from memory after a swap."""
    held = Held(None)
    locator = make_locator(held, _names)
    assert locator.locate("2.125.160.216") == {"reason": "no database yet"}
    held.value = open_database(mmdb / "test-data" / "GeoLite2-Country-Test.mmdb").value
    assert "city_en" not in locator.locate("2.125.160.216")
    held.value = open_database(mmdb / "test-data" / "GeoIP2-City-Test.mmdb").value
    place = locator.locate("2.125.160.216")
    assert place["city_en"] == "Boxford" and place["source"] == "file" and place["build_date"] == "2026-01-01"


def test_memory_for_answers_is_bounded(mmdb: Path) -> None:
    """The oldest answer leaves when the newest comes."""
    locator = make_locator(Held(open_database(mmdb / "test-data" / "GeoLite2-City-Test.mmdb").value), _names, 10)
    for number in range(50):
        locator.locate(f"81.2.69.{number}")
    assert len(locator._addresses) <= 10


def test_ipv6_in_an_ipv4_database_is_told(mmdb: Path) -> None:
    """A database of IPv4 only answers IPv6 with the reason."""

    class OnlyV4(Database):
        def __init__(self) -> None:
            pass

        def find(self, address: Address) -> int | None:
            raise LookupError

    reader = OnlyV4()
    assert make_locator(Held(reader), _names).locate("2a02:6b8::1")["reason"] == "ipv6"
