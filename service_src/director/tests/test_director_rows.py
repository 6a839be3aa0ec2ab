"""`/list` is answered from memory: no row asks the engine, Redis or the service."""

from __future__ import annotations

import asyncio
from typing import Any

from director.api.handlers.services import Handlers
from director.api.params import Nothing, StateParams
from director.api.service_table import Rows
from director.engine.interface import Observed
from director.engine.stats import Usage
from director.errors import NotFound
from director.state.crash_log import NO_RECORD


class Untouchable:
    """Whatever is asked of it is an error."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was touched")


class Picture:
    """A supervisor with 100 services in its newest picture; counts how often that is gone through."""

    def __init__(self, count: int = 100) -> None:
        names = [f"svc{number:03}" for number in range(count)]
        self._observed = [Observed(id=name, name=name, service=name) for name in names]
        self.passes = 0
        self.pictured = asyncio.Event()
        self.pictured.set()

    @property
    def observed(self) -> list[Observed]:
        self.passes += 1
        return self._observed

    def primaries(self) -> dict[str, Observed]:
        return {item.service: item for item in self.observed}

    def primary(self, service: str) -> Observed | None:
        return self.primaries().get(service)

    def ended(self) -> dict[str, float]:
        return {item.service: 0.0 for item in self.observed if not item.alive}

    def crashes(self, _service: str) -> int:
        return 0

    def record(self, _service: str) -> Any:
        return NO_RECORD

    def release(self, _service: str) -> None:
        return None


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

    def active(self, _now: float, _ended: Any) -> list[str]:
        return []

    def silent_for(self, _name: str, _started: float, _now: float) -> float:
        return 0.0

    def of(self, _container: str) -> Usage:
        return Usage(memory=1, memory_limit=2, cpu_seconds=3.0, cpu_percent=4.0)

    def looked(self) -> None:
        self.looks += 1


def handlers(picture: Picture, memory: Memory) -> Handlers:
    """Return the handlers with everything that could wait out of reach."""
    anything: Any = memory
    supervisor: Any = picture
    out: Any = Untouchable()
    rows = Rows(supervisor, anything, out, anything, anything, anything)
    return Handlers(
        runtime=out, catalog=out, operations=out, supervisor=supervisor, desired=anything, registrations=anything,
        announcer=out, prober=out, rpc=out, link=out, rows=rows, places=out, last_lines=out,
    )  # fmt: skip


async def test_a_list_of_a_hundred_services_asks_nobody() -> None:
    """The picture is gone through a fixed number of times, however many services there are; looking is noted once."""
    passes = set()
    for count in (10, 100):
        picture, memory = Picture(count), Memory()
        found = await handlers(picture, memory).list_services(Nothing(), {})
        assert (len(found), found[0]["memory"], memory.looks) == (count, 1, 1)
        passes.add(picture.passes)
        assert set(await handlers(picture, memory).state(StateParams(), {})) == {row["name"] for row in found}
    assert len(passes) == 1


async def test_the_state_of_one_service_asks_nobody_either() -> None:
    """One row, or 404 with the way to those there are."""
    found = handlers(Picture(3), Memory())
    assert (await found.state(StateParams(name="svc001"), {}))["name"] == "svc001"
    try:
        await found.state(StateParams(name="other"), {})
    except NotFound as error:
        assert "/list" in error.hint
    else:
        raise AssertionError("there is no such service")
