"""Services and image folders as the API shows them: from memory, secrets masked. No row costs I/O."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from director.api.schemas import BuiltImage, DataFacts, ImageRow, PortPair, ServiceDetail, ServiceRow
from director.discovery.registrations import checks_of
from director.engine.interface import Container, ImageInfo
from director.engine.stats import Usage, UsageMeter
from director.images.catalog import ImageFolder
from director.redact import mask_env, mask_tree
from director.state.desired import DesiredService
from director.supervise.status import ServiceStatus, StatusBoard


@dataclass(eq=False)
class ServiceTable:
    """The rows of `/list`, with what each service uses."""

    board: StatusBoard
    meter: UsageMeter

    def all(self) -> list[ServiceRow]:
        self.meter.looked()
        return [self._row(status) for status in self.board.all()]

    def one(self, name: str) -> ServiceRow:
        self.meter.looked()
        return self._row(self.board.one(name))

    def cpu_seconds(self) -> dict[str, float]:
        """Return the CPU seconds that the services which run have used, by name."""
        primaries = self.board.snapshot.primaries().items()
        return {name: usage.cpu_seconds for name, seen in primaries if (usage := self.meter.of(seen.id)) is not None}

    def _row(self, status: ServiceStatus) -> ServiceRow:
        seen = status.container
        return row(status, time.time(), self.meter.of(seen.id) if seen else None)


def row(status: ServiceStatus, now: float, usage: Usage | None = None) -> ServiceRow:
    """Return a row of `/list`. `uptime` is in seconds; `app_uptime` in ms, as services report it."""
    seen, wanted, told, release = status.container, status.wanted, status.told, status.release
    alive = status.state == "running"
    used = usage if alive else None
    return ServiceRow(
        name=status.name,
        state=status.state,
        short_id=seen.short_id if seen else "",
        title=(wanted.title if wanted else "") or status.name,
        pos=wanted.pos if wanted else None,
        ports=[PortPair(*pair) for pair in sorted(seen.ports.items())] if seen else [],
        uptime=round(now - seen.started_at, 1) if seen and alive else _told_uptime(told),
        image=seen.image if seen else wanted.spec.image if wanted else "",
        restarts=seen.restarts if seen else 0,
        health=status.health.word,
        health_reason=status.health.reason,
        dead_letters=status.dead_letters,
        wanted=wanted.state if wanted else "unknown",
        crashes=status.crashes,
        crash=status.record.crash,
        rolled_back=status.record.rolled_back,
        release=release.id if release else None,
        watch_until=(release.watch_until or None) if release else None,
        exit_code=seen.exit_code if seen and not alive else None,
        memory=used.memory if used else None,
        memory_limit=used.memory_limit if used else None,
        cpu_percent=used.cpu_percent if used else None,
        data=data_facts(told),
        app_state=told.get("app_state"),
        app_uptime=told.get("app_uptime"),
        register=told.get("register", []),
    )


def detail(
    listed: ServiceRow, wanted: DesiredService | None, seen: Container | None, status: Mapping[str, Any] | None
) -> ServiceDetail:
    """Return the response of `/show`: row, spec, hash, health facts, masked environment."""
    secrets = wanted.spec.secrets if wanted else ()
    spec = msgspec.to_builtins(wanted.spec) if wanted else {}
    if wanted:
        spec["env"] = mask_env(wanted.spec.env, secrets)
    return ServiceDetail(
        **msgspec.structs.asdict(listed),
        id=seen.id if seen else "",
        spec=spec,
        spec_hash=wanted.spec.hash() if wanted else "",
        running_spec_hash=seen.config if seen else "",
        env=mask_env(seen.env, secrets) if seen else spec.get("env", {}),
        docker_health=seen.health if seen else "",
        oom_killed=seen.oom_killed if seen else False,
        status=mask_tree(status or {}, secrets),
    )


def data_facts(status: Mapping[str, Any] | None) -> DataFacts | None:
    """Return what a service says of its data: source, build date, age in days, warning; None when it has none.

    The check named `database` comes first: a geo service may have optional data beside it.
    """
    named = checks_of(status)
    for facts in (named.get("database", {}), *named.values()):
        age = facts.get("age_days")
        if isinstance(age, int | float):
            return DataFacts(facts.get("source"), facts.get("build_date"), age, facts.get("warning"))
    return None


def image_row(folder: ImageFolder, place: Path, built: list[ImageInfo]) -> ImageRow:
    """Return a row of `/list_images`.

    Args:
        folder: the folder.
        place: its path on the host, which differs from the path inside the director's container.
        built: the images made from it, newest first.
    """
    return ImageRow(
        name=folder.name,
        title=folder.title,
        pos=folder.pos,
        collection=folder.collection,
        path=str(place),
        role=folder.band.role,
        runnable=folder.runnable and not folder.problem,
        problem=folder.problem,
        secrets=folder.band.secrets,
        images=[
            BuiltImage(tag, image.id.removeprefix("sha256:")[:12], image.size, image.created)
            for image in built
            for tag in image.tags
        ],
    )


def _told_uptime(told: Mapping[str, Any]) -> float:
    uptime = told.get("app_uptime")
    return round(uptime / 1000, 1) if isinstance(uptime, int | float) else 0
