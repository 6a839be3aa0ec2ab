"""``band dev new`` and ``band dev run``: create a service, and run it on the developer's host."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path
from typing import Final, NamedTuple

from band.commands import typescript

NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
POLL: Final = 0.5
STOP_SECONDS: Final = 10.0
WATCHED: Final = frozenset({".py", ".yaml", ".yml", ".env", ".json", ".toml", ".ts", ".mts", ".js", ".mjs", ".cjs"})
MADE_BY_NODE: Final = frozenset({"node_modules", "dist", "build"})


class Program(NamedTuple):
    """What builds the service of a folder (empty: nothing), what starts it, and which folders are not watched."""

    build: list[str]
    start: list[str]
    ignored: frozenset[str] = frozenset()


def run_new(name: str, folder: Path, *, ts: bool = False) -> int:
    """Write a working service with tests into ``folder``/``name``, in Python or TypeScript; 0, or 1 with the reason."""
    home = folder / name
    if not NAME.fullmatch(name):
        sys.stderr.write(f"band dev new: {name!r} is not a valid service name: use a-z first, then a-z, 0-9 and _\n")
        return 1
    if home.exists():
        sys.stderr.write(f"band dev new: {home} already exists; choose another name, or another folder with --in\n")
        return 1
    templates = resources.files("band") / "templates" / ("service_ts" if ts else "service")
    tarball = typescript.tarball_name() if ts else ""
    for source in sorted(_files(templates)):
        target = home / source.replace("NAME", name).removesuffix(".tmpl")
        target.parent.mkdir(parents=True, exist_ok=True)
        text = templates.joinpath(*source.split("/")).read_text(encoding="utf-8")
        target.write_text(text.replace("@NAME@", name).replace("@TARBALL@", tarball), encoding="utf-8")
    missing = ""
    if ts:
        try:
            typescript.lay_package(home / "vendor")
        except typescript.Unbuilt as problem:
            missing = (
                f"{home}/vendor has no package, so the service can be run by the director, but not here:\n{problem}\n"
            )
    test = "npm install && npm test" if ts else "python -m pytest"
    sys.stdout.write(
        f"Created {home}. Next steps:\n"
        f"  cd {home}\n"
        f"  {test:<25}its tests, which need no Redis\n"
        f"  {'band dev run':<25}run it here; it reads .env and restarts when a file changes\n"
        f"{missing}"
    )
    return 0


def _files(folder: resources.abc.Traversable, prefix: str = "") -> list[str]:
    found: list[str] = []
    for entry in folder.iterdir():
        path = f"{prefix}{entry.name}"
        found += _files(entry, f"{path}/") if entry.is_dir() else [path]
    return found


def find_program(folder: Path) -> Program:
    """Return how the service of a folder is run.

    Raises:
        FileNotFoundError: there is nothing to run; the text says what is missing.
    """
    if (folder / "package.json").is_file():
        if not (folder / "node_modules").is_dir():
            raise FileNotFoundError(f"the packages of {folder} are not installed; run npm install there")
        try:
            return Program(*typescript.commands(folder), MADE_BY_NODE)
        except typescript.Unbuilt as problem:
            raise FileNotFoundError(f"{folder}: {problem}") from None
    found = [path.parent.name for path in folder.glob("*/__main__.py")]
    if len(found) != 1:
        raise FileNotFoundError(
            f"{folder} contains no package.json, and no package with a __main__.py or several: give its folder"
        )
    return Program([], [sys.executable, "-m", found[0]])


def run_service(folder: Path, *, reload: bool) -> int:
    """Run the service of ``folder`` with its ``.env``; restart it when a file changes, unless ``reload`` is off."""
    try:
        program = find_program(folder)
    except FileNotFoundError as error:
        sys.stderr.write(f"band dev run: {error}\n")
        return 1
    if not reload:
        return _build(program, folder) or subprocess.run(program.start, cwd=folder, check=False).returncode  # noqa: S603 - the own service
    for sign in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(sign) is signal.SIG_DFL:  # else nohup has it ignored
            signal.signal(sign, _end)
    child: subprocess.Popen[bytes] | None = None
    try:
        while True:
            seen = snapshot(folder, program.ignored)
            if _build(program, folder) == 0:
                _stop(child)
                # In a process group of its own, as a script may start more than one process.
                child = subprocess.Popen(program.start, cwd=folder, start_new_session=True)  # noqa: S603
            else:
                _say("the build failed; it runs again when a file changes")
            while snapshot(folder, program.ignored) == seen:
                time.sleep(POLL)
            _say("a file changed, restarting")
    except KeyboardInterrupt:
        return 0
    finally:
        _stop(child)


def _end(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)  # and not at once: the service is in a group of its own, and would stay


def _say(text: str) -> None:
    sys.stdout.write(f"band dev run: {text}\n")
    sys.stdout.flush()


def _build(program: Program, folder: Path) -> int:
    return subprocess.run(program.build, cwd=folder, check=False).returncode if program.build else 0  # noqa: S603


def _stop(child: subprocess.Popen[bytes] | None) -> None:
    if child is None:
        return
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(STOP_SECONDS)
            return


def snapshot(folder: Path, ignored: frozenset[str] = frozenset()) -> dict[str, int]:
    """Return file → modification time (ns) of a service's code and settings."""
    found: dict[str, int] = {}
    for base, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "__")) and name not in ignored]
        for file in files:
            path = Path(base, file)
            if path.suffix in WATCHED or file.startswith(".env"):
                with contextlib.suppress(FileNotFoundError):  # an editor's own, gone again
                    found[str(path)] = path.stat().st_mtime_ns
    return found
