"""Files with a manifest that names each by its SHA-256: what backups and bundles are made of."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
from typing import Any

FORMAT = 1
MANIFEST = "manifest.json"
CHUNK = 1 << 20


class ArchiveError(Exception):
    """An archive or bundle cannot be made, or is not whole; the message says what to do."""


def sha256_of(path: str) -> str:
    """Return the SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def pack(folder: str, target: str, facts: dict[str, Any], mode: str = "w", **options: Any) -> dict[str, Any]:
    """Write the files below a folder as a tar, with a manifest first, so that it can be read without the rest.

    Returns:
        the manifest: `format`, the given facts, and `files` with `sha256` and `bytes` of each.
    """
    found = (os.path.relpath(os.path.join(at, one), folder) for at, _folders, names in os.walk(folder) for one in names)
    paths = {name: os.path.join(folder, name) for name in sorted(found) if name != MANIFEST}
    files = {name: {"sha256": sha256_of(path), "bytes": os.path.getsize(path)} for name, path in paths.items()}
    manifest = {"format": FORMAT, **facts, "files": files}
    with open(os.path.join(folder, MANIFEST), "w", encoding="utf-8") as file:
        json.dump(manifest, file, indent=1, sort_keys=True)
        file.write("\n")
    with tarfile.open(target, mode, **options) as tar:
        for name in [MANIFEST, *paths]:
            tar.add(os.path.join(folder, name), arcname=name, recursive=False)
    return manifest


def extract(tar: tarfile.TarFile, folder: str, *, as_packed: bool = False) -> None:
    """Unpack plain files below a folder; with `as_packed` also folders and links, all with their owners and modes.

    A link in the way of a folder is replaced: whoever may write there would choose where root writes.

    Raises:
        ArchiveError: an entry is of another kind, or leads outside the folder.
    """
    base = os.path.realpath(folder)
    for entry in tar:
        path = _path_of(entry, base, as_packed)
        if os.path.realpath(os.path.dirname(path)) != os.path.dirname(path):
            raise _unfit(entry)
        _lay(tar, entry, path)
        if as_packed:
            os.lchown(path, entry.uid, entry.gid)
        if not entry.issym():
            os.chmod(path, entry.mode if as_packed else entry.mode & 0o755)


def check_tree(path: str) -> None:
    """Check that `extract` can unpack a tar of a folder; raises ArchiveError, tarfile.TarError."""
    links: set[str] = set()
    with tarfile.open(path) as tar:
        for entry in tar:
            ancestor = _path_of(entry, "/", as_packed=True)
            if entry.issym():
                links.add(ancestor)
            while (ancestor := os.path.dirname(ancestor)) != "/":
                if ancestor in links:
                    raise _unfit(entry)


def _path_of(entry: tarfile.TarInfo, base: str, as_packed: bool) -> str:
    path = os.path.normpath(os.path.join(base, entry.name))
    fits = entry.isreg() or (as_packed and (entry.isdir() or entry.issym()))
    inside = path.startswith(os.path.join(base, "")) and ".." not in entry.name.split("/")
    if not (fits and inside) or os.path.isabs(entry.name):
        raise _unfit(entry)
    return path


def _unfit(entry: tarfile.TarInfo) -> ArchiveError:
    return ArchiveError(f"{entry.name} must not be in a backup or bundle")


def _lay(tar: tarfile.TarFile, entry: tarfile.TarInfo, path: str) -> None:
    if os.path.lexists(path) and (os.path.islink(path) or not entry.isdir()):
        os.unlink(path)
    os.makedirs(path if entry.isdir() else os.path.dirname(path), exist_ok=True)
    if entry.issym():
        os.symlink(entry.linkname, path)
    elif source := tar.extractfile(entry):
        with open(path, "wb") as file:
            shutil.copyfileobj(source, file)


def read(folder: str) -> dict[str, Any]:
    """Return the manifest of an unpacked archive; raises OSError, ValueError or TypeError."""
    with open(os.path.join(folder, MANIFEST), encoding="utf-8") as file:
        manifest = json.load(file)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise TypeError("it names no files")
    return manifest


def check(folder: str, label: str, advice: str) -> dict[str, Any]:
    """Return the manifest of an unpacked archive after comparing every file with it.

    Raises:
        ArchiveError: there is none, it is of a later format, or a file is not what it says.
    """
    try:
        manifest = read(folder)
    except (OSError, ValueError, TypeError) as error:
        raise ArchiveError(f"{label} has no readable manifest ({error}). {advice}") from error
    if manifest.get("format", 0) > FORMAT:
        raise ArchiveError(f"{label} was made by a later version (format {manifest['format']}). Update this one first.")
    for name, row in manifest["files"].items():
        path = os.path.join(folder, name)
        if not os.path.isfile(path) or sha256_of(path) != row["sha256"]:
            raise ArchiveError(f"{label} is damaged: {name} is not what its manifest says. {advice}")
    return manifest
