"""The next actions: a pure function of desired state, actual state and time. The only place that decides."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from director.engine.interface import LABEL_SPEC, Container, primary_name
from director.state.crash_log import NO_RECORD, CrashLimits, CrashRecord
from director.state.desired import DesiredService
from director.supervise.policy import STEADY, Trial, misbehaviour, restart_delay, standing, too_many

Verb = Literal[
    "deploy", "start", "stop", "remove", "rename", "forget", "adopt",
    "roll_back", "prove", "crash", "retry", "recover", "curb", "uncurb", "renew", "connect",
]  # fmt: skip
"""What can be done. `prove`: probation was passed. `crash`: hold a crash-looping service back; `retry`: try it again;
`recover`: it is well again. `curb`, `uncurb`: disable or restore Docker's restart policy: a service that
crashes is started with backoff. `renew`: replace a container whose platform settings are outdated. `connect`: connect
one to its network again.
"""
STALE = "has outdated platform settings"
CORE_PATIENCE = 1.0
"""Seconds before an exited core container is started: an intended replacement comes first."""
SET_ASIDE = "-before"
"""End of the name of a core container that Ansible's module `band_container` is replacing."""
SET_ASIDE_PATIENCE = 120.0
"""Seconds before one that was set aside is started, when no new one has come."""


class Action(msgspec.Struct, frozen=True, order=True):
    """One step. `container` is the id of its container, empty if there is none; `reason` is for the log."""

    verb: Verb
    service: str
    container: str = ""
    reason: str = ""


class World(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the decision depends on.

    Attributes:
        desired: the desired state, None until it has been read from Redis.
        observed: the containers of the namespace.
        busy: services with an operation in progress; they are left alone.
        records: recent exits of services, and which services have crashed.
        limits: the limits of crashes.
        trials: the watched releases.
        renewals: services with outdated platform settings, and when they are replaced.
        now: the current time, seconds since 1970.
        self_id: the director's own container.
    """

    desired: Mapping[str, DesiredService] | None
    observed: Iterable[Container]
    now: float
    namespace: str = "rockstat"
    busy: frozenset[str] = frozenset()
    records: Mapping[str, CrashRecord] = {}
    limits: CrashLimits = CrashLimits()
    trials: Mapping[str, Trial] = {}
    renewals: Mapping[str, float] = {}
    self_id: str = ""

    def wanted(self, service: str) -> DesiredService | None:
        """Return what should be of a service, as far as that is known."""
        return (self.desired or {}).get(service)


class WaitUntil(msgspec.Struct, frozen=True):
    """Do nothing now; check again at `due`."""

    due: float


class Plan(msgspec.Struct, frozen=True):
    """Actions to take now, and when to check again for a delayed one."""

    actions: list[Action]
    due: float | None = None


Steps = Iterator[Action | WaitUntil]
Decision = Generator[Action | WaitUntil, None, bool]
"""Steps, and whether nothing else is to be decided for the service."""


def reconcile(world: World) -> Plan:
    """Return what brings the world closer to what should be. With nothing to do, the plan is empty."""
    steps = list(_steps(world))
    actions = [step for step in steps if isinstance(step, Action)]
    return Plan(actions, min((step.due for step in steps if isinstance(step, WaitUntil)), default=None))


def _steps(world: World) -> Steps:
    services: dict[str, list[Container]] = defaultdict(list)
    for item in world.observed:
        if item.kind == "core":
            yield from _core(world, item)
        elif item.state != "removing":
            services[item.service].append(item)
    if world.desired is not None:
        for name in sorted({*services, *world.desired} - world.busy):
            yield from _service(world, name, world.desired.get(name), services[name])


def keeper(wanted: DesiredService, containers: Iterable[Container], primary: str) -> Container | None:
    """Return the container to keep of several: right contents before alive, before the right name, before age."""
    config = wanted.spec.hash()
    return max(
        containers,
        key=lambda item: (item.config == config, item.alive, item.name == primary, item.created_at, item.id),
        default=None,
    )


def _core(world: World, item: Container) -> Steps:
    if item.service in world.busy:
        return
    recent = world.records.get(item.service, NO_RECORD).recent(world.now, world.limits.window)
    set_aside = item.name.endswith(SET_ASIDE)  # once connected, it would share its successor's alias
    if item.state == "running" and item.cut_off_from and not set_aside:
        yield _when(world, max(recent, default=0.0) + restart_delay(recent), _connect(item))
    if item.id == world.self_id or item.state not in {"exited", "dead"}:
        return
    if set_aside and any(other.name == item.name.removesuffix(SET_ASIDE) for other in world.observed):
        return  # two Redis on one volume would write over each other
    patience = SET_ASIDE_PATIENCE if set_aside else CORE_PATIENCE
    due = item.finished_at + max(patience, restart_delay(recent))
    yield _when(world, due, Action("start", item.service, item.id, f"exited with code {item.exit_code}"))


def _connect(item: Container) -> Action:
    return Action("connect", item.service, item.id, f"is cut off from the network {item.cut_off_from}")


def _service(world: World, name: str, wanted: DesiredService | None, containers: list[Container]) -> Steps:
    if wanted is None:
        yield from _unknown(name, containers)
    elif wanted.state == "removed":
        for item in containers:
            yield Action("remove", name, item.id, "should be removed")
        if not containers:
            yield Action("forget", name, reason="was removed")
    elif wanted.state == "stopped":
        yield from _stopped(world, name, wanted, containers)
    else:
        yield from _running(world, name, wanted, containers)


def _unknown(name: str, containers: list[Container]) -> Steps:
    """Adopt an unknown container with our labels: Redis lost its data. It is never removed."""
    known = [item for item in containers if item.labels.get(LABEL_SPEC) and not item.auto_remove]
    best = max(known, key=lambda item: (item.alive, item.created_at, item.id), default=None)
    if best is not None:
        yield Action("adopt", name, best.id, "runs, but is not in the desired state")


def _stopped(world: World, name: str, wanted: DesiredService, containers: list[Container]) -> Steps:
    keep = keeper(wanted, containers, primary_name(world.namespace, name))
    yield from _leftovers(name, keep, containers)
    if keep is not None and keep.alive:
        yield Action("stop", name, keep.id, "runs, but should be stopped")


def _running(world: World, name: str, wanted: DesiredService, containers: list[Container]) -> Steps:
    primary = primary_name(world.namespace, name)
    keep = keeper(wanted, containers, primary)
    record = world.records.get(name, NO_RECORD)
    recent = record.recent(world.now, world.limits.window)
    due = max(recent, default=0.0) + restart_delay(recent)
    if keep is None and wanted.spec.auto_remove:
        yield Action("forget", name, reason="exited, and has auto_remove")
        return
    matching = keep if keep is not None and keep.config == wanted.spec.hash() else None
    if (yield from _rolls_back(world, name, record, matching)):
        return
    if (yield from _lies_still(world, name, record, keep, containers)):
        return
    if keep is None or matching is None:
        reason = "has no container" if keep is None else "differs from the desired state"
        yield _when(world, due, Action("deploy", name, "", reason))
        return
    yield from _leftovers(name, keep, containers)
    if keep.name != primary:
        yield Action("rename", name, keep.id, f"has the name {keep.name}")
    yield from _keep_running(world, name, keep, recent, due)


def _keep_running(world: World, name: str, keep: Container, recent: Sequence[float], due: float) -> Steps:
    if not keep.alive and name in world.renewals:
        yield _when(world, due, Action("deploy", name, "", STALE))
    elif not keep.alive and not keep.auto_remove:
        reason = f"is {keep.state}, exited with code {keep.exit_code}{' (OOM-killed)' if keep.oom_killed else ''}"
        yield _when(world, due, Action("start", name, keep.id, reason))
    elif keep.state == "running" and keep.cut_off_from:
        yield _when(world, due, _connect(keep))
    elif keep.restart_policy == "unless-stopped" and recent:
        yield Action("curb", name, keep.id, "exited on its own")
    elif keep.restart_policy == "no" and keep.state == "running" and not recent and not keep.auto_remove:
        yield Action("uncurb", name, keep.id, "has been stable")
    elif name in world.renewals and not recent:
        yield _when(world, world.renewals[name], Action("renew", name, keep.id, STALE))


def _leftovers(name: str, keep: Container | None, containers: list[Container]) -> Steps:
    for item in containers:
        if item is not keep:
            yield Action("remove", name, item.id, "is a leftover")


def _rolls_back(world: World, name: str, record: CrashRecord, keep: Container | None) -> Decision:
    """Decide over a release on probation; returns whether it is left for the one before."""
    trial = world.trials.get(name)
    if trial is None:
        return False
    wrong = misbehaviour(trial, record, keep, world.now)
    if wrong:
        yield Action("roll_back", name, keep.id if keep else "", wrong)
        return True
    yield _when(world, trial.until, Action("prove", name, "", "passed probation"))
    return False


def _lies_still(
    world: World, name: str, record: CrashRecord, keep: Container | None, containers: list[Container]
) -> Decision:
    """Decide over a service that is crash-looping; returns whether it is left alone."""
    found, there = standing(record, world.limits, world.now), keep.id if keep else ""
    if found in {"too_many", "again"}:
        yield Action("crash", name, there, too_many(record, world.limits, world.now))
        return True
    if found == "fine" or record.crash is None:
        return False
    if found == "recovered":
        if keep is not None and keep.alive:
            yield Action("recover", name, there, "has been stable since its restart")
        return False
    if found == "trying":
        yield WaitUntil(record.tried_at + STEADY)
        return False
    yield from _leftovers(name, keep, containers)
    if keep is not None and keep.alive and keep.started_at > record.crash.at:
        yield Action("retry", name, keep.id, "was started manually")
    elif keep is not None and keep.alive:
        yield Action("stop", name, keep.id, "crashed too often, and should not run")
    elif world.limits.cooldown:
        retry = Action("retry", name, there, "is retried after the cooldown")
        yield _when(world, record.crash.at + world.limits.cooldown, retry)
    return True


def _when(world: World, due: float, action: Action) -> Action | WaitUntil:
    return action if due <= world.now else WaitUntil(due)
