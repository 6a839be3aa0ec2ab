"""The state of services and of the platform, from memory: what the API, the metrics and the alerts share."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from band.platform import failing_loops
from director import __version__
from director.discovery.announcer import FRONT, Announcer
from director.discovery.health import Health, Signs, judge
from director.discovery.registrations import Registrations
from director.engine.interface import Container
from director.engine.snapshot import Snapshot
from director.errors import Conflict, NotFound, did_you_mean
from director.redact import mask_url
from director.redis.health import RedisHealth
from director.redis.scripts import Scripts
from director.state import history
from director.state.crash_log import NO_RECORD, CrashLog, CrashRecord
from director.state.desired import RESERVED, Desired, DesiredService
from director.state.history import Release, Releases
from director.supervise.published_ports import PublishedPorts
from director.validation import NAME_PATTERN

State = Literal[
    "created", "running", "paused", "restarting", "removing", "exited", "dead", "missing", "removed", "external"
]
"""Docker's state of a service's container; `missing`: there is none; `external`: it runs outside our containers."""
WELL = frozenset({"ok", "starting"})


class ServiceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about a service.

    Attributes:
        wanted: its desired state.
        container: its primary container; None if it is external.
        told: its last status, while it runs.
        crashes: crashes within the window.
    """

    name: str
    state: State
    health: Health
    wanted: DesiredService | None = None
    container: Container | None = None
    told: Mapping[str, Any] = {}
    crashes: int = 0
    record: CrashRecord = NO_RECORD
    release: Release | None = None
    dead_letters: int = 0

    @property
    def to_run(self) -> bool:
        return self.wanted is not None and self.wanted.state == "running"

    @property
    def troubled(self) -> bool:
        """Whether it is to run, and is not well."""
        return self.to_run and self.health.word not in WELL


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whether a part of the platform is available, and why not."""

    status: Literal["ok", "degraded", "unavailable", "failing"]
    reason: str = ""


class DirectorPart(Part, frozen=True, kw_only=True):
    """The director itself; `degraded` while one of its background loops fails."""

    version: str


class RedisPart(Part, frozen=True, kw_only=True):
    """Redis, and whether the desired state was read from it; `failing`: it responds, but refuses writes."""

    desired_loaded: bool


class Parts(msgspec.Struct, frozen=True):
    """How the parts of the platform are."""

    director: DirectorPart
    docker: Part
    redis: RedisPart

    def all(self) -> dict[str, Part]:
        return {"director": self.director, "docker": self.docker, "redis": self.redis}


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """All of it at one moment.

    `front` is the last status of front, `dead_letters` their number by service where they were counted,
    `last_event_at` is in seconds since 1970.
    """

    services: list[ServiceStatus]
    parts: Parts
    front: Mapping[str, Any] | None = None
    dead_letters: Mapping[str, int] = {}
    last_event_at: float = 0.0


@dataclass(kw_only=True, eq=False)
class StatusBoard:
    """Combines desired state, actual state, and what services report."""

    snapshot: Snapshot
    desired: Desired
    releases: Releases
    crashes: CrashLog
    registrations: Registrations
    announcer: Announcer
    redis: RedisHealth
    scripts: Scripts
    ports: PublishedPorts

    def names(self) -> list[str]:
        """Return the names of all services: desired, running, or announced."""
        return sorted(self.ours() | self.external())

    def ours(self) -> set[str]:
        """Return the services that this director runs, or is to run."""
        observed = {item.service for item in self.snapshot.containers if item.kind == "service"}
        return observed | {name for name, wanted in self.desired.all().items() if wanted.state != "removed"}

    def external(self) -> set[str]:
        """Return the services that announce themselves and run outside our containers.

        Examples are services on the original's framework, on a developer's host, or an original front.
        """
        if not self.snapshot.ready.is_set():
            return set()
        known = {item.service for item in self.snapshot.containers if item.alive} | RESERVED
        heard = self.registrations.active(time.time(), self.snapshot.ended(self.desired.stopped()))
        return {name for name in heard if name not in known and re.fullmatch(NAME_PATTERN, name)}

    def check(self, name: str) -> None:
        """Raise NotFound unless there is a service of that name."""
        names = self.names()
        if name not in names:
            hint = f"{did_you_mean(name, names)}GET /list lists the services; GET /run/{name} runs one"
            raise NotFound(f"there is no service {name!r}", hint, service=name)

    def check_ours(self, name: str) -> None:
        """Raise Conflict for a service that is external: we can neither stop nor start it."""
        if name in self.external() - self.ours():
            raise Conflict(
                f"{name} announces itself on Redis, and does not run in a container of this director",
                f"stop or start it where it was started; GET /ask_state/{name} shows what it reports",
                service=name,
            )

    def one(self, name: str) -> ServiceStatus:
        return self._status(name, self.snapshot.primary(name), external=name in self.external())

    def all(self) -> list[ServiceStatus]:
        primaries, external = self.snapshot.primaries(), self.external()
        names = sorted(self.ours() | external)
        return [self._status(name, primaries.get(name), external=name in external) for name in names]

    def parts(self) -> Parts:
        """Return how the director, Docker and Redis are."""
        away = mask_url(self.snapshot.error)
        loops = "; ".join(f"its background loop {name} is failing: {why}" for name, why in failing_loops().items())
        refusal = self.announcer.refusal
        told = [
            loops,
            refusal and f"front rejected the registrations: {refusal}",
            self.scripts.reason,
            self.redis.crowded,
        ]
        troubles = "; ".join(filter(None, told))
        own = "; ".join(filter(None, [troubles and f"{troubles}; GET /logs/director", self._unstored()]))
        return Parts(
            DirectorPart(status="degraded" if own else "ok", reason=own, version=__version__),
            Part(status="unavailable" if away else "ok", reason=away),
            RedisPart(status=self.redis.status, reason=self.redis.reason, desired_loaded=self.desired.loaded),
        )

    def _unstored(self) -> str:
        """Return what is lost while a front of the original takes the events; empty while it is ours, or none is there.

        A status of ours names its instance.
        """
        told = self.registrations.status(FRONT) or {}
        original = "app_state" in told and "instance" not in told
        if not original or FRONT not in self.registrations.active(time.time()):
            return ""
        return (
            "a front of the original platform takes the events: it stores none, so durable listeners such as "
            "send_mixpanel, /events and /trace get nothing, only listeners with listen_all do; "
            "stop it where it was started, then GET /run/front"
        )

    def sight(self) -> Sight:
        front = self.registrations.status(FRONT)
        return Sight(
            services=self.all(),
            parts=self.parts(),
            front=front,
            dead_letters=self.redis.dead_letters,
            last_event_at=self.redis.last_event_at,
        )

    def _status(self, name: str, seen: Container | None, *, external: bool) -> ServiceStatus:
        now, wanted, record = time.time(), self.desired.get(name), self.crashes.of(name)
        silent_for = self.registrations.silent_for(name, seen.started_at if seen else now, now)
        dead_ports = self.ports.dead(seen.id) if seen else ()
        seen = None if external else seen
        alive = seen is not None and seen.state == "running"
        state: State = "external" if external else seen.state if seen else "missing"
        told = (self.registrations.status(name) if alive or external else None) or {}
        crashes = self.crashes.recent(name, now)
        health = judge(
            Signs(
                name=name,
                container=seen.name if seen else "",
                state=state,
                wanted=wanted is not None and wanted.state == "running",
                docker_health=seen.health if seen else "",
                exit_code=seen.exit_code if seen and not alive else None,
                status=told,
                silent_for=silent_for,
                crashes=crashes,
                crash=record.crash.reason if record.crash else "",
                dead_ports=dead_ports,
            )
        )
        return ServiceStatus(
            name=name,
            state=state,
            health=health._replace(reason=mask_url(health.reason)),
            wanted=wanted,
            container=seen,
            told=told,
            crashes=crashes,
            record=record,
            release=history.current(self.releases.of(name)),
            dead_letters=self.redis.dead_letters.get(name, 0),
        )
