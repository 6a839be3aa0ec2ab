"""Records turned into the places that events carry."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from service_src.sxgeo.tests.sypex_writer import CityFile

from geo.address import check_address
from geo.dataset import DatasetError
from geo.lookup import Locator
from sxgeo.reader import SypexReader, open_sypex
from sxgeo.record_mapping import find, read
from sxgeo.sources import make_sources


class Held:
    """A database that is simply there."""

    def __init__(self, value: SypexReader | None) -> None:
        self.value = value
        self.source = "file"
        self.build_date = "2023-11-14"


@pytest.fixture
def locator(test_data: Path) -> Locator[SypexReader]:
    return Locator(Held(open_sypex(test_data / "sypex" / "synthetic_city.dat").value), find, read)


def test_a_city_has_all_keys(locator: Locator[SypexReader]) -> None:
    """The original's eight keys, the point, GeoNames' ids, and where the data is from."""
    assert locator.locate("77.88.8.8") == {
        "country_en": "Russia",
        "country_ru": "Россия",
        "country_iso": "RU",
        "region_en": "Moskva",
        "region_ru": "Москва",
        "region_iso": "MOW",
        "region_geoname_id": 524894,
        "city_en": "Moscow",
        "city_ru": "Москва",
        "city_geoname_id": 524901,
        "lat": 55.75222,
        "lon": 37.61556,
        "source": "file",
        "build_date": "2023-11-14",
    }


def test_a_country_has_no_point(locator: Locator[SypexReader]) -> None:
    """The middle of a country would pass for the visitor's place, so it is not told."""
    place = locator.locate("8.8.9.1")
    assert place["country_iso"] == "US"
    assert not {"lat", "lon", "city_en", "region_en"} & place.keys()


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("192.168.1.1", "private"),
        ("2a02:6b8::1", "ipv6"),
        ("8.8", "malformed"),
        (None, "missing"),
        ("9.9.9.9", "unknown"),
    ],
)
def test_no_place_says_why(locator: Locator[SypexReader], address: object, reason: str) -> None:
    """Addresses that cannot have a place here are answered with the reason."""
    assert locator.locate(address)["reason"] == reason


def test_mapped_ipv4_is_found(locator: Locator[SypexReader]) -> None:
    """A dual-stack server sees IPv4 visitors as ::ffff:a.b.c.d."""
    assert locator.locate("::ffff:77.88.8.8")["city_en"] == "Moscow"


def test_without_a_database_the_answer_says_so() -> None:
    """Before the first download every public address is answered, with the reason, and nothing is remembered."""
    held = Held(None)
    locator = Locator(held, find, read)
    assert locator.locate("8.8.8.8") == {"reason": "no database yet"}


def test_latin_names_are_transliterated(tmp_path: Path) -> None:
    """Small places have their Latin name in the Russian field too."""
    file = CityFile()
    country = file.add_country(id=194, iso="SI", lat=46.0, lon=15.0, name_ru="Словения", name_en="Slovenia")
    city = file.add_city(region_seek=0, country_id=194, id=7, lat=46.2, lon=14.5, name_ru="Komenda", name_en="Komenda")
    file.add_range(int(IPv4Address("4.0.0.0")), country=country)
    file.add_range(int(IPv4Address("5.0.0.0")), city=city)
    path = tmp_path / "x.dat"
    path.write_bytes(file.build())
    address = check_address("5.5.5.5")
    assert not isinstance(address, str)
    reader = open_sypex(path).value
    key = find(reader, address)
    assert key is not None
    assert read(reader, key, address)["city_ru"] == "Коменда"


def test_unknown_source_names_what_is_known(settings_of: Callable[..., object]) -> None:
    """A misspelt source stops the service with the names that exist."""
    with pytest.raises(DatasetError, match=r"'sypx'; known sources are sypex, url, file, package"):
        make_sources(settings_of(geo_sources="file sypx"))


def test_sources_keep_the_order_of_the_setting(settings_of: Callable[..., object]) -> None:
    """The first name of GEO_SOURCES is asked first; those without their setting say why they are not."""
    sources = make_sources(settings_of(geo_sources="package, sypex url", sypex_url="https://example.org/x.zip"))
    assert [source.name for source in sources] == ["package", "sypex", "url"]
    assert [source.disabled() for source in sources] == ["", "", "no URL is set"]
