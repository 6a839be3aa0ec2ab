"""When a new container counts as serving, and what is said of one that does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from director.deploy import readiness
from director.deploy.readiness import Readiness
from director.deploy.spec_builder import PlatformConfig
from director.engine.interface import Container
from director.errors import ServiceFailed, TimedOut
from director.state.desired import DesiredService, HealthCheck, Spec

CREATED = 1_000.0
OWN_CHECK = HealthCheck(command=["/bin/true"])


class FakeRuntime:
    """One container, which is what each look in turn says; the last one stays."""

    def __init__(self, *looks: Container | None) -> None:
        self._looks = list(looks)
        self.kept: list[str] = []

    def invalidate(self, _container: str) -> None:
        return

    async def inspect(self, _container: str) -> Container | None:
        return self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]

    async def set_restart_policy(self, container: str, *, on: bool) -> None:
        self.kept.append(container)

    async def logs(self, _container: str, tail: int) -> list[str]:
        return [f"line {number}, password canary-redis-password" for number in range(50)][-tail:]


class FakeProber:
    """Gives the first of its statuses that is accepted; without one it is silent until the time is over.

    A number among them is a pause in seconds.
    """

    def __init__(self, *statuses: dict[str, Any] | float) -> None:
        self._statuses = statuses

    async def ask(
        self, _service: str, *, timeout: float, interval: float, accept: Callable[[Any], bool], hide: Any
    ) -> Any:
        for status in self._statuses:
            if isinstance(status, float):
                await asyncio.sleep(status)
            elif accept(status):
                return status
        await asyncio.sleep(timeout)
        return None


def container(**more: Any) -> Container:
    return Container(**{"id": "c1", "name": "one", "service": "one", "created_at": CREATED, **more})


def started(seconds: float, **more: Any) -> dict[str, Any]:
    return {"app_started": seconds * 1000, **more}


async def wait(
    runtime: FakeRuntime,
    prober: FakeProber,
    health: HealthCheck | None = None,
    tell: Callable[[str, str], None] = lambda _name, _text: None,
    **more: Any,
) -> Any:
    around = PlatformConfig(
        namespace="ns", network="net", memory="1m", env={"REDIS_DSN": "redis://:canary-redis-password@r"},
        ready_timeout=0.6,
    )  # fmt: skip
    want = DesiredService(spec=Spec(name="one", image="x", network="net", health=health, **more))
    fakes: Any = (runtime, runtime, prober)
    return await Readiness(*fakes, around, tell).wait("c1", want, 0.0)


async def test_an_answer_of_this_very_container_is_needed() -> None:
    """That of an older one of the service, or of one that is not running yet, does not count."""
    runtime = FakeRuntime(container())
    prober = FakeProber(
        started(CREATED - 5), started(CREATED + 1, app_state="starting"), started(CREATED + 2, version="2")
    )
    assert (await wait(runtime, prober)).status["version"] == "2"
    assert runtime.kept == ["c1"]


async def test_what_the_health_says_meanwhile_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only of the new container, only what is new, a line a second, secrets masked."""
    monkeypatch.setattr(readiness, "TELL_EVERY", 0.1)
    told: list[tuple[str, str]] = []

    def status(text: str, at: float = CREATED + 1, state: str = "starting") -> dict[str, Any]:
        checks = {"database": {"status": "degraded", "reason": text}}
        return started(at, app_state=state, health={"status": "degraded", "checks": checks})

    prober = FakeProber(
        status("of the old one", CREATED - 5), status("1 of 9 MB, canary-redis-password"), status("too soon"),
        0.15, status("3 of 9 MB"), 0.15, status("3 of 9 MB", state="running"),
    )  # fmt: skip
    await wait(FakeRuntime(container()), prober, tell=lambda *line: told.append(line))
    assert [name for name, _ in told] == ["one", "one"]
    assert [text for _, text in told] == ["database: 1 of 9 MB, ***", "database: 3 of 9 MB"]


async def test_an_older_container_that_was_restarted_meanwhile_does_not_answer_for_the_new_one() -> None:
    """Its process is younger than the new container; what it was called when it was made tells them apart."""
    runtime = FakeRuntime(container(env={"BAND_CONTAINER": "new"}))
    of_old = started(CREATED + 1, container="old")
    with pytest.raises(TimedOut, match="did not answer __status"):
        await wait(runtime, FakeProber(of_old))
    prober = FakeProber(of_old, started(CREATED + 2, container="new", version="2"))
    assert (await wait(runtime, prober)).status["version"] == "2"


@pytest.mark.parametrize(
    ("seen", "word", "code", "oom"),
    [
        (container(state="exited", exit_code=3), "exited with code 3", 3, False),
        (container(state="exited", exit_code=137, oom_killed=True), "was OOM-killed", 137, True),
        (container(restarts=1, exit_code=1), "exited with code 1", 1, False),
        (None, "its container is gone", None, False),
    ],
)
async def test_one_that_ends_is_told_with_its_last_lines(seen: Any, word: str, code: int | None, oom: bool) -> None:
    """At most 20 lines, secrets masked, the exit code and whether memory ran out; it is not kept running."""
    runtime = FakeRuntime(container(), seen)
    with pytest.raises(ServiceFailed, match=word) as caught:
        await wait(runtime, FakeProber())
    facts = caught.value.facts
    assert (facts["exit_code"], facts["oom_killed"], len(facts["log"])) == (code, oom, 20)
    assert "canary" not in str(caught.value.body())
    assert runtime.kept == []


async def test_one_that_is_silent_is_late() -> None:
    """It runs and does not answer: 504, with its last lines."""
    with pytest.raises(TimedOut, match="did not answer __status") as caught:
        await wait(FakeRuntime(container()), FakeProber())
    assert len(caught.value.facts["log"]) == 20


async def test_a_health_check_of_its_own_is_waited_for() -> None:
    """Starting, then healthy: it serves. Unhealthy: it failed. Starting for ever: it is late."""
    answer = FakeProber(started(CREATED + 1))
    well = FakeRuntime(container(health="starting"), container(health="starting"), container(health="healthy"))
    await wait(well, answer, OWN_CHECK)
    with pytest.raises(ServiceFailed, match="reports unhealthy"):
        await wait(FakeRuntime(container(health="unhealthy")), answer, OWN_CHECK)
    with pytest.raises(TimedOut, match="reports starting"):
        await wait(FakeRuntime(container(health="starting")), answer, OWN_CHECK)


async def test_the_frameworks_own_check_is_not_waited_for() -> None:
    """It asks what the status has just answered, and Docker would take seconds to ask it."""
    await wait(FakeRuntime(container(health="starting")), FakeProber(started(CREATED + 1)), HealthCheck())


async def test_one_that_is_to_be_removed_when_it_ends_is_not_kept_running() -> None:
    """With auto_remove the engine does not restart it."""
    runtime = FakeRuntime(container())
    await wait(runtime, FakeProber(started(CREATED + 1)), auto_remove=True)
    assert runtime.kept == []
