"""``band dev new`` and ``band dev run``: create a service, and run it on the developer's host."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path
from typing import Final

NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
POLL: Final = 0.5
STOP_SECONDS: Final = 10.0
WATCHED: Final = frozenset({".py", ".yaml", ".yml", ".env", ".json", ".toml"})


def run_new(name: str, folder: Path) -> int:
    """Write a working service with a test into ``folder``/``name``; 0, or 1 with the reason."""
    home = folder / name
    if not NAME.fullmatch(name):
        sys.stderr.write(f"band dev new: {name!r} is not a valid service name: use a-z first, then a-z, 0-9 and _\n")
        return 1
    if home.exists():
        sys.stderr.write(f"band dev new: {home} already exists; choose another name, or another folder with --in\n")
        return 1
    templates = resources.files("band") / "templates" / "service"
    for source in sorted(_files(templates)):
        target = home / source.replace("NAME", name).removesuffix(".tmpl")
        target.parent.mkdir(parents=True, exist_ok=True)
        text = templates.joinpath(*source.split("/")).read_text(encoding="utf-8")
        target.write_text(text.replace("@NAME@", name), encoding="utf-8")
    sys.stdout.write(
        f"Created {home}. Next steps:\n"
        f"  cd {home}\n"
        "  python -m pytest      its tests, which need no Redis\n"
        "  band dev run          run it here; it reads .env and restarts when a file changes\n"
    )
    return 0


def _files(folder: resources.abc.Traversable, prefix: str = "") -> list[str]:
    found: list[str] = []
    for entry in folder.iterdir():
        path = f"{prefix}{entry.name}"
        found += _files(entry, f"{path}/") if entry.is_dir() else [path]
    return found


def find_package(folder: Path) -> str | None:
    """Return the name of the package in ``folder`` that can be run, None unless there is exactly one."""
    found = [path.parent.name for path in folder.glob("*/__main__.py")]
    return found[0] if len(found) == 1 else None


def run_service(folder: Path, *, reload: bool) -> int:
    """Run the service of ``folder`` with its ``.env``; restart it when a file changes, unless ``reload`` is off."""
    package = find_package(folder)
    if package is None:
        sys.stderr.write(
            f"band dev run: {folder} contains no package with a __main__.py, or several; give the service's folder\n"
        )
        return 1
    if not reload:
        return subprocess.run([sys.executable, "-m", package], cwd=folder, check=False).returncode  # noqa: S603 - the own service
    try:
        while True:
            _run_until_change(folder, package)
    except KeyboardInterrupt:
        return 0


def _run_until_change(folder: Path, package: str) -> None:
    seen = snapshot(folder)
    child = subprocess.Popen([sys.executable, "-m", package], cwd=folder)  # noqa: S603 - the developer's own service
    try:
        while snapshot(folder) == seen:
            time.sleep(POLL)
        sys.stdout.write("band dev run: a file changed, restarting\n")
        sys.stdout.flush()
    finally:
        child.terminate()
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def snapshot(folder: Path) -> dict[str, int]:
    """Return file → modification time (ns) of a service's code and settings."""
    found: dict[str, int] = {}
    for base, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "__"))]
        for file in files:
            path = Path(base, file)
            if path.suffix in WATCHED or file.startswith(".env"):
                found[str(path)] = path.stat().st_mtime_ns
    return found
