"""A restore that refuses an archive leaves no copy of it on the host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_modules import ROOT


@pytest.mark.parametrize("step", ["examine", "restore"])
@pytest.mark.parametrize("check", [False, True])
def test_a_refused_restore_leaves_no_copy_of_the_archive(tmp_path: Path, step: str, check: bool) -> None:
    """In check mode too. An archive that is on the host stays."""
    role = {"name": "rockstat.band.backup", "tasks_from": step}
    given = tmp_path / "given"
    given.write_text("not an archive")
    copy = tmp_path / "copy"
    copy.write_text("of an archive")
    play = {"hosts": "localhost", "gather_facts": False, "tasks": [{"ansible.builtin.include_role": role}]}
    (tmp_path / "play.yml").write_text(json.dumps([play]), encoding="utf-8")
    (tmp_path / "docker").write_text("#!/bin/sh\ncase $1$2 in version*) echo 26 ;; esac\n")
    (tmp_path / "docker").chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    told = {"band_backup_archive": str(given), "_band_backup_copy": str(copy)}
    command = [
        str(Path(sys.executable).parent / "ansible-playbook"),
        str(tmp_path / "play.yml"),
        "-e",
        json.dumps(told),
    ]
    for on_host in (True, False):
        last = ["-e", json.dumps({"band_backup_archive_on_host": on_host}), *(["--check"] if check else [])]
        done = subprocess.run(
            [*command, *last], cwd=ROOT, env=env, capture_output=True, text=True, timeout=55, check=False
        )
        assert done.returncode == 2, done.stdout + done.stderr
        assert copy.exists() == on_host
    assert f"{copy}" in done.stdout
