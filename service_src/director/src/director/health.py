"""How a service is: a window of crashes with its back-off, and one word for what people should think."""

from __future__ import annotations

from collections.abc import Iterable

WINDOW = 600.0
"""Seconds for which a crash is remembered. Clean stops and deploys are never recorded."""
FIRST_DELAY = 1.0
LONGEST_DELAY = 60.0


def in_window(crashes: Iterable[float], now: float) -> tuple[float, ...]:
    """Return the times of the crashes that still count."""
    return tuple(at for at in crashes if now - at < WINDOW)


def restart_delay(crashes: Iterable[float], now: float) -> float:
    """Return the seconds to wait after the newest crash: none for the first, then 1, 2, 4 … 60."""
    count = len(in_window(crashes, now))
    return 0.0 if count <= 1 else min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(count - 2, 16))


def verdict(state: str, docker_health: str, reported: str | None, crashes: int) -> str:
    """Return `ok`, `starting`, `degraded`, `failing`, `crashing` or `stopped`.

    Args:
        state: Docker's word for the container.
        docker_health: `healthy`, `unhealthy`, `starting`, or empty without a check.
        reported: what the service says of itself in `__status`.
        crashes: how many crashes are in the window.
    """
    if state in {"exited", "created", "dead", "removing"}:
        return "crashing" if crashes else "stopped"
    if state == "restarting" or crashes >= 3:
        return "crashing"
    if docker_health == "unhealthy" or reported == "failing":
        return "failing"
    if reported == "degraded":
        return "degraded"
    return "starting" if docker_health == "starting" and reported is None else "ok"
