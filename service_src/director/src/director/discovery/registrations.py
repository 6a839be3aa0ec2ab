"""What services offer: rows gathered from their `__status`, pushed to front whenever they change."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from band import logger
from director.engine.snapshot import Snapshot
from director.images.catalog import Catalog
from director.redact import leaves, scrub, scrub_tree, secret_values
from director.state.desired import Desired
from director.state.history import Releases


@dataclass(kw_only=True, eq=False)
class Secrets:
    """Knows which variables of a service are secret, and their values."""

    desired: Desired
    releases: Releases
    snapshot: Snapshot
    catalog: Catalog

    def values(self, name: str) -> tuple[str, ...]:
        """Return the values that must not appear in anything a service says, longest first.

        Those of what runs, of what should, and of every release that is remembered: a status or a log line may be older
        than the container.
        """
        wanted, seen = self.desired.get(name), self.snapshot.primary(name)
        specs = [release.spec for release in self.releases.of(name)]
        specs += [wanted.spec] if wanted else []
        declared = {key for spec in specs for key in spec.secrets}
        found = {value for spec in specs for value in secret_values(spec.env, declared)}
        found |= {*secret_values(seen.env, declared)} if seen else set()
        return tuple(sorted(found, key=len, reverse=True))

    async def declared(self, name: str) -> tuple[str, ...]:
        """Return the env keys that are secret for a service: of what runs, and of its image folder."""
        wanted = self.desired.get(name)
        folder = await asyncio.to_thread(self.catalog.find, name)
        return (*(wanted.spec.secrets if wanted else ()), *(folder.band.secrets if folder else ()))


FAILING: Final = "failing"
DEGRADED: Final = "degraded"
MAX_REASON = 1000
"""Characters of a reason: a service may say anything of itself, of any length."""
Status = dict[str, Any]
MAX_DEPTH = 100
"""Levels of objects and lists in a status; those of the platform have eight."""
MAX_BYTES = 1024 * 1024
"""Limit of one response: enough for all rows that front accepts from a service."""
MAX_NAME = 200
MAX_NUMBER = 10**9
"""Of `timeout` (milliseconds) and `ttl` (seconds) in a row."""
_LOOK = "fix the service's response to __status"
_LEAF = str | int | float | None


def reported(status: Mapping[str, Any] | None) -> str | None:
    """Return the `status` that a service reports in its health facts."""
    health = (status or {}).get("health")
    word = health.get("status") if isinstance(health, dict) else None  # JSON; isinstance of Mapping is slow
    return word if isinstance(word, str) else None


def checks_of(status: Mapping[str, Any] | None) -> dict[str, Mapping[str, Any]]:
    """Return the checks that a service makes of itself, by name."""
    health = (status or {}).get("health")
    checks = health.get("checks") if isinstance(health, Mapping) else None
    found = checks.items() if isinstance(checks, Mapping) else ()
    return {str(name): facts for name, facts in found if isinstance(facts, Mapping)}


def complaining(status: Mapping[str, Any] | None) -> dict[str, Mapping[str, Any]]:
    """Return a service's checks that are not ok, by name."""
    return {name: facts for name, facts in checks_of(status).items() if facts.get("status") in {DEGRADED, FAILING}}


def complaints(status: Mapping[str, Any] | None) -> str:
    """Return a sentence about a service's checks that are not ok, and what to do; empty if all are ok."""
    return "; ".join(f"{name}: {said(facts)}" for name, facts in complaining(status).items())[:MAX_REASON]


def said(facts: Mapping[str, Any]) -> str:
    """Return what one check says: its reason, and what to do."""
    reason = str(facts.get("reason") or facts.get("warning") or facts["status"])
    return f"{reason} ({facts['hint']})" if facts.get("hint") else reason


def bounded(status: Status, size: int, secrets: Collection[str] = ()) -> Status:
    """Return a status of `size` bytes without the parts that exceed the limits; its health says what is missing.

    Of a text that is cut, the `secrets` are masked before: no part of one is left.
    """
    if size > MAX_BYTES:
        return refused(status, f"its status has {size} bytes; the limit is {MAX_BYTES}")
    found = _with_short_reasons(status, secrets)
    register, wrong = found.get("register"), []
    if isinstance(register, list):
        wrong = [problem for row in register if (problem := row_problem(row))]
        if wrong:
            found = {**found, "register": [row for row in register if not row_problem(row)]}
    if problem := tree_problem(found):
        return refused(found, f"its status {problem}")
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        return _complaining(found, "register", f"one of its registrations is ignored: it {wrong[0]}{more}")
    return found


def refused(status: Mapping[str, Any], reason: str) -> Status:
    """Return the replacement for a refused status: the service's name, and the reason."""
    plain = {
        key: value
        for key, value in status.items()
        if isinstance(value, _LEAF) and not tree_problem(value) and len(key) <= MAX_NAME >= len(str(value))
    }  # fmt: skip
    return _complaining(plain, "status", reason)


def row_problem(row: Any) -> str:
    """Return what is wrong with a row of `register`; empty if it can be sent to front."""
    if not isinstance(row, dict):
        return "is not an object"
    for field in ("method", "role"):
        if not isinstance(row.get(field), str) or not 0 < len(row[field]) <= MAX_NAME:
            return f"needs a `{field}`, a string of at most {MAX_NAME} characters"
    options = row.get("options") or {}
    if not isinstance(options, dict):
        return "has `options` that are not an object"
    cache = options.get("cache")
    numbers = {"timeout": options.get("timeout"), "ttl": cache.get("ttl") if isinstance(cache, dict) else None}
    for field, value in numbers.items():
        if isinstance(value, int | float) and not -MAX_NUMBER <= value <= MAX_NUMBER:
            return f"has a `{field}` above {MAX_NUMBER}"
    return tree_problem(row)


def tree_problem(value: Any) -> str:
    """Return why a value of JSON could not be written again: too many levels, too large a number."""
    try:
        if any(isinstance(leaf, int) and not -(2**63) <= leaf < 2**64 for leaf in leaves(value, MAX_DEPTH)):
            return "has a number that is too large"
    except RecursionError as error:
        return str(error)
    return ""


def _with_short_reasons(status: Status, secrets: Collection[str]) -> Status:
    """Return a status whose checks say what they say in at most `MAX_REASON` characters, and its word in few."""
    health = status.get("health")
    if not isinstance(health, dict):
        return status
    checks = health.get("checks")
    if isinstance(checks, dict):
        health = {**health, "checks": {name: _shortened(facts, secrets) for name, facts in checks.items()}}
    word = health.get("status")
    if isinstance(word, str) and len(word) > MAX_NAME:
        health = {**health, "status": DEGRADED}
    return {**status, "health": _shortened(health, secrets)}


def _shortened(facts: Any, secrets: Collection[str]) -> Any:
    if not isinstance(facts, dict):
        return facts
    return {
        key: scrub(value, secrets)[:MAX_REASON] if isinstance(value, str) else value for key, value in facts.items()
    }


def _complaining(status: Status, check: str, reason: str) -> Status:
    health = status.get("health")
    health = health if isinstance(health, dict) else {}
    checks = health.get("checks")
    word = FAILING if health.get("status") == FAILING else DEGRADED
    complaint = {"status": DEGRADED, "reason": reason, "hint": _LOOK}
    own = checks if isinstance(checks, dict) else {}
    return {**status, "health": {**health, "status": word, "checks": {**own, check: complaint}}}


Row = dict[str, Any]
SILENT_SECONDS = 30.0
"""Seconds without a response after which a service is forgotten (as in the original)."""
ACTIVE_FOR = SILENT_SECONDS
"""Seconds after its last status for which a service counts as there."""
LAST_WORDS = 2.0
"""Seconds after its container's exit in which a late response of a service may still arrive."""
MAX_HEALTH_BYTES = 64 * 1024
"""Limit of a service's health facts: they are kept in memory, and part of several responses."""


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
        """Record a status; an invalid one affects only its own service."""
        try:
            shown: dict[str, Any] = scrub_tree(_bounded(status), self._secrets(service))
            self._seen[service] = Seen(shown, now, tuple(read_rows(service, status)))
        except Exception as error:  # noqa: BLE001 - whatever it is, the other services' statuses count
            logger.exception("status_not_noted", service=service)
            self.fault(service, f"its status cannot be read: {type(error).__name__}", now)

    def fault(self, service: str, reason: str, now: float) -> None:
        """Record that a service's response is invalid."""
        self._seen[service] = Seen(refused({}, reason), now, ())

    def scrubbed(self, service: str, text: str) -> str:
        return scrub(text, self._secrets(service))

    def touch(self, service: str, now: float) -> None:
        """Record that a service responded, with an unchanged status."""
        seen = self._seen.get(service)
        self._seen[service] = Seen(seen.status if seen else {}, now, seen.rows if seen else ())

    def drop(self, service: str) -> None:
        """Forget a service: it was stopped, or its container ended."""
        self._seen.pop(service, None)

    def status(self, service: str) -> dict[str, Any] | None:
        seen = self._seen.get(service)
        return seen.status if seen else None

    def silent_for(self, service: str, started: float, now: float) -> float:
        """Return the seconds since a service, running since `started`, last responded or could have."""
        seen = self._seen.get(service)
        return max(0.0, now - max(seen.at if seen else 0.0, started, self._began))

    def methods(self, service: str) -> tuple[str, ...] | None:
        """Return the methods that a service reports; None for services of the original, which do not."""
        status = self.status(service) or {}
        told, rows = status.get("methods"), status.get("register")
        if not isinstance(told, list) or (not told and "instance" not in status):  # the original front says [] of all
            return None
        named = [row.get("method") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        return tuple(sorted({name for name in [*told, *named] if isinstance(name, str)}))

    def active(self, now: float, ended: Mapping[str, float] | None = None) -> list[str]:
        """Return the services that responded lately, and after the time in `ended`."""
        ends = ended or {}
        return sorted(
            name
            for name, seen in self._seen.items()
            if now - seen.at <= ACTIVE_FOR and (name not in ends or seen.at > ends[name] + LAST_WORDS)
        )

    def rows(self, now: float, ended: Mapping[str, float] | None = None) -> list[Row]:
        """Return the rows of all services that responded lately, in a stable order."""
        return [row for name in self.active(now, ended) for row in self._seen[name].rows]


def _bounded(status: dict[str, Any]) -> dict[str, Any]:
    """Return a status without its health facts where they are too many to be kept."""
    size = len(msgspec.json.encode(status.get("health")))
    if size <= MAX_HEALTH_BYTES:
        return status
    word = reported(status) or "degraded"
    reason = f"its health report has {size} bytes; the limit is {MAX_HEALTH_BYTES}"
    return {**status, "health": {"status": word, "checks": {"health": {"status": word, "reason": reason}}}}


def read_rows(service: str, status: dict[str, Any]) -> Iterable[Row]:
    """Return the `register` rows of a status with `service` added; malformed ones are left out.

    front responds with 500 to a row without options, so each gets an object.
    """
    register = status.get("register")
    for row in register if isinstance(register, list) else ():
        if isinstance(row, dict) and isinstance(row.get("method"), str) and isinstance(row.get("role"), str):
            yield {**row, "options": row.get("options") or {}, "service": service}


def state_hash(rows: Iterable[Row]) -> int:
    """Return a signed 64-bit hash of the rows, equal in every process and never 0, which means `none` to front."""
    digest = hashlib.sha256(msgspec.json.encode(list(rows), order="deterministic")).digest()
    return int.from_bytes(digest[:8], "big", signed=True) or 1
