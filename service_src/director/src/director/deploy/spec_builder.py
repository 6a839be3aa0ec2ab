"""Builds a service's spec from its image folder, the operator's config and the platform's settings."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from band.platform import FRONTIER_SERVICE, GRANTS_VARIABLE
from director.errors import InvalidValue, shown_key
from director.images.catalog import ImageFolder
from director.redis.users import ANY_KEY, NO_EVENTS, READ_EVENTS, Keys, RedisUsers, is_platform_key
from director.state.desired import (
    DesiredService,
    Document,
    Limits,
    Pos,
    Spec,
    check_env,
    check_limits,
    check_port,
    check_volume,
)
from director.validation import ENV_KEY_PATTERN, explain


class PlatformConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of all services: `env` includes the DSN of Redis; times in seconds.

    With `users` each service has its own Redis user and DSN. `own_ports` are the director's host ports; `front_port` is
    that of front, None for that of its band.yml.
    """

    namespace: str
    network: str
    env: Mapping[str, str]
    memory: str
    ready_timeout: float = 60.0
    users: RedisUsers | None = None
    own_ports: frozenset[int] = frozenset()
    front_port: int | None = None

    @property
    def platform(self) -> str:
        """A hash over everything here that shapes a container; a new Redis password changes it."""
        return _hash(self.env_of("*"), self.memory)

    def env_of(self, service: str) -> dict[str, str]:
        if self.users is None:
            return dict(self.env)
        return {**self.env, "REDIS_DSN": self.users.dsn(service), GRANTS_VARIABLE: self.users.grants(service)}

    async def admit(self, service: str, keys: Keys) -> None:
        """Create a service's Redis user, before its container.

        Raises:
            RedisError: Redis is unavailable, or does not permit it.
        """
        if self.users:
            await self.users.make(service, keys)


def resolve(folder: ImageFolder, image: str, document: Mapping[str, Any], around: PlatformConfig) -> DesiredService:
    """Return the desired state of a service.

    Raises:
        InvalidValue: a port, volume or Redis key in band.yml, or the operator's config, is invalid.
    """
    given = shaping(document)
    band = folder.band
    spec = Spec(
        name=folder.name,
        image=image,
        env=check_env({**band.env, **given.env}),
        secrets=tuple(sorted(band.secrets)),
        ports=_ports(folder, around),
        volumes=_volumes(folder),
        limits=_limits(band.limits, given.limits),
        health=folder.health(),
        read_only=band.read_only,
        user=band.user,
        network=around.network,
        stop_timeout=band.stop_timeout,
        auto_remove=given.auto_remove,
        redis_keys=_redis_keys(folder, around.namespace),
        platform=around.platform,
    )
    return DesiredService(
        spec=spec, title=folder.title, pos=given.pos or folder.pos, since=time.time(), watch=band.watch
    )


def _ports(folder: ImageFolder, around: PlatformConfig) -> dict[str, int]:
    ports, source = dict(folder.band.ports), f"band.yml of {folder.name}"
    if folder.name == FRONTIER_SERVICE and around.front_port and len(ports) == 1:
        ports, source = {str(around.front_port): next(iter(ports.values()))}, "BAND_FRONT_PORT"
    for outside in ports:
        check_port(source, outside, around.own_ports)
    return dict(sorted(ports.items()))


def _volumes(folder: ImageFolder) -> dict[str, str]:
    for volume, path in folder.band.volumes.items():
        check_volume(f"band.yml of {folder.name}", volume, path)
    return dict(sorted(folder.band.volumes.items()))


def _redis_keys(folder: ImageFolder, namespace: str) -> tuple[str, ...]:
    for key in folder.band.redis_keys:
        if key != ANY_KEY and is_platform_key(key, namespace):
            raise InvalidValue(
                f"band.yml of {folder.name}: redis_keys: {key!r} matches keys of the platform itself",
                'list keys of your own services only, as in redis_keys: ["sessions:*"]',
            )
    events = {"none": (NO_EVENTS,), "read": (READ_EVENTS,), "listen": ()}[folder.band.redis_events]
    return (*events, *sorted(folder.band.redis_keys))


def _limits(band: Limits, given: Limits) -> Limits:
    return Limits(memory=given.memory or band.memory, cpus=given.cpus or band.cpus, pids=given.pids or band.pids)


def _hash(env: Mapping[str, str], memory: str) -> str:
    return hashlib.sha256(msgspec.json.encode([env, memory], order="deterministic")).hexdigest()[:12]


KEYS = "env.<NAME>, limits.memory, limits.cpus, limits.pids, pos, auto_remove"


class Shaping(msgspec.Struct, frozen=True):
    """The config keys that affect a run; other keys are ignored here."""

    env: dict[str, Any] = {}
    pos: Pos | None = None
    limits: Limits = Limits()
    auto_remove: bool = False


def shaping(document: Mapping[str, Any]) -> Shaping:
    """Return the keys of a stored config that affect a run.

    Raises:
        InvalidValue: one of them has an impossible value.
    """
    try:
        return _shaping(document)
    except msgspec.ValidationError as error:
        raise InvalidValue(
            f"the service's config is not valid: {explain(str(error))}", "correct it with /update_config"
        ) from error


def changed(document: Mapping[str, Any], changes: Mapping[str, Any]) -> Document:
    """Return a config with `changes` made, as `update` does, and check that the result is valid.

    Raises:
        InvalidValue: a change or its result is invalid.
    """
    result = update(document, changes)
    try:
        _shaping(result)
    except (msgspec.ValidationError, InvalidValue) as error:
        said = error.message if isinstance(error, InvalidValue) else explain(str(error))
        try:
            _shaping(document)
        except (msgspec.ValidationError, InvalidValue):
            hint = "nothing was changed; the stored config is invalid too: GET /get_config shows it"
        else:
            hint = "nothing was changed"
        raise InvalidValue(f"bad parameter: {said}", hint) from error
    return result


def _shaping(document: Mapping[str, Any]) -> Shaping:
    found = msgspec.convert(dict(document), Shaping, strict=False)
    check_env(found.env)
    check_limits(found.limits)
    return found


def check_keys(document: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
    """Check that every key of `changes` affects a run; a key that is stored already may always be removed.

    Raises:
        InvalidValue: one does not; the hint lists the valid ones.
    """
    for key, value in changes.items():
        root, _, below = key.partition(".")
        if value in ("", None) and root in document:
            continue
        known = (
            (root == "env" and (not below or re.fullmatch(ENV_KEY_PATTERN, below)))
            or (root == "limits" and below in {"", "memory", "cpus", "pids"})
            or (root in {"pos", "auto_remove"} and not below)
        )
        if not known:
            raise InvalidValue(f"a parameter {shown_key(key)} is not a key of a service's config", f"keys: {KEYS}")


def update(document: Mapping[str, Any], changes: Mapping[str, Any]) -> Document:
    """Return a config with `changes` made: keys may be dotted (`env.TZ`); an empty value (`""` or null) removes.

    Raises:
        InvalidValue: a dotted key leads through a value that is not an object.
    """
    result: Document = msgspec.json.decode(msgspec.json.encode(document))
    for dotted, value in changes.items():
        *path, last = dotted.split(".")
        if not all([*path, last]):
            raise InvalidValue(
                f"a parameter {shown_key(dotted)} is not a key of a config",
                "separate the parts of a key with dots, as in env.TZ",
            )
        _set(result, dotted, path, last, value)
    return result


def _set(document: Document, dotted: str, path: list[str], last: str, value: Any) -> None:
    trail = [document]
    for part in path:
        below = trail[-1].setdefault(part, {})
        if not isinstance(below, dict):
            raise InvalidValue(f"config key {dotted}: {part} is not an object", f"remove {part} first")
        trail.append(below)
    if value not in ("", None):
        trail[-1][last] = value
        return
    trail[-1].pop(last, None)
    for parent, part in zip(reversed(trail[:-1]), reversed(path), strict=True):  # no empty objects stay behind
        if not parent[part]:
            del parent[part]
