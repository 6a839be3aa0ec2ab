"""Rollbacks: by request, or by the watch after a deploy."""

from __future__ import annotations

import time
from dataclasses import dataclass

import msgspec

from band import logger
from director.deploy.interface import Change
from director.deploy.lookup import Verbs
from director.engine.interface import Container
from director.errors import Conflict, DirectorError, DockerAway, NotFound
from director.images.planning import ImagePlan
from director.state import history
from director.state.desired import DesiredService
from director.state.history import Release


@dataclass(kw_only=True, eq=False)
class Rollback(Verbs):
    """Deploys earlier releases with the same steps as any deploy: start beside, check, switch."""

    async def to(self, name: str, release: str | None) -> tuple[Container, Release]:
        """Roll back to a release, by its id or spec hash; without one, to the last good one before the current.

        Raises:
            NotFound: the service was never run, or there is no such release.
            Conflict: there is no earlier release, or its image is gone and cannot be built.
            DirectorError: it did not become ready; the current release still serves.
        """
        async with self.locks.hold(name, interruptible=True):
            wanted = await self.wanted(name)
            target = self._choose(name, release)
            await self._have_image(target)
            seen = await self._go(wanted, target, "rollback", "rolled back by request")
            return seen, target

    async def target(self, name: str, release: str | None) -> Release:
        """Return the release that `to` would deploy, without deploying it; raises as `to` does."""
        await self.wanted(name)
        target = self._choose(name, release)
        await self._to_build(target)
        return target

    async def away(self, name: str, reason: str) -> Release | None:
        """Roll back a release that failed during its watch; called with the service's lock held.

        Returns the release that serves now; None if no earlier one became ready: then the watch ends, and only the
        crash window applies.
        """
        with self.locks.interruptible(name):
            return await self._away(name, reason)

    async def _away(self, name: str, reason: str) -> Release | None:
        wanted = await self.wanted(name)
        tried: set[str] = set()
        while True:
            target = self._earlier(name, tried)
            if target is None:
                before = self.releases.of(name)
                await self.releases.put(name, history.proven(before, float("inf")))
                logger.error("rollback_impossible", service=name, reason=reason)
                return None
            tried.add(target.spec.hash())
            try:
                await self._have_image(target)
                await self._go(wanted, target, "watch", reason)
            except DockerAway:
                raise  # not the release's fault: the reconciler tries again
            except DirectorError as error:
                logger.warning("rollback_failed", service=name, release=target.id, reason=error.message)
            else:
                return target

    async def _go(self, wanted: DesiredService, target: Release, by: history.By, reason: str) -> Container:
        name = wanted.spec.name
        before = history.current(self.releases.of(name))
        back = msgspec.structs.replace(
            wanted,
            spec=msgspec.structs.replace(target.spec, platform=self.around.platform),
            title=target.title or wanted.title,
            state="running",
            since=time.time(),
        )
        seen = await self.deployer.deploy(Change(wanted=back, by=by, target=target, reason=reason))
        logger.warning(
            "service_rolled_back",
            service=name,
            release=target.id,
            instead_of=before.id if before else None,
            by=by,
            reason=reason,
        )
        return seen

    def _choose(self, name: str, release: str | None) -> Release:
        found = self.releases.of(name)
        if release is None:
            target = history.previous(found)
            if target is None:
                raise Conflict(f"{name} has no earlier good release to return to", _others(name, found), service=name)
            return target
        target = history.find(found, release)
        if target is None:
            raise NotFound(f"{name} has no release {release!r}", _others(name, found), service=name)
        if target.state == "current":
            raise Conflict(f"release {release} of {name} is the current one", _others(name, found), service=name)
        if target.state == "failed":
            raise Conflict(f"release {release} of {name} never became ready: {target.reason}", _others(name, found))
        return target

    def _earlier(self, name: str, tried: set[str]) -> Release | None:
        found = self.releases.of(name)
        untried = tuple(item for item in found if item.spec.hash() not in tried)
        return history.previous(untried)

    async def _have_image(self, target: Release) -> None:
        """Make sure that the image of a release exists: it is still there, or the unchanged folder is built."""
        plan = await self._to_build(target)
        if plan is not None:
            await self.images.ensure(plan)

    async def _to_build(self, target: Release) -> ImagePlan | None:
        """Return the plan to rebuild the image of a release; None if it exists."""
        image, name = target.spec.image, target.spec.name
        if await self.engine.image(image) is not None:
            return None
        hint = f"GET /releases/{name} shows which releases have an image; GET /run/{name} deploys the folder"
        try:
            plan = await self.images.plan(name)
        except DirectorError as error:
            raise Conflict(f"image {image} of release {target.id} is gone: {error.message}", hint) from error
        if plan.tag != image:
            raise Conflict(
                f"image {image} of release {target.id} is gone, and the folder's contents have changed", hint
            )
        return plan


def _others(name: str, found: history.History) -> str:
    ids = list(dict.fromkeys(item.id for item in found if item.state in {"good", "rolled_back"}))
    if not ids:
        return f"GET /releases/{name} lists the releases; there is an earlier one from the second /run on"
    return f"GET /rollback/{name}?to= accepts one of: {', '.join(ids)}"
