"""`/health`: how the director, Docker, Redis and the services are, with the reason for each that is not well."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from band.background import failing_loops
from band.redis import RedisLink
from director import __version__
from director.api import params
from director.api.server import Json
from director.api.service_table import Row, Rows
from director.discovery.probe import Prober
from director.discovery.registrations import Registrations
from director.redact import mask_url
from director.redis.health import RedisHealth
from director.state.desired import Desired
from director.supervise.supervisor import Supervisor

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
        redis: RedisHealth,
        refusal: Callable[[], str] = str,
        script: Callable[[], str] = str,
    ) -> None:
        self._supervisor = supervisor
        self._desired = desired
        self._rows = rows
        self._link = link
        self._prober = prober
        self._registrations = registrations
        self._redis = redis
        self._refusal = refusal
        self._script = script

    async def health(self, _given: params.Nothing, _rest: dict[str, Any]) -> Any:
        """`/health`: 200 while Docker is there, 503 without it; without a Redis that takes writes `degraded`."""
        troubled = self._troubled()
        if troubled and self._link.connected:
            await asyncio.gather(*(self._ask(row["name"]) for row in troubled if row["state"] == "running"))
            troubled = self._troubled()
        rows = self._rows.all()
        parts = self.parts()
        away = parts["docker"]["status"] != "ok"
        degraded = bool(troubled) or any(part["status"] != "ok" for part in parts.values())
        body = {
            "status": "failing" if away else "degraded" if degraded else "ok",
            **parts,
            "services": {
                "total": len(rows),
                "running": sum(row["state"] == "running" for row in rows),
                "troubled": [row["name"] for row in troubled],
                "reasons": {row["name"]: row["health_reason"] for row in troubled},
            },
        }
        return Json(body, 503 if away else 200)

    def parts(self) -> dict[str, dict[str, Any]]:
        """Return how the director, Docker and Redis are, each with its `status`, and its `reason` when it is not ok."""
        away, reason = mask_url(self._supervisor.docker_error), self._redis.reason
        loops = "; ".join(f"its loop {name} fails: {why}" for name, why in failing_loops().items())
        refusal = self._refusal()
        told = [loops, refusal and f"front does not take the registrations: {refusal}", self._script()]
        troubles = "; ".join(filter(None, told))
        own = _part("degraded" if troubles else "ok", troubles and f"{troubles}; GET /logs/director")
        return {
            "director": {**own, "version": __version__},
            "docker": _part("away" if away else "ok", away),
            "redis": {**_part(self._redis.status, reason), "desired_loaded": self._desired.loaded},
        }

    def _troubled(self) -> list[Row]:
        return [row for row in self._rows.all() if row["health"] not in WELL and row["wanted"] == "running"]

    async def _ask(self, name: str) -> None:
        status = await self._prober.ask(name, timeout=ASK_AGAIN)
        if status:
            self._registrations.note(name, status, time.time())


def _part(status: str, reason: str) -> dict[str, Any]:
    return {"status": status, "reason": reason} if reason else {"status": status}
