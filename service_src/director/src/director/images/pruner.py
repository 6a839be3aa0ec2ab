"""Throws away what nobody needs: by request, and by itself when images are old or the disk is nearly full."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable
from typing import Any

import msgspec

from band import logger
from band.background import run_forever
from director.engine.interface import Runtime
from director.errors import Conflict, DirectorError
from director.images.prune import UnusedImage, Waste, World, waste
from director.locks import Locks
from director.state.desired import Desired
from director.state.releases import Releases

EVERY = 3600.0
FIRST = 300.0
"""Seconds after the start of the director at which it looks for the first time."""
DAY = 86_400.0


class PruneSettings(msgspec.Struct, frozen=True, kw_only=True):
    """When to throw away without being asked: `age` in days and `disk` in percent used, 0 for never."""

    age: float = 14.0
    disk: float = 85.0


def disk_used(path: str = "/") -> float:
    """Return how full the disk is in percent. In a container `/` lies on the disk that Docker keeps images on."""
    usage = shutil.disk_usage(path)
    return 100.0 * usage.used / usage.total


class Pruner:
    """Finds what may go, and removes it service by service under that service's lock."""

    def __init__(
        self,
        *,
        runtime: Runtime,
        desired: Desired,
        releases: Releases,
        locks: Locks,
        namespace: str,
        settings: PruneSettings,
        disk: Callable[[], float] = disk_used,
    ) -> None:
        self._runtime = runtime
        self._desired = desired
        self._releases = releases
        self._locks = locks
        self._namespace = namespace
        self._settings = settings
        self._disk = disk

    async def look(self, older_than: float = float("inf")) -> Waste:
        """Return what may go.

        Raises:
            Conflict: what should run is not known yet, so that nothing may be thrown away.
            DockerUnavailable: the engine does not answer.
        """
        return waste(await self._world(older_than))

    async def prune(self, older_than: float = float("inf")) -> dict[str, Any]:
        """Remove what may go, and tell what went; what the engine refuses is told under `failed`."""
        found = await self.look(older_than)
        failed: list[dict[str, str]] = []
        for container in found.containers:
            try:
                async with self._locks.hold(container.service):
                    await self._runtime.remove(container.id)
            except DirectorError as error:
                failed.append({"name": container.name, "reason": error.message})
        gone: list[UnusedImage] = []
        for service in dict.fromkeys(image.service for image in found.images):
            images = [image for image in found.images if image.service == service]
            gone += await self._remove(service, images, older_than, failed)
        removed = Waste(gone, [item for item in found.containers if all(item.name != f.get("name") for f in failed)])
        if gone or removed.containers or failed:
            logger.info(
                "pruned",
                images=[image.references[0] for image in gone],
                containers=[item.name for item in removed.containers],
                bytes=removed.bytes,
                failed=len(failed),
            )
        return {"applied": True, **removed.shown(), "failed": failed}

    async def run(self) -> None:
        """Look every hour, until cancelled; with both thresholds off, never."""
        if not (self._settings.age or self._settings.disk):
            return
        await asyncio.sleep(FIRST)
        await run_forever("pruner", self._look_round, pause_seconds=EVERY)

    async def _look_round(self) -> None:
        try:
            await self.once()
        except DirectorError as error:  # the engine is away, or Redis was not read yet: in an hour again
            logger.warning("prune_failed", reason=error.message)

    async def once(self) -> dict[str, Any] | None:
        """Prune if the disk is too full (everything that may go) or by age; None when there was no reason to."""
        used = self._disk() if self._settings.disk else 0.0
        if self._settings.disk and used >= self._settings.disk:
            logger.warning("disk_nearly_full", percent=round(used, 1), threshold=self._settings.disk)
            return await self.prune()
        if self._settings.age:
            return await self.prune(time.time() - self._settings.age * DAY)
        return None

    async def _remove(
        self, service: str, images: list[UnusedImage], older_than: float, failed: list[dict[str, str]]
    ) -> list[UnusedImage]:
        """Remove images of one service; returns those that went."""
        gone = []
        async with self._locks.hold(service):
            # While the lock was waited for, somebody may have run it. Sizes take the engine long, and are known.
            world = await self._world(older_than, sizes=False, working=service)
            unused = {item.id for item in waste(world).images}
            for image in images:
                if image.id not in unused:
                    continue
                try:
                    for reference in image.references:
                        await self._runtime.remove_image(reference)
                    gone.append(image)
                except DirectorError as error:
                    failed.append({"image": image.references[0], "reason": error.message})
        return gone

    async def _world(self, older_than: float, *, sizes: bool = True, working: str = "") -> World:
        if not (self._desired.loaded and self._releases.loaded):
            raise Conflict("what should run could not be read from Redis yet", "is Redis up? GET /health tells")
        used = await self._runtime.used_images()  # before the images: one that is used in between is seen as used
        return World(
            namespace=self._namespace,
            images=await self._runtime.images(sizes=sizes),
            used=used,
            kept=self._releases.kept_images() | {item.spec.image for item in self._desired.all().values()},
            desired=self._desired.all(),
            containers=await self._runtime.containers(),
            busy=self._locks.busy - {working},
            older_than=older_than,
        )
