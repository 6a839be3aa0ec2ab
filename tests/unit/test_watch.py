"""watch: the systemd units of Redis and the director, also on a host whose units an earlier release wrote."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "collections"))

from ansible_collections.rockstat.band.plugins.module_utils import watch

pytestmark = pytest.mark.skipif(not shutil.which("systemctl"), reason="systemctl is missing")


class Module:
    """Runs systemctl on the units of a folder; every unit is active."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def run_command(self, command: list[str]) -> tuple[int, str, str]:
        """Return the exit code, and what was printed."""
        program, verb, *rest = command
        if verb in ("is-active", "daemon-reload"):
            return 0, "", ""
        rest = [word for word in rest if word != "--now"]
        done = subprocess.run(
            [program, f"--root={self._root}", verb, *rest], capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout, done.stderr

    def fail_json(self, **told: Any) -> None:
        """Fail the test."""
        raise AssertionError(told)


@pytest.fixture
def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a host's units."""
    folder = tmp_path / "etc/systemd/system"
    folder.mkdir(parents=True)
    monkeypatch.setattr(watch, "UNIT", str(folder / "rockstat@.service"))
    monkeypatch.setattr(watch, "RUNS", str(tmp_path))
    return folder


def test_units_of_an_earlier_release_start_with_docker_too(units: Path, tmp_path: Path) -> None:
    """They share one file, which the first container's turn writes; each is enabled again, not only the first."""
    module = Module(tmp_path)
    earlier = watch.TEXT.replace("WantedBy=multi-user.target docker.service", "WantedBy=multi-user.target")
    (units / "rockstat@.service").write_text(earlier)
    assert earlier != watch.TEXT
    names = ("redis", "director")
    for name in names:
        assert module.run_command(["systemctl", "enable", f"rockstat@{name}.service"])[0] == 0
    for name in names:
        unit = watch.Watch(module, name)
        assert unit.missing()
        unit.ensure()
        assert not unit.missing()
        assert (units / f"docker.service.wants/rockstat@{name}.service").is_symlink()
