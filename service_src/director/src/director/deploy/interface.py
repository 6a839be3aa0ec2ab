"""The interface of a deployer. `docker_rolling` is the implementation for a single host."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

import msgspec

from director.engine.interface import Container
from director.state.desired import DesiredService, Document
from director.state.history import By, Release

BY_ITSELF: frozenset[By] = frozenset({"revive", "renew", "adopted"})
"""Deploys that the director starts by itself: they do not reset the crash record."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What a deploy changes.

    Attributes:
        wanted: the new desired state.
        by: what triggered it.
        config: the service's config to store with it; None leaves the stored one.
        target: the release of a rollback; None for a new release.
        reason: the reason of a rollback.
    """

    wanted: DesiredService
    by: By
    config: Document | None = None
    target: Release | None = None
    reason: str = ""


class Deployer(Protocol):
    """Brings one service at a time to its desired state; the caller holds the service's lock."""

    @property
    def retiring(self) -> frozenset[str]:
        """Services whose old containers are still being stopped."""

    @property
    def starting(self) -> Collection[str]:
        """Ids of containers that are being started: their failure is reported to whoever requested the start."""

    async def deploy(self, change: Change) -> Container:
        """Replace a service's container by one of the desired state, and store that.

        Raises:
            DirectorError: it did not become ready; the previous container still serves, and the failure is recorded.
            RedisError: it could not be stored; the previous container still serves.
        """

    async def start(self, container: Container, wanted: DesiredService) -> Container:
        """Start the existing container, and wait until it is ready.

        Raises:
            DirectorError: it did not become ready; `DockerRefused` if the engine does not even start it.
        """

    async def stop(self, service: str) -> None:
        """Stop a service."""

    async def remove(self, service: str) -> None:
        """Remove all containers of a service."""

    async def retire(self, container: Container) -> None:
        """Stop and remove a container and release its ports."""

    async def settle(self, service: str) -> None:
        """Wait until no old container of a service is being stopped any more."""

    async def last_lines(self, container: str, wanted: DesiredService) -> list[str]:
        """Return the last lines of a container's output, secrets masked; none if the engine is unavailable."""

    async def close(self) -> None:
        """Wait for the containers that are being stopped."""
