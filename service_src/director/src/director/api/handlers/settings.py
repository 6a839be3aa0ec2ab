"""What the operator sets for a service: its config, and its place on the grid."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from director.api import params
from director.api.routes import route
from director.api.schemas import Placed
from director.deploy.operations import Operations
from director.deploy.spec_builder import check_keys
from director.discovery.registrations import Secrets
from director.errors import NotFound
from director.images.catalog import Catalog
from director.redact import mask_tree
from director.state.desired import Configs, Document
from director.supervise.status import StatusBoard


@dataclass(kw_only=True, eq=False)
class SettingsHandlers:
    """The endpoints about a service's settings."""

    operations: Operations
    configs: Configs
    catalog: Catalog
    secrets: Secrets
    board: StatusBoard

    @route("/set_pos/{name}", "Move a service to another place on the grid", 404, 409, 422, 502)
    async def set_pos(self, given: params.SetPosParams) -> Placed:
        with self.operations.claim_place(given.name, given.pos):
            await self.operations.set_pos(given.name, given.pos)
        return Placed(given.name, given.pos)

    @route("/configs_list", "Names of the services that have a config", 502, reads=True)
    async def configs_list(self, _given: params.Nothing) -> list[str]:
        return await self.configs.names()

    @route("/get_config/{name}", "The config of a service; secrets masked", 404, 422, 502, reads=True)
    async def get_config(self, given: params.ServiceParams) -> dict[str, Any]:
        document = await self.configs.get(given.name)
        await self._check(given.name, document)
        return await self._masked(given.name, document)

    @route(
        "/update_config/{name}",
        "Change a service's config: dotted keys (env.TZ), an empty value removes a key; takes effect at the next run",
        404, 409, 422, 502,
    )  # fmt: skip
    async def update_config(self, given: params.ConfigParams, rest: dict[str, Any]) -> dict[str, Any]:
        document = await self.configs.get(given.name)
        await self._check(given.name, document)
        check_keys(document, rest)
        pos = rest.get("pos")
        with self.operations.claim_place(given.name, pos if isinstance(pos, str) and pos else None):
            document = await self.operations.update_config(given.name, rest)
        return await self._masked(given.name, document)

    async def _masked(self, name: str, document: Document) -> dict[str, Any]:
        found: dict[str, Any] = mask_tree(document, await self.secrets.declared(name))
        return found

    async def _check(self, name: str, document: Document) -> None:
        """Return if there is anything of that name: a service, a config, or a folder to run it from."""
        if document or name in self.board.ours() or await asyncio.to_thread(self.catalog.find, name) is not None:
            return
        what = f"no such service or image folder: {name!r}"
        raise NotFound(what, "GET /list_images lists the image folders", service=name)
