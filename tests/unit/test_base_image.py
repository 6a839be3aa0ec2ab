"""The root filesystem that all images stand on, made of Debian's packages."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import yaml
from plays import ROOT, ansible

DOCKER = """#!/bin/bash
case "$1" in
  import) cat >/dev/null; echo sha256:made ;;
  tag) echo "$2 $3" >>"$TAGS" ;;
esac
"""


@pytest.mark.parametrize(("ends", "tags"), [("exit 0", ["sha256:made x/rootfs:trixie"]), ("kill -9 $$", [])])
def test_only_a_whole_root_filesystem_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str, tags: list[str]
) -> None:
    """Docker imports what it was given; a name for half of it would spoil every later build."""
    mmdebstrap = f'#!/bin/bash\n[ "$1" = --version ] && exit 0\necho half\n{ends}\n'
    for name, text in (("docker", DOCKER), ("mmdebstrap", mmdebstrap)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "tags").touch()
    monkeypatch.setenv("TAGS", str(tmp_path / "tags"))
    monkeypatch.setenv("PATH", f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    made = {"name": "rockstat.band.base_image", "tasks_from": "mmdebstrap"}
    given = {"band_base_image_rootfs_name": "x/rootfs", "band_base_image_suite": "trixie"}
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars": given,
        "tasks": [{"ansible.builtin.include_role": made}],
    }
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    done = ansible("ansible-playbook", str(tmp_path / "play.yml"), cwd=ROOT)
    assert (done.returncode == 0) == bool(tags), done.stdout
    assert (tmp_path / "tags").read_text().splitlines() == tags
