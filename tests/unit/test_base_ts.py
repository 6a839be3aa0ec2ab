"""The image that services in TypeScript stand on: npm, yarn and the package, pinned and hashed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = [
    *(ROOT / "tests" / "integration" / "typescript").glob("*/package-lock.json"),
    ROOT / "service_src" / "rock_me_ts" / "package-lock.json",
]


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.parent.name)
def test_a_lock_file_has_hashes_and_no_registry(path: Path) -> None:
    """npm refuses what is not as the lock says; a registry is the host's setting. Only links say where they lead."""
    packages = json.loads(path.read_text(encoding="utf-8"))["packages"]
    fetched = {name: found for name, found in packages.items() if "node_modules/" in name and not found.get("link")}
    assert [name for name, found in fetched.items() if "resolved" in found] == []
    assert [n for n, found in fetched.items() if "integrity" not in found and not found.get("inBundle")] == []


def test_its_npm_and_yarn_are_pinned_by_hash() -> None:
    """npm 10 for Node.js 20, and yarn 1, whose `yarn link` the originals' Dockerfiles use."""
    dockerfile = (ROOT / "band_images" / "base_ts" / "Dockerfile").read_text(encoding="utf-8")
    pins = re.findall(r"^ARG (?:NPM|YARN)=(npm@10|yarn@1)\.\d+\.\d+\+sha512\.[0-9a-f]{128}$", dockerfile, re.MULTILINE)
    assert pins == ["npm@10", "yarn@1"]


def test_the_package_is_one_that_the_originals_services_ask_for() -> None:
    """They have ^2.0.0 to ^2.4.6; more than that, and their `npm install` would not take it."""
    package = json.loads((ROOT / "service_src/rock_me_ts/package.json").read_text(encoding="utf-8"))
    major, minor, _patch = map(int, package["version"].split("."))
    assert (major, minor) >= (2, 5) and major < 3


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_a_yarn_lock_leads_to_the_registry_of_the_host() -> None:
    """Yarn 1 downloads from the addresses in its lock file, whatever registry is set."""
    script = ROOT / "band_images" / "base_ts" / "package_manager.cjs"
    yarn = r"""
const YARN_REGISTRY = exports.YARN_REGISTRY = 'https://yarn.test';
const NPM_REGISTRY_RE = exports.NPM_REGISTRY_RE = /https?:\/\/npm\.test/g;
"""
    lines = ["https://yarn.test/a/-/a-1.tgz#1", "https://npm.test/@b/c/-/c-2.tgz", "https://corp.test/d/-/d-3.tgz"]
    lock = "".join(f'  resolved "{line}"\n' for line in lines)
    call = f"process.stdout.write(require({json.dumps(str(script))}).redirected(...JSON.parse(process.argv[1])))"
    given = json.dumps([lock, "http://own.test/npm", yarn])
    found = subprocess.run(["node", "-e", call, given], capture_output=True, text=True, check=True).stdout
    assert re.findall('"(.*)"', found) == [
        "http://own.test/npm/a/-/a-1.tgz#1",
        "http://own.test/npm/@b/c/-/c-2.tgz",
        lines[2],
    ]
