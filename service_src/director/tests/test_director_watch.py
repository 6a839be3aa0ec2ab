"""How unanswered questions of a release on trial are counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from band.redis import RedisLink
from director.engine.interface import Container
from director.state import history
from director.state.desired import Desired, DesiredService, Spec
from director.state.history import Releases
from director.supervise.policy import SILENT_ASKS
from director.supervise.probation import REDIS_BACK_SECONDS, Probation

SWITCHED = 1_000.0


def wanted(tag: str) -> DesiredService:
    return DesiredService(spec=Spec(name="one", image=f"ns/one:{tag}", network="net"))


class FakeProber:
    """Answers with the statuses it has, or not at all."""

    def __init__(self) -> None:
        self.statuses: list[dict[str, Any]] = []
        self.asked = 0

    async def ask(self, service: str, *, timeout: float, accept: Callable[[Any], bool]) -> Any:
        self.asked += 1
        return next((status for status in self.statuses if accept(status)), None)


class House:
    """A watch over service `one`, whose second release was switched to at SWITCHED."""

    def __init__(self, store: RedisLink) -> None:
        self.desired, self.releases, self.prober = Desired(store, "ns"), Releases(store, "ns"), FakeProber()
        self.connected, self.poked = True, 0
        self.seen: Container | None = Container(id="c1", name="one", service="one", created_at=SWITCHED - 3)
        fake: Any = self.prober
        me: Any = self
        self.watch = Probation(self.desired, self.releases, fake, me, me)

    def primary(self, _service: str) -> Container | None:
        return self.seen

    def request(self) -> None:
        self.poked += 1

    async def release(self, tag: str, at: float) -> None:
        await self.desired.put(wanted(tag))
        await self.releases.put("one", history.deployed(self.releases.of("one"), wanted(tag), "run", at, 60.0))

    @property
    def unanswered(self) -> int:
        return self.watch.trials()["one"].unanswered


@pytest.fixture
async def house(store: RedisLink) -> House:
    found = House(store)
    await found.desired.load()
    await found.releases.load()
    await found.release("a", 10.0)
    await found.release("b", SWITCHED)
    return found


async def test_silence_adds_up_until_somebody_is_woken(house: House) -> None:
    """Each question without an answer counts; at the limit the reconciler is woken; one answer and it begins anew."""
    for number in range(1, SILENT_ASKS + 1):
        await house.watch.once()
        assert house.unanswered == number
    assert house.poked == 1
    house.prober.statuses = [{"app_started": (SWITCHED + 1) * 1000}]
    await house.watch.once()
    assert house.unanswered == 0


async def test_an_answer_of_the_container_before_is_none(house: House) -> None:
    """The old one may still answer while it is stopped: it started before the new one was made."""
    house.prober.statuses = [{"app_started": (SWITCHED - 100) * 1000}, {"app_started": None}]
    await house.watch.once()
    assert house.unanswered == 1
    house.seen = Container(
        id="c1", name="one", service="one", created_at=SWITCHED - 3, env={"BAND_CONTAINER": "new"}
    )  # fmt: skip
    house.prober.statuses = [{"app_started": (SWITCHED + 1) * 1000, "container": "old"}]
    await house.watch.once()
    assert house.unanswered == 2


async def test_without_redis_nobody_can_answer(house: House) -> None:
    """While the director is cut off from Redis silence means nothing, and what was counted is forgotten."""
    await house.watch.once()
    house.connected = False
    await house.watch.once()
    assert house.unanswered == 0


async def test_an_unhealthy_release_is_excused_while_redis_is_away(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And until Docker's health check has run once more: going back would not bring Redis back."""
    now = [SWITCHED]
    monkeypatch.setattr("director.supervise.probation.time.time", lambda: now[0])
    assert not house.watch.trials()["one"].redis_away
    house.connected = False
    await house.watch.once()
    house.connected = True
    assert house.watch.trials()["one"].redis_away
    now[0] += REDIS_BACK_SECONDS
    assert not house.watch.trials()["one"].redis_away


async def test_the_next_release_begins_with_a_clean_count(house: House) -> None:
    """What the one before left unanswered is not held against it."""
    for _ in range(SILENT_ASKS - 1):
        await house.watch.once()
    await house.release("c", SWITCHED + 30)
    assert house.unanswered == 0
    await house.watch.once()
    assert house.unanswered == 1


async def test_only_what_runs_and_is_on_trial_is_asked(house: House) -> None:
    """Neither a container that ended, nor a service that was stopped, nor a release that has proved itself."""
    house.seen = msgspec.structs.replace(house.seen, state="exited")
    await house.watch.once()
    house.seen = msgspec.structs.replace(house.seen, state="running")
    await house.releases.put("one", history.proven(house.releases.of("one"), SWITCHED + 61))
    await house.watch.once()
    assert (house.prober.asked, dict(house.watch.trials())) == (0, {})
    await house.release("c", SWITCHED + 100)
    await house.desired.put(msgspec.structs.replace(wanted("c"), state="stopped"))
    await house.watch.once()
    assert (house.prober.asked, dict(house.watch.trials())) == (0, {})


async def test_memory_counts_from_the_switch_on(house: House) -> None:
    """A process killed for memory after the switch is held against the release."""
    assert house.watch.trials()["one"].out_of_memory is False
    house.watch.out_of_memory("one")
    assert house.watch.trials()["one"].out_of_memory is True
