"""What may be thrown away, as a pure function: images that no release needs, containers that nobody will start again.

Only what carries our labels and our namespace is ever looked at. Volumes, networks and BuildKit's cache (which knows no
labels, and belongs to everyone who builds on the host) are never touched.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from director.engine.interface import LABEL_KIND, LABEL_SERVICE, LABEL_SPEC, ImageInfo, Observed
from director.state.desired import Wanted


class World(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the decision depends on.

    Attributes:
        namespace: only tags `<namespace>/<service>:…` are removed.
        images: the images that carry our labels.
        used: ids of the images of all containers of the host, whoever they belong to.
        kept: tags that releases need, of services that are wanted.
        desired: what should be.
        containers: the containers of the namespace.
        busy: services that somebody is working on; nothing of them is touched.
        older_than: images made after this time (seconds since 1970) stay.
    """

    namespace: str
    images: Iterable[ImageInfo]
    used: Collection[str]
    kept: Collection[str]
    desired: Mapping[str, Wanted]
    containers: Iterable[Observed]
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
        """What the engine is told to remove."""
        return self.tags or [self.id]


class DeadContainer(msgspec.Struct, frozen=True):
    """A container to remove."""

    id: str
    service: str
    name: str


class Waste(msgspec.Struct, frozen=True):
    """What may go."""

    images: list[UnusedImage]
    containers: list[DeadContainer]

    @property
    def bytes(self) -> int:
        """How much the disk gains at least."""
        return sum(image.bytes for image in self.images)

    def shown(self) -> dict[str, Any]:
        """Return it as `/prune` answers."""
        return {
            "images": [
                {
                    "image": image.references[0],
                    "id": image.id.removeprefix("sha256:")[:12],
                    "service": image.service,
                    "bytes": image.bytes,
                    "created": image.created,
                }
                for image in self.images
            ],
            "containers": [
                {"name": item.name, "short_id": item.id[:12], "service": item.service} for item in self.containers
            ],
            "bytes": self.bytes,
        }


def waste(world: World) -> Waste:
    """Return what nobody needs, oldest first."""
    there = list(world.images)
    newest = {image.id for image in _newest(there)}
    images = sorted((one for one in there if _is_waste(world, one, newest)), key=lambda image: image.created)
    return Waste([_unused(image) for image in images], [_dead(item) for item in world.containers if _dies(world, item)])


def _newest(images: Iterable[ImageInfo]) -> Iterable[ImageInfo]:
    """Return the newest image of each service name."""
    by_service: dict[str, ImageInfo] = {}
    for image in sorted(images, key=lambda one: one.created):
        by_service[image.labels.get(LABEL_SERVICE, "")] = image
    return by_service.values()


def _is_waste(world: World, image: ImageInfo, newest: Collection[str]) -> bool:
    service = image.labels.get(LABEL_SERVICE, "")
    ours = all(tag.startswith(f"{world.namespace}/{service}:") for tag in image.tags)
    return (
        # What original services stand on is built by the director, too: all but the newest are of earlier versions.
        (
            image.labels.get(LABEL_KIND) == "service"
            or (image.labels.get(LABEL_KIND) == "base" and image.id not in newest)
        )
        and bool(service)
        and ours  # a tag of somebody else's means that he wants to keep it
        and service not in world.busy
        and image.id not in world.used
        and not set(image.tags) & set(world.kept)
        and image.created < world.older_than
    )


def _dies(world: World, item: Observed) -> bool:
    """Tell whether a container ended, belongs to nothing that should be, and cannot be taken in by the reconciler."""
    forgotten = item.service not in world.desired and item.service not in world.busy
    return item.kind == "service" and not item.alive and forgotten and not item.labels.get(LABEL_SPEC)


def _unused(image: ImageInfo) -> UnusedImage:
    own = max(0, image.size - image.shared)
    return UnusedImage(image.id, image.labels[LABEL_SERVICE], sorted(image.tags), own, image.created)


def _dead(item: Observed) -> DeadContainer:
    return DeadContainer(item.id, item.service, item.name)
