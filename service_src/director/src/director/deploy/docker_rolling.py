"""A rolling deploy on one Docker Engine: bring up beside, wait until ready, commit, switch, retire the old one."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from band import logger
from director.deploy.containers import Containers, fixed_ports
from director.deploy.interface import Change
from director.deploy.ledger import Ledger
from director.deploy.readiness import Readiness, ReadyContainer
from director.engine.interface import Container, primary_name
from director.errors import DirectorError, DockerUnavailable
from director.state.desired import DesiredService, check_confined


@dataclass(kw_only=True, eq=False)
class DockerRolling(Containers):
    """The `Deployer` of one host. A failure leaves what ran before as it was."""

    readiness: Readiness
    ledger: Ledger

    async def deploy(self, change: Change) -> Container:
        name = change.wanted.spec.name
        crashes = self.ledger.crashes.of(name)
        try:
            async with AsyncExitStack() as undo:
                old = await self._clear(change.wanted)
                ready = await self._bring_up(change, old, undo)
                await self.ledger.commit(change, undo)
                await self._switch(change.wanted, ready.container, old)
                undo.pop_all()  # there is no way back from here on, and nothing left that could fail
        except BaseException as error:
            if isinstance(error, DirectorError):
                await self.ledger.failed(change.wanted, change.by, error)
            await self.snapshot.try_refresh(name)  # the failed container is gone and must not be listed
            raise
        if old is not None and not _shares_port(old, change.wanted):
            self.retire_later(old)
        self.ledger.ready(ready, crashes)
        await self.snapshot.try_refresh(name)
        return msgspec.structs.replace(ready.container, name=primary_name(self.around.namespace, name))

    async def start(self, container: Container, wanted: DesiredService) -> Container:
        since, crashes = time.time(), self.ledger.crashes.reset(wanted.spec.name)
        self.starting.add(container.id)
        try:
            await self.engine.start(container.id)
            ready = await self.readiness.wait(container.id, wanted, since)
        except BaseException:
            self.ledger.crashes.put(wanted.spec.name, crashes)
            raise
        finally:
            self.starting.discard(container.id)
        self.ledger.ready(ready, crashes)
        await self.snapshot.try_refresh(wanted.spec.name)
        return ready.container

    async def stop(self, service: str) -> None:
        await self.settle(service)
        await self.snapshot.refresh()
        for item in self.snapshot.of_service(service):
            await self.engine.stop(item.id, item.stop_timeout)

    async def remove(self, service: str) -> None:
        await self.settle(service)
        for item in self.snapshot.of_service(service):
            await self.retire(item)

    async def last_lines(self, container: str, wanted: DesiredService) -> list[str]:
        return await self.readiness.last_lines(container, wanted)

    async def close(self) -> None:
        for service in self.retiring:
            await self.settle(service)

    async def _clear(self, wanted: DesiredService) -> Container | None:
        """Return the container that serves now, with the leftovers of an interrupted deploy removed."""
        name = check_confined(wanted.spec).name
        await self.settle(name)
        await self.engine.ensure_network(self.around.network)
        await self.snapshot.refresh()
        present, primary = self.snapshot.of_service(name), primary_name(self.around.namespace, name)
        # Only a switch gives a container the service's name: a newer one may be half a deploy.
        candidates = [item for item in present if item.alive] or present
        old = max(candidates, key=lambda item: (item.name == primary, item.created_at, item.id), default=None)
        for item in present:
            if item is not old:
                await self.retire(item)
        if old is None:
            foreign = await self.engine.inspect(primary)
            if foreign is not None:
                await self.discard(foreign.id, foreign.ports)
        elif not old.alive:
            await self.discard(old.id, old.ports)
            return None
        return old

    async def _bring_up(self, change: Change, old: Container | None, undo: AsyncExitStack) -> ReadyContainer:
        """Start a fresh container and wait until it is ready; `undo` removes it and lets the old one continue."""
        wanted, primary = change.wanted, primary_name(self.around.namespace, change.wanted.spec.name)
        healthy = old is not None and self.ledger.requires_health(change)
        if old is None:
            return await self._start_beside(wanted, primary, undo, require_healthy=healthy)
        if not _shares_port(old, wanted):
            return await self._start_beside(wanted, f"{primary}.next", undo, require_healthy=healthy)
        if old.config != wanted.spec.hash():  # a new release proves itself on another port first
            trial = msgspec.structs.replace(wanted, spec=msgspec.structs.replace(wanted.spec, ports={}))
            async with AsyncExitStack() as leave:
                proven = await self._start_beside(trial, f"{primary}.next", leave, require_healthy=healthy)
                leave.pop_all()
            await self.retire(proven.container)
        new = await self.create(wanted, f"{primary}.next", fixed_ports(wanted))
        undo.push_async_exit(partial(self._restore, new, old))
        since = time.time()
        await self.engine.stop(old.id, old.stop_timeout)
        await self.begin(new, wanted)
        return await self._wait(new, wanted, since)

    async def _start_beside(
        self, wanted: DesiredService, container_name: str, undo: AsyncExitStack, *, require_healthy: bool
    ) -> ReadyContainer:
        container, ports = await self.create_started(wanted, container_name)
        undo.push_async_callback(self.give_up, container, ports)
        return await self._wait(container, wanted, 0.0, require_healthy=require_healthy)

    async def _wait(
        self, container: str, wanted: DesiredService, since: float, *, require_healthy: bool = False
    ) -> ReadyContainer:
        ready = await self.readiness.wait(container, wanted, since, require_healthy=require_healthy)
        self.starting.discard(container)  # from now on its exit counts as its own
        return ready

    async def _restore(self, new: str, old: Container, _kind: Any, reason: BaseException | None, _trace: Any) -> None:
        """Remove the new container and start the old one again; `reason` stays the reported error in any case."""
        with suppress(DirectorError):
            await self.give_up(new, {})
        try:
            await self.engine.start(old.id)
        except DockerUnavailable as error:  # perhaps auto-removed: the reconciler creates a new container
            logger.warning("service_not_restored", service=old.service, container=old.short_id, reason=error.message)
            if isinstance(reason, DirectorError):
                reason.hint += f"; the previous container could not be started again: {error.message}"
        else:
            logger.warning("service_restored", service=old.service, container=old.short_id)

    async def _switch(self, wanted: DesiredService, new: Container, old: Container | None) -> None:
        primary = primary_name(self.around.namespace, new.service)
        self.seen(new)
        if old is None:
            return
        if _shares_port(old, wanted):
            try:
                await self.discard(old.id, {})
                await self.engine.rename(new.id, primary)
            except DirectorError as error:  # it serves, as desired: the reconciler does the rest
                logger.warning("switch_not_tidied", service=new.service, container=new.short_id, reason=error.message)
        else:
            if old.name == primary:
                await self.engine.rename(old.id, f"{primary}.old-{old.short_id}")
            await self.engine.rename(new.id, primary)
        logger.info("service_switched", service=new.service, container=new.short_id, instead_of=old.short_id)


def _shares_port(old: Container, wanted: DesiredService) -> bool:
    """Return whether the two cannot run at once: the container uses a fixed host port of the service."""
    return old.alive and bool(fixed_ports(wanted).keys() & old.ports.keys())
