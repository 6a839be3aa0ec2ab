"""Handlers of the endpoints about releases and what is left of them: `/releases`, `/rollback`, `/prune`."""

from __future__ import annotations

from typing import Any

from director.api import params
from director.api.service_table import Rows
from director.deploy.rollback import Rollback
from director.discovery.announcer import Announcer
from director.engine.interface import Runtime
from director.images.pruner import Pruner
from director.state.releases import Releases, shown

Rest = dict[str, Any]


class ReleaseHandlers:
    """One method an endpoint; the names are those of the table's column `handler`."""

    def __init__(
        self,
        *,
        runtime: Runtime,
        releases: Releases,
        rollback: Rollback,
        pruner: Pruner,
        rows: Rows,
        announcer: Announcer,
    ) -> None:
        self._runtime = runtime
        self._releases = releases
        self._rollback = rollback
        self._pruner = pruner
        self._rows = rows
        self._announcer = announcer

    async def releases(self, given: params.ServiceParams, _rest: Rest) -> Any:
        """`/releases/<name>`: newest first."""
        if not self._releases.of(given.name):  # those of a service whose first run failed are there
            self._rows.check(given.name)
        present = {tag for image in await self._runtime.images() for tag in image.tags}
        return {
            "name": given.name,
            "keep": self._releases.keep,
            "releases": [shown(item, present) for item in self._releases.of(given.name)],
        }

    async def rollback(self, given: params.RollbackParams, _rest: Rest) -> Any:
        """`/rollback/<name>[?to=]`."""
        self._rows.check_ours(given.name)
        if given.dry_run:
            target = await self._rollback.target(given.name, given.to)
            return {"name": given.name, "would": "rollback", "release": target.id, "spec_hash": target.spec.hash()}
        seen, release = await self._rollback.to(given.name, given.to)
        await self._announcer.push()
        return {"name": seen.service, "short_id": seen.short_id, "state": seen.state, "release": release.id}

    async def prune(self, given: params.PruneParams, _rest: Rest) -> Any:
        """`/prune[?apply=1]`."""
        if given.apply:
            return await self._pruner.prune()
        return {"applied": False, **(await self._pruner.look()).shown()}
