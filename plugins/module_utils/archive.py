"""A backup's archive: a compressed tar with a manifest of hashes, encrypted if there is a passphrase.

Encrypted, it is what `openssl enc -aes-256-ctr -pbkdf2 -iter 600000` writes, followed by 32 bytes of HMAC-SHA256 over
all of that: it is checked before anything is deciphered, and openssl alone opens it (docs/backup.md says how).
"""

from __future__ import annotations

import hashlib
import hmac
import os
import subprocess
import tarfile
from typing import IO, Any

from ansible_collections.rockstat.band.plugins.module_utils import manifest
from ansible_collections.rockstat.band.plugins.module_utils.manifest import CHUNK, ArchiveError

MAGIC = b"Salted__"
MAC_SIZE = 32
ROUNDS = 600_000
CIPHER = ["openssl", "enc", "-aes-256-ctr", "-pbkdf2", "-md", "sha256", "-iter", str(ROUNDS), "-pass", "stdin"]


def pack(folder: str, target: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Write the files of a folder, with a manifest first, as a tar.gz; return the manifest."""
    return manifest.pack(folder, target, facts, "w:gz", compresslevel=6)


def unpack(archive: str, folder: str) -> dict[str, Any]:
    """Unpack an archive into a folder and compare every file with the manifest; return the manifest.

    Raises:
        ArchiveError: it is no backup, of a later format, or damaged.
    """
    try:
        with tarfile.open(archive, "r:gz") as tar:
            manifest.extract(tar, folder)
    except (OSError, EOFError, tarfile.TarError) as error:
        raise ArchiveError(
            f"{archive} is not a complete backup of this platform ({error}). Take another one."
        ) from error
    return manifest.check(folder, archive, "Take another one.")


def is_sealed(path: str) -> bool:
    """Return whether a file is encrypted."""
    with open(path, "rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def seal(source: str, target: str, passphrase: str) -> None:
    """Encrypt a file and append the seal.

    Raises:
        ArchiveError: openssl is not there or failed.
    """
    _openssl(["-e", "-in", source, "-out", target], passphrase)
    seal_of = _mac(target, passphrase, os.path.getsize(target))
    with open(target, "ab") as file:
        file.write(seal_of)


def unseal(source: str, target: str, passphrase: str) -> None:
    """Verify and decrypt.

    Raises:
        ArchiveError: the passphrase is wrong, the file was changed, or openssl failed.
    """
    size = os.path.getsize(source) - MAC_SIZE
    with open(source, "rb") as file:
        file.seek(max(size, 0))
        given = file.read()
    if size < len(MAGIC) or not hmac.compare_digest(given, _mac(source, passphrase, size)):
        raise ArchiveError(f"{source} cannot be decrypted: the passphrase is wrong, or the file was changed.")
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
