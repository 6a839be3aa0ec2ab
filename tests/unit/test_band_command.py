"""band_command: the command band is installed once, and anew when it changes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible_modules import ROOT, run
from plays import ansible


def command(tmp_path: Path, **more: Any) -> dict[str, Any]:
    """Return arguments of band_command for a command that needs no library, so that nothing is fetched."""
    package = tmp_path / "source" / "src" / "band_cli"
    if not package.exists():
        package.mkdir(parents=True)
        (tmp_path / "source" / "requirements.txt").write_text("# nothing\n")
        (package / "__main__.py").write_text(
            "import os, sys\nprint(*(os.environ.get(name) for name in ('_BAND_COMPLETE', 'BAND_HOST_CONFIG')), "
            "os.environ['BAND_COMMAND'], *sys.argv[1:])\n"
        )
    return {
        "source": str(tmp_path / "source"), "home": str(tmp_path / "cli"), "launcher": str(tmp_path / "bin" / "band"),
        "completions": {"bash": str(tmp_path / "bash" / "band")}, "url": "http://127.0.0.1:10000", **more,
    }  # fmt: skip


def test_the_command_is_installed_once_and_anew_when_it_changes(tmp_path: Path) -> None:
    """Check mode says what a run does, a second run does nothing, other sources and settings are noticed."""
    args = command(tmp_path)
    assert run("band_command", args, check=True)["installed"]
    assert not (tmp_path / "cli").exists()
    done = run("band_command", args)
    assert done.get("changed"), done
    said = subprocess.run([args["launcher"], "a b", "c"], capture_output=True, text=True, check=True).stdout
    assert said == f"None {tmp_path}/cli/band.conf band a b c\n"
    assert (tmp_path / "bash" / "band").read_text().startswith("bash_source ")
    for check in (True, False):
        assert not run("band_command", args, check=check)["changed"]
    told = run("band_command", {**args, "token_file": "/etc/x"}, check=True)
    assert (told["installed"], told["written"]) == (False, [f"{tmp_path}/cli/band.conf"])
    run("band_command", {**args, "token_file": "/etc/x"})
    assert (tmp_path / "cli" / "band.conf").read_text().endswith("token_file = /etc/x\n")
    (tmp_path / "source" / "src" / "band_cli" / "more.py").write_text("")
    assert run("band_command", args)["installed"]


def test_a_strangers_command_stays(tmp_path: Path) -> None:
    """Another program of that name is not replaced; the message says what to set."""
    args = command(tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "band").write_bytes(b"\x7fELF\xff")
    said = run("band_command", args)
    assert said["failed"]
    assert "band_cli_launcher" in said["msg"]
    assert (tmp_path / "bin" / "band").read_bytes() == b"\x7fELF\xff"


def test_a_pip_that_cannot_install_is_told(tmp_path: Path) -> None:
    """What pip said, what to check, and that the platform works without; the next run tries again."""
    args = command(tmp_path, wheels=str(tmp_path))
    (tmp_path / "source" / "requirements.txt").write_text(f"click==0.0.1 --hash=sha256:{'0' * 64}\n")
    said = run("band_command", args)
    assert said["failed"]
    assert "band_cli_package_index" in said["msg"]
    assert run("band_command", args, check=True)["installed"]


def test_what_is_ours_is_removed_and_nothing_else(tmp_path: Path) -> None:
    """Files of others, a link and a folder under these names stay; check mode says what would go."""
    args = command(tmp_path)
    run("band_command", args)
    launcher, completion = tmp_path / "bin" / "band", tmp_path / "bash" / "band"
    gone = {"state": "absent", "launcher": args["launcher"], "completions": args["completions"]}
    assert run("band_command", gone, check=True)["removed"] == [str(launcher), str(completion)]
    assert launcher.exists()
    (tmp_path / "bin" / "link").symlink_to(launcher)
    for path in (str(tmp_path / "bin"), str(tmp_path / "bin" / "link")):
        assert not run("band_command", {**gone, "launcher": path, "completions": {}})["changed"]
    completion.write_text("complete of others\n")
    assert run("band_command", gone)["removed"] == [str(launcher)]
    assert completion.exists()
    assert not run("band_command", gone)["changed"]
    assert run("band_command", args)["changed"]
    assert completion.read_text() == "complete of others\n"


def test_the_command_works_until_another_is_whole(tmp_path: Path) -> None:
    """A pip that fails leaves the command that is there, and nothing half made."""
    args = command(tmp_path)
    run("band_command", args)
    requirements = tmp_path / "source" / "requirements.txt"
    requirements.write_text(f"click==0.0.1 --hash=sha256:{'0' * 64}\n")
    assert run("band_command", {**args, "wheels": str(tmp_path)})["failed"]
    subprocess.run([args["launcher"]], capture_output=True, check=True)
    assert sorted(path.name for path in (tmp_path / "cli").iterdir()) == ["band.conf", "venv"]
    requirements.write_text("# nothing else\n")
    assert run("band_command", args)["installed"]
    subprocess.run([args["launcher"]], capture_output=True, check=True)
    assert sorted(path.name for path in (tmp_path / "cli").iterdir()) == ["band.conf", "venv"]


def test_everybody_may_run_it_whatever_the_umask(tmp_path: Path) -> None:
    """A root's shell that lets others read nothing makes no command for root alone."""
    before = os.umask(0o077)
    try:
        run("band_command", command(tmp_path))
    finally:
        os.umask(before)
    for path in ("cli", "cli/venv/bin", "cli/venv/.contents", "bash/band"):
        assert (tmp_path / path).stat().st_mode & 0o044 == 0o044, path


@pytest.mark.parametrize(("version", "refused"), [("3 9", "3.9"), ("3 10", ""), ("4 0", "")])
def test_a_python_that_is_too_old_is_named(version: str, refused: str) -> None:
    """RHEL 9 has such a one: the command is left out there."""
    sys.path.insert(0, str(ROOT / "collections"))
    from ansible_collections.rockstat.band.plugins.modules import band_command

    module = SimpleNamespace(
        params={"home": "/srv", "timeout": 1}, run_command=lambda *words, **more: (0, f"{version}\n", "")
    )
    assert band_command.Command(module).too_old() == refused


def test_a_command_that_cannot_be_installed_stops_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The role says why, and that the platform works; the play goes on, also one in which any error is fatal."""
    for name, text in (("apt-get", "exit 1"), ("dpkg-query", "echo installed python3-venv 1")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    tasks = [
        {"ansible.builtin.import_role": {"name": "rockstat.band.cli"}},
        {"ansible.builtin.debug": {"msg": "went on"}},
    ]
    play = {"hosts": "localhost", "gather_facts": False, "any_errors_fatal": True, "tasks": tasks}
    path = tmp_path / "play.yml"
    path.write_text(yaml.safe_dump([play]), encoding="utf-8")
    given = {"band_home": str(tmp_path / "home"), "band_cli_launcher": str(tmp_path / "band")}
    done = ansible("ansible-playbook", str(path), "-e", json.dumps(given))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "could not be installed on localhost" in done.stdout
    assert "contains no sources" in done.stdout.split("WARNING")[1]
    assert "went on" in done.stdout
    assert "rescued=1" in done.stdout


@pytest.mark.parametrize("launcher", ["/usr/local/bin", "/opt/tools/", "/opt/tools/band"])
def test_a_launcher_is_a_file(launcher: str, tmp_path: Path) -> None:
    """A folder in its place is refused before anything is done."""
    role = {"name": "rockstat.band.cli", "tasks_from": "validate"}
    play = {"hosts": "localhost", "gather_facts": False, "tasks": [{"ansible.builtin.include_role": role}]}
    path = tmp_path / "play.yml"
    path.write_text(yaml.safe_dump([play]), encoding="utf-8")
    done = ansible("ansible-playbook", str(path), "-e", json.dumps({"band_cli_launcher": launcher}))
    assert (done.returncode == 0) is launcher.endswith("/band"), done.stdout + done.stderr
    assert (f"band_cli_launcher ({launcher})" in done.stdout) is (done.returncode != 0)
