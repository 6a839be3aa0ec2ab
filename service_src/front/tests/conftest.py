"""A real Redis, a real front process, and peers that speak raw JSON-RPC as services of the original do."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import redis.asyncio as aioredis

from band.errors import RpcRemoteError
from front.errors import BadRequest
from front.intake.families.table import family_of

sys.path.insert(0, str(Path(__file__).parents[3] / "tests"))  # redis_with_users
sys.path.insert(0, str(Path(__file__).parent))

from event_fields import undocumented

ROOT = Path(__file__).resolve().parents[3]
IMAGE = ROOT / "band_images" / "front"
START_WITHIN_S = 15.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RedisServer:
    """A Redis of its own. `disk_bytes`: larger files it cannot write, as on a full disk."""

    def __init__(self, folder: Path, *words: str, disk_bytes: int = resource.RLIM_INFINITY) -> None:
        self.port = free_port()
        self.dsn = f"redis://127.0.0.1:{self.port}"
        self.folder = folder
        self.words = words
        self.disk_bytes = disk_bytes
        self.start()

    def start(self) -> None:
        command = ["redis-server", "--port", str(self.port), "--save", "", "--bind", "127.0.0.1"]
        self.process = subprocess.Popen(
            [*command, "--dir", str(self.folder), *self.words], stdout=subprocess.DEVNULL, preexec_fn=self._limit
        )
        wait_for(self._answers, "redis-server")

    def _limit(self) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.disk_bytes, resource.RLIM_INFINITY))

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(7) == b"+PONG\r\n"
        except OSError:
            return False

    def stop(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        self.process.wait(10)


class FrontProcess:
    """`python -m front` as in its image, on ports of its own."""

    def __init__(self, folder: Path, dsn: str, **env: str) -> None:
        self.port = free_port()
        self.ws_port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        shutil.copy(IMAGE / "config.yaml", folder / "config.yaml")
        self.log = folder / "front.log"
        self.folder = folder
        self.env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "NAME": "front",
            "REDIS_DSN": dsn,
            "PORT": str(self.port),
            "ADMIN_PORT": "0",
            "WS_PORT": str(self.ws_port),
            "HOST": "127.0.0.1",
            "WORKERS": "1",
            **env,
        }
        self.start()

    def start(self) -> None:
        """Start it, or start it again where it was."""
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "front"], cwd=self.folder, env=self.env, stdout=log, stderr=log
            )
        wait_for(self._answers, "front")

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"front ended with {self.process.returncode}: {self.log.read_text()[-2000:]}")
        try:
            with urllib.request.urlopen(f"{self.url}/_band/health", timeout=1) as answer:
                return json.load(answer)["checks"]["redis"]["status"] == "ok"
        except OSError:
            return False

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(15)


def wait_for(ready: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + START_WITHIN_S
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} was not ready within {START_WITHIN_S} s")
        time.sleep(0.05)


Answer = Callable[[dict[str, Any]], Any]
SILENCE = object()


class Peers:
    """Speaks for the director, for services and for listeners on one Redis."""

    SILENCE = SILENCE

    def __init__(self, dsn: str) -> None:
        self.redis = aioredis.Redis.from_url(dsn)
        self._tasks: list[asyncio.Task[None]] = []
        self._pubsubs: list[Any] = []
        self.last_hash = int(time.time() * 1000)

    async def _subscribe(self, *channels: str) -> Any:
        pubsub = self.redis.pubsub()
        self._pubsubs.append(pubsub)
        await pubsub.subscribe(*channels)
        for _ in channels:
            await pubsub.get_message(timeout=2)
        return pubsub

    async def service(
        self, name: str, answer: Answer, *, enricher: bool = False, group: str = ""
    ) -> list[dict[str, Any]]:
        """Answer requests: the return value is the result, an exception is a JSON-RPC error, SILENCE is nothing."""
        pubsub = await self._subscribe(*([name, "enrich"] if enricher else [name]))
        seen: list[dict[str, Any]] = []

        async def serve() -> None:
            async for received in pubsub.listen():
                request = json.loads(received["data"])
                _to, method, sender = request["method"].split(":")
                if "id" not in request:
                    continue
                seen.append({**request, "method_name": method})
                reply: dict[str, Any] = {"jsonrpc": "2.0", "id": request["id"], "from": name, "to": sender}
                if group:
                    reply["service_group"] = group
                try:
                    result = answer(request["params"])
                    reply["result"] = await result if asyncio.iscoroutine(result) else result
                    if reply["result"] is SILENCE:
                        continue
                except ValueError as error:
                    reply["error"] = {"code": -32000, "message": str(error)}
                except RpcRemoteError as error:
                    reply["error"] = {"code": error.code, "message": error.message, "data": error.data}
                await self.redis.publish(sender, json.dumps(reply))

        self._tasks.append(asyncio.create_task(serve()))
        return seen

    async def listener(self) -> asyncio.Queue[bytes]:
        """What channel `broadcast` carries, as bytes."""
        pubsub = await self._subscribe("broadcast")
        queue: asyncio.Queue[bytes] = asyncio.Queue()

        async def listen() -> None:
            async for received in pubsub.listen():
                queue.put_nowait(received["data"])

        self._tasks.append(asyncio.create_task(listen()))
        return queue

    async def call_front(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """One call as the director makes it; the whole reply."""
        pubsub = await self._subscribe("director")
        request_id = str(time.monotonic_ns())
        request = {"jsonrpc": "2.0", "method": f"front:{method}:director", "params": params, "id": request_id}
        await self.redis.publish("front", json.dumps(request))
        async with asyncio.timeout(5):
            async for received in pubsub.listen():
                reply = json.loads(received["data"])
                if reply.get("id") == request_id and "method" not in reply:
                    await pubsub.unsubscribe()
                    return dict(reply)
        raise TimeoutError

    async def register(self, *rows: dict[str, Any]) -> dict[str, Any]:
        """Push registrations with a hash that front has not seen."""
        self.last_hash += 1
        return await self.call_front("__status", {"register": list(rows), "state_hash": self.last_hash})

    async def newest(self) -> dict[str, Any]:
        """The newest event of the stream."""
        (_, fields) = (await self.redis.xrevrange("events", count=1))[0]
        return dict(json.loads(fields[b"event"]))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for pubsub in self._pubsubs:
            await pubsub.aclose()
        await self.redis.aclose()


@pytest.fixture(scope="session")
def front_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that a test may stop."""
    server = RedisServer(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def start_front(tmp_path: Path) -> Iterator[Callable[..., FrontProcess]]:
    """Starts fronts with settings of a test's own."""
    started: list[FrontProcess] = []

    def start(dsn: str, **env: str) -> FrontProcess:
        folder = tmp_path / f"front{len(started)}"
        folder.mkdir()
        started.append(FrontProcess(folder, dsn, **env))
        return started[-1]

    yield start
    for process in started:
        process.stop()


@pytest.fixture
async def speak() -> AsyncIterator[Callable[[str], Peers]]:
    """Makes peers for a Redis."""
    made: list[Peers] = []

    def make(dsn: str) -> Peers:
        made.append(Peers(dsn))
        return made[-1]

    yield make
    for speaker in made:
        await speaker.close()


@pytest.fixture(scope="session")
def front(front_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontProcess]:
    """A front with default settings."""
    process = FrontProcess(tmp_path_factory.mktemp("front"), front_redis.dsn)
    yield process
    process.stop()


@pytest.fixture
async def peers(front: FrontProcess, front_redis: RedisServer) -> AsyncIterator[Peers]:
    """Peers on the default front's Redis; registrations and stored data are gone afterwards."""
    speaker = Peers(front_redis.dsn)
    try:
        await speaker.redis.flushall()
        yield speaker
        await speaker.register()
        await speaker.redis.flushall()
    finally:
        await speaker.close()


class EventClient:
    """Posts to front, and reads what came into the stream."""

    def __init__(self, front: FrontProcess, peers: Peers) -> None:
        self.url = front.url
        self.peers = peers
        self._of_families: set[bool] = set()

    async def post(
        self, path: str, body: Any, content_type: str = "application/json", **headers: str
    ) -> tuple[int, Any]:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        with contextlib.suppress(BadRequest):
            self._of_families.add(family_of("POST", path.partition("?")[0], content_type.lower()) is not None)
        async with (
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
            http.post(
                f"{self.url}{path}", data=io.BytesIO(raw), headers={"Content-Type": content_type, **headers}
            ) as answer,
        ):
            self.headers = answer.headers
            text = await answer.text()
            return answer.status, json.loads(text) if answer.content_type == "application/json" else text

    async def metric(self, sample: str) -> float:
        """Return a sample of front's metrics; 0 if there is none."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.url}/_band/metrics") as answer:
            lines = (await answer.text()).splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{sample} ")), 0.0)

    async def events(self) -> list[dict[str, Any]]:
        """Return what came, without the fingerprints. Each field must have its row in docs/event-fields.md."""
        found = [json.loads(fields[b"event"]) for _, fields in await self.peers.redis.xrange("events")]
        for event in found:
            assert undocumented(event, whole=self._of_families == {True}) == []
            event["data"].pop("fpid", None)
        return found


@pytest.fixture
def client_of() -> type[EventClient]:
    """Makes clients of fronts with settings of a test's own."""
    return EventClient


@pytest.fixture
def client(front: FrontProcess, peers: Peers) -> EventClient:
    return EventClient(front, peers)
