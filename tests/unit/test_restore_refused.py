"""A restore leaves no copy of the archive on the host, whatever it makes of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_modules import ROOT

sys.path.insert(0, str(ROOT / "collections"))

from ansible_collections.rockstat.band.plugins.module_utils import archive


def step_of_a_restore(tmp_path: Path, step: str, *, on_host: bool, check: bool) -> subprocess.CompletedProcess[str]:
    """Run a step with `given` as the archive and `copy` as its copy on a host without Docker's objects."""
    role = {"name": "rockstat.band.backup", "tasks_from": step}
    play = {"hosts": "localhost", "gather_facts": False, "tasks": [{"ansible.builtin.include_role": role}]}
    (tmp_path / "play.yml").write_text(json.dumps([play]), encoding="utf-8")
    (tmp_path / "docker").write_text("#!/bin/sh\ncase $1$2 in version*) echo 26 ;; esac\n")
    (tmp_path / "docker").chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    told = {
        "band_backup_archive": str(tmp_path / "given"), "_band_backup_copy": str(tmp_path / "copy"),
        "band_backup_archive_on_host": on_host, "band_backup_restore_confirm": True,  # this host may have a platform
    }  # fmt: skip
    command = [str(Path(sys.executable).parent / "ansible-playbook"), str(tmp_path / "play.yml")]
    words = ["-e", json.dumps(told), *(["--check"] if check else [])]
    return subprocess.run(
        [*command, *words], cwd=ROOT, env=env, capture_output=True, text=True, timeout=55, check=False
    )


@pytest.mark.parametrize("step", ["examine", "restore"])
@pytest.mark.parametrize("check", [False, True])
def test_a_refused_restore_leaves_no_copy_of_the_archive(tmp_path: Path, step: str, check: bool) -> None:
    """In check mode too. An archive that is on the host stays."""
    (tmp_path / "given").write_text("not an archive")
    copy = tmp_path / "copy"
    copy.write_text("of an archive")
    for on_host in (True, False):
        done = step_of_a_restore(tmp_path, step, on_host=on_host, check=check)
        assert done.returncode == 2, done.stdout + done.stderr
        assert copy.exists() == on_host
    assert f"{copy}" in done.stdout


@pytest.mark.parametrize("check", [False, True])
def test_images_that_cannot_be_built_leave_no_copy_of_the_archive(tmp_path: Path, check: bool) -> None:
    """They are built between the steps: none is there then, and the step after them makes one of its own."""
    (tmp_path / "content").mkdir()
    (tmp_path / "content" / "redis.rdb").write_bytes(b"REDIS0011")
    facts = {"namespace": "rockstat", "host": "h", "at": "now", "redis": {"keys": 0, "version": "8"}}
    archive.pack(str(tmp_path / "content"), str(tmp_path / "given"), {**facts, "volumes": [], "running": []})
    done = step_of_a_restore(tmp_path, "examine", on_host=False, check=check)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (tmp_path / "copy").exists()
    done = step_of_a_restore(tmp_path, "restore", on_host=False, check=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (tmp_path / "copy").exists()
