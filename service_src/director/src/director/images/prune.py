"""Pruning of images that no release needs: a pure decision, and the removal by request, age or a full disk.

Only objects with our labels and namespace are considered. Volumes, networks and BuildKit's cache (which has no labels,
and belongs to everyone who builds on the host) are never touched.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import msgspec

from band import logger
from band.platform import run_forever
from director.engine.interface import LABEL_KIND, LABEL_SERVICE, Engine, ImageInfo
from director.errors import Conflict, DirectorError
from director.locks import Locks
from director.state.desired import Desired
from director.state.history import Releases

EVERY = 3600.0
FIRST = 300.0
"""Seconds after the director's start until the first check."""
DAY = 86_400.0


class World(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the decision depends on.

    Attributes:
        namespace: only tags `<namespace>/<service>:…` are removed.
        images: the images with our labels.
        used: ids of the images of all containers of the host, whoever owns them.
        kept: tags that releases of existing services need.
        busy: services with an operation in progress; they are left alone.
        older_than: images built after this time (seconds since 1970) stay.
    """

    namespace: str
    images: Iterable[ImageInfo]
    used: Collection[str]
    kept: Collection[str]
    busy: Collection[str] = ()
    older_than: float = float("inf")


class UnusedImage(msgspec.Struct, frozen=True):
    """An image to remove: by all its tags, or by its id when it has none. `bytes` is what it shares with no other."""

    id: str
    service: str
    tags: list[str]
    bytes: int
    created: float

    @property
    def references(self) -> list[str]:
        """What the engine is asked to remove."""
        return self.tags or [self.id]


def unused(world: World) -> list[UnusedImage]:
    """Return the unused images, oldest first."""
    there = list(world.images)
    newest = {image.id for image in _newest(there)}
    images = sorted((one for one in there if _is_unused(world, one, newest)), key=lambda image: image.created)
    return [_unused(image) for image in images]


def _newest(images: Iterable[ImageInfo]) -> Iterable[ImageInfo]:
    """Return the newest image of each service name."""
    by_service: dict[str, ImageInfo] = {}
    for image in sorted(images, key=lambda one: one.created):
        by_service[image.labels.get(LABEL_SERVICE, "")] = image
    return by_service.values()


def _is_unused(world: World, image: ImageInfo, newest: Collection[str]) -> bool:
    service = image.labels.get(LABEL_SERVICE, "")
    ours = all(tag.startswith(f"{world.namespace}/{service}:") for tag in image.tags)
    return (
        # What original services stand on is built by the director, too: all but the newest are of earlier versions.
        (
            image.labels.get(LABEL_KIND) == "service"
            or (image.labels.get(LABEL_KIND) == "base" and image.id not in newest)
        )
        and bool(service)
        and ours  # somebody else's tag means that they want to keep it
        and service not in world.busy
        and image.id not in world.used
        and not set(image.tags) & set(world.kept)
        and image.created < world.older_than
    )


def _unused(image: ImageInfo) -> UnusedImage:
    own = max(0, image.size - image.shared)
    return UnusedImage(image.id, image.labels[LABEL_SERVICE], sorted(image.tags), own, image.created)


class PruneSettings(msgspec.Struct, frozen=True, kw_only=True):
    """When to prune without being asked: `age` in days and `disk` in percent used, 0 for never."""

    age: float = 14.0
    disk: float = 85.0


class Pruned(msgspec.Struct, frozen=True):
    """The images that were removed, and what the engine refused to remove: image and reason."""

    images: list[UnusedImage]
    failed: list[dict[str, str]]


def disk_used(path: str = "/") -> float:
    """Return the disk usage in percent. In a container, `/` is on the disk with Docker's images."""
    usage = shutil.disk_usage(path)
    return 100.0 * usage.used / usage.total


@dataclass(kw_only=True, eq=False)
class Pruner:
    """Finds what may go, and removes it service by service under that service's lock."""

    engine: Engine
    desired: Desired
    releases: Releases
    locks: Locks
    namespace: str
    settings: PruneSettings
    disk: Callable[[], float] = disk_used

    async def look(self, older_than: float = float("inf")) -> list[UnusedImage]:
        """Return what can be removed.

        Raises:
            Conflict: the desired state is not loaded yet, so nothing may be removed.
            DockerUnavailable: the engine is unavailable or refuses.
        """
        return unused(await self._world(older_than))

    async def prune(self, older_than: float = float("inf")) -> Pruned:
        found = await self.look(older_than)
        done = Pruned([], [])
        for service in dict.fromkeys(image.service for image in found):
            await self._remove(service, [image for image in found if image.service == service], older_than, done)
        if done.images or done.failed:
            references = [image.references[0] for image in done.images]
            size = sum(image.bytes for image in done.images)
            logger.info("pruned", images=references, bytes=size, failed=len(done.failed))
        return done

    async def run(self) -> None:
        """Prune every hour, until cancelled; never if both thresholds are off."""
        if not (self.settings.age or self.settings.disk):
            return
        await asyncio.sleep(FIRST)
        await run_forever("pruner", self._look_round, pause_seconds=EVERY)

    async def _look_round(self) -> None:
        try:
            await self.once()
        except DirectorError as error:  # the engine is unavailable, or Redis was not read yet: in an hour again
            logger.warning("prune_failed", reason=error.message)

    async def once(self) -> Pruned | None:
        """Prune if the disk is too full (everything that may go) or by age; None when there was no reason to."""
        used = self.disk() if self.settings.disk else 0.0
        if self.settings.disk and used >= self.settings.disk:
            logger.warning("disk_nearly_full", percent=round(used, 1), threshold=self.settings.disk)
            return await self.prune()
        if self.settings.age:
            return await self.prune(time.time() - self.settings.age * DAY)
        return None

    async def _remove(self, service: str, images: list[UnusedImage], older_than: float, done: Pruned) -> None:
        """Remove images of one service, and add the results to `done`."""
        async with self.locks.hold(service):
            # The service may have been run while we waited for the lock. Sizes are slow to compute, and known already.
            world = await self._world(older_than, sizes=False, working=service)
            still = {item.id for item in unused(world)}
            for image in images:
                if image.id not in still:
                    continue
                try:
                    for reference in image.references:
                        await self.engine.remove_image(reference)
                    done.images.append(image)
                except DirectorError as error:
                    done.failed.append({"image": image.references[0], "reason": error.message})

    async def _world(self, older_than: float, *, sizes: bool = True, working: str = "") -> World:
        if not (self.desired.loaded and self.releases.loaded):
            raise Conflict("the desired state is not loaded yet (Redis)", "check Redis: GET /health")
        used = await self.engine.used_images()  # before the images: one that is used in between is seen as used
        return World(
            namespace=self.namespace,
            images=await self.engine.images(sizes=sizes),
            used=used,
            kept=self.releases.kept_images() | {item.spec.image for item in self.desired.all().values()},
            busy=self.locks.busy - {working},
            older_than=older_than,
        )
