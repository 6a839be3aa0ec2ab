"""What the director's tests share: a real Redis."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from band.redis import RedisAddress, RedisLink


def free_port() -> int:
    """Return a TCP port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def redis_dsn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The DSN of a redis-server of this module's own."""
    binary = shutil.which("redis-server")
    assert binary, "redis-server is missing; bin/test installs Debian's package"
    port, folder = free_port(), tmp_path_factory.mktemp("redis")
    command = [binary, "--port", str(port), "--save", "", "--bind", "127.0.0.1", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _wait_for(port, folder)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.kill()
        process.wait()


def _wait_for(port: int, folder: Path) -> None:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as client:
            client.sendall(b"PING\r\n")
            if client.recv(64).startswith(b"+PONG"):
                return
        time.sleep(0.02)
    raise AssertionError(f"redis-server did not start in {folder}")


@pytest.fixture
async def store(redis_dsn: str) -> AsyncIterator[RedisLink]:
    """A link to the module's Redis, emptied before the test."""
    link = RedisLink("test")
    link.start(RedisAddress.parse(redis_dsn))
    await link.ready(15)
    await link.command("FLUSHALL")
    yield link
    await link.close()
