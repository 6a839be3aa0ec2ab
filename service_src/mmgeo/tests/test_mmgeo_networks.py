"""The optional second database: networks of addresses, laid into places."""

from __future__ import annotations

import os
import random
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import maxminddb
import msgspec
import pytest

from geo.address import Address, check_address
from geo.dataset import BadData, Dataset, File
from mmgeo.asn import Networks
from mmgeo.check import check_asn
from mmgeo.localized_names import RussianNames
from mmgeo.reader import Database, open_database
from mmgeo.record_mapping import make_locator

_names = RussianNames()
EMPTY = msgspec.Raw(b'{"reason":"unknown"}')


class Held:
    """A database that is there, or not."""

    def __init__(self, value: Database | None, source: str = "file", build_date: str = "2026-01-01") -> None:
        self.value, self.source, self.build_date = value, source, build_date


@pytest.fixture
def places(mmdb: Path) -> Held:
    return Held(open_database(mmdb / "test-data" / "GeoLite2-City-Test.mmdb").value)


@pytest.fixture
def asn(mmdb: Path) -> Path:
    return mmdb / "test-data" / "GeoLite2-ASN-Test.mmdb"


def test_a_place_gets_its_network(places: Held, asn: Path) -> None:
    """Number, owner, and where they are from; the place itself keeps its own source."""
    networks = Networks(Held(open_database(asn).value, "dbip", "2026-11-01"))
    place = make_locator(places, _names, networks=networks).locate("89.160.20.112")
    assert (place["asn"], place["as_org"]) == (29518, "Bredband2 AB")
    assert place["asn_source"] == "dbip 2026-11-01"
    assert (place["city_en"], place["source"], place["build_date"]) == ("Linköping", "file", "2026-01-01")


def test_an_address_without_a_place_may_have_a_network(places: Held, asn: Path) -> None:
    """The reason why there is no place stays."""
    networks = Networks(Held(open_database(asn).value))
    answer = make_locator(places, _names, networks=networks).locate("1.128.0.0")
    assert answer["reason"] == "unknown"
    assert answer["asn"] == 1221


def test_without_it_nothing_changes(places: Held) -> None:
    """No database of networks is no error, and no address is asked twice of it."""
    alone = make_locator(places, _names).locate("89.160.20.112")
    assert make_locator(places, _names, networks=Networks(Held(None))).locate("89.160.20.112") == alone
    assert "asn" not in alone


def test_a_new_one_is_used_at_once(places: Held, asn: Path) -> None:
    """Answers that are remembered are made anew; the version that front sees changes too."""
    held = Held(None)
    locator = make_locator(places, _names, networks=Networks(held))
    assert "asn" not in locator.locate("89.160.20.112")
    before = locator.version
    held.value = open_database(asn).value
    assert locator.locate("89.160.20.112")["asn"] == 29518
    assert locator.version != before


class OneNetwork(Database):
    """A database in which every address is of one network, at the same place."""

    def __init__(self, number: object) -> None:
        self.number = number

    def find(self, address: Address) -> int | None:
        return 7

    def record(self, address: Address) -> dict[str, Any]:
        if self.number is None:
            raise BadData("damaged")
        return {"autonomous_system_number": self.number}


def test_records_are_remembered_of_one_database_only() -> None:
    """The same place in the next database may hold another network."""
    held, address = Held(OneNetwork(1)), check_address("8.8.8.8")
    networks = Networks(held)
    assert isinstance(address, Address)
    assert b'"asn":1,' in bytes(networks.add(EMPTY, address))
    held.value = OneNetwork(2)
    assert b'"asn":2,' in bytes(networks.add(EMPTY, address))


@pytest.mark.parametrize("number", [None, "13238", True])
def test_a_damaged_record_adds_nothing(number: object) -> None:
    """Neither damage nor a wrong type reaches an event."""
    networks, address = Networks(Held(OneNetwork(number))), check_address("8.8.8.8")
    assert isinstance(address, Address)
    assert networks.add(EMPTY, address) is EMPTY
    assert networks.bad_records == (number is None)


def test_what_the_place_says_itself_stays() -> None:
    """GeoIP2 Enterprise has networks of its own; no key is written twice."""
    place, address = msgspec.Raw(b'{"asn":13238}'), check_address("8.8.8.8")
    assert isinstance(address, Address)
    assert Networks(Held(OneNetwork(1))).add(place, address) is place


def test_it_agrees_with_maxminddb(asn: Path) -> None:
    """The same number and owner for every network and for random addresses."""
    networks = Networks(Held(open_database(asn).value))
    draw = random.Random(7)  # noqa: S311
    with maxminddb.open_database(asn) as theirs:
        probes = [ip for network, _ in theirs for ip in (network[0], network[-1])]
        probes += [IPv4Address(draw.randrange(1 << 24, 224 << 24)) for _ in range(2000)]
        checked = 0
        for ip in probes:
            address = check_address(str(ip))
            if isinstance(address, str) or address.text != str(ip):
                continue
            expected: Any = theirs.get(ip) or {}
            found = networks.add(EMPTY, address)
            assert (
                (f'"asn":{expected["autonomous_system_number"]}' in bytes(found).decode())
                if expected
                else (found is EMPTY)
            )
            checked += bool(expected)
    assert checked > 100


def test_a_database_of_places_is_refused(mmdb: Path) -> None:
    """By its type, so that the operator sees which file was taken for which."""
    with pytest.raises(BadData, match=r"GeoLite2-City.*ASN or ISP"):
        check_asn(mmdb / "test-data" / "GeoLite2-City-Test.mmdb")


def test_cut_short_it_is_refused(asn: Path, tmp_path: Path) -> None:
    """No beginning of it passes for a whole one."""
    path = tmp_path / "cut.mmdb"
    path.write_bytes(asn.read_bytes())
    size, marker = path.stat().st_size, path.read_bytes().rfind(b"MaxMind.com")
    # A child for each of the lengths at which there is a marker still would take a minute.
    for length in sorted({*range(marker + 11), *range(marker + 11, size, 40), size - 1}, reverse=True):
        os.truncate(path, length)
        with pytest.raises(BadData):
            check_asn(path)


async def test_it_has_an_age_and_a_source_of_its_own(asn: Path, tmp_path: Path) -> None:
    """It is a dataset like the other; one without any source is not wanted at all."""
    dataset = Dataset("mmgeo-asn", tmp_path / "asn.mmdb", [File(asn)], open_database, check_asn)
    assert dataset.wanted
    assert await dataset.refresh()
    facts = dataset.health()
    assert facts["source"] == "file" and facts["age_days"] > 0 and facts["database"] == "GeoLite2-ASN"
    assert not Dataset("mmgeo-asn", tmp_path / "none.mmdb", [File(None)], open_database).wanted
