"""band_command: the command band is installed once, and anew when it changes."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from ansible_modules import run


def command(tmp_path: Path, **more: Any) -> dict[str, Any]:
    """Return arguments of band_command for a command that needs no library, so that nothing is fetched."""
    package = tmp_path / "source" / "src" / "band_cli"
    if not package.exists():
        package.mkdir(parents=True)
        (tmp_path / "source" / "requirements.txt").write_text("# nothing\n")
        (package / "__main__.py").write_text(
            "import os, sys\nprint(os.environ.get('_BAND_COMPLETE'), os.environ['BAND_HOST_CONFIG'], *sys.argv[1:])\n"
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
    assert said == f"None {tmp_path}/cli/band.conf a b c\n"
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
    (tmp_path / "bin" / "band").write_text("#!/bin/sh\n")
    said = run("band_command", args)
    assert said["failed"]
    assert "band_cli_launcher" in said["msg"]
    assert (tmp_path / "bin" / "band").read_text() == "#!/bin/sh\n"


def test_a_pip_that_cannot_install_is_told(tmp_path: Path) -> None:
    """What pip said, what to check, and that the platform works without; the next run tries again."""
    args = command(tmp_path, wheels=str(tmp_path))
    (tmp_path / "source" / "requirements.txt").write_text(f"click==0.0.1 --hash=sha256:{'0' * 64}\n")
    said = run("band_command", args)
    assert said["failed"]
    assert "band_cli_package_index" in said["msg"]
    assert run("band_command", args, check=True)["installed"]
