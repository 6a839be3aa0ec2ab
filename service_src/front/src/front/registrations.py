"""The rows that the director sends: what services offer, checked and compiled into what a request needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from front.enrichment import EnrichPlan, compile_plan
from front.message import KEY_PREFIX
from front.routes import Remote, RouteTable


class Push(NamedTuple):
    """What the director told a worker, and when: seconds of a clock that all workers of a host share."""

    register: list[Any]
    state_hash: Any
    at: float


class Table(NamedTuple):
    """One state of the registrations; replaced as a whole."""

    state_hash: Any
    routes: RouteTable
    plan: EnrichPlan
    handlers: dict[str, Remote]
    enrichers: dict[str, dict[str, Any]]


def compile_table(rows: Iterable[Any], state_hash: Any) -> Table:
    """Compile registration rows. A row that is not well formed is left out; of two with one key the last counts."""
    handlers: dict[str, Remote] = {}
    enrichers: dict[str, dict[str, Any]] = {}
    enricher_rows: list[tuple[str, dict[str, Any]]] = []
    for row in rows:
        service, method, role, options = _read(row)
        if not service or not method:
            continue
        if role == "handler":
            key = _route_key(options.get("alias") or service, method)
            handlers.pop(key, None)
            handlers[key] = Remote(service, method, options)
        elif role == "enricher" and isinstance(options.get("keys"), list):
            enricher_rows.append((service, options))
            enrichers[service] = {"method": method, **options}
    return Table(state_hash, RouteTable(handlers), compile_plan(enricher_rows), handlers, enrichers)


EMPTY = compile_table((), None)


def _read(row: Any) -> tuple[str, str, str, dict[str, Any]]:
    if not isinstance(row, Mapping):
        return "", "", "", {}
    options = row.get("options")
    return (
        _name(row.get("service")),
        _name(row.get("method")),
        _name(row.get("role")),
        dict(options) if isinstance(options, Mapping) else {},
    )


def _name(value: Any) -> str:
    """A name that can stand in `to:method:from`; empty for anything else."""
    return value if isinstance(value, str) and ":" not in value else ""


def _route_key(service: Any, method: str) -> str:
    return f"{KEY_PREFIX}.{service}" if method == "*" else f"{KEY_PREFIX}.{service}.{method}"
