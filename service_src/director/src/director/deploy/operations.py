"""What an operator can ask for: run, stop, start, restart, remove, rebuild, configure. One at a time per service."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from director.deploy.deployments import Also, Deployments
from director.deploy.known import check_not_core, what_runs
from director.deploy.readiness import Surroundings
from director.deploy.replacement import Deployer
from director.deploy.spec_builder import resolve
from director.discovery.registrations import Registrations
from director.engine.interface import Observed, Runtime
from director.errors import BuildFailed, DirectorError, NotFound
from director.images.images import ImagePlan, Images
from director.locks import Locks
from director.state import config, history
from director.state.config import Configs, Document
from director.state.desired import Desired, Wanted
from director.state.releases import Releases
from director.state.spec import Limits, check_env, check_name
from director.supervise.incidents import Incidents
from director.supervise.supervisor import Supervisor

Would = Literal["nothing", "build", "restart", "start"]


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What `/run` may change; None leaves what was set before."""

    env: dict[str, str] | None = None
    pos: str | None = None
    limits: Limits | None = None
    auto_remove: bool | None = None
    nocache: bool = False


class Operations:
    """Carries out requests. Every method raises DirectorError subclasses."""

    def __init__(
        self,
        *,
        runtime: Runtime,
        images: Images,
        desired: Desired,
        releases: Releases,
        configs: Configs,
        deployer: Deployer,
        deployments: Deployments,
        incidents: Incidents,
        supervisor: Supervisor,
        registrations: Registrations,
        locks: Locks,
        surroundings: Surroundings,
    ) -> None:
        self._runtime = runtime
        self._images = images
        self._desired = desired
        self._releases = releases
        self._configs = configs
        self._deployer = deployer
        self._deployments = deployments
        self._incidents = incidents
        self._supervisor = supervisor
        self._registrations = registrations
        self._locks = locks
        self._around = surroundings

    async def run(self, name: str, options: RunOptions) -> Observed:
        """Build if the contents changed, start a fresh container, wait until it answers, stop the one before."""
        check_name(name)
        async with self._locks.hold(name, interruptible=True):
            plan = await self._images.plan(name)
            before = await self._configs.get(name)
            document = self._with(before, options)
            wanted = self._resolve(plan, document)
            try:
                await self._images.ensure(plan, nocache=options.nocache)
            except BuildFailed as error:
                await self._deployments.failed(wanted, "run", error)
                raise
            also = Also(lambda: self._configs.put(name, document), lambda: self._configs.put(name, before))
            return await self._deployments.deploy(wanted, "run", also)

    async def settle(self, name: str) -> None:
        """Wait until the container that a service had before has finished its work and ended."""
        await self._deployer.settle(name)

    async def would_run(self, name: str, options: RunOptions) -> dict[str, Any]:
        """Tell what has to be done to reach what is asked for: `nothing`, `build`, `restart` or `start`.

        Contents that were rolled back are not asked for any more until they change: `held` (`id`, `reason`) says so,
        and `would` is about the release that serves instead (`nothing`; `/start` it; `/restart` it).
        """
        check_name(name)
        plan = await self._images.plan(name)
        wanted = self._resolve(plan, self._with(await self._configs.get(name), options))
        await self._supervisor.refresh()
        current = self._supervisor.primary(name)
        before = self._desired.get(name)
        would: Would = "nothing"
        held = None if options.nocache else history.is_held(self._releases.of(name), wanted.spec)
        if held is not None and before is not None:
            stale = before.spec.platform != wanted.spec.platform
            would = "start" if before.state != "running" else "restart" if stale else "nothing"
            facts = {"id": held.id, "reason": held.reason}
            return {"name": name, "would": would, "image": before.spec.image, "held": facts}
        if not plan.present or options.nocache:
            would = "build"
        elif current is None or not current.alive or before is None or before.state != "running":
            would = "start"
        elif current.config != wanted.spec.hash() or before.pos != wanted.pos or before.title != wanted.title:
            would = "restart"
        return {"name": name, "would": would, "image": plan.tag}

    async def restart(self, name: str) -> Observed:
        """Replace the container of a service by a fresh one of the same image; nothing is built."""
        check_name(name)
        async with self._locks.hold(name, interruptible=True):
            wanted = msgspec.structs.replace(await self._wanted(name), state="running")
            return await self._deployments.bring(wanted, "restart")

    async def start(self, name: str) -> Observed:
        """Start a service that was stopped; one that runs is left as it is."""
        check_name(name)
        async with self._locks.hold(name, interruptible=True):
            wanted = msgspec.structs.replace(await self._wanted(name), state="running")
            await self._supervisor.refresh()
            current = self._supervisor.primary(name)
            stale = wanted.spec != self._deployments.of_today(wanted.spec)
            if current is None or current.config != wanted.spec.hash() or (stale and current.state != "running"):
                return await self._deployments.bring(wanted, "restart")
            await self._desired.put(wanted)
            if current.state == "running":
                return current
            return await self._deployments.start(current, wanted)

    async def stop(self, name: str) -> dict[str, Any]:
        """Stop a service; it stays stopped until somebody starts it.

        What is being built or started of it is cancelled.
        """
        check_name(name)
        interrupted = self._locks.interrupt(name, "stopped")
        async with self._locks.hold(name):
            if interrupted and self._desired.get(name) is None:
                return {"name": name, "short_id": "", "state": "removed"}  # its first run, of which nothing is left
            wanted = await self._wanted(name)
            await self._desired.put(msgspec.structs.replace(wanted, state="stopped"))
            await self._deployer.settle(name)
            await self._supervisor.refresh()
            for item in self._supervisor.of_service(name):
                await self._runtime.stop(item.id, item.stop_timeout)
            self._registrations.drop(name)
            self._incidents.begins_anew(name)
            listed = await self._deployments.look_again(name, fresh=True)
            current = self._supervisor.primary(name)
            if current is None:
                return {"name": name, "short_id": "", "state": "removed"}
            return {"name": name, "short_id": current.short_id, "state": current.state if listed else "exited"}

    async def remove(self, name: str) -> dict[str, Any]:
        """Remove a service with its containers and its config; volumes and images stay.

        What is being built or started of it is cancelled.
        """
        check_name(name)
        check_not_core(name)
        interrupted = self._locks.interrupt(name, "removed")
        async with self._locks.hold(name):
            await self._supervisor.refresh()
            wanted, present = self._desired.get(name), self._supervisor.of_service(name)
            if wanted is None and not present and not interrupted and not self._releases.of(name):
                raise NotFound(f"there is no service {name!r}", "GET /list shows those there are", service=name)
            if wanted is not None:
                await self._desired.put(msgspec.structs.replace(wanted, state="removed"))
            # Its secrets go first: should Docker be away, the reconciler removes the containers, and knows no config.
            await self._configs.put(name, {})
            await self._deployer.settle(name)
            for item in present:
                await self._deployer.retire(item)
            await self._releases.forget(name)
            await self._desired.forget(name)
            self._registrations.drop(name)
            self._incidents.begins_anew(name)
            self._incidents.said(name, [])
            await self._deployments.look_again(name)
            return {"name": name, "state": "removed"}

    async def rebuild_all(self, *, nocache: bool = False) -> list[dict[str, Any]]:
        """Run every service whose image's contents changed; a failure of one does not keep the others from it."""
        results: list[dict[str, Any]] = []
        for name, wanted in sorted(self._desired.all().items()):
            if wanted.state != "running":
                continue
            try:
                plan = await self._images.plan(name)
                held = self._held(name, plan.tag)
                if (plan.tag == wanted.spec.image or held) and plan.present and not nocache:
                    results.append({"name": name, "result": "held" if held else "unchanged"})
                    continue
                seen = await self.run(name, RunOptions(nocache=nocache))
                results.append({"name": name, "result": "rebuilt", "short_id": seen.short_id})
            except DirectorError as error:
                results.append({"name": name, "result": "failed", **error.body()})
        return results

    async def set_pos(self, name: str, pos: str) -> dict[str, Any]:
        """Put a service at another place of the grid; nothing is restarted."""
        check_name(name)
        async with self._locks.hold(name):
            wanted = await self._wanted(name)
            await self._configs.put(name, config.update(await self._configs.get(name), {"pos": pos}))
            await self._desired.put(msgspec.structs.replace(wanted, pos=pos))
            return {"name": name, "pos": pos}

    async def update_config(self, name: str, changes: Mapping[str, Any]) -> Document:
        """Change the config of a service (dotted keys, an empty value removes); it shapes the next run."""
        check_name(name)
        async with self._locks.hold(name):
            document = config.changed(await self._configs.get(name), changes)
            await self._configs.put(name, document)
            return document

    async def replace(self, name: str) -> None:
        """Replace the container of a service that is to run by a fresh one, without anybody having asked for it."""
        async with self._locks.hold(name, interruptible=True):
            wanted = self._desired.get(name)
            if wanted is not None and wanted.state == "running":
                await self._deployments.bring(wanted, "revive")

    async def revive(self, wanted: Wanted) -> None:
        """Bring a service up as it should be; called by the supervisor, which holds the lock."""
        with self._locks.interruptible(wanted.spec.name):
            await self._deployments.bring(wanted, "revive")

    async def renew(self, wanted: Wanted) -> None:
        """Replace a service that was given what is no longer so; called by the supervisor, which holds the lock."""
        with self._locks.interruptible(wanted.spec.name):
            await self._deployments.bring(wanted, "renew")

    def _held(self, name: str, image: str) -> bool:
        """Tell whether the contents of a folder were rolled back: they run again when somebody runs that service."""
        states = {item.state for item in self._releases.of(name) if item.spec.image == image}
        return "rolled_back" in states and "current" not in states

    def _resolve(self, plan: ImagePlan, document: Document) -> Wanted:
        around = self._around
        return resolve(
            plan.folder,
            plan.tag,
            document,
            namespace=around.namespace,
            network=around.network,
            platform=around.platform,
            now=time.time(),
            taken=around.own_ports,
        )

    @staticmethod
    def _with(document: Document, options: RunOptions) -> Document:
        """Return the config with what this request gives: `env` and `limits` replace what was there as a whole."""
        result = dict(document)
        if options.env is not None:
            result["env"] = check_env(options.env)
        if options.pos is not None:
            result["pos"] = options.pos
        if options.limits is not None:
            result["limits"] = msgspec.to_builtins(options.limits)
        if options.auto_remove is not None:
            result["auto_remove"] = options.auto_remove
        return {key: value for key, value in result.items() if value not in ({}, None, False)}

    async def _wanted(self, name: str) -> Wanted:
        return await what_runs(name, self._desired, self._images)
