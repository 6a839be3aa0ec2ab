"""Finding a service by its name, with a hint if there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from director.deploy.interface import Deployer
from director.deploy.spec_builder import PlatformConfig
from director.engine.interface import Engine
from director.errors import Conflict, NotFound, did_you_mean
from director.images.planning import Images
from director.locks import Locks
from director.state.desired import Desired, DesiredService
from director.state.history import Releases

ROWS = 99
CORE = frozenset({"director", "redis"})
"""Containers of the platform itself, which are not services."""


def check_not_core(name: str) -> None:
    """Raise Conflict for the name of a container of the platform itself."""
    if name in CORE:
        hint = "its container is managed by Ansible: setup.yml creates it, uninstall.yml removes it"
        raise Conflict(f"{name} is reserved for the platform and is not a service", hint, service=name)


@dataclass(kw_only=True, eq=False)
class Verbs:
    """What all operations on services need."""

    engine: Engine
    images: Images
    desired: Desired
    releases: Releases
    deployer: Deployer
    locks: Locks
    around: PlatformConfig

    async def wanted(self, name: str) -> DesiredService:
        """Return the desired state of a service that was run and not removed.

        Raises:
            Conflict: it is a part of the platform itself, or the desired state is not loaded yet.
            NotFound: it was never run; the hint says how to run it, or that there is nothing to run.
        """
        check_not_core(name)
        wanted = self.desired.get(name)
        if wanted is not None and wanted.state != "removed":
            return wanted
        if not self.desired.loaded:
            raise Conflict("the desired state is not loaded yet (Redis)", "check Redis: GET /health")
        if await self.images.has_folder(name):
            raise NotFound(f"service {name!r} has never been run", f"GET /run/{name} runs it", service=name)
        near = did_you_mean(name, {*self.desired.all(), *await self.images.names()})
        hint = f"{near}GET /list lists the services, GET /list_images what can be run"
        raise NotFound(f"no such service or image folder: {name!r}", hint, service=name)


def check_free(pos: str, name: str, wanted: Mapping[str, DesiredService]) -> None:
    """Check that service `name` may be put at a place on the grid: it is free, or the service is there already.

    Raises:
        Conflict: another service is there; the hint names a free place in the same column.
    """
    taken = {item.pos: other for other, item in wanted.items() if item.state != "removed" and other != name}
    own = wanted.get(name)
    if pos not in taken or (own is not None and own.pos == pos):
        return
    column, _, row = pos.partition("x")
    spots = (f"{column}x{(int(row) - 1 + further) % ROWS + 1}" for further in range(1, ROWS))
    free = next((spot for spot in spots if spot not in taken), "another column")
    raise Conflict(
        f"place {pos} is taken by {taken[pos]!r}",
        f"{free} is free; /set_pos/{taken[pos]} moves the other one",
        service=taken[pos],
    )
