"""band_packages: what is there already in another way is not installed."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_modules import run


@pytest.mark.parametrize(("command", "needed"), [("true", False), ("false", True), ("/no/such/program", True)])
def test_packages_are_installed_unless_a_command_succeeds(command: str, tmp_path: Path, *, needed: bool) -> None:
    """A host whose Python has virtual environments needs no apt-get for them."""
    for name in ("apt-get", "dpkg-query"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    said = run("band_packages", {"names": ["python3-venv"], "unless": [command]}, check=True, path=tmp_path)
    assert said["installed"] == (["python3-venv"] if needed else []), said
