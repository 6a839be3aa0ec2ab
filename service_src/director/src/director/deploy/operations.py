"""The operations on services: run, stop, start, restart, remove, rebuild, configure. One at a time per service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from band import logger
from director.deploy import spec_builder
from director.deploy.interface import Change
from director.deploy.ledger import Ledger
from director.deploy.lookup import Verbs, check_free, check_not_core
from director.deploy.spec_builder import resolve
from director.discovery.registrations import Registrations
from director.engine.interface import Container
from director.engine.snapshot import Snapshot
from director.errors import BuildFailed, Conflict, DirectorError, DockerRefused, NotFound
from director.state import history
from director.state.crash_log import CrashLog
from director.state.desired import Configs, DesiredService, Document, Limits, Spec
from director.state.history import By

Would = Literal["nothing", "build", "restart", "start"]


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What `/run` may change; None keeps the earlier setting."""

    env: dict[str, str] | None = None
    pos: str | None = None
    limits: Limits | None = None
    auto_remove: bool | None = None
    nocache: bool = False


class Held(msgspec.Struct, frozen=True):
    """A release that was rolled back and is not deployed again until the folder or the config changes."""

    id: str
    reason: str


class WouldRun(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `/run` would change (`dry_run`); with `held`, `would` refers to the running release.

    `nothing`: the release is up to date; `/run` would only replace its container with a fresh one.
    """

    name: str
    would: Would
    image: str
    held: Held | msgspec.UnsetType = msgspec.UNSET


class Rebuilt(msgspec.Struct, frozen=True):
    """The result of `/rebuild_all` for one service."""

    name: str
    result: Literal["unchanged", "held", "rebuilt", "failed"]
    short_id: str | msgspec.UnsetType = msgspec.UNSET
    error: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


@dataclass(kw_only=True, eq=False)
class Operations(Verbs):
    """Carries out requests. Every method raises DirectorError subclasses."""

    snapshot: Snapshot
    configs: Configs
    crashes: CrashLog
    ledger: Ledger
    registrations: Registrations
    _claims: dict[str, str] = field(default_factory=dict, init=False)
    """Places on the grid that current requests ask for, and for which service."""

    async def run(self, name: str, options: RunOptions) -> Container:
        """Build if the contents changed, start a fresh container, wait until it is ready, stop the one before."""
        async with self.locks.hold(name, interruptible=True):
            plan = await self.images.plan(name)
            document = _with(await self.configs.get(name), options)
            wanted = resolve(plan.folder, plan.tag, document, self.around)
            try:
                await self.images.ensure(plan, nocache=options.nocache)
            except BuildFailed as error:
                await self.ledger.failed(wanted, "run", error)
                raise
            return await self.deployer.deploy(Change(wanted=wanted, by="run", config=document))

    async def would_run(self, name: str, options: RunOptions) -> WouldRun:
        """Return what `/run` has to do: `nothing`, `build`, `restart` or `start`.

        Contents that were rolled back are not deployed again until they change: then there is `held`, and `would`
        refers to the running release (`nothing`; `/start` it; `/restart` it).
        """
        plan = await self.images.plan(name)
        wanted = resolve(plan.folder, plan.tag, _with(await self.configs.get(name), options), self.around)
        await self.snapshot.refresh()
        current, before = self.snapshot.primary(name), self.desired.get(name)
        held = None if options.nocache else history.is_held(self.releases.of(name), wanted.spec)
        if held is not None and before is not None:
            stale = before.spec.platform != wanted.spec.platform
            instead: Would = "start" if before.state != "running" else "restart" if stale else "nothing"
            return WouldRun(name, instead, before.spec.image, Held(held.id, held.reason))
        would: Would = "nothing"
        if not plan.present or options.nocache:
            would = "build"
        elif current is None or not current.alive or before is None or before.state != "running":
            would = "start"
        elif current.config != wanted.spec.hash() or before.pos != wanted.pos or before.title != wanted.title:
            would = "restart"
        return WouldRun(name, would, plan.tag)

    async def restart(self, name: str) -> Container:
        """Replace the container of a service by a fresh one of the same image; nothing is built."""
        async with self.locks.hold(name, interruptible=True):
            return await self._bring(await self._to_run(name), "restart")

    async def start(self, name: str) -> Container:
        """Start a stopped service; a running one is left alone."""
        async with self.locks.hold(name, interruptible=True):
            wanted = await self._to_run(name)
            await self.snapshot.refresh()
            current = self.snapshot.primary(name)
            stale = wanted.spec != self.of_today(wanted.spec)
            if current is None or current.config != wanted.spec.hash() or (stale and current.state != "running"):
                return await self._bring(wanted, "restart")
            await self.desired.put(wanted)
            if current.state == "running":
                return current
            try:
                return await self.deployer.start(current, wanted)
            except DockerRefused as error:  # its port or network is gone: a fresh container gets others
                logger.warning("start_refused", service=name, reason=error.message)
                return await self._bring(wanted, "restart")

    async def stop(self, name: str) -> Container | None:
        """Stop a service until it is started again; returns its container, None if there is none.

        A build or start in progress is cancelled.
        """
        interrupted = self.locks.interrupt(name, "stopped")
        async with self.locks.hold(name):
            if interrupted and self.desired.get(name) is None:
                return None  # its first run, which left nothing
            wanted = await self.wanted(name)
            await self.desired.put(msgspec.structs.replace(wanted, state="stopped"))
            await self.deployer.stop(name)
            self.registrations.drop(name)
            self.crashes.reset(name)
            listed = await self.snapshot.try_refresh(name, fresh=True)
            current = self.snapshot.primary(name)
            return current if current is None or listed else msgspec.structs.replace(current, state="exited")

    async def remove(self, name: str) -> None:
        """Remove a service with its containers and its config; volumes and images stay.

        A build or start in progress is cancelled.
        """
        check_not_core(name)
        interrupted = self.locks.interrupt(name, "removed")
        async with self.locks.hold(name):
            await self.snapshot.refresh()
            wanted, present = self.desired.get(name), self.snapshot.of_service(name)
            if wanted is None and not present and not interrupted and not self.releases.of(name):
                raise NotFound(f"there is no service {name!r}", "GET /list lists the services", service=name)
            if wanted is not None:
                await self.desired.put(msgspec.structs.replace(wanted, state="removed"))
            # Secrets first: if Docker is unavailable, the reconciler removes the containers later, but not the config.
            await self.configs.put(name, {})
            await self.deployer.remove(name)
            await self.releases.forget(name)
            await self.desired.forget(name)
            self.registrations.drop(name)
            self.crashes.reset(name)
            self.crashes.forget_output(name)
            await self.snapshot.try_refresh(name)

    async def rebuild_all(self, *, nocache: bool = False) -> list[Rebuilt]:
        """Run every service whose image's contents changed; the failure of one does not affect the others."""
        results: list[Rebuilt] = []
        for name, wanted in sorted(self.desired.all().items()):
            if wanted.state != "running":
                continue
            try:
                plan = await self.images.plan(name)
                held = self._held(name, plan.tag)
                if (plan.tag == wanted.spec.image or held) and plan.present and not nocache:
                    results.append(Rebuilt(name, "held" if held else "unchanged"))
                    continue
                seen = await self.run(name, RunOptions(nocache=nocache))
                results.append(Rebuilt(name, "rebuilt", seen.short_id))
            except DirectorError as error:
                results.append(Rebuilt(name, "failed", error=error.body()["error"]))
        return results

    @contextmanager
    def claim_place(self, name: str, pos: str | None) -> Iterator[None]:
        """Reserve a place on the grid (None: no place) during the block; raises Conflict if it is taken."""
        if pos is None:
            yield
            return
        check_free(pos, name, self.desired.all())
        if self._claims.setdefault(pos, name) != name:
            raise Conflict(f"place {pos} is about to be taken by {self._claims[pos]!r}", "choose another place")
        try:
            yield
        finally:
            self._claims.pop(pos, None)

    async def set_pos(self, name: str, pos: str) -> None:
        """Move a service to another place on the grid; nothing is restarted."""
        async with self.locks.hold(name):
            wanted = await self.wanted(name)
            await self.configs.put(name, spec_builder.update(await self.configs.get(name), {"pos": pos}))
            await self.desired.put(msgspec.structs.replace(wanted, pos=pos))

    async def update_config(self, name: str, changes: Mapping[str, Any]) -> Document:
        """Change the config of a service (dotted keys, an empty value removes); it applies to the next run."""
        async with self.locks.hold(name):
            document = spec_builder.changed(await self.configs.get(name), changes)
            await self.configs.put(name, document)
            return document

    async def replace(self, name: str) -> None:
        """Replace the container of a service that should run; the director's own decision, not a request."""
        async with self.locks.hold(name, interruptible=True):
            wanted = self.desired.get(name)
            if wanted is not None and wanted.state == "running":
                await self._bring(wanted, "revive")

    async def bring_back(self, wanted: DesiredService, by: By) -> None:
        """Deploy a service's desired state; called by the supervisor, which holds the lock."""
        with self.locks.interruptible(wanted.spec.name):
            await self._bring(wanted, by)

    def of_today(self, spec: Spec) -> Spec:
        """Return an earlier spec with the current platform settings."""
        return msgspec.structs.replace(spec, platform=self.around.platform)

    async def _bring(self, wanted: DesiredService, by: By) -> Container:
        """Deploy a desired state with the current platform settings; a missing image is built from the folder."""
        spec = self.of_today(wanted.spec)
        if await self.engine.image(spec.image) is None:
            plan = await self.images.plan(spec.name)
            await self.images.ensure(plan)
            logger.warning("image_was_gone", service=spec.name, image=spec.image, rebuilt=plan.tag)
            spec = msgspec.structs.replace(spec, image=plan.tag)
        return await self.deployer.deploy(Change(wanted=msgspec.structs.replace(wanted, spec=spec), by=by))

    def _held(self, name: str, image: str) -> bool:
        """Return whether the contents of a folder were rolled back: only `/run` of that service deploys them again."""
        states = {item.state for item in self.releases.of(name) if item.spec.image == image}
        return "rolled_back" in states and "current" not in states

    async def _to_run(self, name: str) -> DesiredService:
        return msgspec.structs.replace(await self.wanted(name), state="running")


def _with(document: Document, options: RunOptions) -> Document:
    """Return the config with a request's options: `env` and `limits` replace earlier ones as a whole."""
    result = dict(document)
    if options.env is not None:
        result["env"] = options.env
    if options.pos is not None:
        result["pos"] = options.pos
    if options.limits is not None:
        result["limits"] = msgspec.to_builtins(options.limits)
    if options.auto_remove is not None:
        result["auto_remove"] = options.auto_remove
    return {key: value for key, value in result.items() if value not in ({}, None, False)}
