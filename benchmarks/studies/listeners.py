"""Events per second of a durable listener in Python and in TypeScript, beside a plain loop on redis-py, in one run.

    PYTHONPATH=benchmarks/support .venv-dev/bin/python benchmarks/studies/listeners.py

The framework for Node.js must be built (bin/test node). Each listener counts batches of 500 from a stream of 60,000
events and ends when its group has acknowledged all. Rounds alternate between the three; the medians are shown.
"""

from __future__ import annotations

import json
import statistics
import sys
import time

import redis
import uvloop
from servers import cpu_seconds, node, process, redis_server

from band import Service
from band.service.config import ServiceConfig
from band.telemetry.logs import configure_logs
from band.testing import make_event

EVENTS = 60_000
BATCH = 500
ROUNDS = 5
GROUP = "counts"
NAMES = ("python", "typescript", "redis-py")
PAGE = {"url": "https://rock.st/docs/", "ref": "https://example.com/", "title": "Rockstat platform"}
ENTRY = {"event": json.dumps(make_event(data={"page": PAGE}))}


def ours(port: int) -> None:
    """Count with the framework in Python."""
    service = Service()

    @service.expose.listener(batch=BATCH, linger=0.01)
    async def broadcast(events: list[dict[str, object]]) -> None:
        assert events

    configure_logs("ERROR")
    config = ServiceConfig(name=GROUP, host="127.0.0.1", port=0, redis_dsn=f"redis://127.0.0.1:{port}")
    uvloop.run(service.run(config))


def plain(port: int) -> None:
    """Count with what one writes first; it neither retries nor claims."""
    client = redis.Redis(port=port)
    while True:
        for _, entries in client.xreadgroup(GROUP, "one", {"events": ">"}, count=BATCH, block=1000) or ():
            for _, fields in entries:
                assert json.loads(fields[b"event"])["key"]
            client.xack("events", GROUP, *(entry_id for entry_id, _ in entries))


def one_round(client: redis.Redis, port: int, name: str) -> tuple[float, float]:
    """Return events per second, and microseconds of CPU per event."""
    client.flushall()
    client.xgroup_create("events", GROUP, "0", mkstream=True)
    pipeline = client.pipeline(transaction=False)
    for number in range(EVENTS):
        pipeline.xadd("events", ENTRY)
        if number % 5000 == 4999:
            pipeline.execute()
    command = (
        node("listener_node.cjs", str(port)) if name == "typescript" else (sys.executable, __file__, name, str(port))
    )
    with process(*command) as child:
        while _left(client) == EVENTS:
            time.sleep(0.002)
        began, before, taken = time.perf_counter(), cpu_seconds(child.pid), EVENTS - _left(client)
        while left := _left(client):
            assert left
            time.sleep(0.01)
        took, used = time.perf_counter() - began, cpu_seconds(child.pid) - before
    return (EVENTS - taken) / took, used / (EVENTS - taken) * 1e6


def _left(client: redis.Redis) -> int:
    (group,) = client.xinfo_groups("events")
    return int(group["pending"]) + int(group["lag"])


def main() -> None:
    if len(sys.argv) == 3:
        {"python": ours, "redis-py": plain}[sys.argv[1]](int(sys.argv[2]))
        return
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in NAMES}
    with redis_server() as (port, _):
        client = redis.Redis(port=port)
        for _ in range(ROUNDS):
            for name in NAMES:
                found[name].append(one_round(client, port, name))
    medians = {
        name: [statistics.median(values) for values in zip(*rounds, strict=True)] for name, rounds in found.items()
    }
    for name, (per_s, cpu_us) in medians.items():
        print(f"{name:12} {per_s:9.0f} events/s {cpu_us:7.1f} us of CPU per event")
    print(f"typescript / python: {medians['typescript'][0] / medians['python'][0]:.2f} by rate, ", end="")
    print(f"{medians['python'][1] / medians['typescript'][1]:.2f} by CPU")


if __name__ == "__main__":
    main()
