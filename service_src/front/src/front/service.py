"""Front as a band service: its RPC methods, its start and its end."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final

from band import Service, logger
from band.platform import run_forever
from front.app import Front
from front.checks import add_checks
from front.gauges import add_gauges

RECALL_WITHIN_SECONDS: Final = 2.0
"""How long the event port waits for Redis at a start, so that it opens although Redis is unavailable."""
LOOK_WITHIN_SECONDS: Final = 1.5
"""How long a call that says that there is news waits for it; the director waits 2 s for the response."""
RECALL_LATE_SECONDS: Final = 3600.0
"""How long it waits in the background when Redis was unavailable at the start."""


class FrontService:
    """Makes a band service of a front."""

    def __init__(self, service: Service, app: Front) -> None:
        self._service = service
        self._app = app

    def register(self) -> None:
        """Add front's methods, health checks, metrics, workers and clean-up to the service."""
        service, app = self._service, self._app
        expose, prefix = service.expose, app.settings.http_prefix
        expose(name="__status")(self.status)
        expose(name="__metrics", http=False)(self.show_metrics)
        expose(name="handlers", path=f"{prefix}/handlers")(self.list_handlers)
        expose(name="enrichers", path=f"{prefix}/enrichers")(self.list_enrichers)
        add_checks(service.health, app)
        add_gauges(service.metrics, app)
        service.worker(app.redis_persistence.run)
        service.worker(app.projects.run)
        if app.process.count > 1:
            service.worker(partial(run_forever, "share_limits", app.share_limits))
        service.worker(partial(app.circuit_breaker.run, service.rpc))
        if app.process.number == 0:
            service.worker(app.trimmer.run)
        service.worker(self.open)
        service.cleanup(app.close)

    async def status(self, register: Any = None, state_hash: Any = None, **_more: Any) -> dict[str, Any] | None:
        """Apply the registrations of all services and return front's status; None if they are unchanged.

        Anybody on the bus can call this. Where Redis has named users, only what the director keeps there is taken.
        """
        registrations, address = self._app.registrations, self._service.link.address
        if state_hash and not registrations.lacks(state_hash):
            return None
        if state_hash and address is not None and address.username:
            await registrations.look(LOOK_WITHIN_SECONDS)
        elif state_hash:
            registrations.take(register, state_hash)
        return {**self._service.status(), "methods": [], "health": await self._app.cluster.health()}

    async def show_metrics(self, **_params: Any) -> str:
        """Return the metrics of all workers, as on the page for operators."""
        return (await self._app.cluster.metrics()).decode()

    async def list_handlers(self, **_params: Any) -> dict[str, Any]:
        """Return every route: event key -> [service, method, options]."""
        handlers = self._app.registrations.table.handlers
        return {key: [remote.service, remote.method, remote.options] for key, remote in handlers.items()}

    async def list_enrichers(self, **_params: Any) -> dict[str, Any]:
        """Return every enricher: service -> its keys and props, and whether it is not waited for."""
        absent, enrichers = self._app.circuit_breaker.absent, self._app.registrations.table.enrichers
        return {name: {**options, "absent": name in absent} for name, options in enrichers.items()}

    async def open(self) -> None:
        """Restore the registrations, then open the event port."""
        app = self._app
        self._stop_without_supervisor()
        await app.registrations.recall(RECALL_WITHIN_SECONDS)
        await app.projects.recall(RECALL_WITHIN_SECONDS)
        try:
            await app.open()
        except Exception as error:  # noqa: BLE001 - a front that takes no events must not look as if it did
            own = app.settings
            unexpected = None if isinstance(error, OSError) else error
            logger.error(
                "event_port_failed", host=own.event_host, port=own.event_port, reason=str(error), exc_info=unexpected
            )
            self._service.request_stop(f"the event port {own.event_port} cannot be opened: {error}")
            return
        port, worker = app.listeners.port, app.process.number
        logger.info("front_open", port=port, ip_privacy=app.settings.ip_privacy, worker=worker)
        if app.registrations.may_recall:
            # Redis comes later than front, as after a boot of the host: its first events are to be enriched too.
            await app.registrations.recall(RECALL_LATE_SECONDS)

    def _stop_without_supervisor(self) -> None:
        """Stop as soon as the supervisor is gone, however it exited: nobody else would stop this worker."""
        pipe = self._app.process.supervisor
        if pipe is not None:
            loop = asyncio.get_running_loop()

            def gone() -> None:
                loop.remove_reader(pipe)
                self._service.request_stop("the supervisor is gone")

            loop.add_reader(pipe, gone)
