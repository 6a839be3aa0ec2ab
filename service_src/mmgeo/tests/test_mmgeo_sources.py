"""MaxMind and DB-IP against doubles that keep their rules."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import os
import shutil
import tarfile
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import date
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer

from geo.dataset import Dataset, DatasetError, File
from mmgeo.check import check_city
from mmgeo.localized_names import RussianNames
from mmgeo.reader import Database, open_database
from mmgeo.record_mapping import make_locator
from mmgeo.sources import DbIp, MaxMind, make_asn_sources, make_sources

_LOGIN = "Basic " + b64encode(b"123:the-key").decode()


def tar_of(database: bytes, name: str = "GeoLite2-City_20260101/GeoLite2-City.mmdb") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for entry, data in (("GeoLite2-City_20260101/LICENSE.txt", b"EULA"), (name, database)):
            info = tarfile.TarInfo(entry)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return packed.getvalue()


class MaxMindDouble:
    """MaxMind's two hosts and the storage that they redirect to."""

    def __init__(self, database: bytes) -> None:
        self.database = database
        self.md5 = hashlib.md5(database, usedforsecurity=False).hexdigest()
        self.seen: list[tuple[str, str]] = []
        self.half = False
        self.limit = False
        self.storage: BaseTestServer | None = None

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/geoip/updates/metadata", self.metadata)
        app.router.add_get("/geoip/databases/GeoLite2-City/download", self.download)
        app.router.add_get("/presigned", self.body)
        return app

    def note(self, request: web.Request) -> bool:
        self.seen.append((request.path, request.headers.get("Authorization", "")))
        return request.headers.get("Authorization") == _LOGIN

    async def metadata(self, request: web.Request) -> web.Response:
        if not self.note(request):
            return web.Response(status=401, text="Invalid license key")
        row = {"edition_id": "GeoLite2-City", "md5": self.md5, "date": "2026-01-01"}
        return web.json_response({"databases": [row]})

    async def download(self, request: web.Request) -> web.Response:
        if not self.note(request):
            return web.Response(status=401, text="Invalid license key")
        if self.limit:
            return web.Response(status=429, text="LIMIT_EXCEEDED")
        assert self.storage is not None
        raise web.HTTPFound(str(self.storage.make_url("/presigned?X-Amz-Signature=sig")))

    async def body(self, request: web.Request) -> web.StreamResponse:
        self.note(request)
        data = tar_of(self.database)
        response = web.StreamResponse(headers={"Content-Length": str(len(data))})
        await response.prepare(request)
        await response.write(data[: len(data) // 2] if self.half else data)
        if self.half and request.transport is not None:
            request.transport.abort()
        return response

    @property
    def downloads(self) -> int:
        return sum(path.endswith("/download") for path, _ in self.seen)


@pytest.fixture
async def maxmind(mmdb: Path) -> AsyncIterator[tuple[MaxMindDouble, str]]:
    """The double and its URL; its storage is another origin, as in reality."""
    double = MaxMindDouble((mmdb / "test-data" / "GeoLite2-City-Test.mmdb").read_bytes())
    async with TestServer(double.app()) as storage, TestServer(double.app()) as server:
        double.storage = storage
        yield double, str(server.make_url("/")).rstrip("/")


def dataset_of(tmp_path: Path, *sources: object) -> Dataset[Database]:
    return Dataset("mmgeo", tmp_path / "data" / "city.mmdb", sources, open_database, check_city)  # type: ignore[arg-type]


def source_at(url: str, key: str = "the-key") -> MaxMind:
    return MaxMind("123", key, "GeoLite2-City", url, url)


async def test_maxmind_is_downloaded_once(tmp_path: Path, maxmind: tuple[MaxMindDouble, str]) -> None:
    """The hash is asked first; the database is fetched only while it is another one, also after a restart."""
    double, url = maxmind
    for expected in (True, False):
        dataset = dataset_of(tmp_path, source_at(url))
        await dataset.open()
        assert await dataset.refresh() is expected
        assert dataset.source == "maxmind"
    assert double.downloads == 1
    assert [path for path, _ in double.seen].count("/geoip/updates/metadata") == 2


async def test_the_key_goes_to_maxmind_only(tmp_path: Path, maxmind: tuple[MaxMindDouble, str]) -> None:
    """The storage behind the redirect gets no Authorization; no secret stands in the state or in health."""
    double, url = maxmind
    dataset = dataset_of(tmp_path, source_at(url))
    await dataset.refresh()
    assert {login for path, login in double.seen if path == "/presigned"} == {""}
    assert {login for path, login in double.seen if path != "/presigned"} == {_LOGIN}
    written = (tmp_path / "data" / "city.mmdb.json").read_text() + str(dataset.health())
    assert "the-key" not in written and "sig" not in written


async def test_thirty_downloads_a_day_across_restarts(tmp_path: Path, maxmind: tuple[MaxMindDouble, str]) -> None:
    """A service that restarts in a loop, or a database that is always bad, cannot eat the account's quota."""
    double, url = maxmind
    for number in range(35):
        double.md5 = f"{number:032x}"  # always new, never right
        dataset = dataset_of(tmp_path, source_at(url))
        await dataset.refresh()
    assert double.downloads == 30
    assert "30 are allowed" in dataset.health()["errors"]["maxmind"]


@pytest.mark.parametrize(("what", "text"), [("half", "could not be read"), ("limit", "LIMIT_EXCEEDED")])
async def test_maxmind_in_trouble(tmp_path: Path, maxmind: tuple[MaxMindDouble, str], what: str, text: str) -> None:
    """Half a body and an exhausted quota are told; the next try succeeds."""
    double, url = maxmind
    setattr(double, what, True)
    dataset = dataset_of(tmp_path, source_at(url))
    assert not await dataset.refresh()
    assert text in dataset.health()["errors"]["maxmind"]
    setattr(double, what, False)
    assert await dataset.refresh()


async def test_a_wrong_key_is_told_without_the_key(tmp_path: Path, maxmind: tuple[MaxMindDouble, str]) -> None:
    """401 names what to check."""
    _double, url = maxmind
    dataset = dataset_of(tmp_path, source_at(url, "wrong-key"))
    await dataset.refresh()
    error = dataset.health()["errors"]["maxmind"]
    assert "401" in error and "check the account and its key" in error and "wrong-key" not in error


async def test_a_broken_database_is_downloaded_once(tmp_path: Path, maxmind: tuple[MaxMindDouble, str]) -> None:
    """What MaxMind itself publishes broken is kept for inspection, and left alone until its hash changes."""
    double, url = maxmind
    good, double.database = double.database, b"broken" * 1000
    double.md5 = hashlib.md5(double.database, usedforsecurity=False).hexdigest()
    for _ in range(3):
        dataset = dataset_of(tmp_path, source_at(url))
        await dataset.open()
        assert not await dataset.refresh()
    assert double.downloads == 1
    assert "refused: not a MaxMind DB" in dataset.health()["errors"]["maxmind"]
    assert (tmp_path / "data" / "city.mmdb.broken").read_bytes() == double.database
    double.database, double.md5 = good, hashlib.md5(good, usedforsecurity=False).hexdigest()
    assert await dataset.refresh()
    assert double.downloads == 2


async def test_another_database_than_promised(tmp_path: Path, maxmind: tuple[MaxMindDouble, str]) -> None:
    """A wrong hash, e.g. while MaxMind's storage still has the one before, is told; the right one is taken later."""
    double, url = maxmind
    right, double.md5 = double.md5, "0" * 32
    dataset = dataset_of(tmp_path, source_at(url))
    assert not await dataset.refresh()
    assert f"has md5 {right}, but its source announced 000" in dataset.health()["errors"]["maxmind"]
    assert (tmp_path / "data" / "city.mmdb.broken").exists()
    double.md5 = right
    assert await dataset.refresh()


async def test_calls_never_fail_while_databases_change(tmp_path: Path, mmdb: Path) -> None:
    """Look-ups during ten exchanges of the database all find their place, in the old one or the new one."""
    target = tmp_path / "mine.mmdb"
    dataset = dataset_of(tmp_path, File(target))
    locator = make_locator(dataset, RussianNames())
    answers: Counter[str] = Counter()

    async def ask() -> None:
        while True:
            place = locator.locate("2.125.160.216")
            answers[place.get("country_iso", "no place")] += 1
            await asyncio.sleep(0)

    asking: asyncio.Task[None] | None = None
    for number in range(11):
        edition = "GeoIP2-City-Test" if number % 2 else "GeoLite2-Country-Test"
        shutil.copy(mmdb / "test-data" / f"{edition}.mmdb", target)
        os.utime(target, (number, number))
        assert await dataset.refresh()
        asking = asking or asyncio.create_task(ask())
    assert asking is not None
    asking.cancel()
    assert set(answers) == {"GB"} and answers["GB"] > 20


class DbIpDouble:
    """DB-IP's downloads: a file a month, with an ETag."""

    def __init__(self, database: bytes, *months: str) -> None:
        self.database, self.months, self.asked = database, set(months), list[str]()

    async def file(self, request: web.Request) -> web.Response:
        month = request.match_info["month"]
        if month not in self.months:
            self.asked.append(f"{month} 404")
            return web.Response(status=404)
        etag = f'"{month}"'
        if request.headers.get("If-None-Match") == etag:
            self.asked.append(f"{month} 304")
            return web.Response(status=304)
        self.asked.append(f"{month} 200")
        return web.Response(body=gzip.compress(self.database), headers={"ETag": etag})


async def test_dbip_takes_this_month_else_the_last(tmp_path: Path, mmdb: Path) -> None:
    """Last month's file is kept, and not fetched again, until this month's is out."""
    double = DbIpDouble((mmdb / "test-data" / "GeoLite2-City-Test.mmdb").read_bytes(), "2025-12")
    app = web.Application()
    app.router.add_get("/dbip-city-lite-{month}.mmdb.gz", double.file)
    async with TestServer(app) as server:
        template = str(server.make_url("/")) + "dbip-city-lite-{month}.mmdb.gz"
        dataset = dataset_of(tmp_path, DbIp(template, lambda: date(2026, 1, 2)))
        assert await dataset.refresh()
        assert not await dataset.refresh()
        double.months.add("2026-01")
        assert await dataset.refresh()
        assert not await dataset.refresh()
    assert double.asked == ["2026-01 404", "2025-12 200", "2026-01 404", "2025-12 304", "2026-01 200", "2026-01 304"]


def test_maxmind_is_left_out_without_both_of_its_settings(settings_of: Callable[..., object]) -> None:
    """Health says which variables are missing."""
    (source,) = make_sources(settings_of(geo_sources="maxmind", maxmind_account_id="1"))
    assert source.disabled() == "MAXMIND_LICENSE_KEY not set"


def test_all_default_sources_exist_and_unknown_ones_are_named(settings_of: Callable[..., object]) -> None:
    """The order of the setting is kept; a misspelt name stops the service."""
    order = "file maxmind url dbip package package-old npm"
    sources = make_sources(settings_of(geo_sources=order, dbip_url="https://example.org/{month}"))
    assert [source.name for source in sources] == order.split()
    with pytest.raises(DatasetError, match="'maxmid'; known sources are maxmind, dbip"):
        make_sources(settings_of(geo_sources="maxmid"))


def test_sources_of_networks_are_a_list_of_their_own(settings_of: Callable[..., object]) -> None:
    """The order of the setting is kept, a misspelt name is told with the setting; none is no fault."""
    order = "file maxmind url dbip"
    assert [source.name for source in make_asn_sources(settings_of(asn_sources=order))] == order.split()
    assert make_asn_sources(settings_of()) == []
    with pytest.raises(DatasetError, match="ASN_SOURCES lists 'package'"):
        make_asn_sources(settings_of(asn_sources="package"))


def test_both_databases_share_the_downloads_of_a_day(settings_of: Callable[..., object]) -> None:
    """MaxMind counts an account's downloads of all editions together: 20 and 10 with both, 30 for places alone."""
    settings = settings_of(geo_sources="maxmind", asn_sources="maxmind")
    (places,), (networks,) = make_sources(settings), make_asn_sources(settings)
    assert isinstance(places, MaxMind) and isinstance(networks, MaxMind)
    assert (places._daily, networks._daily) == (20, 10)
    (alone,) = make_sources(settings_of(geo_sources="maxmind"))
    assert isinstance(alone, MaxMind) and alone._daily == 30
