"""The build context of an image: a deterministic tar, and the hash that becomes the image's tag."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import posixpath
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from band.platform import adapt_pins, explain_pins
from director.errors import BuildFailed, InvalidValue
from director.images.catalog import BASE_PLACEHOLDER, TYPESCRIPT_PLACEHOLDER, ImageFolder, is_utf8, read_small

DOCKERIGNORE = ".dockerignore"
ALWAYS_SENT = frozenset({"Dockerfile", DOCKERIGNORE})
"""Docker sends these whatever `.dockerignore` says."""


class _Rule(NamedTuple):
    matches: re.Pattern[str]
    takes_back: bool


class DockerIgnore:
    """The patterns of one file; without any, nothing is ignored."""

    def __init__(self, text: str = "") -> None:
        """Read the patterns.

        Raises:
            InvalidValue: one is no pattern; the text names its line.
        """
        self._rules = [*_rules(text.removeprefix("\ufeff"))]
        self._takes_back = any(rule.takes_back for rule in self._rules)

    def ignores(self, path: str) -> bool:
        """Return whether a file or folder at a path such as `data/a.db` is excluded."""
        if path in ALWAYS_SENT:
            return False
        parents = path.split("/")
        spots = ["/".join(parents[: depth + 1]) for depth in range(len(parents))]
        ignored = False
        for rule in self._rules:
            if rule.takes_back == ignored and any(rule.matches.fullmatch(spot) for spot in spots):
                ignored = not rule.takes_back
        return ignored

    def skips(self, folder: str) -> bool:
        """Return whether nothing in a folder can be part of the context, so that it need not be read."""
        return not self._takes_back and self.ignores(folder)


def _rules(text: str) -> Iterator[_Rule]:
    for number, line in enumerate(text.splitlines(), 1):
        pattern = line.strip()
        if not pattern or line.startswith("#"):
            continue
        takes_back = pattern.startswith("!")
        pattern = pattern[1:].strip() if takes_back else pattern
        if not pattern:
            raise InvalidValue(
                f"{DOCKERIGNORE} line {number}: there is no pattern after the !", "write one, or remove the line"
            )
        try:
            yield _Rule(_compiled(posixpath.normpath(pattern).lstrip("/")), takes_back)
        except re.error:
            raise InvalidValue(
                f"{DOCKERIGNORE} line {number}: {line.strip()[:100]!r} is not a pattern", "correct it"
            ) from None


def _compiled(pattern: str) -> re.Pattern[str]:
    """Return the expression for a pattern, piece by piece as in moby's `patternmatcher`."""
    found, at = "", 0
    while at < len(pattern):
        char, ahead = pattern[at], pattern[at + 1 :]
        at += 1
        if char == "*" and ahead.startswith("*"):
            at += 2 if ahead.startswith("*/") else 1
            found += ".*" if at >= len(pattern) else "(?:.*/)?"
        elif char == "*":
            found += "[^/]*"
        elif char == "?":
            found += "[^/]"
        elif char == "\\" and ahead:
            found += re.escape(ahead[0])
            at += 1
        elif char == "[" and "]" in ahead[1:]:
            end = at + ahead.index("]", 1)
            found += f"[{pattern[at:end].replace('[', chr(92) + '[')}]"
            at = end + 1
        elif char == "[":
            raise re.error("a set of characters is not closed", pattern, at)
        else:
            found += re.escape(char)
    return re.compile(found, re.DOTALL)


LARGEST = 100 * 1024**2
"""The largest context in bytes: it is kept in memory during the build."""
REQUIREMENTS = "requirements.txt"
CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
DATED = 315_619_200
"""When the files of a context are of: 2 January 1980. Zip files, and so wheels, know no time before 1980."""

_SKIPPED = frozenset({".git", "__pycache__", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"})
_SKIPPED_IN_SOURCE = frozenset({"tests", "test", "dist", "build", "node_modules"})
_IGNORE_NOTHING = DockerIgnore()


class Entry(msgspec.Struct, frozen=True):
    """One file of a context; `link` is the target when it is a symbolic link, which is never followed."""

    path: str
    content: bytes = b""
    executable: bool = False
    link: str = ""


def read_entries(folder: ImageFolder, base_image: str) -> list[Entry]:
    """Return the files of a context: the folder's at the root, `service_src/<name>` as `src/`, sorted by path.

    Files that the folder's `.dockerignore` excludes are not read.

    Raises:
        InvalidValue: a file cannot be read, the total is too large, or a pattern of `.dockerignore` is invalid.
    """
    entries: dict[str, Entry] = {}
    walks = [_walk(folder.path, "", _SKIPPED, ignore=_read_ignore(folder))]
    walks += [_walk(folder.source, "src/", _SKIPPED, _SKIPPED_IN_SOURCE)] if folder.source is not None else []
    size = 0
    try:
        for entry in itertools.chain(*walks):
            if not is_utf8(f"{entry.path}{entry.link}"):
                raise _not_utf8(folder, entry)
            entries[entry.path] = entry
            size += len(entry.content)
            if size > LARGEST:
                raise _too_large(f"image folder {folder.name}")
    except OSError as error:
        raise _unreadable(folder, error) from error
    dockerfile = entries["Dockerfile"]
    content = dockerfile.content
    for placeholder in (BASE_PLACEHOLDER, TYPESCRIPT_PLACEHOLDER):
        content = content.replace(placeholder.encode(), base_image.encode())
    entries["Dockerfile"] = msgspec.structs.replace(dockerfile, content=content)
    return [entries[path] for path in sorted(entries)]


def trusted(npm_registry: str) -> list[Entry]:
    """Return what the builds on a base image trust: the CA bundle of this process, and npm's settings."""
    bundle = Path(os.environ.get("SSL_CERT_FILE") or CA_BUNDLE)
    settings = f"registry={npm_registry}\n" if npm_registry else ""
    return [
        Entry("trust/ca-bundle.crt", bundle.read_bytes() if bundle.is_file() else b""),
        Entry("trust/npmrc", settings.encode()),
    ]


def named(entries: list[Entry], base_image: str, name: str) -> list[Entry]:
    """Return the entries with `name` where the Dockerfile has the base image's tag, which is of this host alone."""
    return [
        msgspec.structs.replace(entry, content=entry.content.replace(base_image.encode(), name.encode()))
        if entry.path == "Dockerfile"
        else entry
        for entry in entries
    ]


def adapt_requirements(entries: list[Entry]) -> tuple[list[Entry], list[str]]:
    """Return the entries with an old `requirements.txt` adapted so that it installs today, and notes about changes.

    Pins of 2018 would downgrade band's own libraries; a file with hashes is recent and stays unchanged.

    Raises:
        BuildFailed: a line cannot be installed on today's Python; the text names file, line and reason.
    """
    found = next((entry for entry in entries if entry.path == REQUIREMENTS and not entry.link), None)
    if found is None or b"--hash=" in found.content:
        return entries, []
    adapted = adapt_pins(found.content.decode("utf-8", "replace"))
    told = explain_pins(adapted)
    if adapted.refused:
        raise BuildFailed(told[-len(adapted.refused)], "change that line, then /run again", log=told)
    changed = msgspec.structs.replace(found, content=adapted.text.encode())
    return [changed if entry is found else entry for entry in entries], told


def context_hash(entries: list[Entry], base_id: str) -> str:
    """Return 16 hex digits over every path, mode and content, and the id of the base image (empty: not on our base)."""
    digest = hashlib.sha256(f"band-context-1\0{base_id}\0".encode())
    for entry in entries:
        for field in (entry.path.encode(), b"x" if entry.executable else b"-", entry.link.encode(), entry.content):
            digest.update(len(field).to_bytes(8, "big"))
            digest.update(field)
    return digest.hexdigest()[:16]


def pack(entries: list[Entry]) -> bytes:
    """Return the context as a tar in which only the contents can differ: one time, no owners or host modes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            info = tarfile.TarInfo(entry.path)
            info.mode = 0o755 if entry.executable else 0o644
            info.mtime = DATED
            if entry.link:
                info.type, info.linkname = tarfile.SYMTYPE, entry.link
            info.size = len(entry.content)
            archive.addfile(info, io.BytesIO(entry.content))
    return buffer.getvalue()


def _read_ignore(folder: ImageFolder) -> DockerIgnore:
    path = folder.path / DOCKERIGNORE
    try:
        if not path.is_file():  # to open a pipe would wait for its writer
            return DockerIgnore()
        return DockerIgnore(read_small(path, errors="surrogateescape"))
    except OSError as error:
        raise _unreadable(folder, error) from error
    except InvalidValue as error:
        raise InvalidValue(f"image folder {folder.name}: {error}", error.hint) from error


def _walk(
    root: Path,
    prefix: str,
    skipped: frozenset[str],
    top_skipped: frozenset[str] = frozenset(),
    *,
    ignore: DockerIgnore = _IGNORE_NOTHING,
) -> Iterator[Entry]:
    for path in sorted(root.iterdir()):
        if path.name in skipped or path.name in top_skipped or path.name.endswith((".pyc", ".egg-info")):
            continue
        name = f"{prefix}{path.name}"
        if not path.is_symlink() and path.is_dir():
            if not ignore.skips(name):
                yield from _walk(path, f"{name}/", skipped, ignore=ignore)
        elif ignore.ignores(name):
            continue
        elif path.is_symlink():
            yield Entry(name, link=str(path.readlink()))
        elif path.is_file():
            yield _file(path, name)


def _file(path: Path, name: str) -> Entry:
    facts = path.stat()
    if facts.st_size > LARGEST:
        raise _too_large(name)
    return Entry(name, path.read_bytes(), executable=bool(facts.st_mode & 0o100))


def _unreadable(folder: ImageFolder, error: OSError) -> InvalidValue:
    file = str(error.filename).removeprefix(f"{folder.path}/")
    return InvalidValue(
        f"image folder {folder.name}: {file} cannot be read: {error.strerror}",
        "the director is an ordinary user: `chmod -R a+rX` lets it read the folder",
    )


def _not_utf8(folder: ImageFolder, entry: Entry) -> InvalidValue:
    shown = os.fsencode(entry.path).decode("utf-8", "backslashreplace")
    what = "the target of the link" if is_utf8(entry.path) else "the name of the file"
    return InvalidValue(
        f"image folder {folder.name}: {what} {shown} is not UTF-8, which Docker requires",
        f"rename it, or list it in {DOCKERIGNORE}",
    )


def _too_large(what: str) -> InvalidValue:
    return InvalidValue(
        f"{what} is larger than the {LARGEST >> 20} MiB that an image folder may have",
        "list what the image does not need in .dockerignore; have the Dockerfile download large files, or keep them on "
        "a volume",
    )
