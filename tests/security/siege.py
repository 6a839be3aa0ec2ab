"""Attack front while ordinary visitors send events; judge whether they were served and what was answered is kept."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos_judge import lost
from chaos_load import Load
from chaos_stage import DIRECTOR, FRONT, FRONT_PORT, NAME, Stage, ask, docker

HEAL_SECONDS = 60.0
"""How long after an attack everything may take to be healthy again, without a hand."""


@dataclass(frozen=True)
class Outcome:
    """What one attack did. `served` is the share of ordinary events that got 200; times in seconds."""

    attack: str
    seen: dict[str, int]
    sent: int
    served: float
    longest_answer: float
    lost: int
    restarts: list[str]
    healed_after: float
    redis_used: float

    def faults(self, *, least_served: float = 0.97) -> list[str]:
        """The promises that did not hold, in words."""
        found = []
        if self.served < least_served:
            found.append(f"only {self.served:.1%} of the ordinary visitors' events were served")
        if self.lost:
            found.append(f"{self.lost} events were answered with 200 and never arrived")
        if self.restarts:
            found.append(f"ended or restarted: {', '.join(self.restarts)}")
        if self.healed_after > HEAL_SECONDS:
            found.append(f"not healthy {HEAL_SECONDS:.0f} s after the attack")
        if self.redis_used > 1.0:
            found.append(f"Redis is at {self.redis_used:.0%} of its maxmemory")
        return found


async def besiege(stage: Stage, names: list[str], seconds: float, first_user: int) -> Outcome:
    """Run attacks at once, each in a process of its own, with ordinary visitors before, during and after them."""
    lives = _lives(stage)
    load = Load(FRONT, users=10, rate=30, first_user=first_user, own_addresses=True)
    load.begin()
    await asyncio.sleep(1.0)
    attacks = [await _start(name, seconds) for name in names]
    outputs = [json.loads((await attack.communicate())[0]) for attack in attacks]
    await asyncio.sleep(2.0)
    await load.end()
    ended = time.monotonic()
    fault = await asyncio.to_thread(_fault)
    while fault and time.monotonic() < ended + HEAL_SECONDS:
        await asyncio.sleep(0.5)
        fault = await asyncio.to_thread(_fault)
    healed_after = time.monotonic() - ended if not fault else float("inf")
    accepted = load.accepted()
    missing = lost(accepted, await asyncio.to_thread(stage.arrived))
    while missing and time.monotonic() < ended + HEAL_SECONDS:
        await asyncio.sleep(0.5)
        missing = lost(accepted, await asyncio.to_thread(stage.arrived))
    seen: dict[str, int] = {}
    for output in outputs:
        for word, times in output["seen"].items():
            seen[word] = seen.get(word, 0) + times
    return Outcome(
        attack=" + ".join(names),
        seen=seen,
        sent=len(load.sent),
        served=len(accepted) / max(1, len(load.sent)),
        longest_answer=max((one.took for one in load.sent), default=0.0),
        lost=len(missing),
        restarts=_ended(lives, _lives(stage)) + _ended_workers(stage, seconds),
        healed_after=healed_after,
        redis_used=_redis_used(),
    )


def attack_seconds() -> float:
    """How long each attack goes on: short in CI, ten minutes with `bin/test security --long`."""
    return float(os.environ.get("BAND_TEST_ATTACK_SECONDS", "8"))


async def _start(name: str, seconds: float) -> asyncio.subprocess.Process:
    # Less urgent than the ordinary visitors: here both share the two cores with front itself.
    command = [
        sys.executable,
        str(Path(__file__).with_name("attacks.py")),
        name,
        f"--port={FRONT_PORT}",
        f"--seconds={seconds}",
    ]
    return await asyncio.create_subprocess_exec("nice", "-n", "10", *command, stdout=asyncio.subprocess.PIPE)


def _fault() -> str:
    """What the director says is wrong; empty when all is well."""
    try:
        health = ask(f"{DIRECTOR}/health", timeout=10)
    except (AssertionError, OSError) as error:
        return str(error)
    return "" if health["status"] == "ok" else json.dumps(health)


def _lives(stage: Stage) -> dict[str, tuple[Any, ...]]:
    found = {}
    for name in ["redis", "band", *stage.services]:
        facts = json.loads(docker("inspect", stage.container(name)))[0]
        found[name] = (facts["Id"], facts["State"]["StartedAt"], facts["RestartCount"], facts["State"]["OOMKilled"])
    return found


def _ended(before: dict[str, tuple[Any, ...]], now: dict[str, tuple[Any, ...]]) -> list[str]:
    return [name for name, life in before.items() if now.get(name) != life]


def _ended_workers(stage: Stage, seconds: float) -> list[str]:
    since = f"{int(seconds + HEAL_SECONDS + 10)}s"
    log = docker("logs", "--since", since, stage.container("front"))
    return [line[:200] for line in log.splitlines() if "worker_ended" in line]


def _redis_used() -> float:
    facts = dict(
        line.split(":", 1)
        for line in docker("exec", f"{NAME}-redis", "redis-admin", "INFO", "memory").splitlines()
        if ":" in line
    )
    return int(facts["used_memory"]) / int(facts["maxmemory"])
