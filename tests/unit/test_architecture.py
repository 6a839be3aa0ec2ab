"""How the distributions are built: packages that import downwards only, small ones, and imports without side effects.

``FLOORS`` says for each distribution which of its parts may import which. A floor is a line of names; a part may import
from floors above its own line (they are lower in the house), never from its own floor or a later one. A name is a
module or package right below the distribution (``jsonrpc``), or, where a package has floors of its own, one inside it
(``storage.journal``); the longest name that fits counts. Inside one part everything may import everything.
``__init__`` and ``__main__`` of the distribution stand above all.

To add a distribution: an entry with all its parts, from the bottom up. The tests then hold it to the rules below.
"""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLOORS: dict[str, list[str]] = {
    "band": [
        "backoff cache calls.consent calls.event calls.positions constants errors responses tasks",
        "config json_codec",
        "telemetry",
        "calls.signature",
        "background registry typed_settings",
        "calls",
        "redis",
        "jsonrpc",
        "stream",
        "service",
        "compat lib",
        "platform testing",
        "commands",
        "cli",
    ],
    "front": [
        "errors metrics process",
        "http1 storage.journal",
        "event websocket",
        "container_networks projects routing storage workers",
        "enrichment settings",
        "pipeline",
        "intake.content_encoding intake.keys intake.qs",
        "intake.body",
        "intake.families",
        "intake listeners",
        "app",
        "checks gauges",
        "service",
    ],
    "director": [
        "errors",
        "locks redact validation webhook",
        "settings state",
        "engine",
        "redis",
        "images",
        "discovery",
        "deploy",
        "supervise",
        "api",
        "dashboard",
        "startup",
        "app",
    ],
    "band_cli": [
        "errors",
        "output target",
        "client",
        "doctor",
        "verbs",
        "cli",
    ],
    "geo": [
        "dataset translit",
        "address",
        "lookup",
        "service",
    ],
}
MAX_MODULES = 15
"""Modules in one package, ``__init__`` not counted."""

BAND_PUBLIC = {"band", "band.platform", "band.testing"}
"""What other distributions may import of band: names for authors, names for the platform's own programs, tests."""


def source(distribution: str) -> Path:
    return ROOT / "service_src" / distribution / "src"


def modules(distribution: str) -> dict[str, Path]:
    """Return dotted name → file of a distribution's modules."""
    found = {}
    for path in sorted((source(distribution) / distribution).rglob("*.py")):
        parts = path.relative_to(source(distribution)).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Yield the modules among ``known`` that a file imports, inside functions too; not those for type checkers."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else node.module


def floors(distribution: str) -> dict[str, int]:
    """Return part → number of its floor."""
    return {part: number for number, line in enumerate(FLOORS[distribution]) for part in line.split()}


def part_of(module: str, known: dict[str, int]) -> str:
    """Return the part that a module belongs to: the longest name that fits."""
    inner = module.partition(".")[2]
    fitting = [part for part in known if inner == part or inner.startswith(f"{part}.")]
    return max(fitting, key=len, default="")


@pytest.mark.parametrize("distribution", FLOORS)
def test_imports_go_down(distribution: str) -> None:
    """No part imports from its own floor or a higher one; each module belongs to a part."""
    known, wrong = floors(distribution), []
    everything = modules(distribution)
    for module, path in everything.items():
        if module in (distribution, f"{distribution}.__main__"):
            continue
        part = part_of(module, known)
        assert part, f"{module} stands on no floor of FLOORS[{distribution!r}]"
        for target in imports(path, everything):
            other = part_of(target, known)
            if target != distribution and other != part and known.get(other, 99) >= known[part]:
                wrong.append(f"{module} imports {target}")
    assert wrong == []


@pytest.mark.parametrize("distribution", FLOORS)
def test_every_part_is_there(distribution: str) -> None:
    """A floor names nothing that is gone."""
    names = {module.partition(".")[2] for module in modules(distribution)}
    assert set(floors(distribution)) - names == set()


@pytest.mark.parametrize("distribution", FLOORS)
def test_packages_are_small_and_say_what_they_are(distribution: str) -> None:
    """At most 15 modules in each, and a docstring."""
    for init in sorted((source(distribution) / distribution).rglob("__init__.py")):
        inside = [path.stem for path in init.parent.glob("*.py") if path.stem != "__init__"]
        assert len(inside) <= MAX_MODULES, f"{init.parent.relative_to(ROOT)} has {len(inside)} modules: {inside}"
        assert ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))), f"{init.relative_to(ROOT)}: no docstring"


@pytest.mark.parametrize("distribution", FLOORS)
def test_public_names_are_there(distribution: str) -> None:
    """Each ``__all__`` names what its module has, once; ruff (RUF022) keeps them in order."""
    for module, path in modules(distribution).items():
        body = ast.parse(path.read_text(encoding="utf-8")).body
        assigned = [node for node in body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"]
        for names in [ast.literal_eval(node.value) for node in assigned]:
            assert len(names) == len(set(names)), f"{module}.__all__ has a name twice"
            if module != "band":  # whose names are made at first use; a test of its own asks for each
                loaded = importlib.import_module(module)
                assert [name for name in names if not hasattr(loaded, name)] == [], module


_WATCH = """
import importlib, os, sys
home, names = sys.argv[1], sys.argv[2:]
seen = []

def ours():
    # The file of the distribution that is at work, unless another module is being imported from it.
    frame = sys._getframe(2)
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        if frame.f_code.co_filename.startswith(home):
            return os.path.relpath(frame.f_code.co_filename, home)
        frame = frame.f_back
    return ""

def hook(event, args):
    if event in ("open", "socket.__new__", "subprocess.Popen", "_thread.start_new_thread", "os.mkdir", "os.remove"):
        if file := ours():
            seen.append(f"{file}: {event} {args[0]!r}")

read = os._Environ.__getitem__
def watched(self, key):
    if file := ours():
        seen.append(f"{file}: environment {key}")
    return read(self, key)

os._Environ.__getitem__ = watched
sys.addaudithook(hook)
for name in names:
    importlib.import_module(name)
print("\\n".join(seen))
"""


@pytest.mark.parametrize("distribution", FLOORS)
def test_importing_does_nothing(distribution: str, tmp_path: Path) -> None:
    """No module opens a file or socket, starts a thread or process, or reads the environment when it is imported."""
    skipped = ("__main__", "compat.aioredis", "compat.jsonrpcclient", "compat.prodict")
    names = [name for name in modules(distribution) if not name.partition(".")[2].startswith(skipped)]
    command = [sys.executable, "-c", _WATCH, str(source(distribution)), *names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stdout + done.stderr


OTHERS = sorted(
    path.parent.name for path in (ROOT / "service_src").glob("*/pyproject.toml") if path.parent.name != "band"
)


def band_imports() -> dict[str, str]:
    """Return band's submodules that others import → one of the files."""
    known = modules("band")
    return {
        name: str(path.relative_to(ROOT))
        for other in OTHERS
        for path in modules(other).values()
        for name in imports(path, known)
        if name != "band"
    }


def test_others_import_bands_public_names_only() -> None:
    """A service lives on ``from band import …``, the platform's programs also on ``from band.platform import …``."""
    assert {name: file for name, file in band_imports().items() if name not in BAND_PUBLIC} == {}


def test_what_others_import_is_in_all() -> None:
    """A name that is not in ``__all__`` is not public, even where it can be imported."""
    public = {name: set(importlib.import_module(name).__all__) for name in ("band", "band.platform")}
    wrong = [
        f"{path.relative_to(ROOT)}: from {node.module} import {alias.name}"
        for other in OTHERS
        for path in modules(other).values()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module in public
        for alias in node.names
        if alias.name not in public[node.module]
    ]
    assert wrong == []


def test_our_services_are_objects() -> None:
    """They use `Service()`, not the parts of the process's own service; the director is the only one in its process."""
    parts = {
        "app", "cleanup", "crontab", "dome", "expose", "health", "lifespan", "link", "metrics", "middleware", "rpc",
        "scheduler", "setup", "worker",
    }  # fmt: skip
    wrong = [
        f"{path.relative_to(ROOT)}: {alias.name}"
        for other in set(OTHERS) - {"director"}
        for path in modules(other).values()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module == "band"
        for alias in node.names
        if alias.name in parts
    ]
    assert wrong == []


def test_the_platforms_names_are_all_used() -> None:
    """What nobody imports from ``band.platform`` any more is taken off it."""
    public = set(importlib.import_module("band.platform").__all__)
    used = {
        alias.name
        for other in OTHERS
        for path in modules(other).values()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module == "band.platform"
        for alias in node.names
    }
    assert public - used == set()
