"""The contents of a bundle: a repository for apt, and a list of every package (SBOM)."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
from typing import Any
from urllib.parse import quote

from ansible_collections.rockstat.band.plugins.module_utils.manifest import CHUNK, sha256_of

# Lists the packages of an image: Debian's, and those of its Python.
INVENTORY = r"""
dpkg-query --show --showformat 'deb ${Package} ${Version} ${Architecture}\n'
if command -v python >/dev/null; then python - <<'END'
from importlib.metadata import distributions
for one in distributions():
    print("pypi", one.metadata["Name"], one.version, "any")
END
fi
"""


def index_packages(folder: str, control: dict[str, str]) -> None:
    """Write the index that makes a folder of .deb files (file name to control text) a repository for apt."""
    with open(os.path.join(folder, "Packages"), "w", encoding="utf-8") as file:
        for name in sorted(control):
            path = os.path.join(folder, name)
            own = f"Filename: ./{name}\nSize: {os.path.getsize(path)}\nSHA256: {sha256_of(path)}"
            file.write(f"{control[name].strip()}\n{own}\n\n")


def packages_of(index: str) -> list[tuple[str, str, str]]:
    """Return name, version and architecture of each package in an index."""
    with open(index, encoding="utf-8") as file:
        texts = file.read().split("\n\n")
    return [(_field(t, "Package"), _field(t, "Version"), _field(t, "Architecture")) for t in texts if t.strip()]


def _field(text: str, name: str) -> str:
    found = re.search(rf"^{name}: (.*)$", text, re.MULTILINE)
    return found.group(1).strip() if found else ""


def component(kind: str, name: str, version: str, architecture: str, holder: str) -> dict[str, Any]:
    """Return an entry of the list (CycloneDX), with the file or image that contains it."""
    where = f"?arch={architecture}" if kind == "deb" else ""
    space = "debian/" if kind == "deb" else ""
    return {
        "type": "library",
        "name": name,
        "version": version,
        "purl": f"pkg:{kind}/{space}{quote(name.lower())}@{quote(version)}{where}",
        "properties": [{"name": "rockstat:in", "value": holder}],
    }


def components_of(listing: str, holder: str) -> list[dict[str, Any]]:
    """Return the entries for what an image's INVENTORY printed."""
    rows = (line.split() for line in listing.splitlines())
    return [component(row[0], row[1], row[2], row[3], holder) for row in rows if len(row) == 4]


def write_sbom(path: str, components: list[dict[str, Any]]) -> None:
    """Write the list, one entry per package, version and containing file or image."""
    unique = {(one["purl"], one["properties"][0]["value"]): one for one in components}
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "components": [unique[key] for key in sorted(unique)],
    }
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.write("\n")


def compress(source: Any, path: str) -> None:
    """Copy a stream into a gzip file."""
    with gzip.open(path, "wb", compresslevel=6) as target:
        shutil.copyfileobj(source, target, CHUNK)
