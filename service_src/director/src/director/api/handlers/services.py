"""Endpoints that run, stop and show services."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from director.api import params
from director.api.routes import Text, route
from director.api.schemas import Brought, ImageRow, RegistrationTable, Removed, ServiceDetail, ServiceRow
from director.api.service_table import ServiceTable, detail, image_row
from director.deploy.lookup import CORE
from director.deploy.operations import Operations, Rebuilt, RunOptions, WouldRun
from director.discovery.announcer import Announcer
from director.discovery.probe import Prober
from director.discovery.registrations import Registrations, Secrets, state_hash
from director.discovery.rpc import Rpc
from director.engine import logs
from director.engine.interface import LABEL_SERVICE, Container, Engine, ImageInfo
from director.engine.snapshot import Snapshot
from director.errors import DockerUnavailable, NotFound, TimedOut
from director.images.catalog import Catalog
from director.redact import mask_tree, scrub_struct, scrub_tree
from director.state.crash_log import CrashLog
from director.state.desired import Desired, check_env, check_limits
from director.supervise.status import StatusBoard

STATUS_TIMEOUT = 2.0
_SERVICE = (404, 409, 422, 502)


@dataclass(kw_only=True, eq=False)
class ServiceHandlers:
    """The endpoints about services and image folders."""

    engine: Engine
    snapshot: Snapshot
    catalog: Catalog
    secrets: Secrets
    operations: Operations
    desired: Desired
    crashes: CrashLog
    registrations: Registrations
    announcer: Announcer
    prober: Prober
    rpc: Rpc
    board: StatusBoard
    table: ServiceTable

    @route(
        "/run/{name}",
        "Build the image if the contents changed, (re)start the service, wait until it is ready",
        *_SERVICE,
        504,
    )
    async def run(self, given: params.RunParams) -> Brought | WouldRun:
        options = RunOptions(
            env=None if given.env is None else check_env(given.env),
            pos=given.pos,
            limits=None if given.limits is None else check_limits(given.limits),
            auto_remove=given.auto_remove,
            nocache=given.nocache,
        )
        if given.dry_run:
            return await self.operations.would_run(given.name, options)
        with self.operations.claim_place(given.name, given.pos):
            answer = await self._brought(await self.operations.run(given.name, options))
        if given.wait:
            await self.operations.deployer.settle(given.name)
        return answer

    @route("/start/{name}", "Start a stopped service", *_SERVICE, 504)
    async def start(self, given: params.ServiceParams) -> Brought:
        self.board.check_ours(given.name)
        return await self._brought(await self.operations.start(given.name))

    @route("/stop/{name}", "Stop a service until it is started again", *_SERVICE)
    async def stop(self, given: params.ServiceParams) -> Brought:
        self.board.check_ours(given.name)
        seen = await self.operations.stop(given.name)
        return Brought(given.name, seen.short_id, seen.state) if seen else Brought(given.name, "", "removed")

    @route("/restart/{name}", "Replace the container with a fresh one of the same image", *_SERVICE, 504)
    async def restart(self, given: params.ServiceParams) -> Brought:
        self.board.check_ours(given.name)
        return await self._brought(await self.operations.restart(given.name))

    @route("/rm/{name}", "Remove a service and its config; volumes are kept", *_SERVICE)
    async def rm(self, given: params.ServiceParams) -> Removed:
        self.board.check_ours(given.name)
        await self.operations.remove(given.name)
        return Removed(given.name)

    @route("/rebuild_all", "Run every service whose contents changed", 502)
    async def rebuild_all(self, given: params.RebuildParams) -> list[Rebuilt]:
        return await self.operations.rebuild_all(nocache=given.nocache)

    @route("/list", "All services", reads=True)
    async def list_services(self, _given: params.Nothing) -> list[ServiceRow]:
        return self.table.all()

    @route("/list_images", "All image folders and the images built from them", 502, reads=True)
    async def list_images(self, _given: params.Nothing) -> list[ImageRow]:
        built: dict[str, list[ImageInfo]] = {}
        for image in sorted(await self.engine.images(), key=lambda item: -item.created):
            built.setdefault(image.labels.get(LABEL_SERVICE, ""), []).append(image)
        folders = await asyncio.to_thread(self.catalog.images)
        place = self.catalog.host_path
        return [image_row(item, place(item.path), built.get(item.name, [])) for item in folders]

    @route("/state", "States of all services by name, or of one", 404, 422, reads=True)
    async def state(self, given: params.StateParams) -> ServiceRow | dict[str, ServiceRow]:
        if given.name is None:
            return {row.name: row for row in self.table.all()}
        self.board.check(given.name)
        return self.table.one(given.name)

    @route("/show/{name}", "Everything about a service; secrets masked", 404, 422, reads=True)
    async def show(self, given: params.ServiceParams) -> ServiceDetail:
        name = given.name
        self.board.check(name)
        seen = self.snapshot.primary(name)
        if seen is not None:
            seen = await self._fresh(seen)
        found = detail(self.table.one(name), self.desired.get(name), seen, self.registrations.status(name))
        return scrub_struct(found, self.secrets.values(name))

    @route("/registrations", "The registrations of all services, as sent to front", reads=True)
    async def registrations_(self, _given: params.Nothing) -> RegistrationTable:
        rows = self.announcer.rows()
        shown = [scrub_tree(row, self.secrets.values(row["service"])) for row in rows]
        return RegistrationTable(shown, state_hash(rows))

    @route("/ask_state/{name}", "Ask a service for its status now", 404, 422, 502, 504, reads=True)
    async def ask_state(self, given: params.ServiceParams) -> dict[str, Any]:
        self.board.check(given.name)
        status = await self.prober.ask(given.name, timeout=STATUS_TIMEOUT)
        if status is None:
            what = f"{given.name} did not answer __status within {STATUS_TIMEOUT:.0f} s"
            raise TimedOut(what, f"GET /logs/{given.name}")
        self.registrations.note(given.name, status, time.time())
        wanted = self.desired.get(given.name)
        masked = mask_tree(status, wanted.spec.secrets if wanted else ())
        found: dict[str, Any] = scrub_tree(masked, self.secrets.values(given.name))
        return found

    @route(
        "/call/{name}/{method}", "Call a method of a service over RPC; other parameters are its arguments",
        404, 409, 422, 502, 504,
    )  # fmt: skip
    async def call(self, given: params.CallParams, rest: dict[str, Any]) -> Any:
        known = given.name in self.board.names()
        return await self.rpc.call(given.name, given.method, rest, timeout=given.timeout__, known=known)

    @route("/logs/{name}", "The output of a service as text", 404, 422, 502, reads=True)
    async def logs(self, given: params.LogsParams) -> Text:
        lines = self.crashes.last_output(given.name)
        if lines and self.snapshot.primary(given.name) is None:
            return Text(logs.text_of(lines))  # its container is gone, or there never was one
        seen = self._core(given.name) if given.name in CORE else self._container(given.name)
        declared = () if given.name in CORE else await self.secrets.declared(given.name)
        if given.follow:
            return Text(logs.follow(self.engine, seen, given.tail, declared))
        return Text(await logs.tail(self.engine, seen, given.tail, declared))

    def _container(self, name: str) -> Container:
        self.board.check(name)
        self.board.check_ours(name)
        seen = self.snapshot.primary(name)
        if seen is None:
            raise NotFound(f"service {name!r} has no container", f"GET /run/{name}")
        return seen

    def _core(self, name: str) -> Container:
        """Return the container of the director or of Redis, which are not services."""
        found = [item for item in self.snapshot.containers if item.kind == "core" and item.service == name]
        if not found:
            hint = "its output is where it was started, or in that host's journal; `docker ps -a` shows all containers"
            raise NotFound(f"{name} does not run in a container of this namespace", hint, service=name)
        return max(found, key=lambda item: (item.alive, item.created_at))

    async def _brought(self, seen: Container) -> Brought:
        await self.announcer.push()
        return Brought(seen.service, seen.short_id, seen.state)

    async def _fresh(self, seen: Container) -> Container:
        try:
            return await self.engine.inspect(seen.id) or seen
        except DockerUnavailable:
            return seen
