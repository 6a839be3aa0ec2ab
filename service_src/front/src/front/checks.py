"""Front's own health checks."""

from __future__ import annotations

from typing import Any, Final

from band.platform import Health
from front.app import Front
from front.projects.table import UNUSABLE_HINT
from front.routing.registrations import LEFT_OUT
from front.storage.redis_persistence import remedy

MAX_SHOWN: Final = 10
"""Services that a reason names."""


def add_checks(health: Health, app: Front) -> None:
    """Add the checks of a worker; those of the stream are the first worker's."""
    health("enrichers")(lambda: _enrichers(app))
    health("registrations")(lambda: _registrations(app))
    health("projects")(lambda: _projects(app))
    health("journal")(lambda: _journal(app))
    if app.process.number == 0:
        health("redis_keeps")(app.redis_persistence.health)
        health("stream")(app.trimmer.health)


def _enrichers(app: Front) -> dict[str, Any]:
    """Degraded while an enricher does not respond."""
    absent, table = sorted(app.circuit_breaker.absent), app.registrations.table
    if absent:
        reason = f"no answer from {', '.join(absent)}: events continue without their data"
        hint = "check that the service runs, and its log (the director's /logs/NAME); front retries by itself"
        return {"status": "degraded", "reason": reason, "hint": hint, "absent": absent}
    facts = {"status": "ok", "registered": sorted(table.enrichers)}
    rare = {"told_apart": table.plan.told_apart, "dropped_from_clients": sorted(table.plan.dropped)}
    return {**facts, **{name: services for name, services in rare.items() if services}}


def _registrations(app: Front) -> dict[str, Any]:
    """Degraded while something that a service registers cannot be used; it names the services."""
    unusable = app.registrations.table.unusable
    if not unusable:
        return {"status": "ok"}
    shown = [f"{service}: {reason}" for service, reason in sorted(unusable.items())[:MAX_SHOWN]]
    reason = f"{len(unusable)} services have registrations that front cannot use and ignores: {'; '.join(shown)}"
    return {"status": "degraded", "reason": reason, "hint": LEFT_OUT, "services": sorted(unusable)[:MAX_SHOWN]}


def _projects(app: Front) -> dict[str, Any]:
    """Degraded while a project cannot be read; it names the projects."""
    table = app.projects.table
    if not table.unusable:
        return {"status": "ok"}
    shown = [f"{project}: {reason}" for project, reason in sorted(table.unusable.items())[:MAX_SHOWN]]
    reason = f"{len(table.unusable)} projects cannot be read, and their keys are refused: {'; '.join(shown)}"
    return {"status": "degraded", "reason": reason, "hint": UNUSABLE_HINT}


def _journal(app: Front) -> dict[str, Any]:
    """Failing for 10 s after an event was refused; degraded while events wait on the disk."""
    facts = app.journal.health() if app.journal is not None else {"status": "ok", "reason": "there is no journal"}
    refused = app.pipeline.refusals.recent()
    if not refused or facts["status"] == "failing":
        return facts
    return {**facts, "status": "failing", "reason": f"events are refused with 503: {refused}", "hint": remedy(refused)}
