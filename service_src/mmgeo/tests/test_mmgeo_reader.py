"""The reader on MaxMind's own test databases: right answers, and refusals of all that is damaged."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path
from typing import Any

import maxminddb
import pytest

from geo.address import Address
from geo.dataset import BadData, Dataset, File, NotChecked
from mmgeo import check
from mmgeo.check import check_asn, check_city
from mmgeo.localized_names import RussianNames
from mmgeo.reader import Database, open_database
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


def place_of(reader: Database, text: str) -> dict[str, Any]:
    key = reader.find(address(text))
    return make_place(reader.record(address(text)), _names) if key is not None else {}


def has_right_types(place: dict[str, Any]) -> bool:
    return all(
        isinstance(value, str) if key in _TEXTS else type(value) is int if key in _NUMBERS else isinstance(value, float)
        for key, value in place.items()
    )


@pytest.mark.parametrize("edition", ["GeoLite2-City", "GeoIP2-City"])
def test_every_network_of_the_source_data(mmdb: Path, edition: str) -> None:
    """Each network of the file that the test database was made from is answered with what stands there."""
    reader = open_database(mmdb / "test-data" / f"{edition}-Test.mmdb").value
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
    reader = open_database(mmdb / "test-data" / "GeoIP2-City-Test.mmdb").value
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
    reader = open_database(mmdb / "test-data" / "GeoLite2-Country-Test.mmdb").value
    assert place_of(reader, "81.2.69.160")["country_iso"] == "GB"


def test_facts_of_a_good_database(mmdb: Path) -> None:
    """Its kind and build date are told for health."""
    loaded = open_database(mmdb / "test-data" / "GeoLite2-City-Test.mmdb")
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
            check_city(path)


@pytest.mark.parametrize("keep", ["City", None])
def test_corrupt_databases_that_call_themselves_city(mmdb: Path, tmp_path: Path, keep: str | None) -> None:
    """The corrupt files are refused for their damage too, not only because of their type."""
    for path in sorted((mmdb / "bad-data").rglob("*.mmdb")):
        data = path.read_bytes().replace(b"\x44Test", b"\x44City" if keep else b"\x44Test")
        copy = tmp_path / path.name
        copy.write_bytes(data)
        with pytest.raises(BadData):
            check_city(copy)


def test_cut_short_at_every_length(mmdb: Path, tmp_path: Path) -> None:
    """No beginning of a database passes for a whole one."""
    path = tmp_path / "cut.mmdb"
    path.write_bytes((mmdb / "test-data" / "GeoLite2-Country-Test.mmdb").read_bytes())
    size, marker = path.stat().st_size, path.read_bytes().rfind(b"MaxMind.com")
    # A child for each of the lengths at which there is a marker still would take a minute.
    for length in sorted({*range(marker + 11), *range(marker + 11, size, 40), size - 1}, reverse=True):
        os.truncate(path, length)
        with pytest.raises(BadData):
            check_city(path)


def damaged_copy(data: bytes, seed: int) -> bytes:
    """The data with one to four bytes changed; the seeds are those of benchmarks/studies/mmdb_readers.py."""
    draw, damaged = random.Random(seed), bytearray(data)  # noqa: S311
    for _ in range(draw.randrange(1, 5)):
        damaged[draw.randrange(len(damaged))] = draw.randrange(256)
    return bytes(damaged)


@pytest.mark.parametrize("seed", [88, 181, 874])
def test_a_file_that_kills_the_c_reader_is_refused(mmdb: Path, tmp_path: Path, seed: int) -> None:
    """The three of a thousand damaged files whose look-ups end a process: only the child makes them."""
    path = tmp_path / "damaged.mmdb"
    path.write_bytes(damaged_copy((mmdb / "test-data" / "GeoIP2-City-Test.mmdb").read_bytes(), seed))
    with pytest.raises(BadData, match="damaged"):
        check_city(path)


@pytest.mark.parametrize("seeds", [range(start, start + 25) for start in range(0, 100, 25)], ids=str)
def test_damage_is_refused_or_answers_the_right_types(mmdb: Path, tmp_path: Path, seeds: range) -> None:
    """Whatever bytes are changed: the database is refused, or all its answers are of the right types."""
    data = (mmdb / "test-data" / "GeoIP2-City-Test.mmdb").read_bytes()
    path, refused = tmp_path / "damaged.mmdb", 0
    for seed in seeds:
        path.write_bytes(damaged_copy(data, seed))
        try:
            check_city(path)
        except BadData:
            refused += 1
            continue
        reader = open_database(path).value
        for number in reader._tree.one_of_each():
            assert has_right_types(place_of(reader, str(IPv6Address(number))))
    assert 0 < refused < len(seeds)


def test_a_bomb_is_refused(mmdb: Path, tmp_path: Path) -> None:
    """Pointers to pointers to lists make a file of some bytes unpack to more than any memory: the child gives up."""
    data = (mmdb / "test-data" / "GeoLite2-Country-Test.mmdb").read_bytes()
    with maxminddb.open_database(mmdb / "test-data" / "GeoLite2-Country-Test.mmdb") as reader:
        facts: Any = reader.metadata()
    levels, bomb = 12, b""
    for level in range(levels):  # an array of ten pointers to the next array; at last one of ten numbers
        pointer = (0x2000 + 22 * (level + 1)).to_bytes(2, "big")
        bomb += b"\x0a\x04" + (pointer if level < levels - 1 else b"\xa1\x07") * 10
    assert facts.record_size == 28
    record = (facts.node_count + 16).to_bytes(3, "big")
    tree = (record + bytes(1) + record) * facts.node_count
    path = tmp_path / "bomb.mmdb"
    path.write_bytes(tree + bytes(16) + bomb + data[data.rfind(b"\xab\xcd\xefMaxMind.com") :])
    with pytest.raises(BadData, match="damaged"):
        check_city(path)


@pytest.fixture
def good(mmdb: Path) -> Path:
    return mmdb / "test-data" / "GeoLite2-City-Test.mmdb"


def child_runs(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Have the child run other code than the check."""
    monkeypatch.setattr(check, "_COMMAND", (sys.executable, "-c", code))


def test_a_check_that_takes_too_long_is_no_verdict(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that does not come to an end is ended; the host may be slow, so the file is not refused."""
    monkeypatch.setattr(check, "_SECONDS", 0.001)
    child_runs(monkeypatch, "import time; time.sleep(600)")
    with pytest.raises(NotChecked, match="not be read within"):
        check_city(good)


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE", "SIGKILL"])
def test_damage_ends_the_child_by_a_fault(good: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """What a reader that goes astray causes, and the end of what takes too much memory."""
    child_runs(monkeypatch, f"import os, signal; os.kill(os.getpid(), signal.{name})")
    with pytest.raises(BadData, match=f"damaged.*{name}"):
        check_city(good)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGXCPU"])
def test_a_child_that_somebody_ended_is_no_verdict(good: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A signal that comes from outside says nothing of the file."""
    child_runs(
        monkeypatch,
        f"import os, signal; signal.signal(signal.{name}, signal.SIG_DFL); os.kill(os.getpid(), signal.{name})",
    )
    with pytest.raises(NotChecked, match=name):
        check_city(good)


def test_a_child_is_in_a_session_of_its_own(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the terminal of the service does not reach it."""
    child_runs(monkeypatch, "import os; print('leads' if os.getsid(0) == os.getpid() else 'follows'); os._exit(1)")
    with pytest.raises(BadData, match="leads"):
        check_city(good)


def test_one_check_at_a_time(good: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two children would take more memory than the container has beside the service."""
    folder = str(tmp_path / "taken")
    child_runs(monkeypatch, f"import os, time; os.mkdir({folder!r}); time.sleep(0.3); os.rmdir({folder!r})")
    with ThreadPoolExecutor() as threads:
        assert [*threads.map(lambda ask: ask(good), (check_city, check_asn, check_city))] == [None] * 3


def test_a_check_gives_way_to_the_service() -> None:
    """The child is nicer than whoever answers calls."""
    code = "import os; from mmgeo import check; check.read_all = lambda *_: print(os.nice(0)); check.main()"
    before = os.nice(0)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == min(19, before + 10)


async def test_a_checked_file_is_not_checked_at_the_next_start(
    good: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A start with a file whose SHA-256 is known makes no child, whether it was fetched or laid there."""
    volume = tmp_path / "volume"

    def started() -> Dataset[Database]:
        return Dataset("test", volume / "city.mmdb", [File(good)], open_database, check_city)

    volume.mkdir()
    (volume / "city.mmdb").write_bytes(good.with_name("GeoIP2-City-Test.mmdb").read_bytes())
    assert await started().open()  # somebody laid it there
    child_runs(monkeypatch, "print('checked again'); raise SystemExit(1)")
    assert await started().open()
    monkeypatch.undo()
    assert await started().refresh()  # another, from a source
    child_runs(monkeypatch, "print('checked again'); raise SystemExit(1)")
    last = started()
    assert await last.open() and not await last.refresh()
    assert last.health()["source"] == "file" and not last.health()["errors"]


_SERVICE = """
import sys
from band import settings, start_server
from geo import service as geo_service
from mmgeo import check
from mmgeo.service import service
check._COMMAND = (sys.executable, "-c", "import os, sys, time; print(os.getpid(), file=open('pid', 'w'), flush=True); "
    "time.sleep(600)")
geo_service._OPEN_SECONDS = float(sys.argv[1])
start_server(service, **settings)
"""


@pytest.mark.parametrize("waits", [30.0, 0.0], ids=["in its setup", "after its start"])
def test_a_service_that_stops_ends_the_check(good: Path, tmp_path: Path, waits: float) -> None:
    """SIGTERM during a check ends the process at once, not after the child; the file stays as it is."""
    image = Path(__file__).parents[3] / "band_images" / "mmgeo"
    (tmp_path / "config.yaml").write_text((image / "config.yaml").read_text())
    (tmp_path / "city.mmdb").write_bytes(good.read_bytes())
    (tmp_path / "asn.mmdb").write_bytes(good.with_name("GeoLite2-ASN-Test.mmdb").read_bytes())
    given = {"DATA_DIR": str(tmp_path), "GEO_SOURCES": "", "ASN_SOURCES": "", "HOST": "127.0.0.1", "PORT": "0"}
    given |= {"REDIS_DSN": "redis://127.0.0.1:1", "LOG_LEVEL": "info", "PWD": str(tmp_path)}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", _SERVICE, str(waits)],
            cwd=tmp_path,
            env={**os.environ, **given},
            stdout=log,
            stderr=log,
        )
    try:
        until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().endswith("\n"), tmp_path / "log")
        until(lambda: waits > 0 or "service_started" in (tmp_path / "log").read_text(), tmp_path / "log")
        begun = time.monotonic()
        process.terminate()
        assert process.wait(20) == 0
        assert time.monotonic() - begun < 10  # Docker's patience
    finally:
        process.kill()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    assert (tmp_path / "city.mmdb").exists() and not list(tmp_path.glob("*.broken")), (tmp_path / "log").read_text()


def until(holds: Callable[[], bool], log: Path) -> None:
    """Wait until something holds, at most 20 s."""
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


def test_a_record_damaged_on_the_disk_is_bad_data(good: Path) -> None:
    """maxminddb's own error, which is a RuntimeError, is told as what look-ups promise."""

    class Damaged:
        def get(self, _text: str) -> None:
            raise maxminddb.InvalidDatabaseError("the pointer leads nowhere")

    loaded = open_database(good).value
    database: Any = Database(loaded._tree, Damaged())  # type: ignore[arg-type]
    with pytest.raises(BadData, match="leads nowhere"):
        database.record(address("2.125.160.216"))


def test_a_file_cut_under_the_reader_does_no_harm(mmdb: Path, tmp_path: Path) -> None:
    """The map is of a private copy: truncating the file on the volume would otherwise end the process by SIGBUS."""
    path = tmp_path / "city.mmdb"
    path.write_bytes((mmdb / "test-data" / "GeoIP2-City-Test.mmdb").read_bytes())
    reader = open_database(path).value
    with path.open("r+b") as file:
        file.truncate(0)
    assert place_of(reader, "2.125.160.216")["city_en"] == "Boxford"
    assert [entry.name for entry in tmp_path.iterdir()] == ["city.mmdb"]


def test_flat_schema_is_refused_by_name(tmp_path: Path, mmdb: Path) -> None:
    """An ASN database is refused with its type, so that the operator sees which file was taken."""
    with pytest.raises(BadData, match="GeoLite2-ASN"):
        check_city(mmdb / "test-data" / "GeoLite2-ASN-Test.mmdb")


@pytest.mark.parametrize("name", ["GeoLite2-City-Test", "GeoIP2-City-Test", "GeoLite2-Country-Test"])
@pytest.mark.parametrize("table_bits", [0, 8, 16])
def test_addresses_of_one_key_have_one_record(mmdb: Path, name: str, table_bits: int) -> None:
    """Our tree says of every network, its borders, and random addresses what maxminddb says."""
    path = mmdb / "test-data" / f"{name}.mmdb"
    reader = open_database(path).value
    whole = reader._tree
    bits = next(bits for bits, walk in WALKS.items() if walk is whole._walk)
    tree = Tree(whole._buffer, whole._nodes, bits, whole.version, table_bits)
    draw = random.Random(3)  # noqa: S311
    known: dict[int, Any] = {}
    with maxminddb.open_database(path) as theirs:
        probes = [ip for network, _ in theirs for ip in (network[0], network[-1], network[0] + 1) if int(ip)]
        probes += [IPv4Address(draw.randrange(1 << 24, 224 << 24)) for _ in range(2000)]
        for ip in probes:
            key, record = tree.find(int(ip), ip.version), theirs.get(ip)
            assert (key is None) == (record is None), ip
            assert key is None or known.setdefault(key, record) == record
        each = [theirs.get(IPv6Address(number)) for number in whole.one_of_each()]
    assert len(known) == len(each) and all(record in each for record in known.values())


def test_a_tree_with_a_cycle_is_refused() -> None:
    """A damaged tree neither keeps the walk for ever nor hides a record from it."""
    one_node = Tree(bytes(6), 1, 24, 4)
    assert list(one_node.one_of_each()) == [] and one_node.find(0x08080808, 4) is None
    long = b"".join((node + 1).to_bytes(3, "big") * 2 for node in range(40))
    with pytest.raises(ValueError, match="more levels than"):
        list(Tree(long, 40, 24, 4).one_of_each())
