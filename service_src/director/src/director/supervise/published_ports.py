"""Checks published ports from the host's side; a service whose port is dead is restarted.

Docker forwards a port of the host's loopback with a separate process, `docker-proxy`. If that dies, the service is
unreachable and cannot notice: its health check runs inside the container.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from band import logger
from band.platform import run_forever
from director.deploy.operations import Operations
from director.engine.interface import Container, Engine
from director.engine.snapshot import Snapshot
from director.errors import DirectorError, DockerUnavailable

SOON_SECONDS = 5.0
"""Between two tries while it is not certain how a port is: of a new container, or after a failed try."""
TRIES = 3
"""Failed tries in a row after which a port counts as dead."""

Key = tuple[str, int]


@dataclass(eq=False)
class PublishedPorts:
    """Knows which ports are dead. `restarts` counts by service; `every` is in seconds, 0 for never.

    A service is restarted only when its port was seen to accept connections before: one that never did may have a
    health check that says nothing of the port, and another container of it would do no better.
    """

    engine: Engine
    snapshot: Snapshot
    operations: Operations
    every: float
    clock: Callable[[], float] = time.monotonic
    restarts: Counter[str] = field(default_factory=Counter, init=False)
    _good: set[Key] = field(default_factory=set, init=False)
    _failed: dict[Key, int] = field(default_factory=dict, init=False)
    _next: float = field(default=0.0, init=False)

    def dead(self, container: str) -> tuple[int, ...]:
        return tuple(sorted(port for (at, port), tries in self._failed.items() if at == container and tries >= TRIES))

    async def run(self) -> None:
        """Try the ports, until cancelled."""
        if self.every:
            await run_forever("published_ports", self.once, pause_seconds=SOON_SECONDS)

    async def once(self) -> None:
        """Try the ports of all healthy containers, if it is time."""
        there = {(item.id, port): item for item in self.snapshot.containers if _is_healthy(item) for port in item.ports}
        self._good &= there.keys()
        self._failed = {key: tries for key, tries in self._failed.items() if key in there}
        now = self.clock()
        if not there or (now < self._next and not there.keys() - self._good - self._failed.keys()):
            return
        self._next = now + self.every
        try:
            closed = await self.engine.closed_ports({port for _, port in there})
            for key, item in there.items():
                await self._note(key, item, closed)
        except DockerUnavailable as error:
            logger.warning("ports_not_tried", reason=error.message)
            return
        if any(tries < TRIES for tries in self._failed.values()):
            self._next = now
        for service in {there[key].service for key, tries in self._failed.items() if tries >= TRIES} & {
            there[key].service for key in self._good
        }:
            await self._bring_back(service)

    async def _note(self, key: Key, item: Container, closed: set[int]) -> None:
        if key[1] not in closed:
            self._good.add(key)
            self._failed.pop(key, None)
            return
        seen = await self.engine.inspect(item.id)
        if seen is not None and _is_healthy(seen):  # and not one that ended between the list and the try
            self._failed[key] = self._failed.get(key, 0) + 1
            logger.warning("port_closed", service=item.service, port=key[1], tries=self._failed[key])

    async def _bring_back(self, service: str) -> None:
        self.restarts[service] += 1
        logger.error("port_dead", service=service, action="restart", restarts=self.restarts[service])
        try:
            await self.operations.replace(service)
        except DirectorError as error:
            logger.warning("restart_failed", service=service, reason=error.message)


def _is_healthy(item: Container) -> bool:
    return item.kind == "service" and item.state == "running" and item.health == "healthy"
