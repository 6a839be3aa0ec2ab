"""What setup prints in the end: commands that work as they stand, and no secret."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "canary-token-of-the-inventory"


def shown(tmp_path: Path, token: str, public_url: str = "") -> str:
    """Return the text for a platform with this token, rendered by Ansible."""
    facts: dict[str, Any] = {
        "__band_verify_event": {"event": {"id": "1", "key": "in.gen.track.x", "data": {}}, "latency_ms": 1.0},
        "__band_verify_info": {"services": {"mixpanel_double": {"state": "running", "health": "ok", "ports": []}}},
        "__band_verify_exposure": {"open": []}, "band_verify_ip": "77.88.8.8",
        "band_verify_director_url": "http://127.0.0.1:10000", "band_verify_front_url": "http://127.0.0.1:10001",
        "band_verify_director_token": token, "band_verify_command": True,
        "band_verify_public_url": public_url,
    }  # fmt: skip
    given, out = tmp_path / "facts.json", tmp_path / "proof"
    given.write_text(json.dumps(facts))
    source = ROOT / "roles" / "verify" / "templates" / "report.j2"
    command = ["ansible", "localhost", "-m", "template", "-a", f"src={source} dest={out}", "-e", f"@{given}"]
    env = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_LOCALHOST_WARNING": "false"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return out.read_text()


@pytest.mark.parametrize("token", ["", TOKEN])
def test_the_commands_bring_the_token_where_there_is_one(tmp_path: Path, token: str) -> None:
    """By the name of a variable of the shell: what is printed may stand in a log."""
    text = shown(tmp_path, token)
    calls = [line for line in text.splitlines() if "curl" in line and ":10000" in line]
    assert len(calls) == 5
    assert {'-H "Authorization: Bearer $BAND_TOKEN"' in line for line in calls} == {bool(token)}
    assert ("with BAND_TOKEN=<band_token of the inventory>" in text) is bool(token)
    assert TOKEN not in text


@pytest.mark.parametrize("public_url", ["", "https://t.example.com"])
def test_the_snippet_has_the_public_name(tmp_path: Path, public_url: str) -> None:
    """Without one it has the host's own address, and a sentence says who cannot reach it."""
    text = shown(tmp_path, "", public_url)
    assert f'"{public_url or "http://127.0.0.1:10001"}");' in text
    assert ("give front a public name first" in text) is not bool(public_url)
    assert "curl -s http://127.0.0.1:10001/_band/pages" in text
