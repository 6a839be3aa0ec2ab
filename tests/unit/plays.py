"""The collection's roles and playbooks as data, and Ansible as a process, for the tests of this folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if (path / "meta").is_dir())
PLAYBOOKS = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))


def specs_of(role: str) -> dict[str, Any]:
    """Return a role's entry points with their specifications."""
    path = ROOT / "roles" / role / "meta" / "argument_specs.yml"
    return dict(yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"])


def options_of(role: str) -> dict[str, Any]:
    """Return the options of all entry points of a role."""
    return {name: option for spec in specs_of(role).values() for name, option in (spec.get("options") or {}).items()}


def ansible(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a tool of Ansible's that is beside this Python."""
    command = [str(Path(sys.executable).parent / words[0]), *words[1:]]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=55, check=False)


def playbook(name: str) -> list[dict[str, Any]]:
    """Return the plays of a playbook."""
    return list(yaml.safe_load((ROOT / "playbooks" / f"{name}.yml").read_text(encoding="utf-8")))


def roles_of(play: dict[str, Any]) -> list[str]:
    """Return the roles that a play lists, without the collection's name."""
    return [row["role"].removeprefix("rockstat.band.") for row in play.get("roles") or []]


def tasks_in(value: Any) -> list[dict[str, Any]]:
    """Return all tasks of a file's contents, those of blocks too."""
    if isinstance(value, list):
        return [task for one in value for task in tasks_in(one)]
    if not isinstance(value, dict):
        return []
    inner = [
        part for key in ("tasks", "pre_tasks", "post_tasks", "block", "rescue", "always") for part in value.get(key, [])
    ]
    return [value, *tasks_in(inner)]
