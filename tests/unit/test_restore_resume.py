"""The last step of a restore: which releases run afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ansible_modules import ROOT


def resumed(director: Any, tmp_path: Path, manifest: dict[str, Any], contents: dict[str, str] | None = None) -> str:
    """Run the last step of a restore against a director; what Ansible said."""
    role = {"name": "rockstat.band.backup", "tasks_from": "resume"}
    given = {"band_backup_director_url": director.url, "__band_backup_archive": {"manifest": manifest}}
    play = {"hosts": "localhost", "gather_facts": False, "vars": given}
    path = tmp_path / "resume.yml"
    path.write_text(json.dumps([{**play, "tasks": [{"ansible.builtin.include_role": role}]}]), encoding="utf-8")
    mine = {"band.managed": "true", "band.namespace": "rockstat", "band.kind": "service", "band.config": "x"}
    made = [
        {"Name": f"/{name}", "Image": "x", "State": {"Status": "running"},
         "Config": {"Image": "x", "Labels": {**mine, "band.service": name, "band.contents": text}}}
        for name, text in (contents or {}).items()
    ]  # fmt: skip
    (tmp_path / "made.json").write_text(json.dumps(made))
    (tmp_path / "docker").write_text(
        f"#!/bin/sh\ncase $1$2 in version*) echo 26 ;; containerls) echo id ;; "
        f"containerinspect) cat {tmp_path}/made.json ;; esac\n"
    )
    (tmp_path / "docker").chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [str(Path(sys.executable).parent / "ansible-playbook"), str(path)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=55, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_restore_runs_what_ran_and_tells_where_it_cannot(director: Any, tmp_path: Path) -> None:
    """No service goes to its folder's release by the restore; one whose image was not there is named."""
    for name, tag in (("front", "old"), ("ledger", "new"), ("mmgeo", "new")):
        image = f"rockstat/{name}:{tag}"
        director.services[name] = {"name": name, "wanted": "running", "state": "running", "image": image}
    images = {name: f"rockstat/{name}:old" for name in ("front", "ledger", "mmgeo", "redis")}
    manifest = {"namespace": "rockstat", "running": ["front", "ledger", "mmgeo"], "images": images}
    said = resumed(director, tmp_path, manifest)
    assert director.changing == ["/start/front", "/start/ledger", "/start/mmgeo"]
    assert "ledger: rockstat/ledger:new, at the backup rockstat/ledger:old\n" in said
    assert "mmgeo: rockstat/mmgeo:new, at the backup rockstat/mmgeo:old\n" in said
    assert "front: rockstat" not in said
    assert "\\n" not in said


def test_a_restore_onto_the_same_images_ends_well(director: Any, tmp_path: Path) -> None:
    """Where each service runs the release of the backup there is nothing to tell."""
    director.services["front"] = {"name": "front", "wanted": "running", "state": "running", "image": "rockstat/front:a"}
    said = resumed(
        director, tmp_path, {"namespace": "rockstat", "running": ["front"], "images": {"front": "rockstat/front:a"}}
    )
    assert "another" not in said


def test_a_bare_host_runs_the_releases_of_the_backup_under_other_hashes(director: Any, tmp_path: Path) -> None:
    """An image's tag names its base, which is another one on another host: only other contents are another release."""
    for name in ("front", "ledger"):
        director.services[name] = {"name": name, "wanted": "running", "state": "running", "image": f"rockstat/{name}:b"}
    images = {name: f"rockstat/{name}:a" for name in ("front", "ledger")}
    manifest = {"namespace": "rockstat", "running": ["front", "ledger"], "images": images}
    contents = {"front": "same", "ledger": "before"}
    said = resumed(director, tmp_path, {**manifest, "contents": contents}, {**contents, "ledger": "after"})
    assert "ledger: rockstat/ledger:b, at the backup rockstat/ledger:a\n" in said
    assert "front: rockstat" not in said
