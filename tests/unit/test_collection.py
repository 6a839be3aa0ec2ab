"""The Ansible collection: what its roles promise of their settings, and what the guard refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if (path / "meta").is_dir())
GUARD_FAILS = ("band_dirctor_memory=1", "band_director_memory"), ("band_redis_port=1", "band_redis_host_port")


def specs_of(role: str) -> dict[str, Any]:
    """Return a role's entry points with their specifications."""
    path = ROOT / "roles" / role / "meta" / "argument_specs.yml"
    return dict(yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"])


def ansible(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a tool of Ansible's that is beside this Python."""
    command = [str(Path(sys.executable).parent / words[0]), *words[1:]]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=55, check=False)


@pytest.mark.parametrize("role", ROLES)
def test_defaults_and_specifications_say_the_same(role: str) -> None:
    """Each default stands in both places with the same value or the same words, in every entry point."""
    defaults = yaml.safe_load((ROOT / "roles" / role / "defaults" / "main.yml").read_text(encoding="utf-8")) or {}
    for entry, spec in specs_of(role).items():
        for name, option in (spec.get("options") or {}).items():
            if option.get("required"):
                assert name not in defaults, f"{role}/{entry}: {name} is required and has a default"
            else:
                assert name in defaults, f"{role}/{entry}: {name} has no default"
                assert option.get("default") == defaults[name], f"{role}/{entry}: {name}"


@pytest.mark.parametrize("role", ROLES)
def test_variables_say_whose_they_are(role: str) -> None:
    """A public variable begins with band_<role>_ (or is one of the shared ones), a constant with _band_<role>_."""
    shared = set(specs_of("settings")["main"]["options"])
    for name in specs_of(role)["main"].get("options") or {}:
        assert name.startswith(f"band_{role}") or name in shared, name
    constants = ROOT / "roles" / role / "vars" / "main.yml"
    for name in yaml.safe_load(constants.read_text(encoding="utf-8")) if constants.is_file() else []:
        assert name.startswith(f"_band_{role}"), name


@pytest.mark.parametrize("role", ROLES)
def test_a_role_validates_before_it_works(role: str) -> None:
    """tasks/main.yml is a table of contents that begins with a stage that touches nothing."""
    tasks = yaml.safe_load((ROOT / "roles" / role / "tasks" / "main.yml").read_text(encoding="utf-8"))
    assert tasks[0].get("ansible.builtin.import_tasks") == "validate.yml"
    assert "validate" in specs_of(role)
    for path in (ROOT / "roles" / role / "tasks").glob("*.yml"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 65, f"{path.relative_to(ROOT)} is long"


def test_the_page_of_variables_is_current() -> None:
    """docs/variables.md is what the roles' specifications say."""
    command = [sys.executable, str(ROOT / "docs" / "tools" / "variables.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("given", "nearest"), GUARD_FAILS)
def test_an_unknown_setting_is_refused_with_the_nearest_name(given: str, nearest: str) -> None:
    """A slip of the pen in a variable ends validate.yml before anything else."""
    done = ansible("ansible-playbook", "playbooks/validate.yml", "-e", given)
    assert done.returncode != 0
    assert nearest in done.stdout + done.stderr


def test_the_guard_reads_inventory_variables_too(tmp_path: Path) -> None:
    """A variable of an inventory file is refused as one of the command line is."""
    inventory = tmp_path / "hosts.yml"
    host = {"ansible_connection": "local", "band_servces": [], "band_docker_install": "yes"}
    inventory.write_text(yaml.safe_dump({"band": {"hosts": {"here": host}}}), encoding="utf-8")
    done = ansible("ansible-playbook", "-i", str(inventory), "playbooks/validate.yml")
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "Did you mean band_services?" in said
    assert "band_docker_install is 'yes', and has to be true or false" in said


def test_the_defaults_pass_the_guard() -> None:
    """What we ship is not refused."""
    done = ansible("ansible-playbook", "playbooks/validate.yml")
    assert done.returncode == 0, done.stdout + done.stderr
