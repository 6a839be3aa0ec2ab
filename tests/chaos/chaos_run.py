"""Runs scenarios under load and prints the table: `bin/test chaos --long`, or with names of scenarios."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import redis.asyncio as aioredis
from chaos_host import Host
from chaos_judge import Row, doubled, longest_gap, lost, out_of_order, table
from chaos_load import Load
from chaos_scenarios import ENGINE_SCENARIOS, SCENARIOS, Scenario
from chaos_stage import FRONT, REDIS, Stage, images_to_lay
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

BEFORE_S = 2.0
SETTLED_S = 4.0
"""An event that has not arrived so long after its 200 means that something is still amiss."""


class Watch:
    """Looks at the stream and at the double all the time: what is where, and since when all is well."""

    def __init__(self, stage: Stage, load: Load) -> None:
        self.stream: list[str] = []
        self.arrived: list[str] = []
        self.last_amiss = time.monotonic()
        self._stage = stage
        self._load = load
        self._redis = aioredis.Redis.from_url(
            REDIS, socket_timeout=2, socket_connect_timeout=2, retry=Retry(NoBackoff(), 0)
        )
        self._after = "-"

    async def begin(self) -> None:
        """Look only at what comes from now on."""
        newest = await self._redis.xrevrange("events", count=1)
        self._after = f"({newest[0][0].decode()}" if newest else "-"

    async def run(self) -> None:
        """Look twice a second, for ever."""
        async with asyncio.TaskGroup() as group:
            for look in (self.look_at_stream, self.look_at_double, self._judge):
                group.create_task(self._again(look))

    async def look_at_stream(self) -> None:
        """Read what is new in the stream."""
        with contextlib.suppress(aioredis.RedisError, OSError):
            while rows := await self._redis.xrange("events", min=self._after, count=5000):
                self._after = f"({rows[-1][0].decode()}"
                self.stream += [json.loads(fields[b"event"])["id"] for _, fields in rows]

    async def look_at_double(self) -> None:
        """Read what is counted."""
        with contextlib.suppress(OSError, AssertionError):
            self.arrived = await asyncio.to_thread(self._stage.arrived)

    async def close(self) -> None:
        """Let the connection go."""
        await self._redis.aclose()

    async def _judge(self) -> None:
        now = time.monotonic()
        accepted = self._load.accepted()
        due = [one for one in accepted if one.at < now - SETTLED_S]
        quiet = not accepted or max(one.at for one in accepted) < now - 1.0
        if lost(due, self.arrived, self._stage.marks) or (quiet and not self._load.ended):
            self.last_amiss = now

    async def _again(self, look: Callable[[], Awaitable[None]]) -> None:
        while True:
            await look()
            await asyncio.sleep(0.5)


async def play(stage: Stage, scenario: Scenario, users: int, rate: float, first_user: int) -> Row:
    """Run one scenario; the row of its figures."""
    load = Load(FRONT, users, rate, first_user, scenario.pad)
    watch = Watch(stage, load)
    before = set(await asyncio.to_thread(stage.arrived))
    await watch.begin()
    begun = time.monotonic()
    load.begin()
    watching = asyncio.create_task(watch.run())
    await asyncio.sleep(BEFORE_S)
    hurt = watch.last_amiss = time.monotonic()
    await asyncio.to_thread(scenario.act, stage)
    await asyncio.sleep(scenario.after_s)
    await load.end()
    ended = time.monotonic()
    accepted = load.accepted()
    while lost(accepted, watch.arrived, stage.marks) and time.monotonic() < ended + scenario.drain_s:  # noqa: ASYNC110
        await asyncio.sleep(0.2)
    # What comes a second time comes a little later.
    await asyncio.sleep(2.0)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await watch.look_at_stream()
    await watch.look_at_double()
    await watch.close()
    ours = [one for one in watch.arrived if one not in before]
    mine = {one.event_id for one in accepted}
    return Row(
        scenario=scenario.name,
        sent=len(load.sent),
        accepted=len(accepted),
        refused=sum(one.status not in {0, 200} for one in load.sent),
        unanswered=sum(one.status == 0 for one in load.sent),
        arrived=len(mine & set(ours)),
        lost=len(lost(accepted, watch.arrived, stage.marks)),
        doubled=doubled(ours),
        twice_in_stream=doubled(watch.stream),
        out_of_order=out_of_order(accepted, watch.stream),
        longest_gap=longest_gap(accepted, begun, ended),
        whole_after=max(0.0, watch.last_amiss - hurt),
    )


def play_all(stage: Stage, scenarios: list[Scenario], users: int, rate: float, tell: Any = None) -> list[Row]:
    """Run scenarios one after the other, each with visitors of its own."""
    rows = []
    for number, scenario in enumerate(scenarios):
        if scenario.front_env:
            stage.run("front", **{name: value for name, value, _ in scenario.front_env})
        rows.append(asyncio.run(play(stage, scenario, users, rate, 1_000_000_000 + (number + 1) * 10_000)))
        if scenario.front_env:
            stage.run("front", **{name: usual for name, _, usual in scenario.front_env})
        if tell is not None:
            tell(rows[-1])
    return rows


def play_on_a_host(rate: float, users: int, fsync: str) -> list[Row]:
    """Run the scenarios that end a Docker engine, in the network and with the engine of a host of its own."""
    host = Host()
    rows = host.folder / "rows.json"
    try:
        host.start(images_to_lay())
        me = [sys.executable, __file__, "--engine", str(host.folder), "--rows", str(rows)]
        words = [*me, "--rate", str(rate), "--users", str(users), "--fsync", fsync]
        subprocess.run(host.inside(*words), check=False)
        return [Row(**row) for row in json.loads(rows.read_text())]
    finally:
        host.stop()
        shutil.rmtree(host.folder, ignore_errors=True)


def main() -> int:
    """Exit code 0 when every promise was kept."""
    parser = argparse.ArgumentParser(description="Hurts a platform under load and counts what arrived.")
    parser.add_argument("names", nargs="*", help="scenarios that contain one of these words; default: all")
    parser.add_argument("--rate", type=float, default=150.0, help="events a second (default 150)")
    parser.add_argument("--users", type=int, default=40, help="visitors at once (default 40)")
    parser.add_argument("--fsync", choices=["everysec", "always"], default="everysec", help="Redis' appendfsync")
    parser.add_argument("--keep", action="store_true", help="leave the platform running afterwards")
    parser.add_argument("--engine", metavar="FOLDER", help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=Path, help="write the figures there too, as JSON")
    given = parser.parse_args()
    if given.engine:
        rows = play_here(ENGINE_SCENARIOS, given, Path(given.engine))
    else:
        chosen = [one for one in SCENARIOS if _named(one, given.names)]
        on_a_host = any(_named(one, given.names) for one in ENGINE_SCENARIOS)
        if not chosen and not on_a_host:
            names = "\n  ".join(one.name for one in SCENARIOS + ENGINE_SCENARIOS)
            parser.error(f"no scenario contains {' or '.join(map(repr, given.names))}; they are\n  {names}")
        with tempfile.TemporaryDirectory(prefix="t-chaos-") as folder:
            rows = play_here(chosen, given, Path(folder)) if chosen else []
        if on_a_host:
            rows += play_on_a_host(given.rate, given.users, given.fsync)
        print(f"\n{table(rows)}\n")
    if given.rows:
        given.rows.write_text(json.dumps([asdict(row) for row in rows]))
    return 0 if all(row.kept for row in rows) else 1


def play_here(chosen: list[Scenario], given: argparse.Namespace, folder: Path) -> list[Row]:
    """Set the platform up on the engine that Docker's client talks to, and run scenarios on it."""
    stage = Stage(folder, given.fsync, double_outside=bool(given.engine), typescript=not given.engine)
    try:
        begun = time.monotonic()
        stage.up()
        took = time.monotonic() - begun
        print(f"up after {took:.0f} s; {given.rate:g} events/s, appendfsync {given.fsync}", flush=True)
        rows = play_all(stage, chosen, given.users, given.rate, lambda row: print(row, flush=True))
        if broken := [row.scenario for row in rows if not row.kept]:
            print(f"promise broken by: {', '.join(broken)}\n{stage.said()}", file=sys.stderr)
        return rows
    finally:
        if not given.keep:
            stage.down()


def _named(scenario: Scenario, words: list[str]) -> bool:
    return not words or any(word in scenario.name for word in words)


if __name__ == "__main__":
    sys.exit(main())
