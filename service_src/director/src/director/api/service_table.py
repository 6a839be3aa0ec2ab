"""The table of services, from memory: what `/list`, `/state`, `/health` and `/metrics` show. No row costs I/O."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import Any

from director.api import views
from director.discovery.registrations import Registrations
from director.engine.interface import Observed
from director.engine.stats import Usage, UsageMeter
from director.errors import Conflict, NotFound, did_you_mean
from director.redact import secret_values
from director.redis.health import RedisHealth
from director.state.desired import Desired
from director.state.releases import Releases
from director.state.spec import NAME_PATTERN, RESERVED
from director.supervise.supervisor import Supervisor

Row = dict[str, Any]


class Rows:
    """Joins what should be, what is, what services say and what they use."""

    def __init__(
        self,
        supervisor: Supervisor,
        desired: Desired,
        releases: Releases,
        registrations: Registrations,
        usage: UsageMeter,
        redis: RedisHealth,
        dead_ports: Callable[[str], Sequence[int]] = lambda _: (),
    ) -> None:
        self._supervisor = supervisor
        self._desired = desired
        self._releases = releases
        self._registrations = registrations
        self._usage = usage
        self._redis = redis
        self._dead_ports = dead_ports

    def names(self) -> list[str]:
        """Return the services there are: wanted, seen, or heard."""
        return sorted(self.ours() | self.external())

    def ours(self) -> set[str]:
        """Return the services that this director runs, or is to run."""
        observed = {item.service for item in self._supervisor.observed if item.kind == "service"}
        return observed | {name for name, wanted in self._desired.all().items() if wanted.state != "removed"}

    def external(self) -> set[str]:
        """Return the services that announce themselves and run in no container of ours.

        Such are services on the original's own framework, on a developer's host, or an original front.
        """
        if not self._supervisor.pictured.is_set():
            return set()
        known = {item.service for item in self._supervisor.observed if item.alive} | RESERVED
        heard = self._registrations.active(time.time(), self._supervisor.ended())
        return {name for name in heard if name not in known and re.fullmatch(NAME_PATTERN, name)}

    def check(self, name: str) -> None:
        """Return if there is a service of that name.

        Raises:
            NotFound: there is none.
        """
        names = self.names()
        if name not in names:
            hint = f"{did_you_mean(name, names)}GET /list shows those there are; GET /run/{name} runs one"
            raise NotFound(f"there is no service {name!r}", hint, service=name)

    def check_ours(self, name: str) -> None:
        """Return unless a service of that name is there and none of ours: we cannot stop or start it.

        Raises:
            Conflict: it is external.
        """
        if name in self.external() - self.ours():
            raise Conflict(
                f"{name} announces itself on Redis, and runs in no container of this director",
                f"stop or start it where it was started; GET /ask_state/{name} shows what it says of itself",
                service=name,
            )

    def secrets(self, name: str) -> tuple[str, ...]:
        """Return the values that must not appear in anything a service says, longest first.

        Those of what runs, of what should, and of every release that is remembered: a status or a log line may be older
        than the container.
        """
        wanted, seen = self._desired.get(name), self._supervisor.primary(name)
        specs = [release.spec for release in self._releases.of(name)]
        specs += [wanted.spec] if wanted else []
        declared = {key for spec in specs for key in spec.secrets}
        found = {value for spec in specs for value in secret_values(spec.env, declared)}
        found |= {*secret_values(seen.env, declared)} if seen else set()
        return tuple(sorted(found, key=len, reverse=True))

    def one(self, name: str) -> Row:
        """Return the row of one service."""
        self._usage.looked()
        return self._row(name, self._supervisor.primary(name), time.time(), external=name in self.external())

    def all(self) -> list[Row]:
        """Return the rows of all services, sorted by name."""
        self._usage.looked()
        return self.unlooked()

    def unlooked(self) -> list[Row]:
        """Return the rows of all services for the director itself: nobody looks, so nothing is sampled for it."""
        now = time.time()
        primaries, external = self._supervisor.primaries(), self.external()
        names = sorted(self.ours() | external)
        return [self._row(name, primaries.get(name), now, external=name in external) for name in names]

    def usage(self) -> dict[str, Usage]:
        """Return what the services that run use, by name."""
        primaries = sorted(self._supervisor.primaries().items())
        return {name: usage for name, seen in primaries if (usage := self._usage.of(seen.id)) is not None}

    def _row(self, name: str, seen: Observed | None, now: float, *, external: bool) -> Row:
        return views.row(
            name,
            self._desired.get(name),
            None if external else seen,
            self._registrations.status(name),
            self._supervisor.crashes(name),
            now,
            self._usage.of(seen.id) if seen and not external else None,
            self._supervisor.record(name),
            self._supervisor.release(name),
            silent_for=self._registrations.silent_for(name, seen.started_at if seen else now, now),
            dead_letters=self._redis.dead_letters.get(name, 0),
            external=external,
            dead_ports=self._dead_ports(seen.id) if seen else (),
        )
