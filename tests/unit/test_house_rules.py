"""Rules of the house that a machine can check: who imports whom, what must not be in the repository, what must be."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
# compat has no module of its own name, and stands beside band in the base image.
SERVICES = sorted({path.parent.name for path in (ROOT / "service_src").glob("*/pyproject.toml")} - {"compat"})
NODE_SERVICES = sorted(path.parent.name for path in (ROOT / "service_src").glob("*/package.json"))
IMPORT_OF_NODE = re.compile(
    r"""^(?:import|export|\}).* from "([^"]+)";$|^import "([^"]+)";$|\brequire\("([^"]+)"\)""", re.MULTILINE
)
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())


def tracked(*patterns: str) -> list[Path]:
    """Return the files that git knows, or would take, by pattern."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [ROOT / line for line in listing.stdout.splitlines() if (ROOT / line).is_file()]


def imported_packages(path: Path) -> set[str]:
    """Return the top-level packages that a Python file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_a_distribution_imports_down_never_sideways_or_up(service: str) -> None:
    """band imports no other; geo imports band; a service imports band, geo and third-party packages only."""
    below = {"band": set(), "geo": {"band"}}.get(service, {"band", "geo"})
    others = set(SERVICES) - {service} - below
    for path in sorted((ROOT / "service_src" / service / "src").rglob("*.py")):
        assert not imported_packages(path) & others, f"{path.relative_to(ROOT)} imports another floor"


@pytest.mark.parametrize("service", NODE_SERVICES)
def test_a_distribution_in_typescript_has_an_image_and_tests_and_imports_no_sibling(service: str) -> None:
    """It imports the framework, its own packages and modules of Node; its lock file names no address."""
    home = ROOT / "service_src" / service
    assert list((home / "test").glob("*.test.ts"))
    manifest = json.loads((home / "package.json").read_text(encoding="utf-8"))
    known = {"@rockstat/rock-me-ts", *manifest.get("dependencies", {})}
    for path in sorted((home / "lib").rglob("*.ts")):
        imported = ["".join(found) for found in IMPORT_OF_NODE.findall(path.read_text(encoding="utf-8"))]
        strange = [name for name in imported if name not in known and not name.startswith(("node:", "./", "../"))]
        assert not strange, f"{path.relative_to(ROOT)} imports {strange}"
        assert not [name for name in imported if "service_src" in name or name.startswith("../..")]
    if service not in ("rock_me_ts", "web_sdk"):  # the second is in front's image, as files that it serves
        assert (ROOT / "band_images" / service / "Dockerfile").is_file()
    assert "resolved" not in (home / "package-lock.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("service", SERVICES)
def test_every_distribution_has_an_image_a_package_and_tests(service: str) -> None:
    """A service is a folder of service_src and of band_images; band and geo are in `base`, band_cli is no image."""
    home = ROOT / "service_src" / service
    assert (home / "src" / service / "__init__.py").is_file()
    assert list((home / "tests").glob("test_*.py"))
    image = ROOT / "band_images" / ("base" if service in ("band", "geo") else service)
    assert (image / "Dockerfile").is_file() is (service != "band_cli")


def test_no_file_names_a_package_registry() -> None:
    """Requirement files carry hashes, never the address that they came from; there is no lock file that records one."""
    hosts = ("files.pythonhosted" + ".org", "pypi" + ".org", "registry.npmjs" + ".org", "galaxy.ansible" + ".com")
    for path in tracked():
        text = path.read_text(encoding="utf-8", errors="replace")
        assert not [host for host in hosts if host in text], f"{path.relative_to(ROOT)} names a registry"
    assert not tracked("*uv.lock")


# Services in the original's style keep their requirements as they were written then.
REQUIREMENTS = [path for path in tracked("*requirements*.txt", "requirements/*.txt") if "interop" not in path.parts]


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_requirements_are_pinned_and_hashed(path: Path) -> None:
    """Every requirement is one version, with hashes."""
    text = path.read_text(encoding="utf-8")
    for block in text.replace("\\\n", " ").splitlines():
        line = block.strip()
        if line and not line.startswith("#"):
            assert "==" in line and "--hash=sha256:" in line, f"{path.relative_to(ROOT)}: {line[:60]}"


def test_scripts_can_be_run() -> None:
    """What the README says to type has its run bit."""
    for name in ("bin/setup", "bin/test", "bin/bench", ".ci/run"):
        assert os.access(ROOT / name, os.X_OK), name


@pytest.mark.parametrize("role", ROLES)
def test_argument_specs_and_defaults_agree(role: str) -> None:
    """Each option of an entry point is in defaults/main.yml with the same default, and the other way round."""
    home = ROOT / "roles" / role
    specs = yaml.safe_load((home / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    options = {name: option for spec in specs.values() for name, option in (spec.get("options") or {}).items()}
    defaults = yaml.safe_load((home / "defaults" / "main.yml").read_text()) or {}
    assert set(options) == set(defaults)
    for name, option in options.items():
        assert option.get("description"), f"{name} has no description"
        assert option.get("type"), f"{name} has no type"
        # A default that is computed stands in the specification as text only; it cannot be compared.
        if "default" in option and "{{" not in str(defaults[name]):
            assert option["default"] == defaults[name], name


def test_every_entry_point_of_a_role_is_specified() -> None:
    """Whatever can be run with tasks_from has its specification."""
    for role in ROLES:
        home = ROOT / "roles" / role
        specs = yaml.safe_load((home / "meta" / "argument_specs.yml").read_text())["argument_specs"]
        for entry in specs:
            assert (home / "tasks" / f"{entry}.yml").is_file(), f"{role}: {entry}"
