"""The endpoints' handlers: each takes its typed parameters and returns what is to be answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from band.jsonrpc.client import RpcClient
from band.redis import RedisLink
from director.api import openapi, params, views
from director.api.places import Places
from director.api.routes import ENDPOINTS
from director.api.server import Text
from director.api.service_table import Rows
from director.deploy.known import CORE
from director.deploy.operations import Operations, RunOptions
from director.discovery import rpc
from director.discovery.announcer import Announcer
from director.discovery.probe import Prober
from director.discovery.registrations import Registrations, state_hash
from director.engine import logs
from director.engine.interface import LABEL_SERVICE, ImageInfo, Observed, Runtime
from director.errors import DockerUnavailable, NotFound, TimedOut
from director.images.catalog import Catalog
from director.redact import mask_tree, scrub_tree
from director.state import events
from director.state.desired import Desired
from director.state.spec import check_env, check_limits
from director.supervise.supervisor import Supervisor

Rest = dict[str, Any]
STATUS_TIMEOUT = 2.0


class Handlers:
    """One method an endpoint of the table; the names are those of its column `handler`."""

    def __init__(
        self,
        *,
        runtime: Runtime,
        catalog: Catalog,
        operations: Operations,
        supervisor: Supervisor,
        desired: Desired,
        registrations: Registrations,
        announcer: Announcer,
        prober: Prober,
        rpc: RpcClient,
        link: RedisLink,
        rows: Rows,
        places: Places,
        last_lines: Callable[[str], list[str]],
    ) -> None:
        self._runtime = runtime
        self._catalog = catalog
        self._operations = operations
        self._supervisor = supervisor
        self._desired = desired
        self._registrations = registrations
        self._announcer = announcer
        self._prober = prober
        self._rpc = rpc
        self._link = link
        self._rows = rows
        self._places = places
        self._last_lines = last_lines

    async def run(self, given: params.RunParams, _rest: Rest) -> Any:
        """`/run/<name>`."""
        options = RunOptions(
            env=None if given.env is None else check_env(given.env),
            pos=given.pos,
            limits=None if given.limits is None else check_limits(given.limits),
            auto_remove=given.auto_remove,
            nocache=given.nocache,
        )
        if given.dry_run:
            return await self._operations.would_run(given.name, options)
        with self._places.claim(given.pos, given.name):
            answer = await self._answer(await self._operations.run(given.name, options))
        if given.wait:
            await self._operations.settle(given.name)
        return answer

    async def start(self, given: params.ServiceParams, _rest: Rest) -> Any:
        """`/start/<name>`."""
        self._rows.check_ours(given.name)
        return await self._answer(await self._operations.start(given.name))

    async def restart(self, given: params.ServiceParams, _rest: Rest) -> Any:
        """`/restart/<name>`."""
        self._rows.check_ours(given.name)
        return await self._answer(await self._operations.restart(given.name))

    async def stop(self, given: params.ServiceParams, _rest: Rest) -> Any:
        """`/stop/<name>`."""
        self._rows.check_ours(given.name)
        return await self._operations.stop(given.name)

    async def rm(self, given: params.ServiceParams, _rest: Rest) -> Any:
        """`/rm/<name>`."""
        self._rows.check_ours(given.name)
        return await self._operations.remove(given.name)

    async def rebuild_all(self, given: params.RebuildParams, _rest: Rest) -> Any:
        """`/rebuild_all`."""
        return await self._operations.rebuild_all(nocache=given.nocache)

    async def list_services(self, _given: params.Nothing, _rest: Rest) -> Any:
        """`/list`."""
        return self._rows.all()

    async def state(self, given: params.StateParams, _rest: Rest) -> Any:
        """`/state`."""
        if given.name is None:
            return {row["name"]: row for row in self._rows.all()}
        self._rows.check(given.name)
        return self._rows.one(given.name)

    async def show(self, given: params.ServiceParams, _rest: Rest) -> Any:
        """`/show/<name>`."""
        name = given.name
        self._rows.check(name)
        seen = self._supervisor.primary(name)
        if seen is not None:
            seen = await self._fresh(seen)
        wanted, status = self._desired.get(name), self._registrations.status(name)
        return scrub_tree(views.detail(self._rows.one(name), wanted, seen, status), self._rows.secrets(name))

    async def list_images(self, _given: params.Nothing, _rest: Rest) -> Any:
        """`/list_images`."""
        built: dict[str, list[ImageInfo]] = {}
        for image in sorted(await self._runtime.images(), key=lambda item: -item.created):
            built.setdefault(image.labels.get(LABEL_SERVICE, ""), []).append(image)
        folders = await asyncio.to_thread(self._catalog.images)
        place = self._catalog.host_path
        return [views.image_row(item, place(item.path), built.get(item.name, [])) for item in folders]

    async def registrations(self, _given: params.Nothing, _rest: Rest) -> Any:
        """`/registrations`."""
        rows = self._announcer.rows()
        shown = [scrub_tree(row, self._rows.secrets(row["service"])) for row in rows]
        return {"register": shown, "state_hash": state_hash(rows)}

    async def ask_state(self, given: params.ServiceParams, _rest: Rest) -> Any:
        """`/ask_state/<name>`."""
        self._rows.check(given.name)
        status = await self._prober.ask(given.name, timeout=STATUS_TIMEOUT)
        if status is None:
            raise TimedOut(
                f"{given.name} did not answer __status within {STATUS_TIMEOUT:.0f} s", f"GET /logs/{given.name}"
            )
        self._registrations.note(given.name, status, time.time())
        wanted = self._desired.get(given.name)
        masked = mask_tree(status, wanted.spec.secrets if wanted else ())
        return scrub_tree(masked, self._rows.secrets(given.name))

    async def call(self, given: params.CallParams, rest: Rest) -> Any:
        """`/call/<name>/<method>`."""
        return await rpc.call(
            self._rpc,
            given.name,
            given.method,
            rest,
            timeout=given.timeout__,
            known=given.name in self._rows.names(),
            connected=self._link.connected,
            methods=self._registrations.methods(given.name),
            secrets=self._rows.secrets(given.name),
        )

    async def logs(self, given: params.LogsParams, _rest: Rest) -> Any:
        """`/logs/<name>`: of a service, of Redis, of the director itself."""
        lines = self._last_lines(given.name)
        if lines and self._supervisor.primary(given.name) is None:
            return Text(logs.text_of(lines))  # its container is gone, or there never was one
        seen = self._core(given.name) if given.name in CORE else self._container(given.name)
        declared = () if given.name in CORE else await self.declared(given.name)
        if given.follow:
            return Text(logs.follow(self._runtime, seen, given.tail, declared))
        return Text(await logs.tail(self._runtime, seen, given.tail, declared))

    def _container(self, name: str) -> Observed:
        self._rows.check(name)
        self._rows.check_ours(name)
        seen = self._supervisor.primary(name)
        if seen is None:
            raise NotFound(f"service {name!r} has no container", f"GET /run/{name}")
        return seen

    def _core(self, name: str) -> Observed:
        """Return the container of the director or of Redis, which stand beside the services."""
        found = [item for item in self._supervisor.observed if item.kind == "core" and item.service == name]
        if not found:
            hint = "where it was started its output is, or in that host's journal; `docker ps -a` shows all containers"
            raise NotFound(f"{name} runs in no container of this namespace", hint, service=name)
        return max(found, key=lambda item: (item.alive, item.created_at))

    async def events(self, given: params.EventsParams, _rest: Rest) -> Any:
        """`/events`."""
        return {"events": await events.newest(self._link, given.limit)}

    async def openapi(self, _given: params.Nothing, _rest: Rest) -> Any:
        """`/openapi.json`."""
        return openapi.document(ENDPOINTS)

    async def _answer(self, seen: Observed) -> dict[str, str]:
        await self._announcer.push()
        return {"name": seen.service, "short_id": seen.short_id, "state": seen.state}

    async def _fresh(self, seen: Observed) -> Observed:
        try:
            return await self._runtime.inspect(seen.id) or seen
        except DockerUnavailable:
            return seen

    async def declared(self, name: str) -> tuple[str, ...]:
        """Return the env keys that are secret for a service: of what runs, and of its image folder."""
        wanted = self._desired.get(name)
        folder = await asyncio.to_thread(self._catalog.find, name)
        return (*(wanted.spec.secrets if wanted else ()), *(folder.band.secrets if folder else ()))
