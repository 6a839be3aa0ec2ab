"""No background loop of the director ends by an accident: it is told of, and goes on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from band.background import failing_loops, process_loops
from director.dashboard.live import Live
from director.discovery.announcer import Announcer
from director.discovery.registrations import Registrations
from director.engine.docker import DockerEngine
from director.engine.interface import Container, Event
from director.engine.log_feed import LogFeed
from director.engine.snapshot import Snapshot
from director.engine.stats import UsageMeter
from director.images.prune import Pruner, PruneSettings
from director.locks import Locks
from director.state.crash_log import CrashLog
from director.state.desired import Desired
from director.state.history import Releases
from director.supervise.policy import ExitReader
from director.supervise.probation import Probation
from director.supervise.supervisor import Supervisor
from director.webhook import Webhook


async def until(check: Callable[[], Any], seconds: float = 10.0) -> None:
    """Wait until `check` is true; fails after `seconds`."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not check():
        assert asyncio.get_running_loop().time() < deadline, "it did not come to be"
        await asyncio.sleep(0.01)


class Store:
    """Redis, with nothing in it."""

    async def command(self, *_args: Any) -> Any:
        return []


class Engine:
    """An engine whose first stream of events breaks in a way that nobody thought of, and whose next one works."""

    def __init__(self) -> None:
        self.streams = 0
        self.listed = 0
        self.come: asyncio.Queue[Event] = asyncio.Queue()

    async def ping(self) -> str:
        return "fake"

    async def containers(self, known: Any = ()) -> list[Container]:
        self.listed += 1
        return []

    async def events(self) -> AsyncIterator[Event]:
        self.streams += 1
        if self.streams == 1:
            raise ValueError("Chunk too big")
        while True:
            yield await self.come.get()


def supervisor(engine: Any, **more: Any) -> Supervisor:
    """Return a supervisor over an engine and an empty Redis."""
    store, anything = Store(), Deployer()
    desired, releases, snapshot = Desired(store, "ns"), Releases(store, "ns"), Snapshot(engine, "ns")
    fake: Any = anything
    return Supervisor(
        engine=engine, snapshot=snapshot, desired=desired, releases=releases, crashes=CrashLog(store, "ns"),
        deployer=fake, watch=Probation(desired, releases, fake, snapshot, fake), locks=Locks(), namespace="ns",
        operations=fake, rollback=fake, renewals=fake, incidents=fake, **{"announcer": fake, **more},
    )  # fmt: skip


class Deployer:
    """Nothing is being deployed."""

    connected = True
    starting: frozenset[str] = frozenset()
    retiring: frozenset[str] = frozenset()

    def due(self, _services: Any, _busy: Any) -> dict[str, float]:
        return {}


@contextlib.asynccontextmanager
async def running(work: Any) -> AsyncIterator[asyncio.Task[Any]]:
    """Have a loop run within the block; it must not have ended by itself."""
    task = asyncio.create_task(work)
    yield task
    assert not task.done(), task.exception()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_broken_stream_of_docker_events_ends_neither_loop_of_the_supervisor() -> None:
    """The reconcile loop goes on, the failing one is told with its reason, and begins anew."""
    engine = Engine()
    found = supervisor(engine)
    async with running(found.run()):
        await until(lambda: "docker_events" in failing_loops())
        assert "Chunk too big" in failing_loops()["docker_events"]
        listed = engine.listed
        await until(lambda: engine.streams == 2 and engine.listed > listed)


async def test_one_event_that_cannot_be_taken_spoils_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next event is taken from the same stream."""
    engine, ended = Engine(), list[str]()
    engine.streams = 1
    found = supervisor(engine, announcer=SimpleNamespace(ended=ended.append))
    read = ExitReader.read

    def bad(self: ExitReader, event: Event, now: float) -> Any:
        if event.container == "bad":
            raise KeyError("never thought of")
        return read(self, event, now)

    monkeypatch.setattr(ExitReader, "read", bad)
    async with running(found.run()):
        for container in ("bad", "good"):
            engine.come.put_nowait(Event("die", container, container, 1, 5.0))
        await until(lambda: ended == ["good"])
        assert engine.streams == 2


async def test_one_line_of_dockers_events_that_cannot_be_read_spoils_no_other(tmp_path: Path) -> None:
    """What is no JSON, or not of the form that Docker documents, is left out; the stream goes on."""
    ours = {"ID": "c1", "Attributes": {"band.config": "c", "band.service": "one", "exitCode": "3"}}
    odd = {**ours, "Attributes": {**ours["Attributes"], "exitCode": "many"}}
    odd_lines = [{"Actor": 5}, {"Action": "die", "Actor": odd}, {"Action": "die", "Actor": ours, "time": 5}]
    lines = [b"{", b"[1]", b"\xff", *(json.dumps(line).encode() for line in odd_lines)]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            kind = b"Content-Type: application/json\r\n"
            if b"/events" in head:
                writer.write(b"HTTP/1.1 200 OK\r\n" + kind + b"Connection: close\r\n\r\n" + b"\n".join(lines) + b"\n")
                await writer.drain()
                writer.close()
                return
            body = b'{"Version": "fake", "ApiVersion": "1.41"}'
            writer.write(b"HTTP/1.1 200 OK\r\n" + kind + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    path = tmp_path / "docker.sock"
    server = await asyncio.start_unix_server(serve, str(path))
    runtime = DockerEngine("ns", f"unix://{path}")
    try:
        async with asyncio.timeout(10):
            assert [event.exit_code async for event in runtime.events()] == [3]
    finally:
        await runtime.close()
        server.close()


class Broken:
    """Whatever is asked of it the first time fails in a way that nobody thought of; `asked` counts."""

    def __init__(self) -> None:
        self.asked = 0
        self.connected = True
        self.ready = asyncio.Event()
        self.ready.set()

    def fail(self, *_args: Any, **_named: Any) -> Any:
        self.asked += 1
        raise ZeroDivisionError(f"{self.asked}")

    __call__ = all = stopped = ended = primaries = cards = _post = fail
    containers = property(fail)


def loops(broken: Any) -> dict[str, Any]:
    """Return each loop of the director, over something that fails, by name."""
    live, feed, webhook = Live(broken, broken), LogFeed(broken, broken, broken), Webhook("http://127.0.0.1:9/", "ns")
    live._viewers.add(asyncio.Queue())
    feed._readers.add(broken)
    webhook._post = broken.fail  # type: ignore[method-assign]
    for _ in range(3):
        webhook.tell("service_crashed", "one")
    return {
        "announcer": Announcer(broken, broken, Registrations(), broken, broken),
        "usage": UsageMeter(broken, broken),
        "watch": Probation(broken, broken, broken, broken, broken, every=0.01),
        "page": live,
        "feed": feed,
        "webhook": webhook,
        "pruner": Pruner(
            engine=broken, desired=broken, releases=broken, locks=broken, namespace="ns",
            settings=PruneSettings(age=1, disk=1), disk=broken,
        ),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["announcer", "usage", "watch", "page", "feed", "webhook", "pruner"])
async def test_a_loop_that_meets_what_nobody_thought_of_goes_on_and_says_so(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked again after a pause, counted, and named among those that fail."""
    monkeypatch.setattr("director.images.prune.FIRST", 0.0)
    broken = Broken()
    before = process_loops.failures().get(name, 0)
    async with running(loops(broken)[name].run()):
        await until(lambda: broken.asked >= 2)
        assert "ZeroDivisionError" in failing_loops()[name]
        assert process_loops.failures()[name] > before
    assert name not in failing_loops()


async def test_a_failing_loop_shows_in_health_metrics_and_on_the_page(make_director: Callable[..., Any]) -> None:
    """The director is degraded, with the loop's name and what it met; the rest of it works."""
    director = await asyncio.to_thread(make_director, "t-odd", FAKE_ODD_SAMPLES="1", FAKE_SERVICES="1")
    health: Any = {}
    for _ in range(100):
        health = (await asyncio.to_thread(director.get, "/health"))[1]
        if health["director"]["status"] == "degraded":
            break
        await asyncio.sleep(0.1)
    assert "its background loop usage is failing: ValueError: odd sample" in health["director"]["reason"]
    assert (health["status"], health["services"]["troubled"]) == ("degraded", [])
    text = (await asyncio.to_thread(director.request, "GET", "/metrics"))[1]
    assert re.search(r'band_background_loop_failures_total\{loop="usage"\} [1-9]', text)
    assert (
        "The director: its background loop usage is failing"
        in (await asyncio.to_thread(director.request, "GET", "/"))[1]
    )
    assert "Traceback" in director.log.read_text()
