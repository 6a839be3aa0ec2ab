"""Bringing a service up: start beside → check → switch → stop the old one. A failure leaves the old one as it was."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress

import msgspec

from band import logger
from director.deploy.ports import PortPool, fixed_port_taken
from director.deploy.readiness import Readiness, Started, Surroundings
from director.discovery.probe import CONTAINER_ENV, Prober
from director.engine.create import SERVICE_PORT, Placement, container_config
from director.engine.interface import Observed, Runtime
from director.errors import Conflict, DirectorError, DockerRefused, DockerUnavailable, InvalidValue, PortTaken
from director.state.desired import Wanted
from director.state.spec import check_confined
from director.supervise.reconcile import primary_name

LAST_WORDS = 3.0
PORT_ATTEMPTS = 10


Commit = Callable[[], Awaitable[None]]


class Deployer:
    """Moves one service at a time from what is to what should be; the caller holds the service's lock."""

    def __init__(self, runtime: Runtime, ports: PortPool, prober: Prober, surroundings: Surroundings) -> None:
        self._runtime = runtime
        self._ports = ports
        self._readiness = Readiness(runtime, prober, surroundings)
        self._around = surroundings
        self._retiring: dict[str, set[asyncio.Task[None]]] = {}
        self._proving: set[str] = set()

    @property
    def retiring(self) -> frozenset[str]:
        """Services whose old container is still being stopped."""
        return frozenset(self._retiring)

    @property
    def proving(self) -> frozenset[str]:
        """Ids of containers that are being started: their end is told to whoever asked for the start."""
        return frozenset(self._proving)

    async def deploy(self, wanted: Wanted, commit: Commit, *, well: bool = False) -> Started:
        """Replace whatever runs of a service by a fresh container of `wanted`; `commit` is called before the switch.

        Args:
            wanted: what should be.
            commit: writes that down; when it raises, what ran before goes on.
            well: the new one must not say of itself that it is failing, because what serves now does not.

        Raises:
            InvalidValue: it would reach out of its container.
            Conflict: the container's name belongs to somebody else, or the ports are used up.
            ServiceFailed: it ended before it answered; what ran before still runs.
            TimedOut: it did not answer in time; what ran before still runs.
            DockerUnavailable: the engine does not do it.
        """
        name = check_confined(wanted.spec).name
        await self.settle(name)
        await self._runtime.ensure_network(self._around.network)
        present = [item for item in await self._runtime.containers() if item.service == name and item.kind == "service"]
        primary = primary_name(self._around.namespace, name)
        old = await self._one(present, primary)
        if old is not None and old.alive and set(map(int, wanted.spec.ports)) & set(old.ports):
            return await self._replace_fixed(wanted, old, commit, well=well)
        started = await self._bring_up(wanted, f"{primary}.next" if old else primary, well=well and old is not None)
        try:
            await commit()
            return msgspec.structs.replace(started, container=await self._switch(started.container, old, primary))
        except BaseException:
            await asyncio.shield(self._give_up(started.container.id, started.container.ports))
            raise

    async def start(self, container: Observed, wanted: Wanted) -> Started:
        """Start a container that is there, and wait until it answers."""
        since = time.time()
        self._proving.add(container.id)
        try:
            await self._runtime.start(container.id)
            return await self._readiness.wait(container.id, wanted, since)
        finally:
            self._proving.discard(container.id)

    async def last_lines(self, container: str, wanted: Wanted) -> list[str]:
        """Return the last lines of a container's output, secrets masked; none when the engine cannot be asked."""
        return await self._readiness.last_lines(container, wanted)

    async def retire(self, container: Observed) -> None:
        """Stop and remove a container and give its ports back."""
        await self._runtime.stop(container.id, container.stop_timeout)
        await self._discard(container.id, container.ports)

    async def settle(self, name: str) -> None:
        """Wait until nothing of a service is being stopped any more."""
        while tasks := self._retiring.get(name):
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """Wait for what is being stopped."""
        for name in list(self._retiring):
            await self.settle(name)

    async def _one(self, present: list[Observed], primary: str) -> Observed | None:
        """Return the container that serves now, the left-overs of an interrupted deploy removed."""
        alive = [item for item in present if item.alive]
        old = _serving(alive or present, primary)
        for item in present:
            if item is not old:
                await self.retire(item)
        if old is None:
            foreign = await self._runtime.inspect(primary)
            if foreign is not None:
                await self._discard(foreign.id, foreign.ports)
        elif not old.alive:
            await self._discard(old.id, old.ports)
            return None
        return old

    async def _replace_fixed(self, wanted: Wanted, old: Observed, commit: Commit, *, well: bool) -> Started:
        """Replace a service whose host port is fixed: a new release proves itself on another port first."""
        name, primary = wanted.spec.name, primary_name(self._around.namespace, wanted.spec.name)
        if old.config != wanted.spec.hash():
            trial = msgspec.structs.replace(wanted, spec=msgspec.structs.replace(wanted.spec, ports={}))
            proven = await self._bring_up(trial, f"{primary}.next", well=well)
            await self.retire(proven.container)
        new = await self._create(wanted, f"{primary}.next", self._fixed(wanted))
        since = time.time()
        try:
            await self._runtime.stop(old.id, old.stop_timeout)
            await self._begin(new, wanted)
            started = await self._readiness.wait(new, wanted, since)
            self._proving.discard(new)
            await commit()
        except BaseException as error:
            await asyncio.shield(self._restore(new, old, error))
            raise
        try:
            await self._discard(old.id, {})
            await self._runtime.rename(new, primary)
        except DirectorError as error:  # it serves, and is what should be: the reconciler does the rest
            logger.warning("switch_not_tidied", service=name, container=new[:12], reason=error.message)
        logger.info("service_switched", service=name, container=new[:12], fixed_port=True)
        return msgspec.structs.replace(started, container=msgspec.structs.replace(started.container, name=primary))

    async def _restore(self, new: str, old: Observed, reason: BaseException) -> None:
        """Give up the new one and start the old one again; `reason` stays what is told, whatever else goes wrong."""
        with suppress(DirectorError):
            await self._give_up(new, {})
        try:
            await self._runtime.start(old.id)
        except DockerUnavailable as error:  # removed with its end, say: the reconciler makes a container in its place
            logger.warning("service_not_restored", service=old.service, container=old.short_id, reason=error.message)
            if isinstance(reason, DirectorError):
                reason.hint += f"; the container before could not be started again: {error.message}"
        else:
            logger.warning("service_restored", service=old.service, container=old.short_id)

    async def _bring_up(self, wanted: Wanted, container_name: str, *, well: bool) -> Started:
        """Create and start a container and wait until it answers; one that does not is removed."""
        container, ports = await self._create_started(wanted, container_name)
        try:
            started = await self._readiness.wait(container, wanted, 0.0, well=well)
        except BaseException:
            await asyncio.shield(self._give_up(container, ports))
            raise
        self._proving.discard(container)  # from now on an end of it is its own
        return started

    async def _create_started(self, wanted: Wanted, container_name: str) -> tuple[str, Mapping[int, int]]:
        for _ in range(PORT_ATTEMPTS):
            ports = self._fixed(wanted) or {await self._take(): SERVICE_PORT}
            try:
                container = await self._create(wanted, container_name, ports)
            except BaseException:
                self._release(ports)
                raise
            try:
                await self._begin(container, wanted)
            except PortTaken:
                await self._discard(container, {})
                for port in ports:
                    self._ports.reject(port, time.time())
            except BaseException:
                await asyncio.shield(self._discard(container, ports))
                raise
            else:
                return container, ports
        raise Conflict("no port of the pool could be bound", "look who listens there, or change BAND_PORTS")

    async def _begin(self, container: str, wanted: Wanted) -> None:
        """Start a container; where its host ports are fixed, say who has the one that is taken."""
        try:
            await self._runtime.start(container)
        except PortTaken as error:
            if not wanted.spec.ports:
                raise
            raise await fixed_port_taken(self._runtime, wanted.spec, error) from error

    async def _create(self, wanted: Wanted, container_name: str, ports: Mapping[int, int]) -> str:
        await self._around.admit(wanted.spec.name, wanted.spec.redis_keys)
        placement = Placement(
            namespace=self._around.namespace,
            ports=ports,
            env={
                **self._around.env_of(wanted.spec.name),
                "NAME": wanted.spec.name,
                # A config.yaml with another name must fail, not answer as that other service.
                "BAND_SERVICE": wanted.spec.name,
                CONTAINER_ENV: secrets.token_hex(6),
            },
            memory=self._around.memory,
            title=wanted.title,
            pos=wanted.pos,
        )
        try:
            container = await self._runtime.create(container_name, container_config(wanted.spec, placement))
        except DockerRefused as error:
            if error.engine_status == 409:
                hint = "rename or remove the container that has it, or give the service another name"
                raise Conflict(f"container name {container_name} is taken by somebody else", hint) from error
            if error.engine_status == 400:
                raise InvalidValue(
                    f"the Docker Engine does not take this: {error.message}",
                    "look at limits, ports and volumes, in the request and in band.yml",
                ) from error
            raise
        self._proving.add(container)
        return container

    async def _switch(self, new: Observed, old: Observed | None, primary: str) -> Observed:
        for port in new.ports:
            self._ports.release(port)  # from now on the container itself is seen to have it
        if old is None:
            return new
        if old.name == primary:
            await self._runtime.rename(old.id, f"{primary}.old-{old.short_id}")
        await self._runtime.rename(new.id, primary)
        # From here on there is no way back, so there is nothing left that could fail: the old one is going.
        self._retire_later(old)
        logger.info("service_switched", service=new.service, container=new.short_id, instead_of=old.short_id)
        return msgspec.structs.replace(new, name=primary)

    def _retire_later(self, old: Observed) -> None:
        task = asyncio.create_task(self._retire(old), name=f"retire-{old.service}")
        tasks = self._retiring.setdefault(old.service, set())
        tasks.add(task)

        def done(finished: asyncio.Task[None]) -> None:
            tasks.discard(finished)
            if not tasks:
                self._retiring.pop(old.service, None)

        task.add_done_callback(done)

    async def _retire(self, old: Observed) -> None:
        try:
            await self.retire(old)
        except DirectorError as error:  # the reconciler finds it again and removes it
            logger.warning("retire_failed", service=old.service, container=old.short_id, reason=error.message)

    async def _give_up(self, container: str, ports: Mapping[int, int]) -> None:
        """Remove a container that may already share the service's work: it gets a moment to take leave of its peers."""
        try:
            await self._runtime.stop(container, LAST_WORDS)
        finally:
            await self._discard(container, ports)

    async def _discard(self, container: str, ports: Mapping[int, int]) -> None:
        try:
            await self._runtime.remove(container)
        finally:
            self._proving.discard(container)
            self._release(ports)

    async def _take(self) -> int:
        used = await self._runtime.used_ports()
        return self._ports.take(used, time.time())

    def _release(self, ports: Mapping[int, int]) -> None:
        for port in ports:
            self._ports.release(port)

    @staticmethod
    def _fixed(wanted: Wanted) -> dict[int, int]:
        return {int(outside): inside for outside, inside in wanted.spec.ports.items()}


def _serving(containers: Iterable[Observed], primary: str) -> Observed | None:
    """Return the container that serves now: only a switch gives one its name. What is newer may be half a deploy."""
    return max(containers, key=lambda item: (item.name == primary, item.created_at, item.id), default=None)
