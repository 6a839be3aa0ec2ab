"""What a service says of itself, made fit to be kept, shown and passed on: a status may hold anything. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from director.discovery.health import DEGRADED, FAILING, MAX_REASON

Status = dict[str, Any]
MAX_DEPTH = 100
"""Levels of objects and lists in a status; those of the platform have eight."""
MAX_BYTES = 1024 * 1024
"""Of one answer: room for all rows that front takes of one service."""
MAX_NAME = 200
MAX_NUMBER = 10**9
"""Of `timeout` (milliseconds) and `ttl` (seconds) in a row."""
_LOOK = "correct what the service answers to __status"
_LEAF = str | int | float | None


def bounded(status: Status, size: int) -> Status:
    """Return a status of `size` bytes without what nobody could keep or pass on; its health says what was left out."""
    if size > MAX_BYTES:
        return refused(status, f"its status has {size} bytes, and at most {MAX_BYTES} are taken")
    found = _with_short_reasons(status)
    register, wrong = found.get("register"), []
    if isinstance(register, list):
        wrong = [problem for row in register if (problem := row_problem(row))]
        if wrong:
            found = {**found, "register": [row for row in register if not row_problem(row)]}
    if problem := tree_problem(found):
        return refused(found, f"its status {problem}")
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        return _complaining(found, "register", f"a row that it registers is left out: it {wrong[0]}{more}")
    return found


def refused(status: Mapping[str, Any], reason: str) -> Status:
    """Return what is kept of a status that is not taken: who it is, and why nothing else is known."""
    plain = {
        key: value
        for key, value in status.items()
        if isinstance(value, _LEAF) and not tree_problem(value) and len(key) <= MAX_NAME >= len(str(value))
    }  # fmt: skip
    return _complaining(plain, "status", reason)


def row_problem(row: Any) -> str:
    """Return what is wrong with a row of `register`; empty when it can be passed on to front."""
    if not isinstance(row, dict):
        return "is no object"
    for field in ("method", "role"):
        if not isinstance(row.get(field), str) or not 0 < len(row[field]) <= MAX_NAME:
            return f"has no `{field}`, a text of at most {MAX_NAME} characters"
    options = row.get("options") or {}
    if not isinstance(options, dict):
        return "has `options` that are no object"
    cache = options.get("cache")
    numbers = {"timeout": options.get("timeout"), "ttl": cache.get("ttl") if isinstance(cache, dict) else None}
    for field, value in numbers.items():
        if isinstance(value, int | float) and not -MAX_NUMBER <= value <= MAX_NUMBER:
            return f"has a `{field}` beyond {MAX_NUMBER}"
    return tree_problem(row)


def tree_problem(value: Any) -> str:
    """Return why a value of JSON could not be written again: too many levels, too large a number."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            return f"has more than {MAX_DEPTH} levels"
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += item.values()
            elif isinstance(item, list):
                below += item
            elif isinstance(item, int) and not -(2**63) <= item < 2**64:
                return "has a number that is too large"
        level = below
    return ""


def _with_short_reasons(status: Status) -> Status:
    """Return a status whose checks say what they say in at most `MAX_REASON` characters, and its word in few."""
    health = status.get("health")
    if not isinstance(health, dict):
        return status
    checks = health.get("checks")
    if isinstance(checks, dict):
        health = {**health, "checks": {name: _shortened(facts) for name, facts in checks.items()}}
    word = health.get("status")
    if isinstance(word, str) and len(word) > MAX_NAME:
        health = {**health, "status": DEGRADED}
    return {**status, "health": _shortened(health)}


def _shortened(facts: Any) -> Any:
    if not isinstance(facts, dict):
        return facts
    return {key: value[:MAX_REASON] if isinstance(value, str) else value for key, value in facts.items()}


def _complaining(status: Status, check: str, reason: str) -> Status:
    health = status.get("health")
    health = health if isinstance(health, dict) else {}
    checks = health.get("checks")
    word = FAILING if health.get("status") == FAILING else DEGRADED
    complaint = {"status": DEGRADED, "reason": reason, "hint": _LOOK}
    own = checks if isinstance(checks, dict) else {}
    return {**status, "health": {**health, "status": word, "checks": {**own, check: complaint}}}
