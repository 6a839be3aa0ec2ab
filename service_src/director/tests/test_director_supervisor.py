"""The loop's own care: what was decided is done only as long as it is still what should be."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec

from director.engine.interface import Container, Event
from director.engine.snapshot import Snapshot
from director.locks import Locks
from director.state.crash_log import CrashLog, CrashLoop, CrashRecord, ExitRecord
from director.state.desired import Desired, DesiredService, Spec
from director.state.history import Release
from director.supervise.incidents import Incidents
from director.supervise.reconcile import Action
from director.supervise.supervisor import Supervisor
from director.webhook import Webhook


class Store:
    """Redis, as far as it is written to here."""

    def __init__(self, *documents: tuple[str, bytes]) -> None:
        self.asked: list[str] = []
        self._flat = [item for name, raw in documents for item in (name.encode(), raw)]

    async def command(self, *args: Any) -> Any:
        self.asked.append(args[0])
        return self._flat if args[0] == "HGETALL" else 1


class Actor:
    """Notes what it is told to do."""

    def __init__(self) -> None:
        self.done: list[str] = []

    async def do(self, action: Action, _container: Container | None) -> None:
        self.done.append(action.verb)


def wanted(name: str = "one", **more: Any) -> DesiredService:
    return DesiredService(spec=Spec(name=name, image="ns/one:a", network="net"), **more)


def supervisor(**parts: Any) -> Supervisor:
    """Return a supervisor of these parts; there are no others."""
    names = (
        "engine", "desired", "releases", "crashes", "deployer", "operations", "rollback", "watch", "renewals",
        "incidents", "announcer", "locks",
    )  # fmt: skip
    unused: Any = None
    return Supervisor(**{**dict.fromkeys(names, unused), **parts}, snapshot=Snapshot(unused, "ns"), namespace="ns")


async def test_a_plan_that_somebodys_request_came_before_is_dropped() -> None:
    """Decided on a start, which waited for a stop that was under way: the service stays stopped."""
    desired, locks, actor = Desired(Store(), "ns"), Locks(), Actor()
    await desired.load()
    await desired.put(wanted())
    found = supervisor(desired=desired, locks=locks)
    found.do = actor.do  # type: ignore[method-assign]
    start = [Action("start", "one", "c1")]
    async with locks.hold("one"):
        acting = asyncio.create_task(found._act("one", start, desired.get("one")))
        await asyncio.sleep(0.01)
        await desired.put(wanted(state="stopped"))
    await acting
    assert actor.done == []
    await found._act("one", start, desired.get("one"))
    assert actor.done == ["start"]


async def test_the_end_of_a_container_that_was_replaced_is_not_the_services() -> None:
    """The director was restarted while the container before still stopped: nobody remembers that it was asked to."""
    crashes, told = CrashLog(Store(), "ns"), list[str]()
    found = supervisor(
        crashes=crashes, deployer=SimpleNamespace(starting=frozenset()),
        announcer=SimpleNamespace(started=told.append, ended=told.append),
    )  # fmt: skip
    for name in ("ns-one.old-c0ffee", "ns-one.next"):
        found._on_event(Event("die", "c0ffee", "one", 143, 5.0, name=name))
    assert (crashes.of("one").ends, told) == ((), [])
    found._on_event(Event("die", "c1", "one", 143, 5.0, name="ns-one"))
    assert ([end.exit_code for end in crashes.of("one").ends], told) == ([143], ["one"])


async def test_forged_documents_are_nobodys() -> None:
    """A document under another service's name, or of a part of the platform itself, is as if it were not there."""
    good, evil = msgspec.json.encode(wanted()), msgspec.json.encode(wanted("redis"))
    desired = Desired(Store(("one", good), ("two", good), ("redis", evil), ("three", evil), ("four", b"{")), "ns")
    await desired.load()
    assert list(desired.all()) == ["one"]


class Engine:
    """Stops what it is told to, and has last lines."""

    async def stop(self, _container: str, _timeout: float) -> None:
        return

    async def last_lines(self, _container: str, _wanted: DesiredService) -> list[str]:
        return ["bye"]


async def test_the_container_tells_of_memory_that_ran_out_where_the_event_came_too_late() -> None:
    """The engine says that a process was killed for memory, and sometimes says so only after its end."""
    crashes, engine = CrashLog(Store(), "ns"), Engine()
    fake: Any = engine
    crashes.put("one", CrashRecord(ends=(ExitRecord(1.0, "crash", 137),)))
    incidents = Incidents(fake, crashes, fake, Webhook(None, "ns"))
    seen = Container(id="c1", name="one", service="one", state="exited", exit_code=137, oom_killed=True)
    await incidents.crashed("one", seen, wanted(), "why")
    crash = crashes.of("one").crash
    assert isinstance(crash, CrashLoop)
    assert (crash.exit_code, crash.oom_killed, crash.last_lines) == (137, True, ["bye"])


async def test_what_is_told_was_written_down_before() -> None:
    """A director that is killed after it told of a verdict or a rollback does not tell of it again."""
    store, engine, told = Store(), Engine(), list[tuple[str, int]]()

    class Hook(Webhook):
        """Notes how often Redis was written to by the time something is told."""

        def tell(self, event: Any, service: str, **facts: Any) -> None:
            told.append((event, store.asked.count("HSET")))

    fake: Any = engine
    incidents = Incidents(fake, CrashLog(store, "ns"), fake, Hook(None, "ns"))
    await incidents.crashed("one", None, wanted(), "why")
    await incidents.rolled_back("one", None, Release(spec=wanted().spec, at=1.0), "why")
    assert told == [("service_crashed", 1), ("service_rolled_back", 2)]
