"""What the director needs of a way to deploy. `docker_rolling` is the one for a single host."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

import msgspec

from director.engine.interface import Container
from director.state.desired import DesiredService, Document
from director.state.history import By, Release

BY_ITSELF: frozenset[By] = frozenset({"revive", "renew", "adopted"})
"""Deploys that nobody asked for: they do not reset the crash record."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What a deploy changes.

    Attributes:
        wanted: what should run from then on.
        by: who asked for it.
        config: what is stored as the service's config with it; None leaves that as it is.
        target: the release that is gone back to; None for a new one.
        reason: why it is gone back to.
    """

    wanted: DesiredService
    by: By
    config: Document | None = None
    target: Release | None = None
    reason: str = ""


class Deployer(Protocol):
    """Moves one service at a time from what is to what should be; the caller holds the service's lock."""

    @property
    def retiring(self) -> frozenset[str]:
        """Services whose old containers are still being stopped."""

    @property
    def starting(self) -> Collection[str]:
        """Ids of containers that are being started: their end is told to whoever asked for the start."""

    async def deploy(self, change: Change) -> Container:
        """Replace whatever runs of a service by what should, and write that down.

        Raises:
            DirectorError: it did not come up; what served before still does, and the failure is remembered.
            RedisError: it could not be written down; what served before still does.
        """

    async def start(self, container: Container, wanted: DesiredService) -> Container:
        """Start the container that is there, and wait until it is ready.

        Raises:
            DirectorError: it did not come up; `DockerRefused` where the engine does not even start it.
        """

    async def stop(self, service: str) -> None:
        """Stop a service."""

    async def remove(self, service: str) -> None:
        """Remove all containers of a service."""

    async def retire(self, container: Container) -> None:
        """Stop and remove a container and give its ports back."""

    async def settle(self, service: str) -> None:
        """Wait until no old container of a service is being stopped any more."""

    async def last_lines(self, container: str, wanted: DesiredService) -> list[str]:
        """Return the last lines of a container's output, secrets masked; none when the engine cannot be asked."""

    async def close(self) -> None:
        """Wait for what is being stopped."""
