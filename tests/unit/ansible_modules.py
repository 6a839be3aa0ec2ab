"""Run the modules of plugins/ as Ansible does, and lay what they are tried with."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
RUNNER = """
import runpy, sys
from ansible.module_utils import basic
basic._ANSIBLE_PROFILE = "legacy"
runpy.run_module("ansible_collections.rockstat.band.plugins.modules." + sys.argv.pop(1), run_name="__main__")
"""


def text_of(module: str, name: str, kind: str = "modules") -> Any:
    """Return DOCUMENTATION, EXAMPLES or RETURN of a module or a fragment, read as YAML."""
    tree = ast.parse((ROOT / "plugins" / kind / f"{module}.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name:
            return yaml.safe_load(ast.literal_eval(node.value))
    raise AssertionError(f"{module} has no {name}")


def run(module: str, args: dict[str, Any], *, check: bool = False, path: Path | None = None) -> dict[str, Any]:
    """Run a module as Ansible does, with diff mode on; return what it said, and the raw text as `_text`."""
    given = {"ANSIBLE_MODULE_ARGS": {**args, "_ansible_check_mode": check, "_ansible_diff": True}}
    env = {**os.environ, "PYTHONPATH": str(ROOT / "collections")}
    if path:
        env["PATH"] = f"{path}:{env['PATH']}"
    command = [sys.executable, "-c", RUNNER, module]
    done = subprocess.run(
        command, input=json.dumps(given), capture_output=True, text=True, env=env, timeout=50, check=False
    )
    assert done.stdout.strip(), done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return {**said, "_text": done.stdout}


def one(director: Any, state: str = "running", **more: Any) -> dict[str, Any]:
    """Return the arguments of band_services for front alone, which runs."""
    args = prepared(director, "band_services", {"wait": True})
    return {**args, "services": [{"name": "front", "state": state, **more}]}


def prepared(director: Any, module: str, args: dict[str, Any]) -> dict[str, Any]:
    """Have the services run that an example speaks of; return its arguments with the director's address."""
    for name in ("front", "mmgeo", "sxgeo", "uaparser", str(args.get("name", "front"))):
        director.answer(f"/run/{name}", {"env": {"OLD": "1"}})
    director.asked.clear()
    front = {"front_url": director.url} if module == "band_event" else {}
    return {**args, "url": director.url, **front}


def laid(folder: Path, docker: Path) -> None:
    """Lay what examples speak of: an archive, an unpacked bundle, a container and a volume."""
    sys.path.insert(0, str(ROOT / "collections"))
    from ansible_collections.rockstat.band.plugins.module_utils import archive

    backups, bundle, content = (folder / "srv/rockstat" / name for name in ("backups", "bundle", "content"))
    (folder / "srv/rockstat/etc").mkdir(parents=True)
    for made in (backups, bundle, content):
        made.mkdir(parents=True)
    (content / "redis.rdb").write_bytes(b"REDIS0011")
    archive.pack(str(content), str(backups / "rockstat-20261124T020000Z.tar.gz"), {"namespace": "rockstat"})
    (bundle / "manifest.json").write_text(json.dumps({"images": {}, "volumes": [], "files": {}}))
    (folder / "root").mkdir()
    mine = {"Id": "x", "Name": "/sxgeo", "State": {"Running": True}, "Config": {"Image": "a", "Labels": {}}}
    engine = {"containers": {"sxgeo": mine}, "volumes": ["rockstat-sxgeo-data"], "calls": []}
    (docker / "engine.json").write_text(json.dumps(engine))
