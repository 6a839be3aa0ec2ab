"""What a service adds to the cost of enriching: mmgeo, sxgeo and uaparser in process and through Redis, in one run.

- `library`: maxminddb's C reader, ua-parser with its cache, sxgeo's own reader, called in a loop on one core. What they
  give is not the answer yet: names, flags and JSON are missing.
- `in_process`: the service's own function, called in a loop on one core: nothing can be faster than that. `new` is
  what one call takes for a value that never came before, `known` for one that is remembered.
- `ours`: the same function in its service, 500 calls a message (what front sends under load), counted per CPU second of
  the service, so that neighbours on the machine do not count. Its ratio to `in_process` is what Redis and JSON leave.
- `all_three`: each event goes to all three services at once, in batches (`ours`) and one event a message, as the
  original platform did (`one_a_message`), with as many in flight; one client, three services and Redis share the cores.

Geo: 200,000 random public addresses on the databases that the services fetch for themselves (kept in .cache/). Device:
160,000 draws of a corpus of User-Agents of which 94 % came before, as in real traffic. Each process starts with empty
caches; before `all_three` is counted, events with other addresses go through. Rounds alternate, the median counts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from servers import free_port, process, python, redis_server

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache" / "databases"
SERVICES = ("mmgeo", "sxgeo", "uaparser")
FETCH_SECONDS = 300.0

Figures = dict[str, Any]


@contextlib.contextmanager
def service(name: str, redis_port: int) -> Iterator[int]:
    """Run a service as its image does, with its database in the cache; yields its process id once it is ready."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, prepared(name, folder, redis_port) as env:
        env |= {"PORT": str(port), "PWD": folder}
        argv = (
            sys.executable,
            "-c",
            f"import os, runpy; os.chdir({folder!r}); runpy.run_module({name!r}, None, '__main__')",
        )
        with process(*argv, env=env) as child:
            wait_until_ready(name, port)
            yield child.pid


@contextlib.contextmanager
def prepared(name: str, folder: str, redis_port: int) -> Iterator[dict[str, str]]:
    """Lay the service's settings into ``folder``; yields its environment."""
    image = ROOT / "band_images" / name
    shutil.copy(image / "config.yaml", folder)
    data = CACHE / name
    data.mkdir(parents=True, exist_ok=True)
    yield {
        **yaml.safe_load((image / "band.yml").read_text()).get("env", {}),
        "NAME": name,
        "HOST": "127.0.0.1",
        "REDIS_DSN": f"redis://127.0.0.1:{redis_port}",
        "DATA_DIR": str(data),
        "REFRESH_HOURS": "1000",
        "LOG_LEVEL": "ERROR",
    }


def wait_until_ready(name: str, port: int) -> None:
    """Wait until the service has what it works with; the first run downloads the databases."""
    url = f"http://127.0.0.1:{port}/health"
    facts: Any = "no answer"
    until = time.monotonic() + FETCH_SECONDS
    while time.monotonic() < until:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(url, timeout=2) as answer,
        ):
            facts = json.load(answer)
            checks = facts["checks"]
            if checks["redis"]["status"] == "ok" and checks.get("database", {"status": "ok"})["status"] == "ok":
                return
        time.sleep(0.05)
    raise SystemExit(f"{name} is not ready after {FETCH_SECONDS:g} s: {facts}")


def peer(role: str, *argv: str, env: dict[str, str] | None = None, cwd: str | None = None) -> Figures:
    """Run one measuring process and return its figures."""
    done = subprocess.run(
        python("enrich_peers.py", role, *argv), capture_output=True, text=True, check=False, timeout=600, cwd=cwd,
        env={**os.environ, **(env or {})},
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"measuring {role} {' '.join(argv)} failed:\n{done.stderr[-2000:]}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def alone(role: str, name: str) -> Figures:
    """Measure a library (``library``), or a service's function without any service (``in_process``)."""
    with tempfile.TemporaryDirectory() as folder, prepared(name, folder, 0) as env:
        return peer(role, name, env=env, cwd=folder)


def through_redis(name: str, redis_port: int) -> Figures:
    """Measure one service in batches."""
    with service(name, redis_port) as pid:
        return peer("service", name, str(redis_port), str(pid))


def all_three(role: str, redis_port: int, redis_pid: int) -> Figures:
    """Measure three services at once."""
    with contextlib.ExitStack() as stack:
        pids = [str(stack.enter_context(service(name, redis_port))) for name in SERVICES]
        return peer(role, str(redis_port), *pids, str(redis_pid))


def run(rounds: int) -> dict[str, Figures]:
    """Measure everything; returns system → part → median figures."""
    found: dict[tuple[str, str], list[Figures]] = {}
    for _ in range(rounds):
        for name in SERVICES:
            with redis_server() as (port, _redis):
                found.setdefault(("ours", name), []).append(through_redis(name, port))
            for role in ("in_process", "library"):
                found.setdefault((role, name), []).append(alone(role, name))
        for system, role in (("ours", "batches"), ("one_a_message", "singles")):
            with redis_server() as (port, redis):
                found.setdefault((system, "all_three"), []).append(all_three(role, port, redis.pid))
    result: dict[str, Figures] = {"ours": {}, "in_process": {}, "library": {}, "one_a_message": {}}
    for (system, part), figures in found.items():
        result[system][part] = {key: statistics.median(row[key] for row in figures) for key in figures[0]}
    return result


def ratios(found: dict[str, Figures]) -> dict[str, float]:
    """Return how ours compares; greater is better for ours."""
    ours = found["ours"]
    ratio = {
        f"{name}_vs_in_process": ours[name]["per_cpu_s"] / found["in_process"][name]["per_cpu_s"] for name in SERVICES
    }
    one = found["one_a_message"]["all_three"]
    for key in ("per_s", "per_cpu_s"):
        ratio[f"all_three_vs_one_a_message_{key}"] = ours["all_three"][key] / one[key]
    return {key: round(value, 2) for key, value in ratio.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bin/bench enrich", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    found = run(options.rounds)
    ratio = ratios(found)
    print(f"{'system':14} {'part':10} {'per second':>11} {'per CPU second':>15} {'new, µs':>9} {'known, µs':>10}")
    for system, parts in found.items():
        for part, figures in parts.items():
            times = f"{figures['new_us']:9.1f} {figures['known_us']:10.2f}" if "new_us" in figures else ""
            print(f"{system:14} {part:10} {figures['per_s']:11.0f} {figures['per_cpu_s']:15.0f} {times}")
    for key, value in ratio.items():
        print(f"{key:34} {value:6.2f}")
    if options.json:
        ours = {**found["ours"], "all_three_events_per_s": round(found["ours"]["all_three"]["per_s"])}
        sys.stdout.write(json.dumps({**found, "ours": ours, "ratio": ratio}) + "\n")


if __name__ == "__main__":
    main()
