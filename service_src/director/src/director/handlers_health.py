"""`/health`: how the director, Docker, Redis and the services are, with the reason for each that is not well."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from band.redis import RedisLink
from director import params
from director.api import Json
from director.desired import Desired
from director.health import complaints
from director.masking import mask_url
from director.probe import Prober
from director.registrations import Registrations
from director.rows import Row, Rows
from director.supervisor import Supervisor

ASK_AGAIN = 0.5
"""Seconds that a service gets to say that it is well again: heartbeats come every five only."""
WELL = frozenset({"ok", "starting"})


class HealthHandlers:
    """Answers from memory, except for services that last said they were not well: those are asked once more."""

    def __init__(
        self,
        *,
        supervisor: Supervisor,
        desired: Desired,
        rows: Rows,
        link: RedisLink,
        prober: Prober,
        registrations: Registrations,
    ) -> None:
        self._supervisor = supervisor
        self._desired = desired
        self._rows = rows
        self._link = link
        self._prober = prober
        self._registrations = registrations

    async def health(self, _given: params.Nothing, _rest: dict[str, Any]) -> Any:
        """`/health`: 200 while Docker is there, 503 without it; Redis away is `degraded`."""
        troubled = self._troubled()
        if troubled and self._link.connected:
            await asyncio.gather(*(self._ask(row["name"]) for row in troubled if row["state"] == "running"))
            troubled = self._troubled()
        rows = self._rows.all()
        away = self._supervisor.docker_error
        docker = {"status": "away", "reason": mask_url(away)} if away else {"status": "ok"}
        lost = mask_url(self._link.last_error)
        redis = {"status": "ok"} if self._link.connected else {"status": "away", "reason": lost}
        word = "failing" if away else "degraded" if troubled or not self._link.connected else "ok"
        body = {
            "status": word,
            "docker": docker,
            "redis": {**redis, "desired_loaded": self._desired.loaded},
            "services": {
                "total": len(rows),
                "running": sum(row["state"] == "running" for row in rows),
                "troubled": [row["name"] for row in troubled],
                "reasons": {row["name"]: self._reason(row) for row in troubled},
            },
        }
        return Json(body, 503 if away else 200)

    def _troubled(self) -> list[Row]:
        return [row for row in self._rows.all() if row["health"] not in WELL and row["wanted"] == "running"]

    async def _ask(self, name: str) -> None:
        status = await self._prober.ask(name, timeout=ASK_AGAIN)
        if status:
            self._registrations.note(name, status, time.time())

    def _reason(self, row: Row) -> str:
        seen = self._supervisor.primary(row["name"])
        unhealthy = seen is not None and seen.health == "unhealthy"
        return mask_url(reason(row, self._registrations.status(row["name"]), unhealthy=unhealthy))


def reason(row: Row, status: Mapping[str, Any] | None, *, unhealthy: bool) -> str:
    """Return in words why a service is not well: its crash, its state, its own checks, or Docker's check of it."""
    if row["crash"]:
        return f"crashed: {row['crash']['reason']}"
    if row["state"] != "running":
        code = "" if row["exit_code"] is None else f", exit code {row['exit_code']}"
        return f"it is {row['state']}{code}"
    if row["health"] == "crashing":
        return f"it ended {row['crashes']} times of late"
    if said := complaints(status):
        return said
    return "Docker's health check of it fails" if unhealthy else f"it says it is {row['health']}"
