"""What to do next: a pure function of what should be, what is, and the time. The only place that decides."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from director.discovery.health import restart_delay
from director.engine.interface import LABEL_SPEC, Observed
from director.state.crash_log import NO_RECORD, CrashLimits, Record
from director.state.desired import Wanted
from director.supervise.policy import STEADY, Trial, misbehaviour, standing, too_many

Verb = Literal[
    "deploy", "start", "stop", "remove", "rename", "forget", "adopt",
    "roll_back", "prove", "crash", "retry", "recover", "curb", "uncurb", "renew",
]  # fmt: skip
"""What can be done. `prove`: the watch over a release ended well. `crash`: call the service crashed and have it lie
still; `retry`: try such a one again; `recover`: it is well again. `curb`, `uncurb`: have the engine itself restart it
no more, or again, so that one that crashes is started with back-off. `renew`: replace one that was given what is no
longer so by a fresh one.
"""
STALE = "was given what is no longer so"
CORE_PATIENCE = 1.0
"""Seconds before a core container that ended is started: whoever replaces it on purpose gets to it first."""


class Action(msgspec.Struct, frozen=True, order=True):
    """One step. `container` is the id of the one it is about, empty where there is none; `reason` is for the log."""

    verb: Verb
    service: str
    container: str = ""
    reason: str = ""


class World(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the decision depends on.

    Attributes:
        desired: what should be, None while it could not be read from Redis.
        observed: the containers of the namespace.
        busy: services that somebody is working on; they are left alone.
        records: how services ended of late, and which of them crashed too often.
        limits: how often is too often.
        trials: the releases under watch.
        renewals: services that were given what is no longer so, and when they are replaced.
        now: the present time, seconds since 1970.
        self_id: the director's own container.
    """

    desired: Mapping[str, Wanted] | None
    observed: Iterable[Observed]
    now: float
    namespace: str = "rockstat"
    busy: frozenset[str] = frozenset()
    records: Mapping[str, Record] = {}
    limits: CrashLimits = CrashLimits()
    trials: Mapping[str, Trial] = {}
    renewals: Mapping[str, float] = {}
    self_id: str = ""

    def wanted(self, service: str) -> Wanted | None:
        """Return what should be of a service, as far as that is known."""
        return (self.desired or {}).get(service)


class Plan(msgspec.Struct, frozen=True):
    """Actions to take now, and the time at which to look again for one that has to wait."""

    actions: list[Action]
    due: float | None = None


def primary_name(namespace: str, service: str) -> str:
    """Return the name of a service's container."""
    return service if namespace == "rockstat" else f"{namespace}-{service}"


def reconcile(world: World) -> Plan:
    """Return what brings the world closer to what should be. With nothing to do, the plan is empty."""
    core = [item for item in world.observed if item.kind == "core"]
    services: dict[str, list[Observed]] = defaultdict(list)
    for item in world.observed:
        if item.kind == "service" and item.state != "removing":
            services[item.service].append(item)
    actions: list[Action] = []
    waits: list[float] = []
    for item in core:
        _core(world, item, actions, waits)
    if world.desired is not None:
        for name in sorted({*services, *world.desired} - world.busy):
            _service(world, name, world.desired.get(name), services[name], actions, waits)
    return Plan(actions, min(waits, default=None))


def keeper(wanted: Wanted, containers: Iterable[Observed], primary: str) -> Observed | None:
    """Return the container to keep of several: right contents before alive, before the right name, before age."""
    config = wanted.spec.hash()
    return max(
        containers,
        key=lambda item: (item.config == config, item.alive, item.name == primary, item.created_at, item.id),
        default=None,
    )


def _core(world: World, item: Observed, actions: list[Action], waits: list[float]) -> None:
    if item.id == world.self_id or item.state not in {"exited", "dead"} or item.service in world.busy:
        return
    recent = world.records.get(item.service, NO_RECORD).recent(world.now, world.limits.window)
    due = item.finished_at + max(CORE_PATIENCE, restart_delay(recent))
    _when(world, due, Action("start", item.service, item.id, f"ended with {item.exit_code}"), actions, waits)


def _service(
    world: World,
    name: str,
    wanted: Wanted | None,
    containers: list[Observed],
    actions: list[Action],
    waits: list[float],
) -> None:
    if wanted is None:
        _unknown(name, containers, actions)
    elif wanted.state == "removed":
        actions += [Action("remove", name, item.id, "is to be removed") for item in containers]
        if not containers:
            actions.append(Action("forget", name, reason="is removed"))
    elif wanted.state == "stopped":
        _stopped(world, name, wanted, containers, actions)
    else:
        _running(world, name, wanted, containers, actions, waits)


def _unknown(name: str, containers: list[Observed], actions: list[Action]) -> None:
    """Nobody asked for it, and yet it carries our labels: Redis lost its memory. It is taken in, never removed."""
    known = [item for item in containers if item.labels.get(LABEL_SPEC) and not item.auto_remove]
    best = max(known, key=lambda item: (item.alive, item.created_at, item.id), default=None)
    if best is not None:
        actions.append(Action("adopt", name, best.id, "runs without being asked for"))


def _stopped(world: World, name: str, wanted: Wanted, containers: list[Observed], actions: list[Action]) -> None:
    keep = keeper(wanted, containers, primary_name(world.namespace, name))
    for item in containers:
        if item is not keep:
            actions.append(Action("remove", name, item.id, "is left over"))
        elif item.alive:
            actions.append(Action("stop", name, item.id, "is to be stopped"))


def _running(
    world: World, name: str, wanted: Wanted, containers: list[Observed], actions: list[Action], waits: list[float]
) -> None:
    primary = primary_name(world.namespace, name)
    keep = keeper(wanted, containers, primary)
    record = world.records.get(name, NO_RECORD)
    recent = record.recent(world.now, world.limits.window)
    due = max(recent, default=0.0) + restart_delay(recent)
    if keep is None and wanted.spec.auto_remove:
        actions.append(Action("forget", name, reason="ended, and was to be removed then"))
        return
    if _rolls_back(world, name, record, _matching(keep, wanted), actions, waits):
        return
    if _lies_still(world, name, record, keep, containers, actions, waits):
        return
    if keep is None or keep.config != wanted.spec.hash():
        reason = "is not there" if keep is None else "is not what it should be"
        _when(world, due, Action("deploy", name, "", reason), actions, waits)
        return
    others = [item for item in containers if item is not keep]
    actions += [Action("remove", name, item.id, "is left over") for item in others]
    if keep.name != primary:
        actions.append(Action("rename", name, keep.id, f"is called {keep.name}"))
    if not keep.alive and name in world.renewals:
        _when(world, due, Action("deploy", name, "", STALE), actions, waits)
    elif not keep.alive and not keep.auto_remove:
        reason = f"is {keep.state}, ended with {keep.exit_code}{' (out of memory)' if keep.oom_killed else ''}"
        _when(world, due, Action("start", name, keep.id, reason), actions, waits)
    elif keep.restart_policy == "unless-stopped" and recent:
        actions.append(Action("curb", name, keep.id, "ended by itself"))
    elif keep.restart_policy == "no" and keep.state == "running" and not recent and not keep.auto_remove:
        actions.append(Action("uncurb", name, keep.id, "has been steady"))
    elif name in world.renewals and not recent:
        _when(world, world.renewals[name], Action("renew", name, keep.id, STALE), actions, waits)


def _matching(keep: Observed | None, wanted: Wanted) -> Observed | None:
    return keep if keep is not None and keep.config == wanted.spec.hash() else None


def _rolls_back(
    world: World, name: str, record: Record, keep: Observed | None, actions: list[Action], waits: list[float]
) -> bool:
    """Decide over a release on trial; returns whether it is left for the one before."""
    trial = world.trials.get(name)
    if trial is None:
        return False
    wrong = misbehaviour(trial, record, keep, world.now)
    if wrong:
        actions.append(Action("roll_back", name, keep.id if keep else "", wrong))
        return True
    _when(world, trial.until, Action("prove", name, "", "stood the watch"), actions, waits)
    return False


def _lies_still(
    world: World,
    name: str,
    record: Record,
    keep: Observed | None,
    containers: list[Observed],
    actions: list[Action],
    waits: list[float],
) -> bool:
    """Decide over a service that crashed too often; returns whether it is left alone."""
    found, there = standing(record, world.limits, world.now), keep.id if keep else ""
    if found == "fine" or (record.crash is None and found != "too_many"):
        return False
    if found in {"too_many", "again"}:
        actions.append(Action("crash", name, there, too_many(record, world.limits, world.now)))
        return True
    assert record.crash is not None  # noqa: S101 - the two without are above
    if found == "recovered":
        if keep is not None and keep.alive:
            actions.append(Action("recover", name, there, "has been steady since it was tried again"))
        return False
    if found == "trying":
        waits.append(record.tried_at + STEADY)
        return False
    actions += [Action("remove", name, item.id, "is left over") for item in containers if item is not keep]
    if keep is not None and keep.alive and keep.started_at > record.crash.at:
        actions.append(Action("retry", name, keep.id, "was started by somebody"))
    elif keep is not None and keep.alive:
        actions.append(Action("stop", name, keep.id, "has crashed, and is not to run"))
    elif world.limits.cooldown:
        retry = Action("retry", name, there, "may be well again after the cool-down")
        _when(world, record.crash.at + world.limits.cooldown, retry, actions, waits)
    return True


def _when(world: World, due: float, action: Action, actions: list[Action], waits: list[float]) -> None:
    if due <= world.now:
        actions.append(action)
    else:
        waits.append(due)
