"""A real Redis, raw peers that see every byte, and the services of this folder as processes.

The services sign in as they do on a platform: each as a user of its own, whom Redis lets do what a service may. Nothing
that they do here may be refused. The peers are the original's, which know no users: for them `default` is open.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import hiredis
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # redis_with_users
from redis_with_users import RedisWithUsers, free_port

from band.service.config import ServiceConfig
from band.service.lifecycle import Service
from director.redis.users import ANY_KEY

ROOT = Path(__file__).parents[2]
SERVICES = Path(__file__).parent / "services"
BAND_SRC = ROOT / "service_src/band/src"
GENEROUS = 15.0


ANYBODY = "on nopass ~* &* +@all"


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisWithUsers]:
    """One Redis for the tests of a module."""
    found = RedisWithUsers(tmp_path_factory.mktemp("r"), free_port(), default=ANYBODY)
    found.start()
    yield found
    try:
        assert found.refusals() == []
    finally:
        found.stop()


@pytest.fixture(scope="module")
def redis_port(redis: RedisWithUsers) -> int:
    """Where it listens."""
    return redis.port


class Peer:
    """A raw client of Redis: what a service of the original platform does on the wire, byte for byte."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.messages: asyncio.Queue[bytes] = asyncio.Queue()
        self._reader = hiredis.Reader()
        self._replies: asyncio.Queue[Any] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def open(self, *channels: str) -> Peer:
        self._in, self._out = await asyncio.open_connection("127.0.0.1", self.port)
        self._task = asyncio.create_task(self._read())
        await self.command("HELLO", 3)
        for channel in channels:
            await self.command("SUBSCRIBE", channel)
        return self

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._out.close()
            await self._out.wait_closed()

    async def _read(self) -> None:
        while data := await self._in.read(65536):
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                if isinstance(reply, hiredis.PushNotification) and reply[0] == b"message":
                    self.messages.put_nowait(reply[2])
                else:
                    self._replies.put_nowait(reply)

    async def command(self, *parts: Any) -> Any:
        self._out.write(hiredis.pack_command(parts))
        async with asyncio.timeout(GENEROUS):
            return await self._replies.get()

    async def publish(self, channel: str, payload: bytes | str | dict[str, Any]) -> int:
        data = json.dumps(payload) if isinstance(payload, dict) else payload
        return int(await self.command("PUBLISH", channel, data))

    async def next(self, timeout: float = GENEROUS) -> bytes:
        async with asyncio.timeout(timeout):
            return await self.messages.get()

    async def next_json(self) -> Any:
        return json.loads(await self.next())

    async def ask(self, channel: str, payload: bytes | str | dict[str, Any]) -> bytes:
        assert await self.publish(channel, payload) > 0, f"nobody listens on {channel}"
        return await self.next()

    async def call(self, to: str, method: str, /, **params: Any) -> Any:
        """Call as the original's Python framework does, from the name `lab`; returns the whole reply."""
        message = {"jsonrpc": "2.0", "method": f"{to}:{method}:lab", "params": params, "id": "7"}
        return json.loads(await self.ask(to, message))


@pytest.fixture
async def peer(redis_port: int) -> AsyncIterator[Callable[..., Coroutine[Any, Any, Peer]]]:
    """Make raw peers subscribed to the given channels."""
    made: list[Peer] = []

    async def make(*channels: str) -> Peer:
        made.append(Peer(redis_port))
        return await made[-1].open(*channels)

    yield make
    for client in made:
        await client.close()


@pytest.fixture
async def run_service(redis: RedisWithUsers) -> AsyncIterator[Callable[..., Coroutine[Any, Any, Service]]]:
    """Start services of ours in this process."""
    started: list[Service] = []

    async def run(service: Service, name: str, **config: Any) -> Service:
        started.append(service)
        given = {"host": "127.0.0.1", "port": 0, "redis_dsn": redis.admit(name), "stop_timeout": 2.0, **config}
        await service.start(ServiceConfig(name=name, **given))
        await service.link.ready(GENEROUS)
        return service

    yield run
    for service in reversed(started):
        await service.stop()


CALLS_ITSELF = {"overseer": "director"}
"""Services whose name on the bus is not that of their folder."""


class Running:
    """One service of `services/`, run as its image would run it: `python -m NAME` in its own folder."""

    def __init__(self, folder: Path, redis: RedisWithUsers) -> None:
        self.name = folder.name
        self.port = free_port()
        self.log = folder / "service.log"
        env = {
            "PATH": os.environ["PATH"], "PYTHONPATH": str(BAND_SRC), "HOST": "127.0.0.1", "PORT": str(self.port),
            "REDIS_DSN": redis.admit(CALLS_ITSELF.get(self.name, self.name), ANY_KEY), "LOG_LEVEL": "debug",
            "SINK_TOKEN": "canary-token-1",
        }  # fmt: skip
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.name], cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT
            )

    @property
    def output(self) -> str:
        return self.log.read_text()

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=GENEROUS) as answer:
            return bytes(answer.read())

    def wait_ready(self) -> None:
        deadline = time.monotonic() + 2 * GENEROUS
        while True:
            assert self.process.poll() is None, self.output
            with contextlib.suppress(OSError):
                if b'"redis":{"status":"ok"' in self.get("/health"):
                    return
            assert time.monotonic() < deadline, self.output
            time.sleep(0.05)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(GENEROUS)


@pytest.fixture(scope="module")
def services(redis: RedisWithUsers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Running]]:
    """All services of this folder, running from copies of their folders."""
    base = tmp_path_factory.mktemp("services")
    shutil.copytree(SERVICES, base, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    (base / "eventsink/.env").write_text("SINK_FROM_FILE=from the file\n")
    running = {folder.name: Running(folder, redis) for folder in sorted(base.iterdir()) if folder.is_dir()}
    try:
        for service in running.values():
            service.wait_ready()
        yield running
    finally:
        for service in running.values():
            if service.process.poll() is None:
                service.process.kill()
            service.process.wait()


PLATFORM = ("mixpanel_double", "mmgeo", "sxgeo", "uaparser", "send_mixpanel", "front", "director")
DATA = Path(os.environ.get("BAND_TEST_DATA") or ROOT.parent / "shared" / "data")


class Stage:
    """All services as processes, on a Redis of their own, with the settings of their images."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in ("redis", *PLATFORM)}
        self.admin = free_port()
        self.refused: list[str] = []
        self._running: list[subprocess.Popen[bytes]] = []

    def start_redis(self) -> None:
        self.redis = RedisWithUsers(self.folder, self.ports["redis"], default=ANYBODY)
        self.redis.start()

    def start(self, *names: str) -> None:
        for name in names:
            folder = self.folder / name
            folder.mkdir()
            shutil.copy(ROOT / "band_images" / name / "config.yaml", folder)
            self._run(name, [sys.executable, "-m", name], folder, self._environment(name, folder))

    def _environment(self, name: str, folder: Path) -> dict[str, str]:
        common = {
            "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "NAME": name, "HOST": "127.0.0.1",
            "PORT": str(self.ports[name]),
            "REDIS_DSN": self.redis.dsn() if name == "director" else self.redis.admit(name),
            "LOG_LEVEL": "DEBUG", "DATA_DIR": str(folder), "JOURNAL_DIR": str(folder / "journal"),
        }  # fmt: skip
        mmdb = DATA / "maxmind-db" / "test-data"
        return common | {
            "mmgeo": {
                "GEO_SOURCES": "file", "GEO_FILE": str(mmdb / "GeoLite2-City-Test.mmdb"),
                "ASN_SOURCES": "file", "ASN_FILE": str(mmdb / "GeoLite2-ASN-Test.mmdb"),
            },
            "sxgeo": {"GEO_SOURCES": "file", "GEO_FILE": str(DATA / "sypex" / "synthetic_city.dat")},
            "front": {"ADMIN_PORT": str(self.admin), "ENRICH_TIMEOUT_MS": "5000"},
            "send_mixpanel": {
                "MIXPANEL_TOKEN": "token", "LINGER": "0.1",
                "MIXPANEL_URL": f"http://127.0.0.1:{self.ports['mixpanel_double']}",
            },
            "director": {"DOCKER_HOST": "tcp://127.0.0.1:9"},
        }.get(name, {})  # fmt: skip

    def run_node(self, script: Path, name: str, config: str, **env: str) -> subprocess.Popen[bytes]:
        """Start a service of Node.js whose folder has only its settings."""
        folder = self.folder / f"{name}-{len(self._running)}"
        (folder / "config").mkdir(parents=True)
        (folder / "config" / "02_config.yml").write_text(config)
        given = {
            "PATH": os.environ["PATH"], "ROCKME": str(ROOT / "service_src/rock_me_ts"),
            "REDIS_DSN": self.redis.admit(name), **env,
        }  # fmt: skip
        return self._run(folder.name, [shutil.which("node") or "node", str(script)], folder, given)

    def _run(self, name: str, argv: list[str], folder: Path, env: dict[str, str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("wb") as log:
            self._running.append(subprocess.Popen(argv, cwd=folder, env=env or None, stdout=log, stderr=log))
        return self._running[-1]

    def logs(self) -> dict[str, str]:
        return {path.name: path.read_text(errors="replace") for path in self.folder.glob("*.log")}

    def stop(self) -> None:
        running, self._running = self._running, []
        for process in reversed(running):
            process.terminate()
        for process in running:
            try:
                process.wait(12)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if running:
            self.refused = self.redis.refusals()
            self.redis.stop()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """The whole platform but the director, which a test starts when it wants its pages: it has no Docker here."""
    running = Stage(tmp_path)
    running.start_redis()
    running.start(*(name for name in PLATFORM if name != "director"))
    yield running
    running.stop()
    assert running.refused == []


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Stage]:
    """Only front, on a Redis of its own."""
    running = Stage(tmp_path)
    running.start_redis()
    running.start("front")
    yield running
    running.stop()
    assert running.refused == []
