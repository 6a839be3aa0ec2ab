"""What others notice when one key is flooded with ten times its limit: their p99 at 20 % of front's capacity.

    PYTHONPATH=benchmarks/support:service_src/front/tests .venv-dev/bin/python benchmarks/studies/key_flood.py

Needs root and wrk. front runs with two workers beside its Redis; the flood comes from a cgroup of its own with at most
half a core. The others' load is the same with and without the flood, five times each in turn; the medians are shown.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from conftest import FrontProcess, RedisServer
from pipeline_load import Said, read
from servers import need

from band.platform import PROJECTS_KEY

SECONDS = 8
ROUNDS = 5
CONNECTIONS = 16
LIMIT_SHARE, OTHERS_SHARE, TIMES = 0.05, 0.2, 10
CORES = 0.5
PERIOD_US = 100_000
SCRIPT = """
local every = tonumber(os.getenv("EVERY") or "")
local body = '{"service":"track","name":"page","uid":"6410748586712844288","page":{"url":"https://shop.example/"}}'
local fields = {["X-Write-Key"] = os.getenv("KEY"), ["Content-Type"] = "application/json"}
function request() return wrk.format("POST", "/band/t4k.json", fields, body) end
if every then
  local first = true
  function delay()
    if first then first = false; return math.random() * every end
    return every * (0.5 + math.random())
  end
end
"""


@contextmanager
def cgroup(cores: float) -> Iterator[Path]:
    """Make a cgroup that may use so many cores; yields the file that a process joins it by."""
    first = Path("/sys/fs/cgroup/cpu")
    home = (first if first.is_dir() else Path("/sys/fs/cgroup")) / f"band-flood-{os.getpid()}"
    home.mkdir()
    quota = int(cores * PERIOD_US)
    if first.is_dir():
        (home / "cpu.cfs_quota_us").write_text(str(quota))
    else:
        (home / "cpu.max").write_text(f"{quota} {PERIOD_US}")
    try:
        yield home / "cgroup.procs"
    finally:
        time.sleep(0.2)
        home.rmdir()


def start(url: str, script: Path, key: str, rate: float, join: Path | None = None) -> subprocess.Popen[str]:
    """Start wrk: `rate` requests a second, 0 for as many as it can."""
    env = {**os.environ, "KEY": key} | ({"EVERY": f"{CONNECTIONS / rate * 1000:.3f}"} if rate else {})
    command = [need("wrk", "wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--latency", "-s", str(script), url]

    def enter() -> None:
        if join is not None:
            join.write_text(str(os.getpid()))

    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, preexec_fn=enter)


def said(running: subprocess.Popen[str]) -> Said:
    return read(running.communicate()[0])


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="t-flood-") as text, cgroup(CORES) as join:
        folder = Path(text)
        script = folder / "flood.lua"
        script.write_text(SCRIPT)
        (folder / "front").mkdir()
        server = RedisServer(folder)
        front = FrontProcess(folder / "front", server.dsn, WORKERS="2")
        stored = redis.Redis.from_url(server.dsn)
        try:
            measure(front.url, script, join, stored)
        finally:
            front.stop()
            server.stop()


def measure(url: str, script: Path, join: Path, stored: redis.Redis) -> None:
    def write(limit: float) -> None:
        stored.hset(PROJECTS_KEY, "others", json.dumps({"public_keys": ["pk_others"]}))
        flooded = {"public_keys": ["pk_flooded"], "events_per_second": limit}
        stored.hset(PROJECTS_KEY, "flooded", json.dumps(flooded))
        time.sleep(1)

    write(1)
    capacity = said(start(url, script, "pk_others", 0)).per_s
    limit, rate = LIMIT_SHARE * capacity, OTHERS_SHARE * capacity
    write(limit)
    print(f"capacity {capacity:,.0f}/s; others {rate:,.0f}/s; limit {limit:,.0f}/s, flood {TIMES * limit:,.0f}/s")
    quiet: list[Said] = []
    flooded: list[Said] = []
    floods: list[Said] = []
    for _ in range(ROUNDS):
        stored.delete("events")
        quiet.append(said(start(url, script, "pk_others", rate)))
        stored.delete("events")
        flood = start(url, script, "pk_flooded", TIMES * limit, join)
        flooded.append(said(start(url, script, "pk_others", rate)))
        floods.append(said(flood))
        accepted = sum(b'"project":"flooded"' in fields[b"event"] for _, fields in stored.xrange("events")) / SECONDS
        print(
            f"  flood: {floods[-1].per_s:,.0f}/s sent, {accepted:,.0f}/s accepted ({accepted / limit:.0%} of the limit)"
        )
    for name, rows in (("quiet", quiet), ("flooded", flooded)):
        p50, p99 = (statistics.median(getattr(row, what) for row in rows) for what in ("p50_ms", "p99_ms"))
        bad = sum(row.bad for row in rows)
        each = ", ".join(f"{row.p99_ms:.2f}" for row in rows)
        print(f"{name:8} others p50 {p50:.2f} ms, p99 {p99:.2f} ms ({each}), refused {bad}")


if __name__ == "__main__":
    main()
