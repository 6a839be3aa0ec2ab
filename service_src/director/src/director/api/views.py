"""What is shown of services: rows of `/list`, all of `/show`, images of `/list_images`. Pure; secrets masked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from director.discovery.health import Signs, judge
from director.engine.interface import ImageInfo, Observed
from director.engine.stats import Usage
from director.images.catalog import ImageFolder
from director.redact import mask_env, mask_tree, mask_url
from director.state.crash_log import NO_RECORD, Record
from director.state.desired import Wanted
from director.state.history import Release

EXTERNAL = "external"
"""The state of a service that runs in no container of ours."""


def row(
    name: str,
    wanted: Wanted | None,
    seen: Observed | None,
    status: Mapping[str, Any] | None,
    crashes: int,
    now: float,
    usage: Usage | None = None,
    record: Record = NO_RECORD,
    release: Release | None = None,
    *,
    silent_for: float = 0.0,
    dead_letters: int = 0,
    external: bool = False,
    dead_ports: Sequence[int] = (),
) -> dict[str, Any]:
    """Return a service as it stands in `/list`. `uptime` is in seconds, `app_uptime` in ms as services say it.

    `memory` is in bytes, `cpu_percent` in percent of one CPU; both are null while nothing runs. `silent_for` are the
    seconds since the service was heard last. `external`: it is heard, and runs in no container of ours.
    """
    alive = seen is not None and seen.state == "running"
    state = EXTERNAL if external else seen.state if seen else "missing"
    told = status if (alive or external) and status else {}
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
    ports = [{"host": outside, "container": inside} for outside, inside in sorted(seen.ports.items())] if seen else []
    return {
        "name": name,
        "state": state,
        "short_id": seen.short_id if seen else "",
        "title": (wanted.title if wanted else "") or name,
        "pos": wanted.pos if wanted else None,
        "ports": ports,
        "uptime": round(now - seen.started_at, 1) if seen and alive else _told_uptime(told),
        "image": seen.image if seen else (wanted.spec.image if wanted else ""),
        "restarts": seen.restarts if seen else 0,
        "health": health.word,
        "health_reason": mask_url(health.reason) if health.reason else "",
        "dead_letters": dead_letters,
        "wanted": wanted.state if wanted else "unknown",
        "crashes": crashes,
        "crash": msgspec.to_builtins(record.crash),
        "rolled_back": msgspec.to_builtins(record.rolled_back),
        "release": release.id if release else None,
        "watch_until": (release.watch_until or None) if release else None,
        "exit_code": seen.exit_code if seen and not alive else None,
        "memory": usage.memory if usage and alive else None,
        "memory_limit": usage.memory_limit if usage and alive else None,
        "cpu_percent": usage.cpu_percent if usage and alive else None,
        "data": data_facts(told),
        "app_state": told.get("app_state"),
        "app_uptime": told.get("app_uptime"),
        "register": told.get("register", []),
    }


def _told_uptime(told: Mapping[str, Any]) -> float:
    uptime = told.get("app_uptime")
    return round(uptime / 1000, 1) if isinstance(uptime, int | float) else 0


def detail(
    listed: dict[str, Any], wanted: Wanted | None, seen: Observed | None, status: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return a service as `/show` gives it: its row, spec, hash, the facts of its health, its environment masked."""
    secrets = wanted.spec.secrets if wanted else ()
    spec = msgspec.to_builtins(wanted.spec) if wanted else {}
    if wanted:
        spec["env"] = mask_env(wanted.spec.env, secrets)
    return {
        **listed,
        "id": seen.id if seen else "",
        "spec": spec,
        "spec_hash": wanted.spec.hash() if wanted else "",
        "running_spec_hash": seen.config if seen else "",
        "env": mask_env(seen.env, secrets) if seen else spec.get("env", {}),
        "docker_health": seen.health if seen else "",
        "oom_killed": seen.oom_killed if seen else False,
        "status": mask_tree(status or {}, secrets),
    }


def data_facts(status: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return what a service says of its data: source, build date, age in days, warning; None when it has none.

    The check named `database` comes first: a geo service may have optional data beside it.
    """
    health = (status or {}).get("health")
    checks = health.get("checks") if isinstance(health, dict) else None
    named = checks if isinstance(checks, dict) else {}
    for facts in (named.get("database"), *named.values()):
        if isinstance(facts, dict) and isinstance(facts.get("age_days"), int | float):
            return {key: facts.get(key) for key in ("source", "build_date", "age_days", "warning")}
    return None


def image_row(folder: ImageFolder, place: Path, built: list[ImageInfo]) -> dict[str, Any]:
    """Return an image folder as it stands in `/list_images`.

    Args:
        folder: the folder.
        place: where people find it, which in a container is not where the director does.
        built: the images made from it, newest first.
    """
    return {
        "name": folder.name,
        "title": folder.title,
        "pos": folder.pos,
        "collection": folder.collection,
        "path": str(place),
        "role": folder.band.role,
        "runnable": folder.runnable and not folder.problem,
        "problem": folder.problem,
        "secrets": folder.band.secrets,
        "images": [
            {
                "tag": tag,
                "short_id": image.id.removeprefix("sha256:")[:12],
                "size": image.size,
                "created": image.created,
            }
            for image in built
            for tag in image.tags
        ],
    }
