"""A bundle: a folder with a manifest that names every file by its SHA-256, and a list of what is inside of those."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
from typing import Any
from urllib.parse import quote

FORMAT = 1
MANIFEST = "manifest.json"
CHUNK = 1 << 20
# Lists what an image holds: Debian's packages, and those of the Python that runs there.
INVENTORY = r"""
dpkg-query --show --showformat 'deb ${Package} ${Version} ${Architecture}\n'
if command -v python >/dev/null; then python - <<'END'
from importlib.metadata import distributions
for one in distributions():
    print("pypi", one.metadata["Name"], one.version, "any")
END
fi
"""


class BundleError(Exception):
    """The bundle cannot be made or is not whole; the message says what to do."""


def sha256_of(path: str) -> str:
    """The SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def files_below(folder: str) -> list[str]:
    """Paths of the files below a folder, relative to it, sorted; the manifest itself is none of them."""
    found = [
        os.path.relpath(os.path.join(at, name), folder) for at, _folders, names in os.walk(folder) for name in names
    ]
    return sorted(name for name in found if name != MANIFEST)


def write_manifest(folder: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Write and return the manifest of everything below a folder."""
    rows = {}
    for name in files_below(folder):
        path = os.path.join(folder, name)
        if not os.path.islink(path):
            rows[name] = {"sha256": sha256_of(path), "bytes": os.path.getsize(path)}
    manifest = {"format": FORMAT, **facts, "files": rows}
    with open(os.path.join(folder, MANIFEST), "w", encoding="utf-8") as file:
        json.dump(manifest, file, indent=1, sort_keys=True)
        file.write("\n")
    return manifest


def read_manifest(folder: str) -> dict[str, Any]:
    """Read the manifest and compare every file with it.

    Raises:
        BundleError: there is none, it is of a later format, or a file is not what it says.
    """
    try:
        with open(os.path.join(folder, MANIFEST), encoding="utf-8") as file:
            manifest: dict[str, Any] = json.load(file)
    except (OSError, ValueError) as error:
        raise BundleError(f"{folder} holds no bundle ({error}). playbooks/bundle.yml makes one.") from error
    if manifest.get("format", 0) > FORMAT:
        raise BundleError(
            f"The bundle was made by a later version (format {manifest['format']}). Update this one first."
        )
    for name, row in manifest["files"].items():
        path = os.path.join(folder, name)
        if not os.path.isfile(path) or sha256_of(path) != row["sha256"]:
            raise BundleError(f"The bundle is damaged: {name} is not what its manifest says. Copy it again.")
    return manifest


def index_packages(folder: str, control: dict[str, str]) -> None:
    """Write the index that makes a folder of .deb files (file name to control text) a repository for apt."""
    with open(os.path.join(folder, "Packages"), "w", encoding="utf-8") as file:
        for name in sorted(control):
            path = os.path.join(folder, name)
            own = f"Filename: ./{name}\nSize: {os.path.getsize(path)}\nSHA256: {sha256_of(path)}"
            file.write(f"{control[name].strip()}\n{own}\n\n")


def packages_of(index: str) -> list[tuple[str, str, str]]:
    """Name, version and architecture of each package of an index."""
    with open(index, encoding="utf-8") as file:
        texts = file.read().split("\n\n")
    return [(_field(t, "Package"), _field(t, "Version"), _field(t, "Architecture")) for t in texts if t.strip()]


def _field(text: str, name: str) -> str:
    found = re.search(rf"^{name}: (.*)$", text, re.MULTILINE)
    return found.group(1).strip() if found else ""


def component(kind: str, name: str, version: str, architecture: str, holder: str) -> dict[str, Any]:
    """One entry of the list of what is inside (CycloneDX), with the file or image that holds it."""
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
    """The entries for what an image's INVENTORY printed."""
    rows = (line.split() for line in listing.splitlines())
    return [component(row[0], row[1], row[2], row[3], holder) for row in rows if len(row) == 4]


def write_sbom(path: str, components: list[dict[str, Any]]) -> None:
    """Write the list of what is inside, one entry a package, version and holder."""
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
        while chunk := source.read(CHUNK):
            target.write(chunk)
