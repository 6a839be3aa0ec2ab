"""How a service is: the back-off between its starts, what it says, and one word for what people should think."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

FIRST_DELAY = 1.0
LONGEST_DELAY = 60.0
FAILING = "failing"


def restart_delay(ends: Sequence[float]) -> float:
    """Return the seconds to wait after the newest of several ends: none for the first, then 1, 2, 4 … 60."""
    return 0.0 if len(ends) <= 1 else min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(len(ends) - 2, 16))


def reported(status: Mapping[str, Any] | None) -> str | None:
    """Return what a service says of itself: the `status` of its health facts."""
    health = (status or {}).get("health")
    word = health.get("status") if isinstance(health, Mapping) else None
    return word if isinstance(word, str) else None


def complaints(status: Mapping[str, Any] | None) -> str:
    """Return in words which of its own checks a service is not content with; empty when it is with all."""
    health = (status or {}).get("health")
    checks = health.get("checks") if isinstance(health, Mapping) else None
    found = checks.items() if isinstance(checks, Mapping) else ()
    return "; ".join(
        f"{name}: {facts.get('reason') or facts.get('warning') or facts['status']}"
        for name, facts in found
        if isinstance(facts, Mapping) and facts.get("status") in {"degraded", FAILING}
    )


def verdict(state: str, docker_health: str, reported: str | None, crashes: int, *, crashed: bool = False) -> str:
    """Return `ok`, `starting`, `degraded`, `failing`, `crashing`, `crashed` or `stopped`.

    Args:
        state: Docker's word for the container.
        docker_health: `healthy`, `unhealthy`, `starting`, or empty without a check.
        reported: what the service says of itself in `__status`.
        crashes: how many crashes are in the window.
        crashed: they were too many, and it is not started any more.
    """
    if crashed:
        return "crashed"
    if state in {"exited", "created", "dead", "removing"}:
        return "crashing" if crashes else "stopped"
    if state == "restarting" or crashes >= 3:
        return "crashing"
    if docker_health == "unhealthy" or reported == FAILING:
        return "failing"
    if reported == "degraded":
        return "degraded"
    return "starting" if docker_health == "starting" and reported is None else "ok"
