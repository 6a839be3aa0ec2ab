"""A front and a Redis of their own, and the programs of clients as they are published."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import redis as redis_py
from pages import Visitor

from band.platform import PROJECTS_KEY

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
PYTHON = ROOT / ".venv-clients" / "bin" / "python"
KEY = "any"
"""The key that all programs of this folder send."""
WEBHOOK_SECRET = "whsec_YW4gZXhhbXBsZSwgbm90IGEgc2VjcmV0"
"""What the source `shop` signs with, also in the documentation."""
_found = importlib.util.spec_from_file_location("front_stage", ROOT / "service_src/front/tests/conftest.py")
stage = importlib.util.module_from_spec(_found)
_found.loader.exec_module(stage)


class Platform:
    """Redis with its file, front with its journal, and what came into the stream."""

    def __init__(self, folder: Path) -> None:
        self.redis = stage.RedisServer(folder, "--appendonly", "yes")
        (folder / "front").mkdir()
        settings = {"JOURNAL_DIR": str(folder / "journal"), "WEBHOOK_SECRETS": json.dumps({"shop": WEBHOOK_SECRET})}
        self.front = stage.FrontProcess(folder / "front", self.redis.dsn, **settings)
        self.url = self.front.url
        self.stream = redis_py.Redis.from_url(self.redis.dsn)

    def events(self) -> list[dict[str, Any]]:
        """Return what came since the last call."""
        found = [json.loads(fields[b"event"]) for _, fields in self.stream.xrange("events")]
        self.stream.delete("events")
        return found

    def write_project(self, **project: Any) -> None:
        """Have one project, `shop`, and wait until front knows it."""
        self.stream.delete(PROJECTS_KEY)
        self.stream.hset(PROJECTS_KEY, "shop", json.dumps(project))
        time.sleep(0.5)

    def stop(self) -> None:
        self.front.stop()
        self.redis.stop()


def start_client(script: str, *words: str) -> subprocess.Popen[str]:
    """Start a client's program: `segment.cjs`, or one in Python."""
    program = [str(PYTHON)] if script.endswith(".py") else ["node"]
    env = {"PATH": os.environ["PATH"], "NODE_NO_WARNINGS": "1"}
    return subprocess.Popen(
        [*program, str(HERE / script), *words], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(client: subprocess.Popen[str] | Visitor, seconds: float = 90.0) -> Any:
    """Wait until a client has reported success; returns what it printed, or what its program in a page returned."""
    if isinstance(client, Visitor):
        return client.finish(seconds)
    said, _ = client.communicate(timeout=seconds)
    assert client.returncode == 0, said
    return said


def keeps_every_call(platform: Platform, client: subprocess.Popen[str] | Visitor, *, front: bool = True) -> None:
    """Stop and start Redis, and `front`, under a client that makes 1,000 calls; all of them must arrive."""
    time.sleep(1.5)
    platform.redis.stop()
    time.sleep(2)
    platform.redis.start()
    if front:
        platform.front.stop()
        time.sleep(1)
        platform.front.start()
    finish(client)
    found: dict[str, int] = {}
    for _ in range(100):
        found |= {event["dedup"]: event["data"]["data"]["n"] for event in platform.events()}
        if len(found) >= 1000:
            break
        time.sleep(0.1)
    assert sorted(found.values()) == list(range(1000))


def keeps_every_limited_call(platform: Platform, client: subprocess.Popen[str] | Visitor) -> None:
    """Wait for a client that makes 1,000 calls, of which a limit takes 100 a second; all of them must arrive."""
    begun = time.monotonic()
    finish(client, seconds=150)
    found = {event["dedup"]: event["data"]["data"]["n"] for event in platform.events()}
    assert sorted(found.values()) == list(range(1000))
    assert time.monotonic() - begun > 8
