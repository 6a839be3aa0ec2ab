"""What band's tests share: a real Redis, raw peers that see every byte, services in this process."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import hiredis
import pytest

from band.service.config import ServiceConfig
from band.service.lifecycle import Service

SRC = Path(__file__).parents[1] / "src"
GENEROUS = 15.0
"""Seconds until a test gives up waiting: a shared machine can be slow, a wait that succeeds ends at once."""


def free_port() -> int:
    """Return a TCP port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RedisServer:
    """A redis-server of the test's own, which it may kill, freeze and start again on the same port."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port = free_port()
        self.folder = folder
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def dsn(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, *more: str, wait: bool = True) -> None:
        binary = shutil.which("redis-server")
        assert binary, "redis-server is missing; bin/test installs Debian's package"
        self.process = subprocess.Popen(
            [binary, "--port", str(self.port), "--save", "", "--bind", "127.0.0.1", "--dir", str(self.folder),
             "--daemonize", "no", *self.options, *more],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        if wait:
            self.wait_ready()

    def begin(self) -> None:
        """Start it for the first time: another test may have taken the port since it was free, then on another one."""
        for _ in range(5):
            self.start(wait=False)
            if self._becomes_ready():
                return
            self.kill()
            self.port = free_port()
        raise AssertionError("redis-server did not start")

    def wait_ready(self) -> None:
        assert self._becomes_ready(), "redis-server did not start"

    def _becomes_ready(self) -> bool:
        deadline = time.monotonic() + GENEROUS
        while self.process is not None and self.process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if self._answers(self.process.pid):
                    return True
            time.sleep(0.02)
        return False

    def _answers(self, pid: int) -> bool:
        """Tell whether the process ``pid``, and no other Redis, answers on the port."""
        with socket.create_connection(("127.0.0.1", self.port), 1) as client, client.makefile("rb") as lines:
            client.sendall(b"PING\r\nINFO server\r\n")
            pong = lines.readline()
            if not pong.startswith(b"+PONG"):
                return pong.startswith(b"-NOAUTH")
            return any(line == b"process_id:%d\r\n" % pid for line in itertools.takewhile(b"\r\n".__ne__, lines))

    def send_signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def freeze(self) -> None:
        self.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.send_signal(signal.SIGCONT)


class Peer:
    """A raw client of Redis: what a service of the original platform does on the wire, byte for byte."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.messages: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        self._reader = hiredis.Reader()
        self._replies: asyncio.Queue[Any] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> Peer:
        self._in, self._out = await asyncio.open_connection("127.0.0.1", self.port)
        self._task = asyncio.create_task(self._read())
        await self.command("HELLO", 3)
        return self

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await self._task
            self._out.close()
            with contextlib.suppress(OSError):
                await self._out.wait_closed()

    async def _read(self) -> None:
        while data := await self._in.read(65536):
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                if isinstance(reply, hiredis.PushNotification):
                    if reply[0] == b"message":
                        self.messages.put_nowait((reply[1].decode(), reply[2]))
                    elif reply[0] == b"subscribe":
                        self._replies.put_nowait(reply)
                else:
                    self._replies.put_nowait(reply)

    async def command(self, *parts: Any) -> Any:
        self._out.write(hiredis.pack_command(parts))
        async with asyncio.timeout(GENEROUS):
            reply = await self._replies.get()
        if isinstance(reply, hiredis.ReplyError):
            raise reply
        return reply

    async def subscribe(self, *channels: str) -> None:
        for channel in channels:
            await self.command("SUBSCRIBE", channel)

    async def publish(self, channel: str, payload: bytes | str | dict[str, Any]) -> int:
        """Publish as it is (bytes, str) or as JSON (dict); returns how many received it."""
        data = json.dumps(payload) if isinstance(payload, dict) else payload
        return int(await self.command("PUBLISH", channel, data))

    async def next(self, timeout: float = GENEROUS) -> bytes:
        """Return the next message on any of the subscribed channels."""
        async with asyncio.timeout(timeout):
            return (await self.messages.get())[1]

    async def next_json(self, timeout: float = GENEROUS) -> Any:
        return json.loads(await self.next(timeout))

    async def ask(self, channel: str, payload: bytes | str | dict[str, Any]) -> bytes:
        """Publish, and return the next message."""
        assert await self.publish(channel, payload) > 0, f"nobody listens on {channel}"
        return await self.next()

    async def ask_json(self, channel: str, payload: bytes | str | dict[str, Any]) -> Any:
        return json.loads(await self.ask(channel, payload))

    async def all_done(self) -> bool:
        """Tell whether the only group of the stream was given everything and holds nothing."""
        newest = (await self.command("XINFO", "STREAM", "events"))[b"last-generated-id"]
        groups = await self.command("XINFO", "GROUPS", "events")
        return [(one[b"last-delivered-id"], one[b"pending"]) for one in groups] == [(newest, 0)]

    async def silent(self, seconds: float = 0.25) -> bool:
        """Tell whether nothing comes for a while."""
        try:
            await self.next(seconds)
        except TimeoutError:
            return True
        return False


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One Redis for the tests that leave it alive."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.begin()
    yield server
    server.kill()


@pytest.fixture
def redis(shared_redis: RedisServer) -> RedisServer:
    """The shared Redis, empty."""
    with socket.create_connection(("127.0.0.1", shared_redis.port), 5) as client:
        client.sendall(b"FLUSHALL\r\n")
        assert client.recv(64).startswith(b"+OK")
    return shared_redis


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    """Make a Redis of this test's own, to be killed or frozen."""
    made: list[RedisServer] = []

    def make(*options: str, start: bool = True) -> RedisServer:
        server = RedisServer(tmp_path, *options)
        made.append(server)
        if start:
            server.begin()
        return server

    yield make
    for server in made:
        server.kill()


@pytest.fixture
async def peer(redis: RedisServer) -> AsyncIterator[Callable[..., Coroutine[Any, Any, Peer]]]:
    """Make raw peers that are subscribed to the given channels."""
    made: list[Peer] = []

    async def make(*channels: str, server: RedisServer | None = None) -> Peer:
        client = await Peer((server or redis).port).open()
        made.append(client)
        await client.subscribe(*channels)
        return client

    yield make
    for client in made:
        await client.close()


@pytest.fixture
async def raw(peer: Callable[..., Coroutine[Any, Any, Peer]]) -> Peer:
    """A raw peer that only sends commands."""
    return await peer()


class Shop(Service):
    """A listener that does with each number what it is told to, once for each entry of ``says[n]``.

    ``calls`` are the numbers, or batches of them, in the order of delivery; ``at`` has the times of each number.
    Nothing is taken while ``gate`` is clear.
    """

    def __init__(self, says: dict[int, list[Exception]] | None = None, **options: Any) -> None:
        super().__init__()
        self.says = says or {}
        self.calls: list[Any] = []
        self.at: dict[int, list[float]] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        if options.get("batch"):

            @self.expose.listener(**options)
            async def broadcast(events):  # type: ignore[no-untyped-def]
                numbers = [event["n"] for event in events]
                await self._take(numbers, numbers)
        else:

            @self.expose.listener(**options)
            async def broadcast(n, **event):  # type: ignore[no-untyped-def]
                await self._take(n, [n])

    async def _take(self, call: Any, numbers: list[int]) -> None:
        await self.gate.wait()
        self.calls.append(call)
        for number in numbers:
            self.at.setdefault(number, []).append(time.time())
        for number in numbers:
            if self.says.get(number):
                raise self.says[number].pop(0)

    async def replay(self, **params: Any) -> Any:
        """Call the framework's method `replay_events`."""
        assert self._replay is not None
        return await self._replay.replay_events(**params)


@pytest.fixture
def make_shop() -> type[Shop]:
    """The class of listeners that do what they are told."""
    return Shop


@pytest.fixture
async def run_service(redis: RedisServer) -> AsyncIterator[Callable[..., Coroutine[Any, Any, Service]]]:
    """Start services in this process; they are stopped at the end."""
    started: list[Service] = []

    async def run(service: Service, name: str = "labsvc", *, connected: bool = True, **config: Any) -> Service:
        given = {"host": "127.0.0.1", "port": 0, "redis_dsn": redis.dsn, "stop_timeout": 2.0, **config}
        started.append(service)
        await service.start(ServiceConfig(name=name, **given))
        if connected:
            await service.link.ready(GENEROUS)
        return service

    yield run
    for service in reversed(started):
        await service.stop()


@pytest.fixture
def eventually() -> Callable[..., Coroutine[Any, Any, Any]]:
    """Wait until a condition (sync or async) holds, and return its value."""

    async def wait(condition: Callable[[], Any], timeout: float = GENEROUS, what: str = "") -> Any:
        deadline = time.monotonic() + timeout
        while True:
            value = condition()
            if asyncio.iscoroutine(value):
                value = await value
            if value:
                return value
            if time.monotonic() > deadline:
                raise AssertionError(f"it did not happen within {timeout} s: {what or condition}")
            await asyncio.sleep(0.02)

    return wait


class ServiceProcess:
    """A service that runs as its image would: ``python -m NAME`` in its own folder."""

    def __init__(self, folder: Path, name: str, env: dict[str, str]) -> None:
        self.port = free_port()
        self.folder = folder
        base = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SRC), "HOST": "127.0.0.1", "PORT": str(self.port)}
        self.log = folder / "service.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", name], cwd=folder, env={**base, **env}, stdout=log, stderr=subprocess.STDOUT
            )

    @property
    def output(self) -> str:
        return self.log.read_text()

    def terminate(self, timeout: float = GENEROUS) -> int:
        """Send SIGTERM and return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def cpu_seconds(self) -> float:
        """Return the processor time that it has used, from /proc."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> float:
        """Return its resident memory."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.fixture
def spawn_service(tmp_path: Path) -> Iterator[Callable[..., ServiceProcess]]:
    """Write a service's folder and run it as a process."""
    started: list[ServiceProcess] = []

    def spawn(
        code: str, name: str = "labsvc", config: str = "", files: dict[str, str] | None = None, **env: str
    ) -> Any:
        folder = tmp_path / name
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(config or f"name: {name}\n")
        (folder / name / "__init__.py").write_text("")
        (folder / name / "__main__.py").write_text(
            f"from band import settings, start_server\nfrom {name} import main\nstart_server(**settings)\n"
        )
        (folder / name / "main.py").write_text(code)
        for path, text in (files or {}).items():
            (folder / path).write_text(text)
        process = ServiceProcess(folder, name, env)
        started.append(process)
        return process

    yield spawn
    for process in started:
        if process.process.poll() is None:
            process.process.kill()
        process.process.wait()
