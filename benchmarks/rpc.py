"""Calls a second and latency of ours, of a naive redis-py loop and of NATS, side by side in one run.

Each system has one server process, one client process and its broker; the same payload (an enrich call), the same event
loop (uvloop). `ours_batch` is ours with 100 calls a message. `node` and `node_batch` are the same with both ends on the
TypeScript framework. `enricher` and `node_enricher` are one enricher in Python and in TypeScript, which a Python client
asks as front does; they are compared by calls per CPU second of the enricher, so that the client does not count.
`--original FOLDER` adds `node_original`: `node` on the original's rock-me-ts, of which FOLDER is an installed copy.
Rounds alternate between the systems, so that a machine that slows down slows all of them; the median round counts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from servers import nats_server, node, process, python, redis_server

WINDOWS = (1, 100, 1000)
SYSTEMS = ("ours", "ours_batch", "node", "node_batch", "enricher", "node_enricher", "naive", "nats")


def peer(role: str, system: str, *argv: str) -> tuple[str, ...]:
    """Return the command line of one end."""
    if system.startswith("node") and (role, system) != ("client", "node_enricher"):
        return node("rpc_node.cjs", role, system, *argv)
    return python("rpc_peers.py", role, system.removeprefix("node_"), *argv)


def one_round(system: str, port: int, broker: int, server: int, window: int, seconds: float) -> dict[str, Any]:
    """Run one client and return its figures."""
    client = peer("client", system, str(port), str(window), str(seconds), str(server), str(broker))
    done = subprocess.run(client, capture_output=True, text=True, check=False, timeout=seconds + 60)
    if done.returncode:
        raise SystemExit(f"the client of {system} failed:\n{done.stderr[-2000:]}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def run(systems: tuple[str, ...], rounds: int, seconds: float) -> dict[str, dict[int, dict[str, float]]]:
    """Run everything; returns system → window → median figures."""
    found: dict[str, dict[int, list[dict[str, Any]]]] = {name: {w: [] for w in WINDOWS} for name in systems}
    with contextlib.ExitStack() as stack:
        redis_port, redis = stack.enter_context(redis_server())
        nats_port, nats = stack.enter_context(nats_server())
        for window in WINDOWS:
            for _ in range(rounds):
                for system in systems:
                    port, broker = (nats_port, nats) if system == "nats" else (redis_port, redis)
                    with process(*peer("server", system, str(port))) as server:
                        figures = one_round(system, port, broker.pid, server.pid, window, seconds)
                    found[system][window].append(figures)
    return {
        system: {
            window: {key: statistics.median(figures[key] for figures in rounds_) for key in rounds_[0]}
            for window, rounds_ in windows.items()
        }
        for system, windows in found.items()
    }


def ratios(found: dict[str, dict[int, dict[str, float]]]) -> dict[str, float]:
    """Return how ours compares; greater is better for ours."""
    ours = found["ours"]
    ratio = {"vs_nats_w1_p50": found["nats"][1]["p50_us"] / ours[1]["p50_us"]}
    for other in ("nats", "naive"):
        for window in (100, 1000):
            ratio[f"vs_{other}_w{window}"] = ours[window]["per_s"] / found[other][window]["per_s"]
    for window in (100, 1000):
        ratio[f"batch_vs_nats_w{window}"] = found["ours_batch"][window]["per_s"] / found["nats"][window]["per_s"]
    for window in WINDOWS:
        ratio[f"node_vs_ours_w{window}"] = found["node"][window]["per_s"] / ours[window]["per_s"]
        if original := found.get("node_original"):
            ratio[f"node_vs_original_w{window}"] = found["node"][window]["per_s"] / original[window]["per_s"]
    for window in (100, 1000):
        ratio[f"node_batch_vs_ours_w{window}"] = (
            found["node_batch"][window]["per_s"] / found["ours_batch"][window]["per_s"]
        )
        each = [found[name][window] for name in ("node_enricher", "enricher")]
        node_per_cpu, ours_per_cpu = (figures["per_s"] / figures["server_cpu"] for figures in each)
        ratio[f"node_enricher_vs_ours_w{window}"] = node_per_cpu / ours_per_cpu
    ratio["batch_vs_ours_w1000"] = found["ours_batch"][1000]["per_s"] / ours[1000]["per_s"]
    return {key: round(value, 2) for key, value in ratio.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bin/bench rpc", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--original", metavar="FOLDER", help="an installed copy of the original's rock-me-ts")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    systems = SYSTEMS
    if options.original:
        os.environ["ROCK_ME_TS"] = str(Path(options.original).resolve())
        systems += ("node_original",)
    found = run(systems, options.rounds, options.seconds)
    print(f"{'system':14} {'window':>6} {'calls/s':>9} {'p50 us':>8} {'p99 us':>8}   CPU: client server broker")
    for system, windows in found.items():
        for window, f in windows.items():
            cpu = f"{f['client_cpu']:6.0%} {f['server_cpu']:6.0%} {f['broker_cpu']:6.0%}"
            print(f"{system:14} {window:6} {f['per_s']:9.0f} {f['p50_us']:8.0f} {f['p99_us']:8.0f}          {cpu}")
    ratio = ratios(found)
    for key, value in ratio.items():
        print(f"{key:28} {value:6.2f}")
    if options.json:
        body = {
            system: {str(window): figures for window, figures in windows.items()} for system, windows in found.items()
        }
        sys.stdout.write(json.dumps({**body, "ratio": ratio}) + "\n")


if __name__ == "__main__":
    main()
