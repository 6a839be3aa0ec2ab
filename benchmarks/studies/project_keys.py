"""What the check of a write key costs an event in front: microseconds per event, with and without projects.

    .venv-dev/bin/python benchmarks/studies/project_keys.py

Runs the code between the head of a request and its event, in a loop on one core: the lowest CPU time of several runs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from band.telemetry.metrics import Metrics
from front.event.client_address import ClientAddresses
from front.intake.door import Door
from front.intake.keys import key_in_head
from front.intake.visit import Visit
from front.metrics import Counters
from front.projects.limits import RateLimits
from front.projects.table import ProjectTable

ROUNDS = 20_000
RUNS = 7
SECRET = "sk_0123456789abcdef"


def door_of(project: dict[str, Any] | None) -> Door:
    """Return a door with 200 projects, `project` among them; without any for None."""
    door = Door(ClientAddresses(()), Counters(Metrics()), RateLimits(tells=True), require_key=False)
    if project is not None:
        documents = {f"p{number}": json.dumps({"public_keys": [f"pk_{number}"]}).encode() for number in range(200)}
        door.use(ProjectTable({**documents, "shop": json.dumps(project).encode()}))
    return door


def check(door: Door, headers: dict[bytes, bytes]) -> Callable[[], None]:
    """Return what front does for one event of the native form, besides what it does without projects."""
    event: dict[str, Any] = {"projectId": 7, "td": {"ip": "192.0.2.1"}, "data": {}, "uid": "1", "time": 1}
    query: dict[str, Any] = {}

    def run() -> None:
        if door.guarded:
            visit = Visit(door, headers, "192.0.2.1", 600)
            if key := key_in_head(headers, query):
                query.pop("writeKey", None)
                visit.enter(key)
            visit.admit(event, 7)

    return run


def microseconds(run: Callable[[], None]) -> float:
    best = 1e9
    for _ in range(RUNS):
        begun = time.thread_time()
        for _ in range(ROUNDS):
            run()
        best = min(best, (time.thread_time() - begun) / ROUNDS * 1e6)
    return best


def main() -> None:
    shop = {"public_keys": ["pk_shop"], "secret_keys": [sha256(SECRET.encode()).hexdigest()]}
    limited = {**shop, "events_per_second": 1e9, "burst": 1e9}
    visitors = {**limited, "visitor_events_per_second": 1e9, "visitor_burst": 1e9}
    public, origin = {b"x-write-key": b"pk_shop"}, {b"origin": b"https://shop.example"}
    rows = {
        "no projects": (None, {}),
        "no key": (shop, {}),
        "public key": (shop, public),
        "public key in Basic": (shop, {b"authorization": b"Basic cGtfc2hvcDo="}),
        "public key and origin": ({**shop, "origins": ["https://shop.example"]}, public | origin),
        "secret key": (shop, {b"x-write-key": SECRET.encode()}),
        "public key, limit of the key": (limited, public),
        "public key, limits of key and visitor": (visitors, public),
    }
    for name, (project, headers) in rows.items():
        print(f"{name:40}{microseconds(check(door_of(project), headers)):6.2f} µs")


if __name__ == "__main__":
    main()
