"""Endpoints about releases: list, roll back, prune."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import msgspec

from director.api import params
from director.api.routes import route
from director.api.schemas import ReleaseList, ReleaseRow, RolledBack, UnusedImageRow, Waste, WouldRollBack
from director.deploy.rollback import Rollback
from director.discovery.announcer import Announcer
from director.engine.interface import Engine
from director.images.prune import Pruner, UnusedImage
from director.redact import mask_env
from director.state.history import Release, Releases
from director.supervise.status import StatusBoard


@dataclass(kw_only=True, eq=False)
class ReleaseHandlers:
    """The endpoints about releases and unused images."""

    engine: Engine
    releases: Releases
    rollback: Rollback
    pruner: Pruner
    board: StatusBoard
    announcer: Announcer

    @route("/releases/{name}", "The releases of a service, newest first; secrets masked", 404, 422, 502, reads=True)
    async def releases_(self, given: params.ServiceParams) -> ReleaseList:
        """Those of a service whose first run failed are there, too."""
        found = self.releases.of(given.name)
        if not found:
            self.board.check(given.name)
        present = {tag for image in await self.engine.images() for tag in image.tags}
        return ReleaseList(given.name, self.releases.keep, [release_row(item, present) for item in found])

    @route(
        "/rollback/{name}", "Return to an earlier release; without `to`, to the last good one before the current",
        404, 409, 422, 502, 504,
    )  # fmt: skip
    async def rollback_(self, given: params.RollbackParams) -> RolledBack | WouldRollBack:
        self.board.check_ours(given.name)
        if given.dry_run:
            target = await self.rollback.target(given.name, given.to)
            return WouldRollBack(name=given.name, release=target.id, spec_hash=target.spec.hash())
        seen, release = await self.rollback.to(given.name, given.to)
        await self.announcer.push()
        return RolledBack(seen.service, seen.short_id, seen.state, release.id)

    @route("/prune", "List unused images and containers; with `apply`, remove them", 409, 422, 502)
    async def prune(self, given: params.PruneParams) -> Waste:
        if not given.apply:
            return waste(await self.pruner.look(), applied=False)
        done = await self.pruner.prune()
        return waste(done.images, applied=True, failed=done.failed)


def release_row(release: Release, present: Collection[str]) -> ReleaseRow:
    """Return a release as `/releases` shows it, secrets masked; `present` are the tags of the images that are there."""
    return ReleaseRow(
        id=release.id,
        image=release.spec.image,
        spec_hash=release.spec.hash(),
        at=release.at,
        since=release.since or None,
        by=release.by,
        state=release.state,
        reason=release.reason,
        exit_code=release.exit_code,
        watch_until=release.watch_until or None,
        images_present=release.spec.image in present,
        env=mask_env(release.spec.env, release.spec.secrets),
    )


def waste(images: Iterable[UnusedImage], *, applied: bool, failed: list[dict[str, str]] | None = None) -> Waste:
    """Return unused images as `/prune` shows them."""
    rows = [
        UnusedImageRow(one.references[0], one.id.removeprefix("sha256:")[:12], one.service, one.bytes, one.created)
        for one in images
    ]
    size = sum(one.bytes for one in rows)
    return Waste(applied=applied, images=rows, bytes=size, failed=msgspec.UNSET if failed is None else failed)
