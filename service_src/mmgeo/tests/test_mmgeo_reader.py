"""The reader on MaxMind's own test databases: right answers, and refusals of all that is damaged."""

from __future__ import annotations

import gzip
import json
import os
import random
from ipaddress import IPv4Address, ip_network
from pathlib import Path
from typing import Any

import maxminddb
import pytest

from geo.address import Address
from geo.dataset import BadData
from mmgeo.decoder import Decoder
from mmgeo.localized_names import RussianNames
from mmgeo.reader import _IGNORED, CityReader, open_city
from mmgeo.record_mapping import make_place
from mmgeo.tree import WALKS, Tree

_TEXTS = {"country_en", "country_ru", "country_iso", "region_en", "region_ru", "region_iso", "city_en", "city_ru"} | {
    *("district_en", "time_zone", "postal", "as_org", "reason")
}
_NUMBERS = {"accuracy", "country_geoname_id", "region_geoname_id", "city_geoname_id", "asn"}
_names = RussianNames()
SOURCES = Path(__file__).parents[3] / "tests" / "data" / "maxmind-db" / "source-data"


def address(text: str) -> Address:
    number = ip_network(text, strict=False).network_address
    return Address(number.version, int(number), str(number))


def place_of(reader: CityReader, text: str) -> dict[str, Any]:
    offset = reader.find(address(text))
    return make_place(reader.record(offset), _names) if offset is not None else {}


def has_right_types(place: dict[str, Any]) -> bool:
    return all(
        isinstance(value, str) if key in _TEXTS else type(value) is int if key in _NUMBERS else isinstance(value, float)
        for key, value in place.items()
    )


@pytest.mark.parametrize("edition", ["GeoLite2-City", "GeoIP2-City"])
def test_every_network_of_the_source_data(mmdb: Path, edition: str) -> None:
    """Each network of the file that the test database was made from is answered with what stands there."""
    reader = open_city(mmdb / "test-data" / f"{edition}-Test.mmdb").value
    rows = [
        (net, record)
        for row in json.loads(gzip.decompress((SOURCES / f"{edition}-Test.json.gz").read_bytes()))
        for net, record in row.items()
    ]
    assert len(rows) > 240
    for net, record in rows:
        place = place_of(reader, net)
        country, city = record.get("country", {}), record.get("city", {})
        if not country:
            assert place.get("reason") == "unknown"
            continue
        assert place["country_iso"] == country["iso_code"], net
        assert place["country_en"] == country["names"]["en"]
        assert place["country_geoname_id"] == country["geoname_id"]
        assert place.get("city_en", "").startswith(city.get("names", {}).get("en", "").split(" (")[0]), net
        assert place.get("postal") == record.get("postal", {}).get("code"), net
        assert place.get("time_zone") == record.get("location", {}).get("time_zone"), net
        assert place.get("region_iso") == (record.get("subdivisions") or [{}])[0].get("iso_code"), net
        assert has_right_types(place)


def test_the_originals_example(mmdb: Path) -> None:
    """The address of the wire notes has all of the original's keys, and Boxford in real Cyrillic."""
    reader = open_city(mmdb / "test-data" / "GeoIP2-City-Test.mmdb").value
    place = place_of(reader, "2.125.160.216")
    assert {key: place[key] for key in place if key.startswith(("country", "city", "region"))} == {
        "country_en": "United Kingdom",
        "country_ru": "Великобритания",
        "country_iso": "GB",
        "country_geoname_id": 2635167,
        "region_en": "England",
        "region_ru": "Англия",
        "region_iso": "ENG",
        "region_geoname_id": 6269131,
        "city_en": "Boxford",
        "city_ru": "Боксфорд",
        "city_geoname_id": 2655045,
    }
    assert place["time_zone"] == "Europe/London" and place["accuracy"] == 100 and place["postal"] == "OX1"


def test_a_country_database_is_understood(mmdb: Path) -> None:
    """A Country edition answers its countries."""
    reader = open_city(mmdb / "test-data" / "GeoLite2-Country-Test.mmdb").value
    assert place_of(reader, "81.2.69.160")["country_iso"] == "GB"


def test_facts_of_a_good_database(mmdb: Path) -> None:
    """Its kind and build date are told for health."""
    loaded = open_city(mmdb / "test-data" / "GeoLite2-City-Test.mmdb")
    assert loaded.about["database"] == "GeoLite2-City"
    assert loaded.build_date is not None and loaded.build_date.year >= 2024


def test_all_corrupt_databases_are_refused(mmdb: Path) -> None:
    """The 13 corrupt files, and those of other schemas, give a reason and nothing else."""
    bad = sorted((mmdb / "bad-data").rglob("*.mmdb"))
    bad += [
        path
        for path in sorted((mmdb / "test-data").glob("*.mmdb"))
        if "Broken" in path.name or "Invalid" in path.name or "MaxMind-DB" in path.name or "ASN" in path.name
    ]
    assert len(bad) >= 13 + 10
    for path in bad:
        with pytest.raises(BadData):
            open_city(path)


@pytest.mark.parametrize("keep", ["City", None])
def test_corrupt_databases_that_call_themselves_city(mmdb: Path, tmp_path: Path, keep: str | None) -> None:
    """The corrupt files are refused for their damage too, not only because of their type."""
    for path in sorted((mmdb / "bad-data").rglob("*.mmdb")):
        data = path.read_bytes().replace(b"\x44Test", b"\x44City" if keep else b"\x44Test")
        copy = tmp_path / path.name
        copy.write_bytes(data)
        with pytest.raises(BadData):
            open_city(copy)


def test_cut_short_at_every_length(mmdb: Path, tmp_path: Path) -> None:
    """No beginning of a database passes for a whole one."""
    path = tmp_path / "cut.mmdb"
    path.write_bytes((mmdb / "test-data" / "GeoLite2-Country-Test.mmdb").read_bytes())
    for length in reversed(range(path.stat().st_size)):
        os.truncate(path, length)
        with pytest.raises(BadData):
            open_city(path)


def test_damage_is_refused_or_answers_the_right_types(mmdb: Path, tmp_path: Path) -> None:
    """Whatever bytes are changed: the database is refused, or a look-up tells BadData, or an answer of right types."""
    data = (mmdb / "test-data" / "GeoIP2-City-Test.mmdb").read_bytes()
    draw = random.Random(5)  # noqa: S311
    path, refused = tmp_path / "damaged.mmdb", 0
    probes = ["2.125.160.216", "81.2.69.142", "89.160.20.112", "175.16.199.1", "216.160.83.56", "2001:218::1"]
    for _ in range(600):
        damaged = bytearray(data)
        for _ in range(draw.randrange(1, 5)):
            damaged[draw.randrange(len(data))] = draw.randrange(256)
        path.write_bytes(damaged)
        try:
            reader = open_city(path).value
        except BadData:
            refused += 1
            continue
        for probe in probes:
            try:
                assert has_right_types(place_of(reader, probe))
            except (BadData, LookupError):
                continue
    assert refused > 50


def test_a_file_cut_under_the_reader_does_no_harm(mmdb: Path, tmp_path: Path) -> None:
    """The map is of a private copy: truncating the file on the volume would otherwise end the process by SIGBUS."""
    path = tmp_path / "city.mmdb"
    path.write_bytes((mmdb / "test-data" / "GeoIP2-City-Test.mmdb").read_bytes())
    reader = open_city(path).value
    with path.open("r+b") as file:
        file.truncate(0)
    assert place_of(reader, "2.125.160.216")["city_en"] == "Boxford"
    assert [entry.name for entry in tmp_path.iterdir()] == ["city.mmdb"]


def test_flat_schema_is_refused_by_name(tmp_path: Path, mmdb: Path) -> None:
    """An ASN database is refused with its type, so that the operator sees which file was taken."""
    with pytest.raises(BadData, match="GeoLite2-ASN"):
        open_city(mmdb / "test-data" / "GeoLite2-ASN-Test.mmdb")


def plain(value: Any) -> Any:
    """A value as maxminddb gives it, without what our reader leaves out."""
    if isinstance(value, dict):
        kept = {key: plain(item) for key, item in value.items() if key not in _IGNORED}
        if isinstance(kept.get("names"), dict):
            kept["names"] = {key: text for key, text in kept["names"].items() if key in ("en", "ru")}
        return kept
    return [plain(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", ["GeoLite2-City-Test", "GeoIP2-City-Test", "GeoLite2-Country-Test"])
@pytest.mark.parametrize("table_bits", [0, 8, 16])
def test_agrees_with_maxminddb(mmdb: Path, name: str, table_bits: int) -> None:
    """Ours and MaxMind's own reader say the same of every network, its borders, and random addresses."""
    path = mmdb / "test-data" / f"{name}.mmdb"
    reader = open_city(path).value
    whole = reader._tree
    bits = next(bits for bits, walk in WALKS.items() if walk is whole._walk)
    reader._tree = Tree(whole._buffer, whole._nodes, bits, whole.version, table_bits)
    draw = random.Random(3)  # noqa: S311
    with maxminddb.open_database(path) as theirs:
        probes = [ip for network, _ in theirs for ip in (network[0], network[-1], network[0] + 1) if int(ip)]
        probes += [IPv4Address(draw.randrange(1 << 24, 224 << 24)) for _ in range(2000)]
        for ip in probes:
            offset = reader.find(Address(ip.version, int(ip), str(ip)))
            assert (None if offset is None else reader.record(offset)) == plain(theirs.get(ip)), ip


def test_every_type_of_value(mmdb: Path) -> None:
    """All types of the format, from MaxMind's decoder test, come out as their reader gives them."""
    path = mmdb / "test-data" / "MaxMind-DB-test-decoder.mmdb"
    data = path.read_bytes()
    with maxminddb.open_database(path) as theirs:
        facts: Any = theirs.metadata()
        begin = facts.node_count * facts.record_size // 4
        tree = Tree(data, facts.node_count, facts.record_size, facts.ip_version)
        decoder = Decoder(data, begin + 16, data.rfind(b"\xab\xcd\xefMaxMind.com"))
        for text in ("1.1.1.1", "255.255.255.255"):
            offset = tree.find(int(IPv4Address(text)), 4)
            assert offset is not None
            assert decoder.read(offset) == theirs.get(text)
