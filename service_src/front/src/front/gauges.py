"""Front's gauges, which are read at each scrape. Counters are in `metrics`."""

from __future__ import annotations

from collections.abc import Callable

from band.platform import Metrics
from front.app import Front
from front.storage.journal_acceptor import JournalAcceptor


def add_gauges(metrics: Metrics, app: Front) -> None:
    """Add the gauges of a worker; those of the stream are the first worker's."""
    gauge = metrics.gauge
    _add_cache(metrics, app)
    metrics.counter("front_projects_read", lambda: app.projects.reads, "How often the projects were read from Redis.")
    gauge("front_projects", lambda: float(len(app.projects.table.projects)), "Projects, `default` included.")
    _add_connections(metrics, app)
    if app.process.number == 0:
        _add_stream(metrics, app)
    if app.journal is not None:
        _add_journal(metrics, app.journal)


def _add_cache(metrics: Metrics, app: Front) -> None:
    gauge, cache = metrics.gauge, app.enricher.cache
    gauge("front_enrichment_cache_size", lambda: float(len(cache)), "Cached answers of enrichers.")
    metrics.counter(
        "front_enrichment_cache_lookups",
        lambda: {"hit": cache.hits, "miss": cache.misses},
        "Lookups of cached answers, by result.",
        label="result",
    )
    # The names of before; they go with the next release.
    gauge("front_answers_kept", lambda: float(len(cache)), "Deprecated, use band_front_enrichment_cache_size.")
    gauge(
        "front_answers_used_again",
        lambda: float(cache.hits),
        "Deprecated, use band_front_enrichment_cache_lookups_total.",
    )
    gauge(
        "front_answers_not_kept",
        lambda: float(cache.misses),
        "Deprecated, use band_front_enrichment_cache_lookups_total.",
    )


def _add_connections(metrics: Metrics, app: Front) -> None:
    gauge, bounds = metrics.gauge, app.bounds
    gauge("front_connections", lambda: float(len(bounds.connections.guests)), "Open HTTP connections.")
    gauge("front_websockets", lambda: float(len(bounds.websockets.guests)), "Open WebSocket connections.")
    gauge(
        "front_held_bytes",
        lambda: float(bounds.held),
        "Bytes held for incomplete or waiting requests and unread responses.",
    )
    metrics.counter(
        "front_refused_connections",
        lambda: bounds.refusals,
        "Connections closed or refused because a limit was reached.",
        label="reason",
    )


def _add_stream(metrics: Metrics, app: Front) -> None:
    gauge, trimmer = metrics.gauge, app.trimmer
    gauge("front_stream_length", lambda: float(trimmer.length), "Events in the stream.")
    gauge("front_stream_bytes", lambda: float(trimmer.bytes), "Memory used by the stream in Redis.")
    _counter(
        metrics,
        "front_stream_trimmed",
        lambda: trimmer.trimmed,
        "Events trimmed after all listeners had acknowledged them.",
    )
    gauge("front_stream_alarm", lambda: float(trimmer.alarmed), "1 while the stream is near its limit.")
    gauge("front_stream_lag", trimmer.lag, "Events that a listener has not acknowledged yet.", label="group")


def _add_journal(metrics: Metrics, acceptor: JournalAcceptor) -> None:
    gauge, kept = metrics.gauge, acceptor.journal
    gauge("front_journal_events", lambda: float(kept.depth), "Events in the journal that are not in Redis yet.")
    gauge("front_journal_bytes", lambda: float(kept.used_bytes), "Size of the journal in bytes.")
    gauge("front_journal_oldest_seconds", lambda: kept.age_s, "Age of the oldest event in the journal.")
    _counter(metrics, "front_journal_written", lambda: kept.written, "Events written to the journal.")
    _counter(
        metrics, "front_journal_replayed", lambda: acceptor.replayed, "Events replayed from the journal into Redis."
    )
    _counter(metrics, "front_journal_refused", lambda: kept.refused, "Events that the journal could not store.")
    _counter(
        metrics, "front_journal_damaged", lambda: kept.damaged + kept.torn, "Damaged records and incomplete tails."
    )


def _counter(metrics: Metrics, name: str, read: Callable[[], float], text: str) -> None:
    metrics.counter(name, read, text)
    metrics.gauge(name, read, f"Deprecated, use band_{name}_total; the next release removes it.")
