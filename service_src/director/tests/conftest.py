"""What the director's tests share: a real Redis, and a whole director over an engine that exists in memory only."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from band.redis import RedisAddress, RedisLink

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tests"))  # redis_with_users


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


class FakeDirector:
    """A director in a process of its own (see fake_director.py). `images` is its folder of collections."""

    def __init__(self, dsn: str, folder: Path, **env: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.images = folder / "images"
        self.log = folder / "director.log"
        (self.images / "user").mkdir(parents=True)
        self._env = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("BAND_", "REDIS_"))},
            "HOST": "127.0.0.1", "PORT": str(self.port), "REDIS_DSN": dsn, "BAND_NAMESPACE": "t-api",
            "BAND_IMAGES": str(self.images), "LOG_LEVEL": "INFO", **env,
        }  # fmt: skip
        self.token = env.get("BAND_TOKEN", "")
        self._process: subprocess.Popen[bytes] | None = None

    def image(self, name: str, band_yml: str = "{}", dockerfile: str | None = "FROM scratch\n") -> None:
        """Make an image folder of the operator's."""
        folder = self.images / "user" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "band.yml").write_text(band_yml)
        if dockerfile is not None:
            (folder / "Dockerfile").write_text(dockerfile)

    def start(self) -> None:
        """Start it and wait until it has seen its engine and its Redis."""
        script = Path(__file__).with_name("fake_director.py")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen([sys.executable, str(script)], env=self._env, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            assert self._process.poll() is None, self.log.read_text()
            with contextlib.suppress(OSError):
                status, body = self.get("/health", **{"X-Band-Token": self.token})
                if status == 200 and body["redis"]["desired_loaded"]:
                    return
            time.sleep(0.05)
        raise AssertionError(f"the director did not start: {self.log.read_text()[-3000:]}")

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(15)

    def request(
        self, verb: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """Send one request, the path as it stands; returns status and text."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            kind = {"Content-Type": "application/json"} if raw is not None and not isinstance(body, bytes) else {}
            connection.request(verb, path, raw, {**kind, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> tuple[int, Any]:
        """GET a path; returns status and the JSON."""
        status, text = self.request("GET", path, headers=headers)
        return status, json.loads(text)

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        """POST a JSON body; returns status and the JSON."""
        status, text = self.request("POST", path, body)
        return status, json.loads(text)


@pytest.fixture(scope="module")
def director(redis_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeDirector]:
    """A director of this module's own, with three services that run."""
    found = FakeDirector(redis_dsn, tmp_path_factory.mktemp("director"), FAKE_SERVICES="3")
    try:
        found.start()
        yield found
    finally:
        found.stop()


@pytest.fixture(scope="module")
def closed(redis_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeDirector]:
    """A director that wants a token."""
    folder = tmp_path_factory.mktemp("closed")
    env = {"BAND_TOKEN": "canary-token-5d1f9a", "BAND_NAMESPACE": "t-closed", "FAKE_PAUSE": "0.001"}
    found = FakeDirector(redis_dsn, folder, **env)
    try:
        found.start()
        yield found
    finally:
        found.stop()


@pytest.fixture(scope="module")
def make_director(redis_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., FakeDirector]]:
    """A function that starts a director in a namespace, with what its environment has more."""
    made: list[FakeDirector] = []

    def make(namespace: str, **env: str) -> FakeDirector:
        made.append(FakeDirector(redis_dsn, tmp_path_factory.mktemp(namespace), BAND_NAMESPACE=namespace, **env))
        made[-1].start()
        return made[-1]

    yield make
    for found in made:
        found.stop()


@pytest.fixture
def start_director(tmp_path: Path) -> Iterator[Callable[..., FakeDirector]]:
    """A function that starts a director on a Redis of a test's own."""
    made: list[FakeDirector] = []

    def start(dsn: str, **env: str) -> FakeDirector:
        folder = tmp_path / f"director{len(made)}"
        folder.mkdir()
        made.append(FakeDirector(dsn, folder, **env))
        made[-1].start()
        return made[-1]

    yield start
    for found in made:
        found.stop()


@pytest.fixture
async def store(redis_dsn: str) -> AsyncIterator[RedisLink]:
    """A link to the module's Redis, emptied before the test."""
    link = RedisLink("test")
    link.start(RedisAddress.parse(redis_dsn))
    await link.ready(15)
    await link.command("FLUSHALL")
    yield link
    await link.close()
