"""Health and metrics of the director, Docker, Redis and the services, and the description of this API."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from band import metrics
from band.platform import REQUEST_METRICS, RedisLink
from director.api import params, service_schemas
from director.api.metrics import CONTENT_TYPE, Metrics
from director.api.routes import Text, document, route
from director.api.schemas import HealthFacts, ServiceCounts
from director.discovery.probe import Prober
from director.discovery.registrations import Registrations
from director.discovery.rpc import Rpc
from director.errors import ServiceFailed
from director.supervise.figures import Figures, measure
from director.supervise.status import ServiceStatus, StatusBoard

ASK_AGAIN = 0.5
"""Seconds that a service gets to report that it has recovered: heartbeats come only every five."""
METRICS_TIMEOUT = 5.0


@dataclass(kw_only=True, eq=False)
class SystemHandlers:
    """Responds from memory; only services that last reported a problem are asked again."""

    board: StatusBoard
    registrations: Registrations
    prober: Prober
    link: RedisLink
    rpc: Rpc
    figures: Metrics
    namespace: str

    @route("/health", "Health of the director, Docker, Redis and the services", 503, reads=True)
    async def health(self, _given: params.Nothing) -> HealthFacts:
        """Respond with 200 if Docker is available, otherwise 503; `degraded` if Redis refuses writes."""
        services = self.board.all()
        if self.link.connected and (running := [one for one in _troubled(services) if one.state == "running"]):
            await asyncio.gather(*(self._ask(one.name) for one in running))
            services = self.board.all()
        troubled, parts = _troubled(services), self.board.parts()
        away = parts.docker.status != "ok"
        degraded = bool(troubled) or any(part.status != "ok" for part in parts.all().values())
        return HealthFacts(
            "failing" if away else "degraded" if degraded else "ok",
            parts.director,
            parts.docker,
            parts.redis,
            ServiceCounts(
                total=len(services),
                running=sum(one.state == "running" for one in services),
                troubled=[one.name for one in troubled],
                reasons={one.name: one.health.reason for one in troubled},
            ),
        )

    @route(
        "/doctor",
        "Namespace, disk, open ports, clocks, Redis' memory and append-only file, and each listener's backlog",
        reads=True,
    )
    async def doctor(self, _given: params.Nothing) -> Figures:
        """Return the current figures, which `band doctor` explains."""
        running = {one.name for one in self.board.all() if one.state in {"running", "external"}}
        return await measure(self.link, self.board.snapshot.containers, running, self.namespace)

    @route("/metrics", "Metrics of services and director for Prometheus", reads=True)
    async def metrics(self, _given: params.Nothing) -> Text:
        """The director's own, and after them those that every service of the framework has."""
        return Text(self.figures.render() + metrics.render().decode(), CONTENT_TYPE)

    @route(
        "/metrics/{name}",
        "Metrics of one service for Prometheus, as the service itself exposes them, for example `/metrics/front`",
        404, 409, 422, 502, 504, reads=True,
    )  # fmt: skip
    async def service_metrics(self, given: params.ServiceParams) -> Text:
        self.board.check(given.name)
        text = await self.rpc.call(given.name, REQUEST_METRICS, {}, timeout=METRICS_TIMEOUT, known=True)
        if not isinstance(text, str):
            raise ServiceFailed(
                f"{given.name} returned no metrics", "is it a service of this framework? Only those have metrics"
            )
        return Text(text, CONTENT_TYPE)

    @route("/openapi.json", "This description; with `service` also that service's methods", 404, 422, reads=True)
    async def openapi(self, given: params.DocumentParams) -> dict[str, Any]:
        from director.api.handlers import ENDPOINTS  # which these handlers are among

        own = document(ENDPOINTS)
        if given.service is None:
            return own
        self.board.check(given.service)
        return service_schemas.with_methods(own, given.service, self.schemas(given.service))

    @route("/asyncapi.json", "The events, and which services listen to them, as AsyncAPI 3", 404, 422, reads=True)
    async def asyncapi(self, given: params.DocumentParams) -> dict[str, Any]:
        if given.service is not None:
            self.board.check(given.service)
        names = [one.name for one in self.board.all()] if given.service is None else [given.service]
        return service_schemas.asyncapi({name: self.schemas(name) for name in names})

    def schemas(self, name: str) -> service_schemas.Schemas:
        """Return what a service said of its methods last."""
        return service_schemas.read(name, self.registrations.status(name), self.registrations.methods(name))

    async def _ask(self, name: str) -> None:
        status = await self.prober.ask(name, timeout=ASK_AGAIN)
        if status:
            self.registrations.note(name, status, time.time())


def _troubled(services: list[ServiceStatus]) -> list[ServiceStatus]:
    return [one for one in services if one.troubled]
