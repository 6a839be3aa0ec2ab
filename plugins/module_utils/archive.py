"""A backup's archive: a compressed tar with a manifest of hashes, sealed by a passphrase where one is given.

Sealed it is what `openssl enc -aes-256-ctr -pbkdf2 -iter 600000` writes, followed by 32 bytes of HMAC-SHA256 over
all of that: it is checked before anything is deciphered, and openssl alone opens it (docs/backup.md says how).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import subprocess
import tarfile
from typing import IO, Any

FORMAT = 1
MANIFEST = "manifest.json"
MAGIC = b"Salted__"
MAC_SIZE = 32
ROUNDS = 600_000
CIPHER = ["openssl", "enc", "-aes-256-ctr", "-pbkdf2", "-md", "sha256", "-iter", str(ROUNDS), "-pass", "stdin"]
CHUNK = 1 << 20


class ArchiveError(Exception):
    """The archive cannot be read or written; the message says what to do."""


def sha256_of(path: str) -> str:
    """The SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(file)


def _digest(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def pack(folder: str, target: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Write the files of a folder, with a manifest first, as a tar.gz; the manifest."""
    names = sorted(
        os.path.relpath(os.path.join(at, n), folder) for at, _folders, found in os.walk(folder) for n in found
    )
    files = {
        name: {"sha256": sha256_of(os.path.join(folder, name)), "bytes": os.path.getsize(os.path.join(folder, name))}
        for name in names
    }
    manifest = {"format": FORMAT, **facts, "files": files}
    with open(os.path.join(folder, MANIFEST), "w", encoding="utf-8") as file:
        json.dump(manifest, file, indent=1, sort_keys=True)
    with tarfile.open(target, "w:gz", compresslevel=6) as tar:
        for name in [MANIFEST, *names]:
            tar.add(os.path.join(folder, name), arcname=name, recursive=False)
    return manifest


def unpack(archive: str, folder: str) -> dict[str, Any]:
    """Unpack an archive into a folder and compare every file with the manifest; the manifest.

    Raises:
        ArchiveError: it is no backup, of a later format, or damaged.
    """
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for entry in tar:
                _extract(tar, entry, folder)
        with open(os.path.join(folder, MANIFEST), encoding="utf-8") as file:
            manifest: dict[str, Any] = json.load(file)
    except (OSError, EOFError, ValueError, tarfile.TarError) as error:
        raise ArchiveError(f"{archive} is not a whole backup of ours ({error}). Take another one.") from error
    if manifest.get("format", 0) > FORMAT:
        raise ArchiveError(
            f"{archive} was made by a later version (format {manifest['format']}). Update this one first."
        )
    for name, row in manifest["files"].items():
        if not os.path.exists(os.path.join(folder, name)) or sha256_of(os.path.join(folder, name)) != row["sha256"]:
            raise ArchiveError(f"{archive} is damaged: {name} is not what the manifest says. Take another one.")
    return manifest


def _extract(tar: tarfile.TarFile, entry: tarfile.TarInfo, folder: str) -> None:
    """One plain file, below the folder."""
    target = os.path.normpath(os.path.join(folder, entry.name))
    source = tar.extractfile(entry) if entry.isreg() else None
    if source is None or not target.startswith(os.path.join(folder, "")):
        raise ValueError(f"{entry.name} has no place in a backup")
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, "wb") as file:
        while chunk := source.read(CHUNK):
            file.write(chunk)


def is_sealed(path: str) -> bool:
    """Whether a file is sealed by a passphrase."""
    with open(path, "rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def seal(source: str, target: str, passphrase: str) -> None:
    """Encipher a file and put the seal behind it.

    Raises:
        ArchiveError: openssl is not there or failed.
    """
    _openssl(["-e", "-in", source, "-out", target], passphrase)
    seal_of = _mac(target, passphrase, os.path.getsize(target))
    with open(target, "ab") as file:
        file.write(seal_of)


def unseal(source: str, target: str, passphrase: str) -> None:
    """Check the seal and decipher.

    Raises:
        ArchiveError: the passphrase is another one, or somebody changed the file; openssl failed.
    """
    size = os.path.getsize(source) - MAC_SIZE
    with open(source, "rb") as file:
        file.seek(max(size, 0))
        given = file.read()
    if size < len(MAGIC) or not hmac.compare_digest(given, _mac(source, passphrase, size)):
        raise ArchiveError(f"{source} does not open: the passphrase is another one, or the file was changed.")
    with open(source, "rb") as file, open(f"{target}.sealed", "wb") as body:
        _copy(file, body, size)
    try:
        _openssl(["-d", "-in", f"{target}.sealed", "-out", target], passphrase)
    finally:
        os.unlink(f"{target}.sealed")


def _mac(path: str, passphrase: str, size: int) -> bytes:
    with open(path, "rb") as file:
        salt = file.read(16)[8:]
        key = hashlib.pbkdf2_hmac("sha256", passphrase.encode(), b"rockstat backup seal" + salt, ROUNDS)
        mac = hmac.new(key, digestmod=hashlib.sha256)
        file.seek(0)
        while size > 0 and (chunk := file.read(min(CHUNK, size))):
            mac.update(chunk)
            size -= len(chunk)
    return mac.digest()


def _copy(source: IO[bytes], target: IO[bytes], size: int) -> None:
    while size > 0 and (chunk := source.read(min(CHUNK, size))):
        target.write(chunk)
        size -= len(chunk)


def _openssl(args: list[str], passphrase: str) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - arguments of ours; the passphrase goes through stdin
            [*CIPHER, *args], input=f"{passphrase}\n".encode(), capture_output=True, check=False
        )
    except FileNotFoundError as error:
        raise ArchiveError(
            "There is no openssl on this host. Install it, or make backups without a passphrase."
        ) from error
    if done.returncode:
        raise ArchiveError(f"openssl failed: {done.stderr.decode('utf-8', 'replace').strip()}")
