"""From an image folder, the operator's config and what every service gets to the spec of a service."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from director.errors import InvalidValue
from director.images.catalog import ImageFolder
from director.redis.acl import ANY_KEY, NO_EVENTS, READ_EVENTS, is_platform_key
from director.redis.users import Keys, RedisUsers
from director.state.config import shaping
from director.state.desired import DesiredService
from director.state.spec import Limits, Spec, check_env, check_port, check_volume


def service_env(*, redis_dsn: str, band_url: str | None, log_level: str, json_logs: str) -> dict[str, str]:
    """Return the environment that every service gets."""
    env = {"HOST": "0.0.0.0", "PORT": "8080", "REDIS_DSN": redis_dsn, "LOG_LEVEL": log_level, "JSON_LOGS": json_logs}  # noqa: S104
    if band_url:
        env["BAND_URL"] = band_url
    return env


class PlatformConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What every service of this director gets: `env` includes the DSN of Redis; times in seconds.

    With `users` each has a Redis user of its own, and another DSN. `own_ports` are the director's host ports.
    """

    namespace: str
    network: str
    env: Mapping[str, str]
    memory: str
    ready_timeout: float = 60.0
    users: RedisUsers | None = None
    own_ports: frozenset[int] = frozenset()

    @property
    def platform(self) -> str:
        """A hash over all of it that shapes a container; a new Redis password changes it."""
        return _hash(self.env_of("*"), self.memory)

    def env_of(self, service: str) -> dict[str, str]:
        """Return the environment that a service gets."""
        return {**self.env, "REDIS_DSN": self.users.dsn(service)} if self.users else dict(self.env)

    async def admit(self, service: str, keys: Keys) -> None:
        """Let a service into Redis, before its container is made.

        Raises:
            RedisError: Redis is away, or does not let the director do it.
        """
        if self.users:
            await self.users.make(service, keys)


def resolve(folder: ImageFolder, image: str, document: Mapping[str, Any], around: PlatformConfig) -> DesiredService:
    """Return what should run for a service.

    Raises:
        InvalidValue: a port, volume or key of Redis in band.yml, or the operator's config, is impossible.
    """
    given = shaping(document)
    band = folder.band
    spec = Spec(
        name=folder.name,
        image=image,
        env=check_env({**band.env, **given.env}),
        secrets=tuple(sorted(band.secrets)),
        ports=_ports(folder, around.own_ports),
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


def _ports(folder: ImageFolder, taken: Collection[int]) -> dict[str, int]:
    for outside in folder.band.ports:
        check_port(f"band.yml of {folder.name}", outside, taken)
    return dict(sorted(folder.band.ports.items()))


def _volumes(folder: ImageFolder) -> dict[str, str]:
    for volume, path in folder.band.volumes.items():
        check_volume(f"band.yml of {folder.name}", volume, path)
    return dict(sorted(folder.band.volumes.items()))


def _redis_keys(folder: ImageFolder, namespace: str) -> tuple[str, ...]:
    for key in folder.band.redis_keys:
        if key != ANY_KEY and is_platform_key(key, namespace):
            raise InvalidValue(
                f"band.yml of {folder.name}: redis_keys: {key!r} reaches keys of the platform itself",
                'name keys of your services only, as in redis_keys: ["sessions:*"]',
            )
    events = {"none": (NO_EVENTS,), "read": (READ_EVENTS,), "listen": ()}[folder.band.redis_events]
    return (*events, *sorted(folder.band.redis_keys))


def _limits(band: Limits, given: Limits) -> Limits:
    return Limits(memory=given.memory or band.memory, cpus=given.cpus or band.cpus, pids=given.pids or band.pids)


def _hash(env: Mapping[str, str], memory: str) -> str:
    return hashlib.sha256(msgspec.json.encode([env, memory], order="deterministic")).hexdigest()[:12]
