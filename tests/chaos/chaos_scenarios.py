"""What is done to the platform while events come in. Each returns when the fault is over."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from chaos_host import kill_engine, systemctl
from chaos_load import send_packed
from chaos_stage import DIRECTOR, FRONT, NAME, ROOT, TS_LISTENER, Stage, ask, until


@dataclass(frozen=True)
class Scenario:
    """A fault: its name, what does it, seconds of load behind it, and settings that it needs.

    `front_env` has a variable of front, its value for this scenario, and the one that it has otherwise.
    """

    name: str
    act: Callable[[Stage], None]
    after_s: float = 8.0
    drain_s: float = 90.0
    front_env: tuple[tuple[str, str, str], ...] = ()
    pad: int = 300
    small: bool = False


def _kill(name: str) -> Callable[[Stage], None]:
    return lambda stage: stage.kill(name)


def _restart(name: str) -> Callable[[Stage], None]:
    return lambda stage: stage.restart(name)


def _nothing(stage: Stage) -> None:
    time.sleep(2)


def _kill_worker(stage: Stage) -> None:
    stage.kill_child("front")


def _pause_redis(seconds: float) -> Callable[[Stage], None]:
    def act(stage: Stage) -> None:
        stage.pause("redis")
        time.sleep(seconds)
        stage.unpause("redis")

    return act


def _redis_away(seconds: float) -> Callable[[Stage], None]:
    def act(stage: Stage) -> None:
        stage.stop_redis()
        time.sleep(seconds)
        stage.start_redis()

    return act


def _disk_full(seconds: float) -> Callable[[Stage], None]:
    """Redis is unavailable, and the disk of the journal has 1 MiB left: a small one, which a container has anyway."""

    def act(stage: Stage) -> None:
        stage.inside("front", f"head -c {63 * 1024 * 1024} /dev/zero > {SMALL_DISK}/fill")
        stage.stop_redis()
        time.sleep(seconds)
        stage.inside("front", f"rm {SMALL_DISK}/fill")
        stage.start_redis()

    return act


def _front_killed_without_redis(stage: Stage) -> None:
    """The journal of a dead front, brought by the next one."""
    stage.stop_redis()
    time.sleep(3)
    stage.kill("front")
    time.sleep(3)
    stage.start_redis()


def _redis_killed_after_a_replay(stage: Stage) -> None:
    """Events that the journal gave to Redis are in its file like any others, though a script put them there."""
    stage.pause("send_mixpanel")
    stage.stop_redis()
    time.sleep(3)
    stage.start_redis()
    until(lambda: ask(f"{FRONT}/_band/health")["status"] == "ok", 30, "the journal replayed")
    time.sleep(2)
    stage.kill("redis")
    stage.unpause("send_mixpanel")


def _disk_of_redis_full(stage: Stage) -> None:
    """Redis confirms the event at which its disk fills up and refuses the next; then it is killed."""
    assert stage.redis_disk is not None
    stage.redis_disk.fill()
    try:
        time.sleep(2)
        stage.kill("redis")
        time.sleep(1)
    finally:
        stage.redis_disk.free()


def _file_of_redis_cut(stage: Stage) -> None:
    """The last events are missing in Redis' file when it starts, as after a crash of its host."""
    assert stage.redis_disk is not None
    stage.stop_redis()
    path = stage.redis_disk.newest_file()
    os.truncate(path, path.stat().st_size - 2500)
    stage.start_redis()


def _file_of_redis_damaged(stage: Stage) -> None:
    """Redis does not start with such a file; it is mended by the commands of docs/durability.md."""
    assert stage.redis_disk is not None
    stage.stop_redis()
    with stage.redis_disk.newest_file().open("r+b") as file:
        file.seek(-3000, os.SEEK_END)
        file.write(os.urandom(200))
    stage.start_redis()
    time.sleep(3)
    subprocess.run(["bash", "-euc", mending_commands()], check=True, capture_output=True, text=True, timeout=120)


def mending_commands() -> str:
    """The commands of the page, with the names of the stage; its host has no units."""
    page = (ROOT / "docs" / "durability.md").read_text(encoding="utf-8")
    block = page.split("## Repair a damaged append-only file")[1].split("```bash\n")[1].split("```")[0]
    lines = [line for line in block.splitlines() if not line.startswith("systemctl")]
    named = re.sub(r"(?<![\w/-])(redis|director)(?![\w/-])", rf"{NAME}-\1", "\n".join(lines))
    return named.replace(f"{NAME}-director", f"{NAME}-band")


def _redis_unreachable(seconds: float) -> Callable[[Stage], None]:
    """Half-open: front's packets to Redis are dropped without a word."""

    def act(stage: Stage) -> None:
        reachable = stage.cut_off_redis("front")
        try:
            time.sleep(seconds)
        finally:
            reachable()

    return act


def _flood(stage: Stage) -> None:
    """Twice Redis' memory in packed events of 100 kB, over eight connections: they are delivered too.

    The TypeScript listener has 128 MB for them, and does not end.
    """
    memory = 48 << 20
    stage.redis_cli("CONFIG", "SET", "maxmemory", str(memory))
    listens = TS_LISTENER in stage.services
    began = stage.started(TS_LISTENER) if listens else ""
    ids = asyncio.run(send_packed(FRONT, size=100_000, total=2 * memory, connections=8))
    wanted = {f"{mark}{one}" for mark in stage.marks for one in ids}
    until(lambda: wanted <= set(stage.arrived()), 90, "the events of the flood at the double")
    assert not listens or stage.started(TS_LISTENER) == began, "the TypeScript listener ended"
    until(lambda: ask(f"{FRONT}/_band/health")["status"] == "ok", 30, "front well after the flood")
    used = int(re.findall(r"used_memory:(\d+)", stage.redis_cli("INFO", "memory"))[0])
    assert used < 0.8 * memory, f"Redis has used {used} of {memory} bytes"
    stage.redis_cli("CONFIG", "SET", "maxmemory", "256mb")


def _uploads(**fault: float) -> Callable[[Stage], None]:
    def act(stage: Stage) -> None:
        stage.order(**fault)
        time.sleep(3)

    return act


def _killed_in_the_middle_of_uploads(stage: Stage) -> None:
    """Records are counted, the answer never comes, and the sender dies before it tries again."""
    stage.order(cut_after_store=True, times=2)
    time.sleep(1.5)
    stage.kill("send_mixpanel")


def _wrong_credentials(stage: Stage) -> None:
    stage.close_double("another-token")
    time.sleep(6)
    stage.close_double()
    stage.restart("send_mixpanel")


def _group_destroyed(name: str) -> Callable[[Stage], None]:
    """The listener makes it again where it had come to, with what it has in hand."""

    def act(stage: Stage) -> None:
        for _ in range(3):
            assert stage.redis_cli("XGROUP", "DESTROY", "events", name).endswith("1")
            time.sleep(2)

    return act


def _poison(stage: Stage) -> None:
    """One event in ten is refused for ever, the others are delivered; replayed from the page when they can be read."""
    ask(f"{DIRECTOR}/call/{TS_LISTENER}/poison?on=true")
    time.sleep(5)
    letters = until(lambda: ask(f"{DIRECTOR}/dead_letters/{TS_LISTENER}")["letters"], 30, "dead letters")
    assert "is poison" in letters[0]["reason"], letters[0]
    ask(f"{DIRECTOR}/call/{TS_LISTENER}/poison?on=false")
    time.sleep(2)
    until(_no_letters_left, 60, "all dead letters replayed")


def _no_letters_left() -> bool:
    ask(f"{DIRECTOR}/replay_dead_letters/{TS_LISTENER}", {})
    return not ask(f"{DIRECTOR}/dead_letters/{TS_LISTENER}")["letters"]


SMALL_DISK = "/dev/shm"
SCENARIOS = [
    Scenario("nothing", _nothing, after_s=4),
    Scenario("kill -9 front", _kill("front"), small=True),
    Scenario("kill -9 a worker of front", _kill_worker),
    Scenario("restart front", _restart("front")),
    Scenario("kill -9 Redis", _kill("redis"), small=True),
    Scenario("restart Redis", _restart("redis")),
    Scenario("Redis unavailable for 10 s", _redis_away(10)),
    Scenario("Redis paused for 8 s", _pause_redis(8)),
    Scenario("Redis paused for 3 s", _pause_redis(3), after_s=4, small=True),
    Scenario("front killed while Redis is unavailable", _front_killed_without_redis, after_s=12),
    Scenario("Redis killed after the journal was replayed", _redis_killed_after_a_replay, after_s=12, small=True),
    Scenario("Redis unreachable for 60 s", _redis_unreachable(60), after_s=12),
    Scenario("Redis' disk full, then kill -9 Redis", _disk_of_redis_full, small=True),
    Scenario("the end of Redis' file cut off", _file_of_redis_cut),
    Scenario("Redis' file damaged and mended", _file_of_redis_damaged),
    Scenario("flood of compressed events", _flood, small=True),
    Scenario("kill -9 an enricher", _kill("uaparser")),
    Scenario("restart an enricher", _restart("uaparser")),
    Scenario("kill -9 send_mixpanel", _kill("send_mixpanel")),
    Scenario("restart send_mixpanel", _restart("send_mixpanel")),
    Scenario("kill -9 the TypeScript listener", _kill(TS_LISTENER), small=True),
    Scenario("restart the TypeScript listener", _restart(TS_LISTENER)),
    Scenario("the group of the TypeScript listener destroyed", _group_destroyed(TS_LISTENER)),
    Scenario("events that the TypeScript listener cannot process", _poison),
    Scenario("kill -9 the director", _kill("band")),
    Scenario("restart the director", _restart("band")),
    Scenario(
        "journal full (1 MiB), Redis unavailable for 12 s",
        _redis_away(12),
        pad=6000,
        front_env=(("JOURNAL_MAX_MB", "1", "256"),),
    ),
    Scenario(
        "disk of the journal full (1 MiB left), Redis unavailable for 12 s",
        _disk_full(12),
        pad=6000,
        front_env=(("JOURNAL_DIR", f"{SMALL_DISK}/journal", "/data/journal"),),
    ),
    Scenario("Mixpanel answers 429", _uploads(status=429, times=3)),
    Scenario("Mixpanel answers 500", _uploads(status=500, times=3)),
    Scenario("Mixpanel hangs", _uploads(hang=20, times=2)),
    Scenario("Mixpanel cuts after it stored", _uploads(cut_after_store=True, times=3)),
    Scenario("Mixpanel sends half an answer", _uploads(half_body=True, times=2)),
    Scenario("send_mixpanel killed after Mixpanel stored", _killed_in_the_middle_of_uploads, small=True),
    Scenario("Mixpanel refuses the credentials for 6 s", _wrong_credentials),
]
"""Those that hurt only what is ours; the small ones are part of `bin/test`."""


def _restart_engine(_stage: Stage) -> None:
    systemctl("restart", "docker")


def _kill_engine(_stage: Stage) -> None:
    kill_engine()


ENGINE_SCENARIOS = [
    Scenario("restart dockerd", _restart_engine, after_s=25, drain_s=120),
    Scenario("kill -9 dockerd", _kill_engine, after_s=25, drain_s=120),
]
"""Those that end a Docker engine: on a host of its own (chaos_host.py)."""
