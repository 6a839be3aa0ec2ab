"""`/list` is answered from memory: no row asks the engine, Redis or the service."""

from __future__ import annotations

import asyncio
from typing import Any

from director.api.handlers.services import ServiceHandlers
from director.api.params import Nothing, StateParams
from director.api.service_table import ServiceTable
from director.engine.interface import Container
from director.engine.stats import Usage
from director.errors import NotFound
from director.state.crash_log import CrashLog
from director.supervise.status import StatusBoard


class Untouchable:
    """Whatever is asked of it is an error."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was touched")


class Picture:
    """A snapshot with 100 services; counts how often it is gone through."""

    def __init__(self, count: int = 100) -> None:
        names = [f"svc{number:03}" for number in range(count)]
        self._containers = [Container(id=name, name=name, service=name) for name in names]
        self.passes = 0
        self.ready = asyncio.Event()
        self.ready.set()

    @property
    def containers(self) -> list[Container]:
        self.passes += 1
        return self._containers

    def primaries(self) -> dict[str, Container]:
        return {item.service: item for item in self.containers}

    def primary(self, service: str) -> Container | None:
        return self.primaries().get(service)

    def ended(self, _stopped: Any) -> dict[str, float]:
        return {item.service: 0.0 for item in self.containers if not item.alive}


class Memory:
    """What should be, what was said, what is used: nothing, but without asking anybody."""

    def __init__(self) -> None:
        self.looks = 0
        self.dead_letters: dict[str, int] = {}

    def all(self) -> dict[str, Any]:
        return {}

    def get(self, _name: str) -> None:
        return None

    def status(self, _name: str) -> None:
        return None

    def stopped(self) -> frozenset[str]:
        return frozenset()

    def dead(self, _container: str) -> tuple[int, ...]:
        return ()

    def active(self, _now: float, _ended: Any) -> list[str]:
        return []

    def silent_for(self, _name: str, _started: float, _now: float) -> float:
        return 0.0

    def of(self, _container: str) -> Usage:
        return Usage(memory=1, memory_limit=2, cpu_seconds=3.0, cpu_percent=4.0)

    def looked(self) -> None:
        self.looks += 1


class Releases:
    """Nothing was released."""

    def of(self, _name: str) -> tuple[()]:
        return ()


def handlers(picture: Picture, memory: Memory) -> ServiceHandlers:
    """Return the handlers with everything that could wait out of reach."""
    snapshot: Any = picture
    anything: Any = memory
    out: Any = Untouchable()
    releases: Any = Releases()
    board = StatusBoard(
        snapshot=snapshot, desired=anything, releases=releases, crashes=CrashLog(out, "ns"), registrations=anything,
        announcer=out, redis=anything, scripts=out, ports=anything,
    )  # fmt: skip
    return ServiceHandlers(
        engine=out, snapshot=snapshot, catalog=out, secrets=out, operations=out, desired=anything, crashes=out,
        registrations=anything, announcer=out, prober=out, rpc=out, board=board, table=ServiceTable(board, anything),
    )  # fmt: skip


async def state(found: ServiceHandlers, name: str | None = None) -> Any:
    return await found.state(StateParams(name=name))


async def test_a_list_of_a_hundred_services_asks_nobody() -> None:
    """The picture is gone through a fixed number of times, however many services there are; looking is noted once."""
    passes = set()
    for count in (10, 100):
        picture, memory = Picture(count), Memory()
        found = await handlers(picture, memory).list_services(Nothing())
        assert (len(found), found[0].memory, memory.looks) == (count, 1, 1)
        passes.add(picture.passes)
        assert set(await state(handlers(picture, memory))) == {row.name for row in found}
    assert len(passes) == 1


async def test_the_state_of_one_service_asks_nobody_either() -> None:
    """One row, or 404 with the way to those there are."""
    found = handlers(Picture(3), Memory())
    assert (await state(found, "svc001")).name == "svc001"
    try:
        await state(found, "other")
    except NotFound as error:
        assert "/list" in error.hint
    else:
        raise AssertionError("there is no such service")
