"""How ends are read out of the engine's events, remembered in Redis, and told to a webhook."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from band.redis import RedisLink
from band.testing import capture_logs
from director import webhook
from director.engine.interface import Event
from director.state.crash_log import (
    NO_RECORD,
    CrashLimits,
    CrashLog,
    CrashLoop,
    CrashRecord,
    ExitRecord,
    RollbackRecord,
)
from director.supervise.policy import GRACEFUL, RECENT, ExitReader
from director.webhook import Webhook

CANARY = "canary-webhook-token"


def event(action: str, *, code: int | None = None, signal: int | None = None, asked: bool = False) -> Event:
    return Event(action, "c1", "one", code, 0.0, asked=asked, signal=signal)


def read(*events: Event, ends: ExitReader | None = None, at: float = 100.0) -> list[ExitRecord | None]:
    reader = ends or ExitReader()
    return [reader.read(item, at) for item in events]


@pytest.mark.parametrize(
    ("events", "kind", "oom"),
    [
        ([event("die", code=3)], "crash", False),
        ([event("die", code=0)], "quit", False),
        ([event("oom"), event("die", code=137)], "crash", True),
        ([event("kill", signal=9), event("die", code=137)], "outside", False),
        ([event("kill", signal=15), event("die", code=0)], "outside", False),
        ([event("kill", signal=1), event("die", code=3)], "crash", False),
        ([event("kill", signal=9), event("start"), event("die", code=3)], "crash", False),
        ([event("oom"), event("start"), event("die", code=3)], "crash", False),
    ],
)
def test_an_end_is_a_crash_unless_somebody_wanted_it(events: list[Event], kind: str, oom: bool) -> None:
    """The exit code, the memory and a deadly signal before it say what an end was; a start clears what was heard."""
    end = read(*events)[-1]
    assert end is not None
    assert (end.kind, end.oom_killed) == (kind, oom)


def test_what_the_director_asked_for_is_no_end() -> None:
    """A stop or a removal of its own is not noted at all, and a signal long ago explains nothing."""
    assert read(event("die", code=3, asked=True)) == [None]
    for signal, seconds in ((9, RECENT), (15, GRACEFUL)):
        reader = ExitReader()
        read(event("kill", signal=signal), ends=reader, at=100.0)
        ends = read(event("die", code=3), ends=reader, at=101.0 + seconds)
        assert [end and end.kind for end in ends] == ["crash"]


@pytest.mark.parametrize("code", [0, 143, 1])
def test_a_graceful_stop_from_outside_may_take_minutes(code: int) -> None:
    """`docker stop -t 600`: the service finishes what it has begun, and its end is nobody's crash."""
    reader = ExitReader()
    read(event("kill", signal=15), ends=reader, at=100.0)
    ends = read(event("die", code=code), ends=reader, at=100.0 + 590.0)
    assert [end and end.kind for end in ends] == ["outside"]


def test_ends_out_of_the_window_are_forgotten() -> None:
    """Only crashes within the window count for the verdict; all ends within it for the backoff."""
    record = CrashRecord(
        ends=(
            ExitRecord(10.0),
            ExitRecord(90.0, "quit", 0),
            ExitRecord(95.0, "crash", 3),
            ExitRecord(96.0, "outside", 137),
        )
    )
    assert record.recent(100.0, 50.0) == (90.0, 95.0, 96.0)
    assert record.crashes(100.0, 50.0) == (ExitRecord(95.0, "crash", 3),)
    assert record.since(92.0) == ExitRecord(95.0, "crash", 3)
    assert record.since(95.0) is None


async def test_what_is_remembered_survives_the_director(store: RedisLink) -> None:
    """Ends, verdict and rollback are in Redis after a save; what was noted before the load is not lost by it."""
    first = CrashLog(store, "ns", CrashLimits(window=300))
    for at in (100.0, 500.0):
        first.note("one", ExitRecord(at, "crash", 3))
    crash = CrashLoop(reason="why", exit_code=3, oom_killed=False, at=500.0, last_lines=["***"])
    back = RollbackRecord(at=1.0, source="b", target="a", reason="why")
    first.put("two", CrashRecord(crash=crash, rolled_back=back))
    await first.save()
    second = CrashLog(store, "ns")
    second.note("one", ExitRecord(510.0, "crash", 4))
    await second.load()
    assert second.of("one").ends == (ExitRecord(500.0, "crash", 3), ExitRecord(510.0, "crash", 4))
    assert second.of("two") == CrashRecord(crash=crash, rolled_back=back)
    second.put("two", NO_RECORD)
    await second.save()
    await first.load()
    third = CrashLog(store, "ns")
    await third.load()
    assert set(third.all()) == {"one"}


async def test_without_redis_it_is_written_later(store: RedisLink) -> None:
    """A save that fails raises nothing and is made up for."""
    crashes = CrashLog(Away(), "ns")
    crashes.note("one", ExitRecord(1.0))
    await crashes.save()
    crashes._store = store
    await crashes.save()
    assert await store.command("HLEN", "ns:director:crashes") == 1


class Away:
    """A Redis that is not there."""

    async def command(self, *_: Any) -> Any:
        from band.errors import RedisUnavailable

        raise RedisUnavailable("away")


class Receiver:
    """An HTTP server that answers with the statuses it is given, one after another, then with 200."""

    def __init__(self, *statuses: int) -> None:
        self.got: list[dict[str, Any]] = []
        self._statuses = list(statuses)
        app = web.Application()
        app.router.add_post(f"/hook/{CANARY}", self._take)
        self.server = TestServer(app)

    @property
    def url(self) -> str:
        return str(self.server.make_url(f"/hook/{CANARY}"))

    async def _take(self, request: web.Request) -> web.Response:
        self.got.append(await request.json())
        return web.Response(status=self._statuses.pop(0) if self._statuses else 200)


@pytest.fixture
async def deliver() -> AsyncIterator[Callable[[Webhook], asyncio.Task[None]]]:
    tasks: list[asyncio.Task[None]] = []

    def start(hook: Webhook) -> asyncio.Task[None]:
        tasks.append(asyncio.create_task(hook.run()))
        return tasks[-1]

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def until(found: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 10
    while not found():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_the_webhook_tries_again_until_it_is_received(deliver: Any) -> None:
    """After 503 and 429 the same message is sent again, once it is received the next one follows, in order."""
    receiver = Receiver(503, 429)
    async with receiver.server:
        hook = Webhook(receiver.url, "ns", first_delay=0.01)
        deliver(hook)
        hook.tell("service_crashed", "one", reason="why", exit_code=3)
        hook.tell("service_recovered", "one", reason="well")
        await until(lambda: hook.sent == 2)
    assert [item["event"] for item in receiver.got] == ["service_crashed"] * 3 + ["service_recovered"]
    assert receiver.got[0].items() >= {"service": "one", "namespace": "ns", "reason": "why", "exit_code": 3}.items()


async def test_what_is_not_wanted_is_dropped_and_nothing_waits(deliver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 404 is not tried again, nobody home is given up in the end, and the address is told nowhere."""
    receiver = Receiver(404)
    monkeypatch.setattr(webhook, "ATTEMPTS", 2)
    with capture_logs() as logs:
        async with receiver.server:
            hook = Webhook(receiver.url, "ns", first_delay=0.01)
            deliver(hook)
            hook.tell("service_crashed", "one")
            await until(lambda: hook.dropped == 1)
            url = receiver.url
        nobody = Webhook(url, "ns", first_delay=0.01)
        deliver(nobody)
        nobody.tell("service_crashed", "one")
        await until(lambda: nobody.dropped == 1)
    assert len(receiver.got) == 1
    assert {entry["reason"] for entry in logs} == {"answered 404", "ClientConnectorError"}
    assert CANARY not in str(logs)


async def test_messages_that_nobody_takes_do_not_pile_up() -> None:
    """With a queue full of them the oldest goes; without an address nothing is queued."""
    hook = Webhook("http://127.0.0.1:1/x", "ns")
    for number in range(webhook.WAITING + 5):
        hook.tell("service_crashed", f"svc{number}")
    assert hook.dropped == 5
    silent = Webhook(None, "ns")
    silent.tell("service_crashed", "one")
    await asyncio.wait_for(silent.run(), 1)
