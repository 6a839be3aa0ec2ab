"""The service as a process of its own, beside a real Redis: killed again and again, it keeps every event once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pandas as pd
import pytest
from redis.asyncio import Redis

from band.testing import make_event
from store.event_files import EventFiles

IMAGE = Path(__file__).parents[3] / "band_images" / "store"
KILLS = 20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port = free_port()
    program = shutil.which("redis-server")
    assert program, "redis-server is not installed: apt-get install redis-server"
    folder = tmp_path_factory.mktemp("redis")
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            break
        time.sleep(0.05)
    yield port
    process.terminate()
    process.wait(10)


@asynccontextmanager
async def running(folder: Path, redis_port: int) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Run the service; it answers when this begins."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "store", cwd=IMAGE, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT,
        env={
            "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "HOST": "127.0.0.1",
            "PORT": str(port), "REDIS_DSN": f"redis://127.0.0.1:{redis_port}", "FOLDER": str(folder),
            "LINGER": "0.1", "BATCH_EVENTS": "500",
        },
    )  # fmt: skip
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.wait(), 20)


async def ask(url: str, path: str, **params: Any) -> Any:
    async with aiohttp.ClientSession() as session, session.get(f"{url}{path}", params=params) as answer:
        return await answer.json()


async def status(url: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status


async def until_stored(url: str, events: int) -> None:
    deadline = time.monotonic() + 60
    found: Any = None
    while time.monotonic() < deadline:
        with contextlib.suppress(aiohttp.ClientError, OSError):
            found = (await ask(url, "/stats"))["events"]
            if found == events:
                return
        await asyncio.sleep(0.1)
    pytest.fail(f"{found} of {events} events are stored")


def stored(folder: Path) -> list[int]:
    """Return the ids in the files that readers get, by pandas. The service has ended."""
    files = EventFiles(folder, 96)
    try:
        return sorted(pd.concat([pd.read_parquet(path, columns=["id"])["id"] for path in files.files()]))
    finally:
        files.close()


@pytest.mark.timeout(240)
async def test_events_are_stored_once_although_the_store_is_killed_twenty_times(
    redis_port: int, tmp_path: Path
) -> None:
    at = int(time.time() * 1000)
    sent: list[int] = []
    client = Redis(port=redis_port)

    async def feed() -> None:
        """Add 500 events a second, some of them over midnight of UTC, some a second time."""
        while True:
            pipeline = client.pipeline(transaction=False)
            for _ in range(50):
                number = len(sent)
                day = 86_400_000 * (number % 2)
                event = make_event(
                    id=str((at - day + number) << 22), time=at, uid=str(number % 100), data={"n": number}
                )
                sent.append(int(event["id"]))
                for _ in range(1 + (number % 10 == 0)):
                    pipeline.xadd("events", {"event": msgspec.json.encode(event)})
            await pipeline.execute()
            await asyncio.sleep(0.1)

    feeding = asyncio.create_task(feed())
    for _ in range(KILLS):
        async with running(tmp_path, redis_port) as (process, url):
            for _ in range(100):
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    await ask(url, "/stats")
                    break
                await asyncio.sleep(0.1)
            await asyncio.sleep(random.uniform(0.1, 0.6))  # noqa: S311
            process.kill()
            await process.wait()
    feeding.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await feeding
    async with running(tmp_path, redis_port) as (_, url):
        await until_stored(url, len(sent))
        assert await status(f"{url}/query_events?sql=SELECT+1") == 404, "events can be read over the service's port"
    assert stored(tmp_path) == sorted(sent)
    await client.aclose()
