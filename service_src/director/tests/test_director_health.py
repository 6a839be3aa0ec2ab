"""`/health`: who is not well, why, and that one who has recovered is not accused any longer."""

from __future__ import annotations

from typing import Any

import pytest

from director.handlers_health import HealthHandlers, reason
from director.health import reported
from director.params import Nothing
from director.registrations import Registrations

FAILING = {
    "health": {"status": "failing", "checks": {"redis": {"status": "ok"}, "db": {"status": "failing", "reason": "no"}}}
}
WELL = {"health": {"status": "ok", "checks": {}}}


def row(**more: Any) -> dict[str, Any]:
    plain = {"name": "one", "state": "running", "health": "failing", "wanted": "running", "crash": None, "crashes": 0}
    return {**plain, "exit_code": None, **more}


@pytest.mark.parametrize(
    ("shown", "status", "unhealthy", "words"),
    [
        (row(crash={"reason": "ended 5 times"}, state="exited"), None, False, "crashed: ended 5 times"),
        (row(state="exited", exit_code=137), None, False, "it is exited, exit code 137"),
        (row(state="missing"), None, False, "it is missing"),
        (row(health="crashing", crashes=3), WELL, False, "it ended 3 times of late"),
        (row(), FAILING, True, "db: no"),
        (row(), WELL, True, "Docker's health check of it fails"),
        (row(health="degraded"), {"health": "odd"}, False, "it says it is degraded"),
    ],
)
def test_the_reason_is_the_one_that_helps(shown: Any, status: Any, unhealthy: bool, words: str) -> None:
    """A crash before a state, a state before what the service said, its own words before Docker's."""
    assert reason(shown, status, unhealthy=unhealthy) == words


class Platform:
    """Supervisor, rows, link, prober and desired state of one service in one; it says what `says` holds when asked."""

    docker_error = ""
    connected = True
    last_error = "redis://:canary@host is away"
    loaded = True

    def __init__(self, says: dict[str, Any] | None) -> None:
        self.registrations = Registrations()
        self.registrations.note("one", FAILING, 0.0)
        self.says = says
        self.asked = 0

    def all(self) -> list[dict[str, Any]]:
        return [row(health=reported(self.registrations.status("one")) or "ok")]

    def primary(self, _name: str) -> None:
        return None

    async def ask(self, _name: str, *, timeout: float) -> dict[str, Any] | None:
        self.asked += 1
        return self.says

    async def health(self) -> Any:
        me: Any = self
        found = HealthHandlers(supervisor=me, desired=me, rows=me, link=me, prober=me, registrations=self.registrations)
        return await found.health(Nothing(), {})


@pytest.mark.parametrize(("says", "word"), [(WELL, "ok"), (FAILING, "degraded"), (None, "degraded")])
async def test_a_troubled_service_is_asked_once_more(says: Any, word: str) -> None:
    """One that has recovered since its last heartbeat is well at once; one that says nothing stays what it was."""
    platform = Platform(says)
    answer = await platform.health()
    assert (answer.status, answer.value["status"], platform.asked) == (200, word, 1)
    assert answer.value["services"]["reasons"] == ({} if word == "ok" else {"one": "db: no"})


async def test_without_docker_it_is_503_and_without_redis_nobody_is_asked() -> None:
    """Both are said with their reasons, passwords masked."""
    platform = Platform(WELL)
    platform.docker_error = "dockerd is away"
    platform.connected = False
    answer = await platform.health()
    assert (answer.status, answer.value["status"], platform.asked) == (503, "failing", 0)
    assert answer.value["docker"] == {"status": "away", "reason": "dockerd is away"}
    assert "canary" not in str(answer.value["redis"])
