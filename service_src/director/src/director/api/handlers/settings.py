"""What the operator sets for a service: its config, and its place on the grid."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from director.api import params
from director.api.places import Places
from director.api.service_table import Rows
from director.deploy.operations import Operations
from director.errors import NotFound
from director.images.catalog import Catalog
from director.redact import mask_tree
from director.state import config
from director.state.config import Configs

Rest = dict[str, Any]


class ConfigHandlers:
    """One method an endpoint; `declared` returns the env keys that are secret for a service."""

    def __init__(
        self,
        *,
        operations: Operations,
        configs: Configs,
        catalog: Catalog,
        places: Places,
        rows: Rows,
        declared: Callable[[str], Awaitable[tuple[str, ...]]],
    ) -> None:
        self._operations = operations
        self._configs = configs
        self._catalog = catalog
        self._places = places
        self._rows = rows
        self._declared = declared

    async def configs_list(self, _given: params.Nothing, _rest: Rest) -> Any:
        """`/configs_list`."""
        return await self._configs.names()

    async def get_config(self, given: params.ServiceParams, _rest: Rest) -> Any:
        """`/get_config/<name>`."""
        document = await self._configs.get(given.name)
        await self._check(given.name, document)
        return mask_tree(document, await self._declared(given.name))

    async def update_config(self, given: params.ConfigParams, rest: Rest) -> Any:
        """`/update_config/<name>`."""
        document = await self._configs.get(given.name)
        await self._check(given.name, document)
        config.check_keys(document, rest)
        pos = rest.get("pos")
        with self._places.claim(pos if isinstance(pos, str) and pos else None, given.name):
            document = await self._operations.update_config(given.name, rest)
        return mask_tree(document, await self._declared(given.name))

    async def set_pos(self, given: params.SetPosParams, _rest: Rest) -> Any:
        """`/set_pos/<name>`."""
        with self._places.claim(given.pos, given.name):
            return await self._operations.set_pos(given.name, given.pos)

    async def _check(self, name: str, document: config.Document) -> None:
        """Return if there is anything of that name: a service, a config, or a folder to run it from."""
        if document or name in self._rows.ours() or await asyncio.to_thread(self._catalog.find, name) is not None:
            return
        raise NotFound(
            f"there is no service {name!r}, nor a folder to run one from", "GET /list_images shows those", service=name
        )
