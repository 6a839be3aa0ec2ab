"""Several processes at one port: as one for whoever talks to them, and none missed for long."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from band.errors import SettingsError
from band.testing import capture_logs
from front.http1.server import listening_socket
from front.process import WorkerProcess, cores
from front.settings import FrontSettings
from front.workers.cluster import merge_health, merge_metrics
from front.workers.ipc import WorkerIpc

UA_ROW = {
    "method": "enrich", "role": "enricher", "service": "uaparser",
    "options": {"keys": ["in.gen.track"], "props": {"ua": "td.ua"}},
}  # fmt: skip


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Every request is a connection of its own, so that the kernel chooses a worker for each."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as client:
        yield client


async def until(found: Any, seconds: float = 8) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := await found()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    return value


async def track(session: aiohttp.ClientSession, front: Any) -> str:
    async with session.get(f"{front.url}/track/page") as answer:
        assert answer.status == 200
        return str((await answer.json())["id"])


def children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return sorted(found)


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


async def test_two_workers_are_one_front(
    session: aiohttp.ClientSession, own_redis: Any, start_front: Any, speak: Any
) -> None:
    """Ids of both are unique, a push that reached one reaches both, metrics are the sum, health is of both."""
    front = start_front(own_redis.dsn, WORKERS="2")
    peers = speak(own_redis.dsn)
    await until(lambda: knows_both(session, front))
    seen = await peers.service("uaparser", lambda _params: {"is_pc": 1}, enricher=True)
    await peers.register(UA_ROW)
    ids = [await track(session, front) for _ in range(40)]
    assert len(set(ids)) == 40
    assert {int(event_id) >> 12 & 0x3FF for event_id in ids} == {0, 1}
    entries = await peers.redis.xrange("events")
    assert [json.loads(fields[b"event"])["data"].get("uaparser") for _, fields in entries] == [{"is_pc": 1}] * 40
    assert len(seen) == 40
    async with session.get(f"{front.url}/_band/metrics") as answer:
        text = await answer.text()
    assert "band_front_accepted_total 40.0" in text
    assert text.count("# TYPE band_front_accepted_total") == 1
    assert "band_redis_connected 1.0" in text
    answers = [
        await peers.call_front("__status", {"register": [UA_ROW], "state_hash": peers.last_hash}) for _ in range(6)
    ]
    assert [answer["result"] for answer in answers] == [None] * 6
    await peers.register()
    for _ in range(10):
        await track(session, front)
    assert "uaparser" not in (await peers.newest())["data"]


async def knows_both(session: aiohttp.ClientSession, front: Any) -> bool:
    async with session.get(f"{front.url}/_band/health") as answer:
        facts = await answer.json()
    return bool(facts["checks"].get("workers", {}) == {"status": "ok", "0": "ok", "1": "ok"})


async def test_health_counts_what_waits_in_the_journals_of_all(
    session: aiohttp.ClientSession, own_redis: Any, start_front: Any, tmp_path: Path
) -> None:
    """Each worker has a journal of its own; `waiting` is what all of them hold, and the bound that of all."""
    front = start_front(own_redis.dsn, WORKERS="2", JOURNAL_DIR=str(tmp_path / "journal"), JOURNAL_MAX_MB="8")
    await until(lambda: knows_both(session, front))
    own_redis.stop()
    await asyncio.sleep(0.2)
    for _ in range(40):
        await track(session, front)
    async with session.get(f"{front.url}/_band/health") as answer:
        journal = (await answer.json())["checks"]["journal"]
    assert (journal["status"], journal["waiting"], journal["written"]) == ("degraded", 40, 40)
    assert journal["most_bytes"] == 16 << 20


async def test_a_worker_that_dies_is_started_again(
    session: aiohttp.ClientSession, own_redis: Any, start_front: Any, speak: Any
) -> None:
    """kill -9 of one: the other goes on, connections wait for the new one, and it knows the registrations."""
    front = start_front(own_redis.dsn, WORKERS="2")
    peers = speak(own_redis.dsn)
    await until(lambda: knows_both(session, front))
    await peers.service("uaparser", lambda _params: {"is_pc": 1}, enricher=True)
    await peers.register(UA_ROW)
    before = children(front.process.pid)
    assert len(before) == 2
    os.kill(before[0], signal.SIGKILL)
    ids = await asyncio.gather(*(track(session, front) for _ in range(30)))
    assert len(set(ids)) == 30
    await until(lambda: knows_both(session, front))
    after = children(front.process.pid)
    assert len(after) == 2
    assert before[1] in after
    assert front.log.read_text().count("worker_ended") == 1
    await peers.redis.delete("events")
    for _ in range(20):
        await track(session, front)
    data = [json.loads(fields[b"event"])["data"] for _, fields in await peers.redis.xrange("events")]
    assert [found.get("uaparser") for found in data] == [{"is_pc": 1}] * 20


async def test_a_stop_ends_all_of_them_in_good_order(own_redis: Any, start_front: Any, speak: Any) -> None:
    """SIGTERM while both have work: every client gets its answer, the status is 0, nobody is left."""
    front = start_front(own_redis.dsn, WORKERS="2")
    peers = speak(own_redis.dsn)

    began: list[float] = []

    async def slowly(_params: Any) -> Any:
        began.append(time.monotonic())
        await asyncio.sleep(max(0.0, began[0] + 0.8 - time.monotonic()))
        return {"done": True}

    await peers.service("labsvc", slowly)
    await peers.register({"method": "slow", "role": "handler", "options": {"timeout": 3000}, "service": "labsvc"})
    workers = children(front.process.pid)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        await until(lambda: knows_both(session, front))

        async def slow() -> Any:
            async with session.get(f"{front.url}/labsvc/slow") as answer:
                return await answer.json()

        asking = [asyncio.create_task(slow()) for _ in range(12)]
        await asyncio.sleep(0.4)
        front.process.send_signal(signal.SIGTERM)
        assert await asyncio.gather(*asking) == [{"done": True}] * 12
    assert await asyncio.to_thread(front.process.wait, 12) == 0
    assert not alive(workers)
    assert await peers.redis.xlen("events") == 12


async def test_workers_do_not_outlive_their_parent(own_redis: Any, start_front: Any) -> None:
    """Not even one that was killed: the port is free again."""
    front = start_front(own_redis.dsn, WORKERS="2")
    workers = children(front.process.pid)
    front.process.kill()
    front.process.wait(5)

    async def gone() -> bool:
        return not alive(workers)

    await until(gone)
    listening_socket("127.0.0.1", front.port).close()


async def test_websockets_work_in_every_worker(own_redis: Any, start_front: Any) -> None:
    """On the event port and on the extra one, whichever worker the connection comes to."""
    front = start_front(own_redis.dsn, WORKERS="2")
    async with aiohttp.ClientSession() as session:
        for port in [front.port, front.ws_port] * 6:
            async with session.ws_connect(f"ws://127.0.0.1:{port}/wss?uid=1") as client:
                await client.send_str('{"service":"track","name":"ping"}')
                assert json.loads(await client.receive_str(timeout=3))["data"] == {"message": "pong"}


def test_a_taken_port_ends_the_start(own_redis: Any, start_front: Any) -> None:
    """With a line that names it; no worker is begun."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(RuntimeError) as ended:
            start_front(own_redis.dsn, WORKERS="2", PORT=str(other.getsockname()[1]))
    assert "event_port_failed" in str(ended.value)
    assert "Traceback" not in str(ended.value)


def test_workers_that_cannot_live_end_the_parent(own_redis: Any, start_front: Any, tmp_path: Path) -> None:
    """After a few tries, with their own words in the log: whoever looks after front shall know."""
    with pytest.raises(RuntimeError) as ended:
        start_front("redis://:wrong@host:port:x", WORKERS="2")
    assert "ended with 1" in str(ended.value)


def test_auto_is_a_worker_a_core_within_the_containers_limit(tmp_path: Path) -> None:
    """Half a core is one worker; no limit and no cgroup are all cores; a number is that number."""
    allowed = len(os.sched_getaffinity(0))
    for text, expected in (("50000 100000", 1), ("max 100000", allowed), ("100000 100000", 1), ("nonsense", allowed)):
        (tmp_path / "cpu.max").write_text(f"{text}\n")
        assert cores(tmp_path) == expected
    old = tmp_path / "old"
    (old / "cpu").mkdir(parents=True)
    (old / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    for text, expected in (("-1", allowed), ("90000", 1)):
        (old / "cpu" / "cpu.cfs_quota_us").write_text(f"{text}\n")
        assert cores(old) == expected
    assert cores(tmp_path / "none") == allowed
    assert FrontSettings.read({"workers": "3"}).workers == 3
    assert FrontSettings.read({"workers": "auto"}).workers >= 1
    with pytest.raises(SettingsError, match="1024"):
        FrontSettings.read({"workers": 4, "worker_id": 1022})
    with pytest.raises(SettingsError, match="workers"):
        FrontSettings.read({"workers": "many"})


def test_the_health_of_all_is_that_of_the_worst() -> None:
    """Each check as the worker has it that is worst off; a silent worker degrades."""
    well = {"status": "ok", "checks": {"redis": {"status": "ok"}, "stream": {"status": "ok", "length": 5}}}
    ill = {"status": "failing", "checks": {"redis": {"status": "failing", "reason": "away"}}}
    merged = merge_health({0: well, 1: ill})
    assert merged["status"] == "failing"
    assert merged["checks"]["redis"] == {"status": "failing", "reason": "away", "worker": 1}
    assert merged["checks"]["stream"] == {"status": "ok", "length": 5}
    assert merged["checks"]["workers"] == {"status": "ok", "0": "ok", "1": "failing"}
    silent = merge_health({0: well}, [1])
    assert silent["status"] == "degraded"
    assert silent["checks"]["workers"]["reason"] == "no response from worker 1"
    assert "restart front" in silent["checks"]["workers"]["hint"]


def test_numbers_of_a_check_are_of_all_workers() -> None:
    """Counts are sums and ages the greatest, whichever worker is worst off and whatever that one can tell."""
    well = {"status": "ok", "waiting": 5, "oldest_s": 2.5, "aof": True}
    worse = {"status": "degraded", "reason": "away", "waiting": 30, "oldest_s": 1.0, "aof": True}
    mute = {"status": "failing", "reason": "the check did not end"}

    def merged(*found: dict[str, Any]) -> Any:
        states = {
            number: {"status": facts["status"], "checks": {"journal": facts}} for number, facts in enumerate(found)
        }
        return merge_health(states)["checks"]["journal"]

    assert merged(well, worse) == {**worse, "waiting": 35, "oldest_s": 2.5, "worker": 1}
    assert merged(worse, well) == {**worse, "waiting": 35, "oldest_s": 2.5, "worker": 0}
    assert merged(well, well) == {**well, "waiting": 10}
    assert merged(worse, mute, well) == {**mute, "waiting": 35, "oldest_s": 2.5, "worker": 1}


def test_metrics_of_all_are_added_up() -> None:
    """Counters and most gauges are sums, a few gauges are not; families stay together, names appear once."""
    first = "# HELP a_total A.\n# TYPE a_total counter\na_total 1.0\n# HELP band_redis_connected C.\n# TYPE band_redis_connected gauge\nband_redis_connected 1.0\n"  # noqa: E501
    second = '# HELP a_total A.\n# TYPE a_total counter\na_total 2.0\na_total{x="1 2"} 4.0\n# HELP band_redis_connected C.\n# TYPE band_redis_connected gauge\nband_redis_connected 0.0\n'  # noqa: E501
    assert merge_metrics([first, second]) == (
        '# HELP a_total A.\n# TYPE a_total counter\na_total 3.0\na_total{x="1 2"} 4.0\n'
        "# HELP band_redis_connected C.\n# TYPE band_redis_connected gauge\nband_redis_connected 0.0\n"
    )


async def test_siblings_hear_each_other_and_miss_who_is_not_there() -> None:
    """An answer of each that lives, in no more than a second; a failing answerer is a missing answer."""
    group = f"test-{os.getpid()}-{time.monotonic_ns()}"
    heard: list[Any] = []

    async def note(word: Any) -> str:
        heard.append(word)
        return "noted"

    async def fail(_word: Any) -> None:
        raise ValueError("no")

    siblings = [WorkerIpc(WorkerProcess(number, 3, group), {"note": note, "fail": fail}) for number in range(3)]
    for sibling in siblings[:2]:
        await sibling.open()
    assert await siblings[0].request("note", {"a": 1}) == {1: "noted"}
    assert await siblings[0].request("fail") == {}
    with capture_logs() as logs:
        siblings[1].broadcast("note", [2])
        siblings[1].broadcast("note", [2], often=True)
        await asyncio.sleep(0.1)
    assert [line["worker"] for line in logs if line["event"] == "worker_silent" and line["log_level"] == "info"] == [2]
    heard.remove([2])
    assert heard == [{"a": 1}, [2]]
    for sibling in siblings[:2]:
        await sibling.close()
