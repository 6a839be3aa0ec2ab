"""The reader against the format's notes, against a naive reading of its rule, and against damage."""

from __future__ import annotations

import random
import struct
from bisect import bisect_right
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from service_src.sxgeo.tests.sypex_writer import CityFile, assemble, country_file

from geo.address import Address
from geo.dataset import BadData
from sxgeo.header import HEADER, read_header
from sxgeo.reader import Found, SypexReader, countries_by_number, open_sypex
from sxgeo.record_mapping import read

Opened = Callable[[bytes], SypexReader]
RU = {"id": 185, "iso": "RU", "lat": 60.0, "lon": 100.0, "name_ru": "Россия", "name_en": "Russia"}
DE = {"id": 56, "iso": "DE", "lat": 51.0, "lon": 9.0, "name_ru": "Германия", "name_en": "Germany"}


def ip(text: str) -> int:
    return int(IPv4Address(text))


def records(reader: SypexReader, number: int) -> Found | None:
    """The records of an IPv4 address, or None when it is unknown."""
    key = reader.blocks.find(number)
    return reader.record(key) if key else None


def city_en(reader: SypexReader, text: str) -> str | None:
    """The English name of the city at an address, the country's code where there is no city, None where nothing is."""
    found = records(reader, ip(text))
    if found is None:
        return None
    return str(found.city["name_en"]) if found.city else str(found.country["iso"])


def naive(data: bytes, number: int) -> int:
    """The rule, word by word: the id of the last block of the whole file whose start is at or before the address."""
    header = read_header(data[: HEADER.size], len(data))
    b_idx = struct.unpack_from(f">{header.b_idx_len}I", data, header.b_idx_at)
    width, starts, ids = 3 + header.id_len, [], []
    for at in range(header.db_items):
        block = data[header.blocks_at + at * width :][:width]
        octet = bisect_right(b_idx, at)
        starts.append(octet << 24 | int.from_bytes(block[:3], "big"))
        ids.append(int.from_bytes(block[3:], "big"))
    at = bisect_right(starts, number) - 1
    return ids[at] if at >= 0 else 0


@pytest.fixture
def synthetic(test_data: Path) -> SypexReader:
    return open_sypex(test_data / "sypex" / "synthetic_city.dat").value


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("5.5.0.0", "Moscow"),
        ("5.5.127.255", "Moscow"),
        ("5.5.128.0", None),
        ("8.8.8.0", "Mountain View"),
        ("8.8.8.255", "Mountain View"),
        ("8.8.9.0", "US"),
        ("77.88.0.0", "RU"),
        ("77.88.8.7", "RU"),
        ("77.88.8.8", "Moscow"),
        ("77.88.8.9", "RU"),
        ("77.88.255.255", "RU"),
        ("203.0.113.0", "Auckland"),
        ("203.0.113.255", "Auckland"),
        ("203.0.114.0", None),
        ("223.255.255.255", "NZ"),
        ("223.255.255.254", None),
    ],
)
def test_synthetic_file_answers_as_its_notes_say(synthetic: SypexReader, address: str, expected: str | None) -> None:
    """Borders, single addresses and gaps of the made-up file are answered as written down."""
    assert city_en(synthetic, address) == expected


def test_city_without_region_has_its_country(synthetic: SypexReader) -> None:
    """Auckland has no region; its country comes from its own country number."""
    found = records(synthetic, ip("203.0.113.7"))
    assert found is not None and found.region is None and found.country["iso"] == "NZ"


def test_agrees_with_the_naive_rule_for_200_000_addresses(opened: Opened) -> None:
    """The packed arrays find what a plain list of all starts finds, at random addresses and around every border."""
    draw = random.Random(7)  # noqa: S311
    starts = sorted(draw.sample(range(1 << 24, 224 << 24), 20_000) + [octet << 24 for octet in range(1, 224, 3)])
    blocks = [(start, draw.randrange(1, 250)) for start in dict.fromkeys(starts)]
    reader = opened(country_file(blocks))
    plain, ids = [start for start, _ in blocks], [key for _, key in blocks]
    numbers = [draw.randrange(1 << 24, 224 << 24) for _ in range(160_000)]
    numbers += [start + offset for start in plain for offset in (-1, 0)]
    for number in numbers:
        at = bisect_right(plain, number) - 1
        assert reader.blocks.find(number) == (ids[at] if at >= 0 else 0)


def test_naive_rule_reads_the_bytes_alike(test_data: Path, synthetic: SypexReader) -> None:
    """A second reading of the raw bytes, written from the notes alone, finds the same ids."""
    data = (test_data / "sypex" / "synthetic_city.dat").read_bytes()
    draw = random.Random(8)  # noqa: S311
    for number in [ip("5.4.255.255"), ip("5.5.0.0"), *(draw.randrange(224 << 24) for _ in range(300))]:
        assert synthetic.blocks.find(number) == naive(data, number)


def test_a_range_runs_over_the_border_of_an_octet(opened: Opened) -> None:
    """An octet without a range of its own belongs to the last range before it."""
    reader = opened(country_file([(ip("5.200.0.0"), 185), (ip("9.0.0.0"), 56)]))
    assert city_en(reader, "7.1.2.3") == "RU"


def test_before_the_first_range_and_beyond_the_index_nothing_is_known(opened: Opened) -> None:
    """Addresses that the index does not reach are unknown, not the last country's."""
    reader = opened(country_file([(ip("5.0.0.0"), 185)]))
    assert records(reader, ip("4.255.255.255")) is None
    assert records(reader, ip("224.0.0.1")) is None


def test_a_wrong_main_index_does_no_harm(test_data: Path, opened: Opened) -> None:
    """Published files have wrong items there; the reader never looks at them."""
    data = bytearray((test_data / "sypex" / "synthetic_city.dat").read_bytes())
    header = read_header(bytes(data[: HEADER.size]), len(data))
    begin = header.b_idx_at + 4 * header.b_idx_len
    data[begin : begin + 4 * header.m_idx_len] = b"\xaa" * (4 * header.m_idx_len)
    assert city_en(opened(bytes(data)), "77.88.8.8") == "Moscow"


def test_ranges_out_of_order_are_sorted_and_counted(opened: Opened, tmp_path: Path) -> None:
    """A file whose ranges are not in order answers as if they were; health can tell."""
    good = [(ip("5.0.0.0"), 185), (ip("5.0.7.0"), 56), (ip("5.1.0.0"), 74), (ip("6.0.0.0"), 225)]
    bad = [good[2], good[1], good[0], good[3]]
    common: dict[str, Any] = {"id_len": 1, "kind": 1, "charset": 0, "time": 1_700_000_000, "step": 2}
    reader = opened(assemble(bad, **common))
    straight = opened(assemble(good, **common))
    assert reader.blocks.repaired == 1
    for number in range(ip("4.255.255.0"), ip("5.2.0.0"), 97):
        assert reader.blocks.find(number) == straight.blocks.find(number)


def test_an_index_that_goes_back_is_refused(test_data: Path, opened: Opened) -> None:
    """First octets cannot be guessed, so a first-octet index that makes no sense is an error."""
    data = bytearray((test_data / "sypex" / "synthetic_city.dat").read_bytes())
    header = read_header(bytes(data[: HEADER.size]), len(data))
    struct.pack_into(">I", data, header.b_idx_at + 4 * 100, 0)
    with pytest.raises(BadData, match="index decreases"):
        opened(bytes(data))


@pytest.mark.parametrize("charset", [0, 1, 2])
def test_every_charset(opened: Opened, charset: int) -> None:
    """Texts come out right in UTF-8, Latin-1 and Windows-1251."""
    names = {0: ("Москва", "Moscow"), 1: ("", "München"), 2: ("Ёлкино", "Yolkino")}[charset]
    file = CityFile(charset=charset)
    file.add_range(ip("5.0.0.0"), country=file.add_country(**{**RU, "name_ru": names[0], "name_en": names[1]}))
    found = records(opened(file.build()), ip("5.1.1.1"))
    assert found is not None and (found.country["name_ru"], found.country["name_en"]) == names


def test_country_file_answers_codes(opened: Opened) -> None:
    """A file without directories tells the ISO code of the country's number, and nothing for number 0."""
    reader = opened(country_file([(ip("5.0.0.0"), 185), (ip("6.0.0.0"), 0), (ip("7.0.0.0"), 56)]))
    assert [city_en(reader, text) for text in ("5.9.9.9", "6.1.1.1", "7.0.0.1")] == ["RU", None, "DE"]


def test_country_file_has_the_names_too(opened: Opened) -> None:
    """The file has numbers only; the answer has the same keys as that of a city file. What is no country is unknown."""
    numbers = {found["iso"]: found["id"] for found in countries_by_number() if found}
    assert len(numbers) > 245 and numbers["RU"] == 185
    reader = opened(country_file([(ip("5.0.0.0"), 185), (ip("6.0.0.0"), numbers["CI"]), (ip("7.0.0.0"), 2)]))
    places = [
        read(reader, reader.blocks.find(ip(text)), Address(4, ip(text), text))
        for text in ("5.1.1.1", "6.1.1.1", "7.1.1.1")
    ]
    assert places == [
        {"country_en": "Russia", "country_ru": "Россия", "country_iso": "RU"},
        {"country_en": "Ivory Coast", "country_ru": "Кот-д’Ивуар", "country_iso": "CI"},
        {"reason": "unknown"},
    ]


def test_the_citys_own_country_wins_over_its_regions(opened: Opened) -> None:
    """Four cities of the 2020 file point at a region of another country; that region is left out."""
    file = CityFile()
    russia, germany = file.add_country(**RU), file.add_country(**DE)
    region = file.add_region(country_seek=russia, id=1, name_ru="Область", name_en="Oblast", iso="RU-XXX")
    city = file.add_city(
        region_seek=region, country_id=56, id=2, lat=52.5, lon=13.4, name_ru="Берлин", name_en="Berlin"
    )
    file.add_range(ip("4.0.0.0"), country=russia)
    file.add_range(ip("5.0.0.0"), city=city)
    file.add_range(ip("6.0.0.0"), country=germany)
    found = records(opened(file.build()), ip("5.5.5.5"))
    assert found is not None and found.country["iso"] == "DE" and found.region is None


def test_every_type_of_field(opened: Opened) -> None:
    """Numbers of all sizes, decimals and texts of a record are read as they were written."""
    pack = "t:a/T:b/s:c/S:d/m:e/M:f/i:g/I:h/f:i/d:j/n2:k/N5:l/c4:iso/b:m"
    record = {
        "a": -5,
        "b": 250,
        "c": -30_000,
        "d": 60_000,
        "e": -8_000_000,
        "f": 16_000_000,
        "g": -2_000_000_000,
        "h": 4_000_000_000,
        "i": 0.5,
        "j": 1e-9,
        "k": -12.34,
        "l": 179.12345,
        "iso": "RU",
        "m": "текст",
    }
    file = CityFile(packs=(pack, "b:x", "b:x"))
    file.add_range(ip("5.0.0.0"), country=file.add_country(**record))
    found = records(opened(file.build()), ip("5.5.5.5"))
    assert found is not None and found.country == pytest.approx(record)


def test_cut_short_at_every_length(test_data: Path, opened: Opened) -> None:
    """No beginning of a file passes for a whole one."""
    data = (test_data / "sypex" / "synthetic_city.dat").read_bytes()
    for length in range(len(data)):
        with pytest.raises(BadData):
            opened(data[:length])


def test_damage_is_refused_or_harmless(test_data: Path, opened: Opened) -> None:
    """Whatever byte is changed: the file is refused, or answers; nothing else is ever raised."""
    data = (test_data / "sypex" / "synthetic_city.dat").read_bytes()
    draw = random.Random(9)  # noqa: S311
    refused = 0
    for _ in range(800):
        damaged = bytearray(data)
        for _ in range(draw.randrange(1, 4)):
            damaged[draw.randrange(len(data))] = draw.randrange(256)
        try:
            reader = opened(bytes(damaged))
        except BadData:
            refused += 1
            continue
        for _ in range(20):
            records(reader, draw.randrange(1 << 32))
    assert refused > 100


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ((0, b"SxX"), "does not begin"),
        ((3, b"\x15"), "version 2.1"),
        ((9, b"\x07"), "charset 7"),
        ((19, b"\0"), "id_len"),
    ],
)
def test_a_refusal_says_what_is_wrong(test_data: Path, opened: Opened, change: tuple[int, bytes], text: str) -> None:
    """The reason names the field, because an operator reads it in health."""
    data = bytearray((test_data / "sypex" / "synthetic_city.dat").read_bytes())
    at, value = change
    data[at : at + len(value)] = value
    with pytest.raises(BadData, match=text):
        opened(bytes(data))
