"""Services in TypeScript: the package ``@rockstat/rock-me-ts``, which is on no registry, and how a folder is run."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import band

NPM: Final = "npm"
UNKNOWN_TARBALL: Final = "rockstat-rock-me-ts.tgz"


class Unbuilt(Exception):
    """The package could not be built here; the text says why, and what to do."""


def framework() -> Path | None:
    """Return the package's sources in the clone from which this distribution was installed; None without one."""
    candidates = [Path(band.__file__).parents[2]]  # service_src/band
    try:
        origin = importlib.metadata.distribution("rockstat-band").read_text(
            "direct_url.json"
        )  # of `pip install FOLDER`
    except importlib.metadata.PackageNotFoundError:
        origin = None
    if origin and (url := str(json.loads(origin).get("url", ""))).startswith("file:"):
        candidates.append(Path(unquote(urlsplit(url).path)))
    homes = [candidate.parent / "rock_me_ts" for candidate in candidates]
    return next((home for home in homes if (home / "package.json").is_file()), None)


def tarball_name() -> str:
    """Return the name of the package's file."""
    home = framework()
    return f"rockstat-rock-me-ts-{read_manifest(home)['version']}.tgz" if home else UNKNOWN_TARBALL


def lay_package(vendor: Path) -> None:
    """Build the package, and put it into the folder ``vendor``.

    Raises:
        Unbuilt: there is no npm, no source of the package, or npm failed.
    """
    home = framework()
    if home is None:
        raise Unbuilt("the sources of the package were not found: install band from a clone of the repository")
    steps = [[NPM, "ci"], [NPM, "run", "build"], [NPM, "pack", "--pack-destination", str(vendor.resolve())]]
    if _is_built(home):
        del steps[:2]
    if shutil.which(NPM) is None:
        words = " && ".join(" ".join(step) for step in steps)
        raise Unbuilt(f"there is no npm here: install Node.js 20 and npm, then run (cd {home} && {words})")
    vendor.mkdir(parents=True, exist_ok=True)
    for step in steps:
        done = subprocess.run(step, cwd=home, capture_output=True, text=True, check=False)  # noqa: S603 - npm of the author's host
        if done.returncode:
            raise Unbuilt(f"{' '.join(step)} failed in {home}:\n{done.stdout}{done.stderr}")


def _is_built(home: Path) -> bool:
    built = home / "dist" / "testing.mjs"  # written last
    return built.is_file() and all(
        path.stat().st_mtime < built.stat().st_mtime for path in (home / "lib").rglob("*.ts")
    )


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the package.json of a folder; empty if it cannot be read."""
    try:
        found = json.loads((folder / "package.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def commands(folder: Path) -> tuple[list[str], list[str]]:
    """Return the commands that build and start the service of a folder; the first is empty without a build.

    Raises:
        Unbuilt: it has no script that starts it.
    """
    manifest = read_manifest(folder)
    scripts = manifest.get("scripts") or {}
    build = [NPM, "run", "--silent", "build"] if "build" in scripts else []
    for name in ("start", "start:prod"):
        if name in scripts:
            # Without npm, which would stand between the service and the signal that stops it.
            path = f"PATH={folder / 'node_modules' / '.bin'}:{os.environ.get('PATH', os.defpath)}"
            return build, ["env", path, "sh", "-c", str(scripts[name])]
    if main := manifest.get("main"):
        return build, ["node", "--enable-source-maps", str(main)]
    raise Unbuilt('package.json has neither a script "start" nor "main"; add one of them')
