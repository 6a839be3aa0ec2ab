"""The director's surroundings: its container, networks and published ports, and the platform settings that follow."""

from __future__ import annotations

import asyncio

from band import logger
from director.api.security import check_exposure
from director.deploy.spec_builder import PlatformConfig
from director.engine.docker import DockerEngine
from director.engine.host import own_id
from director.engine.interface import OwnContainer
from director.errors import ConfigError, DockerUnavailable
from director.redis.users import RedisUsers
from director.settings import DirectorSettings

DOCKER_PATIENCE = 60.0
"""Seconds that a director in a container waits at start for its engine."""


async def find_self(engine: DockerEngine, settings: DirectorSettings) -> OwnContainer | None:
    """Return the director's own container (None on a host), after checking that its port is not exposed.

    Raises:
        ConfigError: other machines can reach it without a token, or Docker is unavailable.
    """
    if own_id() is None:
        check_exposure(token=bool(settings.token), host=settings.host, in_container=False)
        return None
    own = await _ask_about_self(engine)
    published = own.published if own else ()
    check_exposure(
        token=bool(settings.token),
        host=settings.host,
        in_container=own is not None,
        published=published,
        host_network=own.host_network if own else False,
    )
    return own


async def _ask_about_self(engine: DockerEngine) -> OwnContainer | None:
    deadline = asyncio.get_running_loop().time() + DOCKER_PATIENCE
    while True:
        try:
            return await engine.own_container()
        except DockerUnavailable as error:
            logger.warning("docker_unavailable", formerly="docker_away", reason=error.message, hint=error.hint)
            if asyncio.get_running_loop().time() > deadline:
                raise ConfigError(
                    f"the Docker Engine does not answer: {error.message}; mount /var/run/docker.sock"
                ) from error
        await asyncio.sleep(1.0)


def surroundings(
    settings: DirectorSettings, own: OwnContainer | None, users: RedisUsers | None = None
) -> PlatformConfig:
    """Return the platform settings; without BAND_NETWORK services join the network of the director's container."""
    found = [name for name in (own.networks if own else ()) if name not in {"bridge", "host", "none"}]
    env = {
        "HOST": "0.0.0.0",  # noqa: S104 - in its container
        "PORT": "8080",
        "REDIS_DSN": settings.service_redis_dsn.reveal(),
        "LOG_LEVEL": settings.log_level,
        "JSON_LOGS": settings.json_logs,
        **({"BAND_URL": settings.band_url} if settings.band_url else {}),
    }
    network = settings.network or (found[0] if found else settings.namespace)
    return PlatformConfig(
        namespace=settings.namespace,
        network=network,
        env=env,
        memory=settings.memory,
        ready_timeout=settings.ready_timeout,
        users=users,
        front_port=settings.front_port,
        own_ports=frozenset(own.ports) if own and not own.host_network else frozenset({settings.port}),
    )
