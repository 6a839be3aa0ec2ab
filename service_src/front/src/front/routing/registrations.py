"""The registrations that the director sends, checked and compiled into what a request needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeGuard

from front.errors import UnusableRow
from front.event.message import KEY_PREFIX
from front.routing.enrichment_plan import MAX_NAME_LENGTH, EnricherRow, EnrichPlan, is_word, read_enricher
from front.routing.handlers import Remote, RouteTable

MAX_ROWS: Final = 10_000
"""Registrations of all services together that are read."""
LEFT_OUT: Final = "fix the service's registrations (the director's /registrations shows them), or stop the service"


class Table(NamedTuple):
    """One state of the registrations; replaced as a whole."""

    state_hash: Any
    routes: RouteTable
    plan: EnrichPlan
    handlers: dict[str, Remote]
    enrichers: dict[str, dict[str, Any]]
    unusable: dict[str, str]
    """Service -> why a row of it was left out."""


def compile_table(rows: Sequence[Any], state_hash: Any) -> Table:
    """Compile registration rows; of two with one key the last counts. A row that cannot be used leaves only itself out.

    Rows without a role of front's, and enrichers without keys, are nothing to front, as in the original.
    """
    handlers: dict[str, Remote] = {}
    enrichers: dict[str, dict[str, Any]] = {}
    enricher_rows: list[EnricherRow] = []
    unusable: dict[str, str] = {}
    if len(rows) > MAX_ROWS:
        unusable["(all)"] = (
            f"there are more than {MAX_ROWS} registered methods in total; only the first {MAX_ROWS} are used"
        )
    for row in rows[:MAX_ROWS]:
        if not isinstance(row, Mapping) or row.get("role") not in ("handler", "enricher"):
            continue
        service = row.get("service")
        try:
            read = _read(row)
            if read.role == "handler":
                key = _route_key(read)
                handlers.pop(key, None)
                handlers[key] = Remote(read.service, read.method, read.options)
            elif isinstance(read.options.get("keys"), list):
                enricher_rows.append(read_enricher(read.service, read.options))
                enrichers[read.service] = {"method": read.method, **read.options}
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one row, the others count
            reason = str(error) if isinstance(error, UnusableRow) else f"{type(error).__name__}: {str(error)[:100]}"
            unusable[service if is_name(service) else "(no usable name)"] = reason
    return Table(state_hash, RouteTable(handlers), EnrichPlan(enricher_rows), handlers, enrichers, unusable)


EMPTY = compile_table((), None)


class _Row(NamedTuple):
    service: str
    method: str
    role: str
    options: dict[str, Any]


def _read(row: Mapping[str, Any]) -> _Row:
    for field in ("service", "method"):
        if not is_name(row.get(field)):
            raise UnusableRow(
                f"its `{field}` is not a name: printable text without `:`, at most {MAX_NAME_LENGTH} characters"
            )
    options = row.get("options")
    return _Row(row["service"], row["method"], row["role"], dict(options) if isinstance(options, Mapping) else {})


def is_name(value: Any) -> TypeGuard[str]:
    """Return whether a value can stand in `to:method:from` and in an event key."""
    return is_word(value) and ":" not in value


def _route_key(row: _Row) -> str:
    alias = row.options.get("alias") or row.service
    if not is_name(alias):
        raise UnusableRow("its `alias` is not a name")
    return f"{KEY_PREFIX}.{alias}" if row.method == "*" else f"{KEY_PREFIX}.{alias}.{row.method}"
