"""The image that services of the original stand on: pinned, hashed, and in step with the plain base below it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "band_images" / "base_original"
PIN = re.compile(r"^(?P<name>[a-z0-9._-]+)==(?P<version>\S+)", re.MULTILINE)


def pins(path: Path) -> dict[str, str]:
    """Return name → version of a requirements file."""
    return {found["name"]: found["version"] for found in PIN.finditer(path.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-sources.txt"])
def test_every_requirement_has_hashes_and_no_index_is_named(name: str) -> None:
    """pip refuses anything else with --require-hashes; an index is the host's setting."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    assert "index" not in text and "find-links" not in text
    blocks = re.split(r"\n(?=[a-z])", text)
    assert [block for block in blocks if PIN.match(block) and "--hash=sha256:" not in block] == []


def test_it_changes_no_library_of_the_plain_base() -> None:
    """What both have is one version: band itself runs on it."""
    plain, added = pins(ROOT / "service_src" / "band" / "requirements.txt"), pins(FOLDER / "requirements.txt")
    assert {name: added[name] for name in plain if name in added and added[name] != plain[name]} == {}


def test_what_the_originals_base_image_brought_is_there_and_documented() -> None:
    """Each module of the contract has its distribution; docs/compatibility.md names them all."""
    distributions = {
        "pythonjsonlogger": "python-json-logger", "async_lru": "async-lru", "async_timeout": "async-timeout",
        **{name: name for name in (
            "inflection", "colorama", "coloredlogs", "cryptography", "base58", "xxhash", "aioconsole", "aiocache",
            "aiofiles", "simplech", "jsonrpcserver", "requests", "pydantic", "ujson", "arrow",
        )},
    }  # fmt: skip
    there = pins(FOLDER / "requirements.txt") | pins(FOLDER / "requirements-sources.txt")
    assert set(distributions.values()) - set(there) == set()
    page = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
    dockerfile = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    assert [name for name in distributions if f"`{name}`" not in page] == []
    tools = ("wget", "curl", "unzip", "git", "make", "gcc", "g++", "nano")
    assert [tool for tool in tools if f"`{tool}`" not in page or f" {tool}" not in dockerfile] == []
