"""The name under which browsers reach front: from the proxy's settings to front's own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = ("settings/defaults", "proxy/defaults", "services/defaults", "services/vars")
PROXY = {"band_proxy_enabled": True, "band_proxy_events_names": ["t.example.com", "other.example.com"]}
OWN = {"name": "front", "env": {"PUBLIC_URL": "https://mine.example.com", "DEMO": "off"}}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, None),
        (PROXY, {"PUBLIC_URL": "https://t.example.com"}),
        (
            {**PROXY, "band_proxy_https_port": 8443, "band_proxy_events_prefix": "/t"},
            {"PUBLIC_URL": "https://t.example.com:8443/t"},
        ),
        ({"band_public_url": "https://cdn.example.com"}, {"PUBLIC_URL": "https://cdn.example.com"}),
        (
            {**PROXY, "band_services": ["mmgeo", {"name": "front", "env": {"DEMO": "off"}}]},
            {"PUBLIC_URL": "https://t.example.com", "DEMO": "off"},
        ),
        ({**PROXY, "band_services": [OWN]}, OWN["env"]),
    ],
)
def test_front_learns_its_public_url(tmp_path: Path, given: dict[str, Any], expected: Any) -> None:
    """That of the proxy's first name, unless the inventory or front's own entry says another one."""
    (tmp_path / "given.json").write_text(json.dumps(given))
    files = ", ".join(f"{ROOT}/roles/{name}/main.yml" for name in FILES)
    (tmp_path / "play.yml").write_text(f"""
- hosts: localhost
  connection: local
  gather_facts: false
  vars_files: [{files}]
  tasks:
    - ansible.builtin.copy: {{content: "{{{{ _band_services_all | to_json }}}}", dest: "{tmp_path}/services"}}
""")
    command = [
        str(Path(sys.executable).parent / "ansible-playbook"),
        "-i",
        "localhost,",
        "-e",
        "@given.json",
        "play.yml",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    services = {row["name"]: row.get("env") for row in json.loads((tmp_path / "services").read_text())}
    assert services.pop("front") == expected
    assert not any(services.values())
