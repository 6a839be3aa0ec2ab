"""The service as a process of its own, where that is what matters: killed, stopped, its memory, its output."""

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis
from service_src.send_mixpanel.tests.mixpanel_stage import CANARY, IMAGE, QUICK, event, until

from mixpanel_double import Double


class Sender:
    """A running `python -m send_mixpanel`."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.port = port
        self.output = b""

    async def get(self, path: str, **params: Any) -> Any:
        """The JSON answer of the service's own port."""
        url = f"http://127.0.0.1:{self.port}{path}"
        async with aiohttp.ClientSession() as session, session.get(url, params=params) as answer:
            return await answer.json()

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it; returns the exit code."""
        if self.process.returncode is None:
            self.process.send_signal(how)
        out, _ = await asyncio.wait_for(self.process.communicate(), 15)
        self.output += out or b""
        return self.process.returncode or 0


@pytest.fixture
async def redis(redis_port: int) -> AsyncIterator[Redis]:
    client = Redis(port=redis_port)
    await client.flushall()
    # As after an earlier run: the group stands, so events before the start are delivered too.
    await client.xgroup_create("events", "send_mixpanel", "$", mkstream=True)
    yield client
    await client.aclose()


@pytest.fixture
def sender(redis_port: int, redis: Redis, double_url: str, tmp_path: Path) -> Callable[..., Any]:
    """Starts the service with the given environment and waits until it answers."""
    shutil.copy(IMAGE / "config.yaml", tmp_path / "config.yaml")

    @asynccontextmanager
    async def run(**env: str) -> AsyncIterator[Sender]:
        port = _free_port()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "send_mixpanel", cwd=tmp_path, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={
                "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path),
                "HOST": "127.0.0.1", "PORT": str(port),
                "REDIS_DSN": f"redis://127.0.0.1:{redis_port}", "MIXPANEL_URL": double_url, "MIXPANEL_TOKEN": CANARY,
                **QUICK, **env,
            },
        )  # fmt: skip
        running = Sender(process, port)
        try:
            await until(lambda: _answers(running))
            yield running
        finally:
            await running.stop(signal.SIGKILL)

    return run


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _answers(running: Sender) -> bool:
    assert running.process.returncode is None, "it ended at once; run it by hand to see why"
    try:
        await running.get("/health")
    except aiohttp.ClientError:
        return False
    return True


async def accept(redis: Redis, events: list[dict[str, Any]]) -> list[str]:
    """Append events as front does; returns their ids."""
    pipeline = redis.pipeline()
    for one in events:
        pipeline.xadd("events", {"event": json.dumps(one)})
    await pipeline.execute()
    return [str(one.get("id")) for one in events]


async def acknowledged(redis: Redis) -> bool:
    """Whether nothing waits and nothing is pending."""
    group = (await redis.xinfo_groups("events"))[0]
    return group["pending"] == 0 and not group["lag"]


async def test_send_mixpanel_killed_before_it_knew(sender: Callable[..., Any], redis: Redis, double: Double) -> None:
    """Killed after Mixpanel stored a batch and before the acknowledgement: it is sent again, and counted once."""
    double.faults.order({"cut_after_store": True, "times": 1})
    ids = await accept(redis, [event(number) for number in range(300)])
    async with sender(BACKOFF_FIRST="60", BACKOFF_MOST="60") as running:
        await until(lambda: len(double.store.ids()) == 300)
        assert not await acknowledged(redis)
        await running.stop(signal.SIGKILL)
    async with sender():
        await until(lambda: acknowledged(redis))
    stats = double.store.stats()
    assert sorted(double.store.ids()) == sorted(ids)
    assert (stats["received"], stats["unique"], stats["duplicates"]) == (600, 300, 300)


async def test_send_mixpanel_begins_where_it_is_told(sender: Callable[..., Any], redis: Redis, double: Double) -> None:
    """EVENTS_FROM=0: a sender that comes later uploads what the stream still holds, with its own times."""
    await redis.xgroup_destroy("events", "send_mixpanel")
    ids = await accept(redis, [event(number) for number in range(5)])
    async with sender(EVENTS_FROM="0"):
        await until(lambda: len(double.store.ids()) == 5)
    assert sorted(double.store.ids()) == sorted(ids)


async def test_send_mixpanel_large_events_fit_into_its_memory(
    sender: Callable[..., Any], redis: Redis, double: Double
) -> None:
    """3,000 events of 60 kB wait, half of them given to an earlier life: under 200 MB, and all arrive."""
    ids = []
    for number in range(0, 3000, 500):
        ids += await accept(redis, [event(number + one, data={"pad": "x" * 60_000}) for one in range(500)])
    await redis.xreadgroup("send_mixpanel", f"send_mixpanel-{socket.gethostname()}", {"events": ">"}, count=1500)
    async with sender(MIXPANEL_TIMEOUT="10") as running:
        await until(lambda: len(double.store.ids()) == 3000, timeout=40)
        peak = _peak_kb(running.process.pid)
    assert sorted(double.store.ids()) == sorted(ids)
    assert peak < 200_000


def _peak_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


async def test_send_mixpanel_stops_in_time_and_tells_no_secret(
    sender: Callable[..., Any], redis: Redis, double: Double
) -> None:
    """SIGTERM in the middle of a backoff ends it within the stop time; no output, page or answer has the token."""
    double.faults.order({"status": 500, "times": 1000})
    await accept(redis, [event(1)])
    async with sender(LOG_LEVEL="DEBUG", BACKOFF_MOST="30", BACKOFF_FIRST="30") as running:
        await until(lambda: double.store.requests.get(500, 0) >= 1)
        pages = [json.dumps(await running.get(path)) for path in ("/health", "/stats")]
        begun = time.monotonic()
        await running.stop()
        assert time.monotonic() - begun < 9
    assert CANARY not in running.output.decode() + "".join(pages)
    assert b"service_stopped" in running.output


async def test_send_mixpanel_bad_settings_say_why(redis_port: int, tmp_path: Path) -> None:
    """A setting that cannot work ends the start with one line that says what to write."""
    shutil.copy(IMAGE / "config.yaml", tmp_path / "config.yaml")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "send_mixpanel", cwd=tmp_path, stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "MIXPANEL_REGION": "mars"},
    )  # fmt: skip
    _, output = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 1
    assert output.decode().strip() == "send_mixpanel: MIXPANEL_REGION='mars' is not known; write one of us, eu, in"
