"""Compute the health status of a service and its reason. The one place that decides that status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from director.discovery.registrations import DEGRADED, FAILING, SILENT_SECONDS, complaints, reported

HealthWord = Literal["ok", "starting", "degraded", "failing", "crashing", "crashed", "stopped"]


class Health(NamedTuple):
    """How a service is; for all but the first two words, why."""

    word: HealthWord
    reason: str = ""


_OK, _STARTING = Health("ok"), Health("starting")


class Signs(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about a service.

    Attributes:
        name: its name.
        container: the name of its container.
        state: Docker's state of its container, `missing` without one, `external` if it runs elsewhere.
        wanted: whether it should run.
        docker_health: `healthy`, `unhealthy`, `starting`, or empty without a health check.
        exit_code: of a container that exited.
        status: its last response to `__status`.
        silent_for: seconds since that response, or since it could have responded at all.
        crashes: how many crashes are in the window.
        crash: why it is no longer restarted, if so.
        dead_ports: published host ports that accept no connection.
    """

    name: str
    container: str = ""
    state: str
    wanted: bool = True
    docker_health: str = ""
    exit_code: int | None = None
    status: Mapping[str, Any] | None = None
    silent_for: float = 0.0
    crashes: int = 0
    crash: str = ""
    dead_ports: Sequence[int] = ()


def judge(signs: Signs) -> Health:
    """Return how a service is."""
    if signs.crash and signs.state != "running":
        return Health("crashed", f"crashed: {signs.crash}; {_look(signs)}, then GET /start/{signs.name}")
    if signs.state in {"exited", "created", "dead", "removing", "missing"}:
        exited = signs.state == "exited" and signs.exit_code is not None
        what = f"exited with code {signs.exit_code}" if exited else f"is {signs.state}"
        reason = f"its container {what}; {_look(signs)}, GET /run/{signs.name}" if signs.wanted else ""
        return Health("crashing" if signs.crashes and signs.wanted else "stopped", reason)
    if signs.state == "restarting" or signs.crashes >= 3:
        what = f"it crashed {signs.crashes} times within the crash window" if signs.crashes else "Docker restarts it"
        return Health("crashing", f"{what}; {_look(signs)}")
    if signs.state == "paused":
        return Health(FAILING, f"its container is paused; docker unpause {signs.container}")
    word = reported(signs.status)
    if signs.silent_for > SILENT_SECONDS:
        return _judge_silent(signs, word)
    if signs.docker_health == "unhealthy" or word == FAILING:
        why = _no_reason(FAILING) if word == FAILING else "its Docker health check fails"
        return Health(FAILING, complaints(signs.status) or f"{why}; {_look(signs)}")
    if signs.dead_ports:
        where = ", ".join(f"127.0.0.1:{port}" for port in signs.dead_ports)
        what = f"nothing accepts connections at {where}, though its container is healthy"
        why = "Docker's proxy process for that port has died; the director restarts the service"
        return Health(FAILING, f"{what}: {why}; if that does not help, GET /restart/{signs.name}")
    if word == DEGRADED:
        return Health(DEGRADED, complaints(signs.status) or f"{_no_reason(DEGRADED)}; {_look(signs)}")
    return _STARTING if signs.docker_health == "starting" and word is None else _OK


def _judge_silent(signs: Signs, word: str | None) -> Health:
    silent = f"it has not answered over Redis for {signs.silent_for:.0f} s"
    told = complaints(signs.status)
    last = f"; its last report: {told}" if told else ""
    if signs.docker_health == "healthy" and word != FAILING:
        reason = f"{silent}, although its health check passes; check its connection to Redis: {_look(signs)}{last}"
        return Health(DEGRADED, reason)
    reason = f"{silent}: it hangs, or cannot reach Redis; {_look(signs)}, GET /restart/{signs.name}{last}"
    return Health(FAILING, reason)


def _no_reason(word: str) -> str:
    return f"it reports itself {word}, without a reason"


def _look(signs: Signs) -> str:
    return f"GET /{'ask_state' if signs.state == 'external' else 'logs'}/{signs.name}"
