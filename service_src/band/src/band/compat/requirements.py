"""Adapts the ``requirements.txt`` of 2018 of a service of the original platform.

Its pins would downgrade band's own libraries to versions that no longer run, or cannot be built on today's Python. Each
line is kept, dropped because the base image has the module, relaxed to the first version that installs, or refused
with the reason. :func:`adapt` is pure; the director applies it to the copy in the build context.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

BROUGHT: Final = {
    "aiocron": "aiocron", "aiohttp": "aiohttp", "aiojobs": "aiojobs", "hiredis": "hiredis", "jinja2": "jinja2",
    "prometheus-client": "prometheus-client", "python-dotenv": "python-dotenv", "pyyaml": "PyYAML", "redis": "redis",
    "structlog": "structlog", "uvloop": "uvloop", "aioredis": "band's aioredis", "prodict": "band's prodict",
    "jsonrpcclient": "band's jsonrpcclient", "jsonrpcserver": "band", "band": "band", "band-framework": "band",
    "rockstat-band": "band",
}  # fmt: skip
"""Distribution → what the base image has in its place."""

FIRST_GOOD: Final = {
    "async-lru": "2.0", "cffi": "1.17", "cryptography": "43", "lxml": "5.3", "msgpack": "1.1", "multidict": "6.1",
    "numpy": "2.1", "pandas": "2.2.3", "regex": "2024.9", "ujson": "5.10", "xxhash": "3.5", "yarl": "1.12",
}  # fmt: skip
"""Distribution → the first version that installs and works on Python 3.13 without a compiler."""

GONE: Final = {
    "cchardet": "it cannot be built on Python 3.11 and later; use charset-normalizer",
    "pkg-resources": "it is part of setuptools, not a distribution; remove the line",
    "asyncio": "it is part of Python, and the distribution of that name breaks Python; remove the line",
    "dataclasses": "it is part of Python, and the distribution of that name breaks Python; remove the line",
    "typing": "it is part of Python, and the distribution of that name breaks Python; remove the line",
}
"""Distribution → why it is not available."""

_LINE = re.compile(r"^\s*([A-Za-z0-9][\w.-]*)\s*(\[[^\]]*\])?\s*([^;#]*)")
_PIN = re.compile(r"(===?|~=|<=?)\s*([0-9][\w.]*)")


class Note(msgspec.Struct, frozen=True):
    """A line that was changed or refused: its number, its text, and the reason."""

    line: int
    text: str
    why: str


class Adapted(msgspec.Struct, frozen=True):
    """``text``: the requirements to install. ``changed`` and ``refused``: the lines that differ."""

    text: str
    changed: list[Note]
    refused: list[Note]


def adapt(text: str) -> Adapted:
    """Return the requirements in ``text`` (a ``requirements.txt``) as they install beside today's band.

    The answer has the new ``text``, and the lines that were ``changed`` or ``refused``, each with its number and why.
    """
    lines, changed, refused = [], [], []
    for number, line in enumerate(text.splitlines(), 1):
        name, version = _read(line)
        if name in GONE:
            refused.append(Note(number, line.strip(), GONE[name]))
            lines.append(f"# refused: {line.strip()}")
        elif name in BROUGHT:
            if version:
                changed.append(Note(number, line.strip(), f"the base image contains {BROUGHT[name]}"))
            lines.append(f"# part of the base image: {line.strip()}")
        elif name in FIRST_GOOD and version and _older(version, FIRST_GOOD[name]):
            why = f"{name} {version} does not work on today's Python; {FIRST_GOOD[name]} is the first that does"
            changed.append(Note(number, line.strip(), why))
            lines.append(f"{name}>={FIRST_GOOD[name]}")
        else:
            lines.append(line)
    return Adapted("\n".join(lines) + "\n" if lines else "", changed, refused)


def explain(adapted: Adapted, file: str = "requirements.txt") -> list[str]:
    """Return a sentence for each line that was changed or refused, with the file and the line's number."""
    told = [f"{file}, line {note.line}: `{note.text}` is ignored: {note.why}" for note in adapted.changed]
    return told + [f"{file}, line {note.line}: `{note.text}` is not available: {note.why}" for note in adapted.refused]


def _read(line: str) -> tuple[str, str]:
    """Return the normalized name and the highest version that the line allows ("" for any)."""
    if line.lstrip().startswith(("-e", "git+", "--editable")) or "@ git+" in line:
        found = re.search(r"[/=](band|band-framework)(?:\.git)?(?:[@#&]|$)", line.strip())
        return ("band", "git") if found else ("", "")
    if line.lstrip().startswith(("-", "#")) or not (match := _LINE.match(line)):
        return "", ""
    pin = _PIN.search(match[3])
    return re.sub(r"[-_.]+", "-", match[1]).lower(), pin[2] if pin else ""


def _older(version: str, than: str) -> bool:
    def parts(text: str) -> list[int]:
        return [int(part) for part in re.findall(r"\d+", text)]

    return parts(version) < parts(than)
