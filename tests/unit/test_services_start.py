"""Each service of the platform as a process in the folder of its image; how it works is tested on the bench."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

IMAGES = Path(__file__).resolve().parents[2] / "band_images"
CANARY = "c4n4ry-t0k3n"
SERVICES = {
    "mmgeo": {"GEO_SOURCES": "", "ASN_SOURCES": "", "MAXMIND_LICENSE_KEY": CANARY},
    "sxgeo": {"GEO_SOURCES": ""},
    "uaparser": {},
    "send_mixpanel": {"MIXPANEL_TOKEN": CANARY},
    "mixpanel_double": {"DOUBLE_TOKENS": CANARY},
    "tg_hellobot": {"BOT_TOKEN": CANARY, "TELEGRAM_API": "http://127.0.0.1:1"},
}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_starts_without_redis_and_ends_on_request(tmp_path: Path, name: str) -> None:
    """It answers on its port, SIGTERM ends it with code 0, and its output has no secret."""
    shutil.copy(IMAGES / name / "config.yaml", tmp_path)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {
        "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "HOST": "127.0.0.1", "PORT": str(port),
        "REDIS_DSN": "redis://127.0.0.1:1", "LOG_LEVEL": "DEBUG", "DATA_DIR": str(tmp_path), **SERVICES[name],
    }  # fmt: skip
    command = [sys.executable, "-m", name]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=log, stderr=subprocess.STDOUT)
    try:
        facts = _status(process, f"http://127.0.0.1:{port}/__status", tmp_path / "log")
        assert (facts["name"], facts["app_state"]) == (name, "running")
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait()
    assert CANARY not in json.dumps(facts) + (tmp_path / "log").read_text(encoding="utf-8")


def _status(process: subprocess.Popen[bytes], url: str, log: Path) -> dict[str, Any]:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
            facts: dict[str, Any] = json.load(answer)
            if facts["app_state"] == "running":
                return facts
        time.sleep(0.05)
    raise AssertionError(f"it does not run:\n{log.read_text(encoding='utf-8')}")
