"""The load of the pipeline's benchmark: wrk, and what it says."""

from __future__ import annotations

import os
import random
import re
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from enrich_peers import CORPUS, made_user_agents
from servers import need

SCRIPT = Path(__file__).with_name("pipeline.lua")
CONNECTIONS = 32
FEW = 20
"""User-Agents and addresses of the load whose answers are all known."""
MANY = 5000


class Said(NamedTuple):
    """Events a second, latencies of requests in milliseconds, and requests without a good answer."""

    per_s: float
    p50_ms: float
    p99_ms: float
    bad: int


class Load:
    """Who sends: few User-Agents and addresses, or thousands of the one and any of the other; `events` a request."""

    def __init__(self, *, distinct: bool, events: int = 1) -> None:
        self._events = events
        lines = CORPUS.read_text(encoding="utf-8").splitlines() if CORPUS.exists() else made_user_agents()
        lines = sorted({line for line in lines if line.isascii() and 20 < len(line) < 500})
        random.Random(5).shuffle(lines)
        with tempfile.NamedTemporaryFile("w", suffix=".txt", prefix="t-pipe-", delete=False) as file:
            file.write("\n".join(lines[: MANY if distinct else FEW]) + "\n")
        self.agents = Path(file.name)
        self._env = {"PIPE_UAS": file.name, "PIPE_IPS": "0" if distinct else str(FEW), "PIPE_VISITORS": str(MANY)}
        self._env["PIPE_EVENTS"] = str(events)

    def send(self, url: str, seconds: int, rate: float = 0.0) -> Said:
        """Send for some seconds, as fast as answers come, or about `rate` events a second."""
        wrk = need("wrk", "wrk")
        env = {**os.environ, **self._env}
        if rate:
            env["PIPE_EVERY"] = f"{CONNECTIONS * self._events / rate * 1000:.2f}"
        command = [wrk, "-t2", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "--timeout", "10s"]
        done = subprocess.run([*command, "-s", str(SCRIPT), url], env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"wrk failed: {done.stdout}{done.stderr}")
        said = read(done.stdout)
        return said._replace(per_s=said.per_s * self._events)


def read(text: str) -> Said:
    """Read what wrk prints."""

    def found(pattern: str, default: str = "0") -> str:
        match = re.search(pattern, text)
        return match.group(1) if match else default

    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    bad = int(found(r"Non-2xx or 3xx responses: (\d+)")) + sum(map(int, errors.groups() if errors else ()))
    return Said(
        float(found(r"Requests/sec:\s+([\d.]+)")),
        milliseconds(found(r"\s50%\s+(\S+)", "0ms")),
        milliseconds(found(r"\s99%\s+(\S+)", "0ms")),
        bad,
    )


def milliseconds(text: str) -> float:
    """`950us`, `7.5ms`, `1.2s` as milliseconds."""
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}[unit]
