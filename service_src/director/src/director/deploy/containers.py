"""The steps of a deploy on single containers: create with a port of the pool, start, give up, retire."""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from band import logger
from director.deploy.spec_builder import PlatformConfig
from director.discovery.probe import CONTAINER_ENV
from director.engine.docker_json import SERVICE_PORT, Placement, container_config
from director.engine.interface import Container, Engine
from director.engine.snapshot import Snapshot
from director.errors import Conflict, DirectorError, DockerRefused, DockerUnavailable, InvalidValue, PortTaken
from director.state.desired import DesiredService

LAST_WORDS = 3.0
"""Seconds that a failed container gets to say goodbye to its peers before it is removed."""
PORT_ATTEMPTS = 10
QUARANTINE = 60.0
"""Seconds for which a port is avoided after Docker found it in use outside the platform."""


@dataclass(kw_only=True, eq=False)
class Containers:
    """Creates and removes containers; `starting` holds the ids of those that are not ready yet."""

    engine: Engine
    snapshot: Snapshot
    ports: PortPool
    around: PlatformConfig
    starting: set[str] = field(default_factory=set, init=False)
    _retiring: dict[str, set[asyncio.Task[None]]] = field(default_factory=dict, init=False)

    @property
    def retiring(self) -> frozenset[str]:
        """Services whose old container is still being stopped."""
        return frozenset(self._retiring)

    async def create_started(self, wanted: DesiredService, name: str) -> tuple[str, Mapping[int, int]]:
        """Create and start a container, on ports of the pool unless they are fixed; returns its id and ports.

        Raises:
            Conflict: its name is in use outside the platform, or no port is free.
            DockerUnavailable: the engine is unavailable or refuses.
        """
        for _ in range(PORT_ATTEMPTS):
            ports = fixed_ports(wanted) or {await self._take(): SERVICE_PORT}
            try:
                container = await self.create(wanted, name, ports)
            except BaseException:
                self._release(ports)
                raise
            try:
                await self.begin(container, wanted)
            except PortTaken:
                await self.discard(container, {})
                for port in ports:
                    self.ports.reject(port, time.time())
            except BaseException:
                await asyncio.shield(self.discard(container, ports))
                raise
            else:
                return container, ports
        raise Conflict("no port of the pool is usable", "check what listens there (ss -ltnp), or change BAND_PORTS")

    async def create(self, wanted: DesiredService, name: str, ports: Mapping[int, int]) -> str:
        """Create a container and return its id; the service's Redis user is created before."""
        service = wanted.spec.name
        await self.around.admit(service, wanted.spec.redis_keys)
        placement = Placement(
            namespace=self.around.namespace,
            ports=ports,
            env={
                **self.around.env_of(service),
                "NAME": service,
                # A config.yaml with another name must fail, not respond as that other service.
                "BAND_SERVICE": service,
                CONTAINER_ENV: secrets.token_hex(6),
                **({"BAND_MASKED": ",".join(wanted.spec.secrets)} if wanted.spec.secrets else {}),
            },
            memory=self.around.memory,
            title=wanted.title,
            pos=wanted.pos,
        )
        try:
            container = await self.engine.create(name, container_config(wanted.spec, placement))
        except DockerRefused as error:
            if error.engine_status == 409:
                hint = "rename or remove that container, or rename the service"
                raise Conflict(
                    f"container name {name} is already in use by a container outside the platform", hint
                ) from error
            if error.engine_status == 400:
                raise InvalidValue(
                    f"the Docker Engine rejected the container's config: {error.message}",
                    "check limits, ports and volumes, in the request and in band.yml",
                ) from error
            raise
        self.starting.add(container)
        return container

    async def begin(self, container: str, wanted: DesiredService) -> None:
        """Start a container; if a fixed host port is in use, the error says by whom."""
        try:
            await self.engine.start(container)
        except PortTaken as error:
            if not wanted.spec.ports:
                raise
            raise await self._fixed_port_taken(wanted, error) from error

    def seen(self, container: Container) -> None:
        """Release a container's ports in the pool: from now on the listing shows that they are in use."""
        self._release(container.ports)

    async def give_up(self, container: str, ports: Mapping[int, int]) -> None:
        """Remove a container that may already share the service's work: it may say goodbye to its peers first."""
        await asyncio.shield(self._give_up(container, ports))

    async def _give_up(self, container: str, ports: Mapping[int, int]) -> None:
        try:
            await self.engine.stop(container, LAST_WORDS)
        finally:
            await self.discard(container, ports)

    async def discard(self, container: str, ports: Mapping[int, int]) -> None:
        """Remove a container at once and give its ports back."""
        try:
            await self.engine.remove(container)
        finally:
            self.starting.discard(container)
            self._release(ports)

    async def retire(self, container: Container) -> None:
        await self.engine.stop(container.id, container.stop_timeout)
        await self.discard(container.id, container.ports)

    def retire_later(self, old: Container) -> None:
        task = asyncio.create_task(self._retire(old), name=f"retire-{old.service}")
        tasks = self._retiring.setdefault(old.service, set())
        tasks.add(task)

        def done(finished: asyncio.Task[None]) -> None:
            tasks.discard(finished)
            if not tasks:
                self._retiring.pop(old.service, None)

        task.add_done_callback(done)

    async def settle(self, service: str) -> None:
        """Wait until no container of a service is being stopped in the background."""
        while tasks := self._retiring.get(service):
            await asyncio.wait(tasks)

    async def _retire(self, old: Container) -> None:
        try:
            await self.retire(old)
        except DirectorError as error:  # the reconciler finds it again and removes it
            logger.warning("retire_failed", service=old.service, container=old.short_id, reason=error.message)

    async def _fixed_port_taken(self, wanted: DesiredService, error: PortTaken) -> Conflict:
        """Return the error for a fixed host port that is in use: by whom, and what to do."""
        known = []
        with suppress(DockerUnavailable):
            for port in sorted(fixed_ports(wanted)):
                holder = await self.engine.port_holder(port)
                known += [f"port {port} is in use by {holder}"] if holder else []
        hint = f"{', '.join(known)}; stop it" if known else "no container uses it: `ss -ltnp` shows the process"
        what = f"host port of {wanted.spec.name} is taken: {error.message}"
        return Conflict(what, f"{hint}, or choose another in band.yml")

    async def _take(self) -> int:
        used = await self.engine.used_ports() | {port for item in self.snapshot.containers for port in item.ports}
        return self.ports.take(used, time.time())

    def _release(self, ports: Mapping[int, int]) -> None:
        for port in ports:
            self.ports.release(port)


def fixed_ports(wanted: DesiredService) -> dict[int, int]:
    """Return the host ports that a service always has: host → container."""
    return {int(outside): inside for outside, inside in wanted.spec.ports.items()}


def is_bindable(port: int, address: str = "127.0.0.1") -> bool:
    """Return whether a TCP port can be bound here. Inside a container this covers only its own network."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


class PortPool:
    """Ports `first`..`last`. A port is free if no container uses it, it is not reserved, and it can be bound.

    Every `take` checks which ports containers use, so the port of a removed container is free again.
    """

    def __init__(self, first: int, last: int, bindable: Callable[[int], bool] = is_bindable) -> None:
        self._range = range(first, last + 1)
        self._bindable = bindable
        self._held: set[int] = set()
        self._bad_until: dict[int, float] = {}
        self._next = first

    def take(self, used: Collection[int], now: float) -> int:
        """Reserve and return a port that is not in `used` (those of all containers); Conflict if none is free."""
        for port in self._candidates():
            if port in used or port in self._held or self._bad_until.get(port, 0) > now or not self._bindable(port):
                continue
            self._held.add(port)
            self._next = port + 1
            return port
        raise Conflict(
            f"no free port between {self._range.start} and {self._range.stop - 1}",
            "remove services with /rm, or widen BAND_PORTS",
        )

    def release(self, port: int) -> None:
        """Release a port: its container is listed now (and uses it), or is gone."""
        self._held.discard(port)

    def reject(self, port: int, now: float) -> None:
        """Release a port that Docker could not bind, and avoid it for a while."""
        self._held.discard(port)
        self._bad_until[port] = now + QUARANTINE

    def _candidates(self) -> list[int]:
        # Round robin: a released port is reused as late as possible, so that no late client reaches another service.
        start = self._next if self._next in self._range else self._range.start
        return [*range(start, self._range.stop), *range(self._range.start, start)]
