"""`/health` and the word of each service: who is not well, why, and that nobody unheard of is called well."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from director.api.handlers.system import SystemHandlers
from director.api.params import Nothing
from director.api.schemas import HealthFacts
from director.discovery.health import Signs, judge
from director.discovery.registrations import MAX_HEALTH_BYTES, MAX_REASON, SILENT_SECONDS, Registrations
from director.state.desired import DesiredService, Spec
from director.supervise.status import ServiceStatus, StatusBoard


def says(status: str, **check: Any) -> dict[str, Any]:
    """Return a status with one check of that state."""
    return {"health": {"status": status, "checks": {"redis": {"status": "ok"}, "db": {"status": status, **check}}}}


FAILING, WELL = says("failing", reason="no"), says("ok")
LONG = SILENT_SECONDS + 1


@pytest.mark.parametrize(
    ("signs", "word", "reason"),
    [
        ({"docker_health": "healthy", "status": WELL}, "ok", ""),
        ({"docker_health": "starting"}, "starting", ""),
        ({"docker_health": "starting", "status": WELL}, "ok", ""),
        ({"docker_health": "starting", "silent_for": LONG}, "failing", "it hangs, or cannot reach Redis"),
        ({"docker_health": "unhealthy", "status": WELL}, "failing", "its Docker health check fails; GET /logs/one"),
        ({"docker_health": "unhealthy", "status": FAILING}, "failing", "db: no"),
        ({"status": says("failing", reason="no", hint="do this")}, "failing", "db: no (do this)"),
        (
            {"status": {"health": {"status": "failing"}}},
            "failing", "it reports itself failing, without a reason; GET /logs/one",
        ),
        ({"status": says("degraded", warning="old")}, "degraded", "db: old"),
        (
            {"status": {"health": {"status": "degraded", "checks": 7}}},
            "degraded", "it reports itself degraded, without a reason; GET /logs/one",
        ),
        ({"status": {"health": "odd"}}, "ok", ""),
        ({"state": "paused", "container": "ns-one"}, "failing", "its container is paused; docker unpause ns-one"),
        ({"status": WELL, "silent_for": SILENT_SECONDS}, "ok", ""),
        ({"status": WELL, "silent_for": LONG}, "failing", "it has not answered over Redis for 31 s: it hangs"),
        ({"silent_for": LONG, "docker_health": "healthy"}, "degraded", "though its health check passes"),
        ({"status": FAILING, "silent_for": LONG, "docker_health": "healthy"}, "failing", "its last report: db: no"),
        ({"state": "restarting"}, "crashing", "Docker restarts it; GET /logs/one"),
        ({"status": WELL, "crashes": 3}, "crashing", "it crashed 3 times within the crash window; GET /logs/one"),
        ({"state": "exited", "exit_code": 137}, "stopped", "its container exited with code 137; GET /logs/one"),
        ({"state": "exited", "crashes": 1}, "crashing", "its container is exited; GET /logs/one, GET /run/one"),
        ({"state": "missing"}, "stopped", "its container is missing"),
        ({"state": "exited", "wanted": False, "crashes": 2}, "stopped", ""),
        ({"state": "exited", "crash": "5 times"}, "crashed", "crashed: 5 times; GET /logs/one, then GET /start/one"),
        ({"state": "running", "crash": "ended 5 times", "status": WELL}, "ok", ""),
    ],
)  # fmt: skip
def test_every_word_that_is_not_well_has_its_reason_and_what_to_do(signs: Any, word: str, reason: str) -> None:
    """A crash before a state, a state before silence, silence before what was said, own words before Docker's."""
    found = judge(Signs(**{"name": "one", "state": "running", **signs}))
    assert found.word == word
    assert found.reason.startswith(reason) or reason in found.reason
    assert bool(found.reason) == (bool(reason))


def test_a_word_grows_old() -> None:
    """Who answered a minute ago is silent since then; who has just been started has had no time to."""
    found = Registrations()
    found._began = 0.0
    found.note("one", WELL, 100.0)
    assert found.silent_for("one", 50.0, 160.0) == 60.0
    assert found.silent_for("one", 150.0, 160.0) == 10.0
    assert found.silent_for("never", 50.0, 160.0) == 110.0
    found._began = 155.0  # a director that has just begun has heard nobody
    assert found.silent_for("never", 50.0, 160.0) == 5.0


def test_what_a_service_says_of_itself_is_bounded() -> None:
    """Megabytes of health are not kept; its word is, with the reason why the rest is not there."""
    found = Registrations()
    found.note("one", says("failing", reason="x" * MAX_HEALTH_BYTES), 0.0)
    reason = judge(Signs(name="one", state="running", status=found.status("one"))).reason
    assert reason.startswith("health: its health report has")
    found.note("one", says("degraded", reason="x" * (MAX_HEALTH_BYTES // 2)), 0.0)
    assert len(judge(Signs(name="one", state="running", status=found.status("one"))).reason) == MAX_REASON


class Platform(StatusBoard):
    """One service that says what `says` holds; snapshot, link, prober, Redis and desired state in one."""

    error = ""
    connected = True
    loaded = True
    status = "ok"
    reason = ""
    crowded = ""
    refusal = ""

    def __init__(self, says: dict[str, Any] | None) -> None:
        self.registrations = Registrations()
        self.registrations.note("one", FAILING, 0.0)
        self.says = says
        self.asked = 0
        me: Any = self
        self.snapshot = self.desired = self.redis = self.scripts = self.announcer = me

    def all(self) -> list[ServiceStatus]:
        found = judge(Signs(name="one", state="running", status=self.registrations.status("one")))
        wanted = DesiredService(spec=Spec(name="one", image="i", network="n"))
        return [ServiceStatus(name="one", state="running", health=found, wanted=wanted)]

    async def ask(self, _name: str, *, timeout: float) -> dict[str, Any] | None:
        self.asked += 1
        return self.says

    async def health(self) -> HealthFacts:
        me: Any = self
        found = SystemHandlers(
            board=self, registrations=self.registrations, prober=me, link=me, rpc=me, figures=me, namespace="test"
        )
        return await found.health(Nothing())


@pytest.mark.parametrize(("says", "word"), [(WELL, "ok"), (FAILING, "degraded"), (None, "degraded")])
async def test_a_troubled_service_is_asked_once_more(says: Any, word: str) -> None:
    """One that has recovered since its last heartbeat is well at once; one that says nothing stays what it was."""
    platform = Platform(says)
    answer = await platform.health()
    assert (answer.http_status, answer.status, platform.asked) == (200, word, 1)
    assert answer.services.reasons == ({} if word == "ok" else {"one": "db: no"})


async def test_without_docker_it_is_503_and_without_redis_nobody_is_asked() -> None:
    """Both are said with their reasons."""
    platform = Platform(WELL)
    platform.error = "dockerd is away"
    platform.connected, platform.status, platform.reason = False, "unavailable", "refused"
    answer = await platform.health()
    assert (answer.http_status, answer.status, platform.asked) == (503, "failing", 0)
    assert msgspec.to_builtins(answer.docker) == {"status": "unavailable", "reason": "dockerd is away"}
    assert msgspec.to_builtins(answer.redis) == {"status": "unavailable", "reason": "refused", "desired_loaded": True}


async def test_a_failing_loop_of_the_director_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """`/health` is degraded, with the loop's name and what it met; the version stands there always."""
    platform = Platform(WELL)
    assert msgspec.to_builtins((await platform.health()).director) == {"status": "ok", "version": "0.1.0"}
    monkeypatch.setattr("director.supervise.status.failing_loops", lambda: {"usage": "ValueError: odd"})
    found = await platform.health()
    assert (found.status, found.director.status) == ("degraded", "degraded")
    assert "its background loop usage is failing: ValueError: odd" in found.director.reason
