"""band_packages: what is there already in another way is not installed."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_modules import run

PROGRESS = "/run/rockstat-band.progress"


@pytest.mark.parametrize(("command", "needed"), [("true", False), ("false", True), ("/no/such/program", True)])
def test_packages_are_installed_unless_a_command_succeeds(command: str, tmp_path: Path, *, needed: bool) -> None:
    """A host whose Python has virtual environments needs no apt-get for them."""
    for name in ("apt-get", "dpkg-query"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    said = run("band_packages", {"names": ["python3-venv"], "unless": [command]}, check=True, path=tmp_path)
    assert said["installed"] == (["python3-venv"] if needed else []), said


def test_apt_says_how_far_it_is_where_the_last_line_looks(tmp_path: Path) -> None:
    """Docker is a hundred megabytes: without it, people would see nothing but seconds."""
    (tmp_path / "dpkg-query").write_text("#!/bin/sh\n")
    look = f"readlink /proc/$$/fd/${{word#APT::Status-Fd=}} >> {tmp_path}/seen"
    look = f"for word; do case $word in APT::Status-Fd=*) {look} ;; esac; done"
    (tmp_path / "apt-get").write_text(f"#!/bin/sh\n{look}\n")
    for path in tmp_path.iterdir():
        path.chmod(0o755)
    run("band_packages", {"names": ["docker.io"], "record": str(tmp_path / "record.json")}, path=tmp_path)
    assert set((tmp_path / "seen").read_text().split()) == {PROGRESS}
