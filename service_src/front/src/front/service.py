"""Front as a band service: its RPC methods, its start and its end."""

from __future__ import annotations

import asyncio
from typing import Any

from band import cleanup, expose, health, link, logger, rpc, settings, worker
from band.service import lifecycle as band_service
from band.service.health import read_health
from front import process
from front.app import Front
from front.errors import BadSettings
from front.routing.registrations import LEFT_OUT
from front.settings import FrontSettings
from front.storage.durable import JournalAcceptor
from front.storage.redis_persistence import remedy
from front.storage.retention import Trimmer
from front.workers.cluster import Family

_service = band_service.service


family = Family(process.current, lambda: read_health(_service.registry, link), _service.metrics.render)
"""All workers of this front."""


def _front() -> Front:
    try:
        own = FrontSettings.read(settings)
    except BadSettings as error:
        raise SystemExit(str(error)) from None
    return Front(
        own,
        rpc,
        link,
        _service.metrics,
        family.health,
        family.metrics,
        family.tell,
    )


app = _front()
"""The front of this process."""
family.on_push(app.hear)

MOST_SHOWN = 10
"""Services that a reason in health names."""
RECALL_WITHIN_S = 2.0
"""How long the event port waits for Redis at a start: a Redis that is away must not keep it shut."""
LOOK_WITHIN_S = 1.5
"""How long a call that says that there is news waits for it; the director waits 2 s for the answer."""
RECALL_LATE_S = 3600.0
"""How long it waits in the background when Redis was away at the start."""

_prefix = app.settings.http_prefix


@expose(name="__status")
async def status(register: Any = None, state_hash: Any = None, **_more: Any) -> dict[str, Any] | None:
    """Take the registrations of all services and tell how front is; None when it has them already.

    Anybody on the bus can call this. Where Redis has named users, only what the director keeps there is taken.
    """
    if state_hash and not app.lacks(state_hash):
        return None
    if state_hash and has_a_name():
        await app.look(LOOK_WITHIN_S)
    elif state_hash:
        app.register(register, state_hash)
    return {**band_service.status(), "methods": [], "health": await family.health()}


@expose(name="__metrics", http=False)
async def show_metrics(**_params: Any) -> str:
    """Return the metrics of all workers, as on the page for operators."""
    return (await family.metrics()).decode()


def has_a_name() -> bool:
    """Tell whether front signs in to Redis as a named user: then it has its rights, and nobody else the director's."""
    return link.address is not None and bool(link.address.username)


@expose(name="handlers", path=f"{_prefix}/handlers")
async def list_handlers(**_params: Any) -> dict[str, Any]:
    """Every route: event key -> [service, method, options]."""
    handlers = app.pipeline.table.handlers
    return {key: [remote.service, remote.method, remote.options] for key, remote in handlers.items()}


@expose(name="enrichers", path=f"{_prefix}/enrichers")
async def list_enrichers(**_params: Any) -> dict[str, Any]:
    """Every enricher: service -> its keys and props, and whether it answers."""
    absent = app.attendance.absent
    return {name: {**options, "absent": name in absent} for name, options in app.pipeline.table.enrichers.items()}


def enrichers_health() -> dict[str, Any]:
    """Degraded while an enricher does not answer."""
    absent = sorted(app.attendance.absent)
    if absent:
        reason = f"no answer from {', '.join(absent)}: events go on without what they add"
        hint = "see whether that service runs, and its log (/logs/NAME of the director); it is tried again by itself"
        return {"status": "degraded", "reason": reason, "hint": hint, "absent": absent}
    told_apart = app.pipeline.table.plan.told_apart
    facts = {"status": "ok", "registered": sorted(app.pipeline.table.enrichers)}
    return {**facts, "told_apart": told_apart} if told_apart else facts


def registrations_health() -> dict[str, Any]:
    """Degraded while something that a service registers cannot be used; it names the services."""
    unusable = app.pipeline.table.unusable
    if not unusable:
        return {"status": "ok"}
    shown = [f"{service}: {reason}" for service, reason in sorted(unusable.items())[:MOST_SHOWN]]
    reason = f"{len(unusable)} services register what front cannot use, it is left out: {'; '.join(shown)}"
    return {"status": "degraded", "reason": reason, "hint": LEFT_OUT, "services": sorted(unusable)[:MOST_SHOWN]}


def journal_health() -> dict[str, Any]:
    """Tell whether events are refused or wait on the disk: `failing` for 10 s after the last refusal."""
    facts = app.journal.health() if app.journal is not None else {"status": "ok", "reason": "there is no journal"}
    refused = app.pipeline.refusals.recent()
    if not refused or facts["status"] == "failing":
        return facts
    return {**facts, "status": "failing", "reason": f"events are refused with 503: {refused}", "hint": remedy(refused)}


def show_stream(trimmer: Trimmer) -> None:
    """Add the stream's figures to health and metrics."""
    gauge = _service.metrics.gauge
    gauge("front_stream_length", lambda: float(trimmer.length), "Events in the stream.")
    gauge("front_stream_bytes", lambda: float(trimmer.bytes), "Memory that the stream takes in Redis.")
    gauge("front_stream_trimmed", lambda: float(trimmer.trimmed), "Events that every listener was done with.")
    gauge("front_stream_alarm", lambda: float(trimmer.alarmed), "1 while the stream is near its bound.")
    gauge("front_stream_lag", trimmer.lag, "Events that a listener has not acknowledged yet.", label="group")
    health("stream")(trimmer.health)
    worker(trimmer.run)


def show_cache() -> None:
    """Add the figures of the enrichers' answers that are used again."""
    gauge, cache = _service.metrics.gauge, app.enricher.cache
    gauge("front_answers_kept", lambda: float(len(cache)), "Answers of enrichers that are kept.")
    gauge("front_answers_used_again", lambda: float(cache.hits), "Enrichments that took a kept answer.")
    gauge("front_answers_not_kept", lambda: float(cache.misses), "Enrichments that found none.")


def show_bounds() -> None:
    """Add what visitors hold, and how often that was too much."""
    metrics, bounds = _service.metrics, app.bounds
    metrics.gauge("front_connections", lambda: float(len(bounds.connections.guests)), "Open HTTP connections.")
    metrics.gauge("front_websockets", lambda: float(len(bounds.websockets.guests)), "Open WebSocket connections.")
    metrics.gauge("front_held_bytes", lambda: float(bounds.held), "Bytes kept of what is not complete, or waits.")
    metrics.counter(
        "front_refused_connections",
        lambda: bounds.refusals,
        "How often a bound was met, and a connection had to give way or was refused.",
        label="reason",
    )


def show_journal(journal: JournalAcceptor) -> None:
    """Add the journal's figures to the metrics."""
    gauge, kept = _service.metrics.gauge, journal.journal
    gauge("front_journal_events", lambda: float(kept.depth), "Events on the disk that are not in Redis yet.")
    gauge("front_journal_bytes", lambda: float(kept.used_bytes), "Bytes that the journal takes.")
    gauge("front_journal_oldest_seconds", lambda: kept.age_s, "Age of the oldest event that waits on the disk.")
    gauge("front_journal_written", lambda: float(kept.written), "Events that went to the disk.")
    gauge("front_journal_replayed", lambda: float(journal.replayed), "Events that came from the disk into Redis.")
    gauge("front_journal_refused", lambda: float(kept.refused), "Events that the disk had no room for.")
    gauge("front_journal_damaged", lambda: float(kept.damaged + kept.torn), "Damaged records and torn tails.")


async def open_doors() -> None:
    """Recall the registrations, open the event port, then look after the enrichers."""
    stop_without_parent()
    await recall_registrations(RECALL_WITHIN_S)
    try:
        await family.open()
        await app.open(process.current.listening)
    except Exception as error:  # noqa: BLE001 - a front that takes no events must not look as if it did
        own = app.settings
        unexpected = None if isinstance(error, OSError) else error
        logger.error(
            "event_port_failed", host=own.event_host, port=own.event_port, reason=str(error), exc_info=unexpected
        )
        _service.request_stop(f"the event port {own.event_port} cannot be opened: {error}")
        return
    logger.info(
        "front_open", port=app.listeners.port, ip_privacy=app.settings.ip_privacy, worker=process.current.number
    )
    if app.may_recall:
        # Redis comes later than front, as after a boot of the host: its first events are to be enriched too.
        await recall_registrations(RECALL_LATE_S)
    await app.watch_enrichers()


def stop_without_parent() -> None:
    """End as soon as the parent is gone, however it went: nobody else would end this worker."""
    pipe = process.current.parent
    if pipe is not None:
        loop = asyncio.get_running_loop()

        def gone() -> None:
            loop.remove_reader(pipe)
            _service.request_stop("the parent is gone")

        loop.add_reader(pipe, gone)


async def recall_registrations(within: float) -> None:
    """Take what the front before this one kept, and say so. Never raises: events are taken without it too."""
    try:
        recalled = await app.recall(within)
    except Exception as error:  # noqa: BLE001 - see above
        logger.exception("registrations_not_recalled", reason=f"{type(error).__name__}: {error}")
        return
    if recalled:
        table = app.pipeline.table
        logger.info("registrations_recalled", handlers=len(table.handlers), enrichers=sorted(table.enrichers))


async def close_doors() -> None:
    """Let requests in progress end before Redis goes."""
    await app.close()
    await family.close()


health("enrichers")(enrichers_health)
health("registrations")(registrations_health)
health("journal")(journal_health)
show_cache()
show_bounds()
worker(app.keeping.run)
if process.current.number == 0:
    health("redis_keeps")(app.keeping.health)
    show_stream(app.trimmer())
if app.journal is not None:
    show_journal(app.journal)
worker(open_doors)
cleanup(close_doors)
