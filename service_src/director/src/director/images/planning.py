"""Plans and builds images: one is built only if its contents are new."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import msgspec
from prometheus_client import CollectorRegistry, Counter

from band import logger
from director.engine.interface import (
    LABEL_CONTENTS,
    LABEL_KIND,
    LABEL_MANAGED,
    LABEL_NAMESPACE,
    LABEL_SERVICE,
    Engine,
    ImageInfo,
)
from director.errors import BuildFailed, Conflict
from director.images.buildkit import Builder, BuildRequest, Progress
from director.images.catalog import ORIGINAL_BASE, TYPESCRIPT_BASE, TYPESCRIPT_BUILD_BASE, Catalog, ImageFolder
from director.images.context import Entry, adapt_requirements, context_hash, named, pack, read_entries, trusted

_BELOW = {
    ORIGINAL_BASE: (
        "the base image of services without a band.yml",
        "it comes from Debian's mirror and the package index. {}; a folder with a band.yml does not need it",
    ),
    TYPESCRIPT_BASE: (
        "the base image of services in TypeScript",
        "it comes from Debian's mirror and the npm registry (BAND_NPM_REGISTRY names another one). {}",
    ),
    TYPESCRIPT_BUILD_BASE: (
        "the base image of services in TypeScript without a band.yml",
        "it comes from Debian's mirror. {}; a folder with a band.yml does not need it",
    ),
}
"""What a service may stand on: what to call it, and what to do when it cannot be built."""


class ImagePlan(msgspec.Struct, frozen=True):
    """An image as it would be built now.

    `present`: an image with these contents exists. `contents`: the hash of them and of the base's, without parts that
    are specific to this host. `base`: the base image of the build. `notes`: changes to its requirements, in words.
    `below`: an image of ours that must be built first.
    """

    folder: ImageFolder
    tag: str
    contents: str
    entries: list[Entry]
    present: bool
    base: str
    notes: list[str] = []
    below: ImagePlan | None = None

    def labels(self, namespace: str) -> dict[str, str]:
        return {
            LABEL_MANAGED: "true",
            LABEL_NAMESPACE: namespace,
            LABEL_SERVICE: self.folder.name,
            LABEL_KIND: "service" if self.folder.runnable else "base",
            LABEL_CONTENTS: self.contents,
        }


class BuildCounts:
    """Builds by outcome, and their total duration, for Prometheus."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._outcomes = Counter("band_builds", "Image builds by outcome.", ["outcome"], registry=self.registry)
        self._seconds = Counter("band_build_seconds", "Total duration of all image builds.", registry=self.registry)
        for outcome in ("ok", "failed"):
            self._outcomes.labels(outcome)

    def ended(self, outcome: str, seconds: float) -> None:
        self._outcomes.labels(outcome).inc()
        self._seconds.inc(seconds)


@dataclass(eq=False)
class Images:
    """Plans and builds the images of services."""

    engine: Engine
    catalog: Catalog
    builder: Builder
    namespace: str
    base_image: str
    progress: Progress
    base_ts_image: str = ""
    rootfs_image: str = "rockstat/rootfs:trixie"
    npm_registry: str = ""
    builds: BuildCounts = field(default_factory=BuildCounts, init=False)
    _below: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def has_folder(self, name: str) -> bool:
        folder = await asyncio.to_thread(self.catalog.find, name)
        return folder is not None and folder.runnable

    async def names(self) -> set[str]:
        return await asyncio.to_thread(self.catalog.names)

    async def plan(self, name: str) -> ImagePlan:
        """Return the plan of a service's image.

        Raises:
            NotFound: there is no such image folder.
            Conflict: it is an image of the platform itself, or the base image does not exist.
            BuildFailed: a requirement cannot be installed on today's Python.
        """
        folder = await asyncio.to_thread(self.catalog.get, name)
        if not folder.runnable:
            raise Conflict(
                f"{name} is an image of the platform itself, not a service", "GET /list_images shows what can be run"
            )
        return await self._plan(folder)

    async def ensure(self, plan: ImagePlan, *, nocache: bool = False) -> bool:
        """Build the planned image unless it exists; returns whether it was built. Raises BuildFailed."""
        if plan.present and not nocache:
            return False
        name = plan.folder.name
        if plan.below is not None:
            await self._ensure_below(name, plan.below)
        await self._build(name, plan, nocache=nocache)
        return True

    async def _plan(self, folder: ImageFolder) -> ImagePlan:
        base, base_id, base_contents, notes = self._base_name(folder), "", "", list[str]()
        below = await self._plan_below(folder)
        if below is not None:
            base, base_id, base_contents = below.tag, below.tag, below.contents
        elif folder.uses_base:
            plain = await self._base(base)
            base_id, base_contents = plain.id, plain.labels.get(LABEL_CONTENTS, "")
        entries = await asyncio.to_thread(read_entries, folder, base)
        if folder.uses_base and not folder.typescript:
            entries, notes = adapt_requirements(entries)
        contents = context_hash(named(entries, base, below.folder.name) if below else entries, base_contents)
        if folder.name == TYPESCRIPT_BASE:  # of this host, and so not of the contents
            entries += await asyncio.to_thread(trusted, self.npm_registry)
        tag = f"{self.namespace}/{folder.name}:{context_hash(entries, base_id)}"
        present = await self.engine.image(tag) is not None
        return ImagePlan(folder, tag, contents, entries, present, base, notes, below)

    def _base_name(self, folder: ImageFolder) -> str:
        if folder.name == TYPESCRIPT_BASE:
            return self.rootfs_image
        return self.base_ts_image if folder.typescript else self.base_image

    async def _plan_below(self, folder: ImageFolder) -> ImagePlan | None:
        """Return the plan of the image folder that one stands on; None where it stands on an image that is given."""
        name = folder.stands_on
        if folder.typescript and self.base_ts_image:
            return None
        optional = name in (ORIGINAL_BASE, TYPESCRIPT_BUILD_BASE)
        if optional and await asyncio.to_thread(self.catalog.find, name) is None:
            name = TYPESCRIPT_BASE if folder.typescript else ""
        return await self._plan(await asyncio.to_thread(self.catalog.get, name)) if name else None

    async def _ensure_below(self, name: str, plan: ImagePlan) -> None:
        """Build the base of a service, on its behalf, after what that stands on; concurrent requests wait for it."""
        if plan.below is not None and not plan.present:
            await self._ensure_below(name, plan.below)
        async with self._below:
            if await self.engine.image(plan.tag) is not None:
                return
            try:
                await self._build(name, plan)
            except BuildFailed as error:
                what, hint = _BELOW[plan.folder.name]
                bundle = "Without a network, take it from a bundle that was made where such a service runs"
                raise BuildFailed(
                    f"{what} could not be built: {error.message}", hint.format(bundle), **error.facts
                ) from error

    async def _build(self, name: str, plan: ImagePlan, *, nocache: bool = False) -> None:
        """Build an image on behalf of the service `name`."""
        labels = plan.labels(self.namespace)
        request = BuildRequest(tag=plan.tag, base_image=plan.base, labels=labels, nocache=nocache)
        logger.info("build_started", service=name, image=plan.tag, files=len(plan.entries))
        for note in plan.notes:
            logger.warning("build_requirement", service=name, note=note)
        context = await asyncio.to_thread(pack, plan.entries)
        begun = asyncio.get_running_loop().time()
        outcome = "failed"
        try:
            with self.progress.building(name, plan.tag):
                await self.builder.build(request, context, lambda line: self._printed(name, line))
            outcome = "ok"
        finally:
            seconds = round(asyncio.get_running_loop().time() - begun, 2)
            self.builds.ended(outcome, seconds)
        logger.info("build_done", service=name, image=plan.tag, seconds=seconds)

    def _printed(self, name: str, line: str) -> None:
        logger.info("build", service=name, line=line)
        self.progress.line(name, line)

    async def _base(self, name: str) -> ImageInfo:
        base = await self.engine.image(name)
        if base is None:
            variables = {self.base_ts_image: "BAND_BASE_TS_IMAGE", self.rootfs_image: "BAND_ROOTFS_IMAGE"}
            variable = variables.get(name, "BAND_BASE_IMAGE")
            hint = f"build it with `ansible-playbook setup.yml`, or set {variable} to another one"
            raise Conflict(f"the base image {name} does not exist", hint)
        return base
