"""What services offer: rows gathered from their `__status`, pushed to front whenever they change."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import msgspec

from band import logger
from director.discovery.health import SILENT_SECONDS, reported
from director.discovery.statuses import refused
from director.redact import scrub, scrub_tree

Row = dict[str, Any]
ACTIVE_FOR = SILENT_SECONDS
"""Seconds after its last status for which a service counts as there."""
LAST_WORDS = 2.0
"""Seconds after its container's end in which what is heard of a service may still be its own answer."""
MAX_HEALTH_BYTES = 64 * 1024
"""Of the health facts of one service: they are kept, and shown in several answers."""


class Seen(msgspec.Struct, frozen=True):
    """The last status of a service and when it came, seconds since 1970."""

    status: dict[str, Any]
    at: float
    rows: tuple[Row, ...]


class Registrations:
    """The last status of each service, and the rows of those that are there.

    Statuses are kept without the values that `secrets` returns for a service: whoever shows them shows none. Rows go to
    front as they came.
    """

    def __init__(self, secrets: Callable[[str], Collection[str]] = lambda _: ()) -> None:
        self._secrets = secrets
        self._seen: dict[str, Seen] = {}
        self._began = time.time()

    def note(self, service: str, status: dict[str, Any], now: float) -> None:
        """Record a status; one that cannot be recorded spoils only what is known of its service."""
        try:
            shown: dict[str, Any] = scrub_tree(_bounded(status), self._secrets(service))
            self._seen[service] = Seen(shown, now, tuple(read_rows(service, status)))
        except Exception as error:  # noqa: BLE001 - whatever it is, the other services' statuses count
            logger.exception("status_not_noted", service=service)
            self.fault(service, f"its status cannot be read: {type(error).__name__}", now)

    def fault(self, service: str, reason: str, now: float) -> None:
        """Record that the director could not make use of a service's answer."""
        self._seen[service] = Seen(refused({}, reason), now, ())

    def scrubbed(self, service: str, text: str) -> str:
        """Return what a service says without its secrets."""
        return scrub(text, self._secrets(service))

    def touch(self, service: str, now: float) -> None:
        """Record that a service is there, and that its status is as before."""
        seen = self._seen.get(service)
        self._seen[service] = Seen(seen.status if seen else {}, now, seen.rows if seen else ())

    def drop(self, service: str) -> None:
        """Forget a service: it was stopped, or its container ended."""
        self._seen.pop(service, None)

    def status(self, service: str) -> dict[str, Any] | None:
        """Return the last status of a service."""
        seen = self._seen.get(service)
        return seen.status if seen else None

    def silent_for(self, service: str, started: float, now: float) -> float:
        """Return the seconds since a service that runs since `started` was heard last, or could have been."""
        seen = self._seen.get(service)
        return max(0.0, now - max(seen.at if seen else 0.0, started, self._began))

    def methods(self, service: str) -> tuple[str, ...] | None:
        """Return the methods that a service says it has; None for one that does not tell (the original's)."""
        status = self.status(service) or {}
        told, rows = status.get("methods"), status.get("register")
        if not isinstance(told, list) or (not told and "instance" not in status):  # the original front says [] of all
            return None
        named = [row.get("method") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        return tuple(sorted({name for name in [*told, *named] if isinstance(name, str)}))

    def active(self, now: float, ended: Mapping[str, float] | None = None) -> list[str]:
        """Return the services that are there: heard lately, and after the moment when they `ended`."""
        ends = ended or {}
        return sorted(
            name
            for name, seen in self._seen.items()
            if now - seen.at <= ACTIVE_FOR and (name not in ends or seen.at > ends[name] + LAST_WORDS)
        )

    def rows(self, now: float, ended: Mapping[str, float] | None = None) -> list[Row]:
        """Return the rows of all services that are there, in an order that does not depend on who came first."""
        return [row for name in self.active(now, ended) for row in self._seen[name].rows]


def _bounded(status: dict[str, Any]) -> dict[str, Any]:
    """Return a status without its health facts where they are too many to be kept."""
    size = len(msgspec.json.encode(status.get("health")))
    if size <= MAX_HEALTH_BYTES:
        return status
    word = reported(status) or "degraded"
    reason = f"its health facts have {size} bytes, and at most {MAX_HEALTH_BYTES} are kept"
    return {**status, "health": {"status": word, "checks": {"health": {"status": word, "reason": reason}}}}


def read_rows(service: str, status: dict[str, Any]) -> Iterable[Row]:
    """Return the `register` rows of a status with `service` added; what is no row is left out.

    front answers 500 for a row without options, so each gets an object.
    """
    register = status.get("register")
    for row in register if isinstance(register, list) else ():
        if isinstance(row, dict) and isinstance(row.get("method"), str) and isinstance(row.get("role"), str):
            yield {**row, "options": row.get("options") or {}, "service": service}


def state_hash(rows: Iterable[Row]) -> int:
    """Return a signed 64-bit integer over the rows; equal in every process, never 0, which front takes for nothing."""
    digest = hashlib.sha256(msgspec.json.encode(list(rows), order="deterministic")).digest()
    return int.from_bytes(digest[:8], "big", signed=True) or 1
