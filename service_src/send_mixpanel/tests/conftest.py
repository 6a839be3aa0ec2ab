"""A real Redis and the double of Mixpanel, for tests that run the whole service."""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiohttp.test_utils import TestServer

from mixpanel_double import Double, make_app


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a real Redis without persistence."""
    port = free_port()
    program = shutil.which("redis-server")
    assert program, "redis-server is not installed: apt-get install redis-server"
    folder: Path = tmp_path_factory.mktemp("redis")
    process = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            break
        time.sleep(0.05)
    yield port
    process.terminate()
    process.wait(10)


@pytest.fixture
def double() -> Double:
    """The double itself, to look into."""
    return Double()


@pytest.fixture
async def double_url(double: Double) -> AsyncIterator[str]:
    """Its address."""
    async with TestServer(make_app(double)) as server:
        yield str(server.make_url("")).rstrip("/")
