"""Events a second through real containers, with the load generator on the same cores, all of it durable.

Each answer is given after the event is in Redis' append-only file. In one run, one after the other:

- `front_only`: front and Redis; `front_batches`: the same with 100 events a request;
- `enriched_cached`: with mmgeo, sxgeo and uaparser, 20 addresses and 20 User-Agents;
- `enriched_distinct`: 5,000 User-Agents and random public addresses;
- `delivered`: the first load with send_mixpanel and a double of Mixpanel behind, until the double has counted all;
- the baseline `aiohttp_xadd`: aiohttp and redis-py as their tutorials show them, one awaited XADD a request.

`half` is the same load at half of the rate found, which is where latency means something. Everything is measured with
`appendfsync everysec`, then with `always`; `ours` is the first.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from typing import Any

from pipeline_load import Load, Said
from pipeline_stage import DELIVERY, ENRICHERS, FRONT_PORT, ROOT, Stage, Use, ask, until

Figures = dict[str, Any]


class Bench:
    """Measures one stage."""

    def __init__(self, stage: Stage, seconds: int) -> None:
        self.stage = stage
        self.seconds = seconds
        self.few = Load(distinct=False)
        self.many = Load(distinct=True)
        self.batches = Load(distinct=False, events=100)
        self.rows: list[Figures] = []

    def run(self, fsync: str, part: str, load: Load, url: str, *, half: bool = True) -> Said:
        """Measure one part; returns what wrk said at full speed."""
        load.send(url, max(2, self.seconds // 3))  # connections, caches and the kernel's windows are warm
        full = self._measure(fsync, part, load, url, 0.0)
        if half:
            self._measure(fsync, f"{part} half", load, url, full.per_s / 2)
        return full

    def _measure(self, fsync: str, part: str, load: Load, url: str, rate: float) -> Said:
        before, began = self.stage.use(), time.monotonic()
        said = load.send(url, self.seconds, rate)
        elapsed, after = time.monotonic() - began, self.stage.use()
        row: Figures = {"fsync": fsync, "part": part, **said._asdict(), "containers": _used(before, after, elapsed)}
        self.rows.append(row)
        print(line(row), flush=True)
        return said

    def delivered(self, fsync: str, url: str) -> float:
        """Events a second from the first request until Mixpanel's double has counted the last one."""
        double = self.stage.address("mixpanel_double")

        def counted() -> int:
            return int(ask(f"{double}/_double/stats", timeout=30)["unique"])

        until(lambda: _still(counted), 120, "an empty queue")
        before, began = counted(), time.monotonic()
        said = self._measure(fsync, "delivered", self.few, url, 0.0)
        expected = before + int(said.per_s * self.seconds * 0.999)
        until(lambda: counted() >= expected, 240, "all events at Mixpanel's double")
        events = counted() - before
        per_s = events / (time.monotonic() - began)
        print(f"{fsync:9} {'delivered, all counted':26} {per_s:9,.0f}/s", flush=True)
        self._measure(fsync, "delivered half", self.few, url, per_s / 2)
        return per_s


def _still(counted: Any) -> bool:
    first = counted()
    time.sleep(2)
    return bool(counted() == first)


def _used(before: dict[str, Use], after: dict[str, Use], elapsed: float) -> dict[str, Figures]:
    return {
        name: {
            "cpu_percent": round((use.cpu_s - before[name].cpu_s) / elapsed * 100) if name in before else None,
            "memory_mb": round(use.memory_mb, 1),
        }
        for name, use in sorted(after.items())
    }


def line(row: Figures) -> str:
    """One row of the table."""
    used = "  ".join(f"{name} {use['cpu_percent']}% {use['memory_mb']:.0f}M" for name, use in row["containers"].items())
    bad = f"  BAD {row['bad']}" if row["bad"] else ""
    figures = f"{row['per_s']:9,.0f}/s  p50 {row['p50_ms']:6.1f}  p99 {row['p99_ms']:6.1f} ms"
    return f"{row['fsync']:9} {row['part']:26} {figures}  {used}{bad}"


def measure(bench: Bench, fsyncs: list[str]) -> dict[str, dict[str, float]]:
    """Everything; fsync -> part -> events a second."""
    stage = bench.stage
    front = stage.address("front")
    found: dict[str, dict[str, float]] = {fsync: {} for fsync in fsyncs}
    stage.start_baseline()
    for fsync in fsyncs:
        stage.redis("config", "set", "appendfsync", fsync)
        found[fsync]["aiohttp_xadd"] = bench.run(
            fsync, "aiohttp_xadd", bench.few, stage.address("baseline"), half=False
        ).per_s
    stage.stop("baseline")
    stage.redis("del", "baseline")
    for fsync in fsyncs:
        stage.redis("config", "set", "appendfsync", fsync)
        found[fsync]["front_only"] = bench.run(fsync, "front_only", bench.few, front).per_s
        found[fsync]["front_batches"] = bench.run(fsync, "front_batches", bench.batches, front).per_s
    published = f"http://127.0.0.1:{FRONT_PORT}"
    bench.run(fsyncs[-1], "front_only, docker-proxy", bench.few, published, half=False)
    for name in ENRICHERS:
        stage.start(name)
    until(lambda: _enriched(stage), 60, "an event with all enrichments")
    for fsync in fsyncs:
        stage.redis("config", "set", "appendfsync", fsync)
        found[fsync]["enriched_cached"] = bench.run(fsync, "enriched_cached", bench.few, front).per_s
        found[fsync]["enriched_distinct"] = bench.run(fsync, "enriched_distinct", bench.many, front).per_s
    stage.start(DELIVERY[0])
    stage.start(DELIVERY[1], MIXPANEL_TOKEN="benchmark", MIXPANEL_URL=stage.address(DELIVERY[0]))
    for fsync in fsyncs:
        stage.redis("config", "set", "appendfsync", fsync)
        found[fsync]["delivered"] = bench.delivered(fsync, front)
    return found


def _enriched(stage: Stage) -> bool:
    load = Load(distinct=False)
    load.send(stage.address("front"), 1)
    entry = stage.redis("--raw", "xrevrange", "events", "+", "-", "count", "1")
    return all(f'"{name}":{{' in entry for name in ENRICHERS)


def soak(bench: Bench, minutes: float, rate: float) -> None:
    """Half load for a long time: what memory does."""
    front = bench.stage.address("front")
    until_ = time.monotonic() + minutes * 60
    while time.monotonic() < until_:
        bench._measure("everysec", "soak", bench.many, front, rate)  # noqa: SLF001 - its own benchmark


def summary(found: dict[str, dict[str, float]], rows: list[Figures]) -> Figures:
    """What `--json` prints."""
    first = next(iter(found))
    base = found[first].pop("aiohttp_xadd")

    def row_of(part: str) -> Figures:
        return next(row for row in rows if row["fsync"] == first and row["part"] == part)

    half, full = row_of("enriched_cached half"), row_of("delivered")
    memory = {name: use["memory_mb"] for name, use in full["containers"].items()}
    ours: Figures = {f"{part}_per_s": round(per_s) for part, per_s in found[first].items()}
    ours |= {
        "p50_ms": half["p50_ms"],
        "p99_ms": half["p99_ms"],
        "memory_mb": {**memory, "all": round(sum(memory.values()))},
    }
    for fsync, parts in list(found.items())[1:]:
        ours[fsync] = {f"{part}_per_s": round(per_s) for part, per_s in parts.items() if part != "aiohttp_xadd"}
    return {
        "ours": ours,
        "aiohttp_xadd": {"front_only_per_s": round(base)},
        "ratio": {
            "front_batches_vs_front_only": round(found[first]["front_batches"] / found[first]["front_only"], 2),
            "front_only_vs_aiohttp_xadd": round(found[first]["front_only"] / base, 2),
        },
        "rows": rows,
    }


def build_images() -> None:
    """Build base, redis and director from this tree; unchanged ones cost a few seconds."""
    playbook = [str(ROOT / ".venv-dev" / "bin" / "ansible-playbook"), "playbooks/images.yml"]
    done = subprocess.run(playbook, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"playbooks/images.yml failed:\n{done.stdout[-3000:]}")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="bin/bench pipeline", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    parser.add_argument("--quick", action="store_true", help="3 seconds a measurement, appendfsync everysec only")
    parser.add_argument("--seconds", type=int, default=8, help="of one measurement (default 8)")
    parser.add_argument("--workers", default="auto", help="front's processes (default: as it decides itself)")
    parser.add_argument(
        "--no-images", action="store_true", help="take the images of base, redis and director as they are"
    )
    parser.add_argument("--soak", type=float, default=0.0, metavar="MINUTES", help="afterwards, half load for so long")
    given = parser.parse_args()
    if not given.no_images:
        build_images()
    began, load = time.monotonic(), os.getloadavg()[0]
    with Stage(given.workers) as stage:
        print(
            f"{os.cpu_count()} cores, load {load:.1f} before; containers after {time.monotonic() - began:.0f} s",
            flush=True,
        )
        bench = Bench(stage, 3 if given.quick else given.seconds)
        found = measure(bench, ["everysec"] if given.quick else ["everysec", "always"])
        if given.soak:
            soak(bench, given.soak, found["everysec"]["enriched_distinct"] / 2)
        result = summary(found, bench.rows)
    for name, figure in result["ours"].items():
        print(f"{name:24} {figure}")
    print(f"{'vs aiohttp + XADD':24} {result['ratio']['front_only_vs_aiohttp_xadd']} x")
    if given.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
