"""The interface between the director and a container engine."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from typing import Any, Literal, Protocol

import msgspec

Stream = Literal["stdout", "stderr"]
ContainerState = Literal["created", "running", "paused", "restarting", "removing", "exited", "dead"]

LABEL_MANAGED = "band.managed"
LABEL_NAMESPACE = "band.namespace"
LABEL_SERVICE = "band.service"
LABEL_KIND = "band.kind"
LABEL_CONFIG = "band.config"
LABEL_SPEC = "band.spec"
LABEL_POS = "band.pos"
LABEL_TITLE = "band.title"
LABEL_CONTENTS = "band.contents"
"""What an image is made of, its base included, as a hash that is the same on every host."""


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """A container's current state. Times are seconds since 1970, 0 for never; `ports` are host → container.

    `open_ports` are those that are published beyond loopback, with their address.
    """

    id: str
    name: str
    service: str
    kind: Literal["core", "service"] = "service"
    state: ContainerState = "running"
    config: str = ""
    image: str = ""
    created_at: float = 0.0
    started_at: float = 0.0
    finished_at: float = 0.0
    exit_code: int = 0
    oom_killed: bool = False
    restarts: int = 0
    health: str = ""
    restart_policy: str = ""
    ports: dict[int, int] = {}
    open_ports: dict[int, str] = {}
    labels: dict[str, str] = {}
    env: dict[str, str] = {}
    auto_remove: bool = False
    stop_timeout: float = 10.0
    cut_off_from: str = ""

    @property
    def short_id(self) -> str:
        """The first 12 digits of the id, as Docker prints it."""
        return self.id[:12]

    @property
    def alive(self) -> bool:
        """Whether it runs, or Docker is about to start it again by itself."""
        return self.state in {"running", "restarting", "paused"}


class ImageInfo(msgspec.Struct, frozen=True, kw_only=True):
    """An image that is present: id, labels, size and what of it other images share (bytes), time it was made."""

    id: str
    tags: list[str] = []
    labels: dict[str, str] = {}
    size: int = 0
    shared: int = 0
    created: float = 0.0


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What a running container used up to `at` (seconds since 1970): CPU seconds in all, and bytes of memory now."""

    at: float
    cpu_seconds: float
    memory: int
    memory_limit: int | None = None


class Event(msgspec.Struct, frozen=True):
    """An event of one of our containers: `action` is Docker's word (`die`, `start`, `oom` …).

    `asked`: this director stopped or removed the container. `signal`: of a `kill` by anybody. `name`: the container's
    name at that time.
    """

    action: str
    container: str
    service: str
    exit_code: int | None
    time: float
    asked: bool = False
    signal: int | None = None
    name: str = ""


class OwnContainer(msgspec.Struct, frozen=True):
    """The container the director itself runs in; `published` are the host addresses of its port, `ports` its numbers.

    `mounts` are the host's folders in it: path in the container → path on the host.
    """

    id: str
    name: str
    networks: tuple[str, ...]
    published: tuple[str, ...]
    host_network: bool
    mounts: dict[str, str] = {}
    ports: tuple[int, ...] = ()
    image: str = ""


class Printed(msgspec.Struct, frozen=True):
    """A line that a container printed; `at` is seconds since 1970."""

    at: float
    stream: Stream
    text: str


def primary_name(namespace: str, service: str) -> str:
    """Return the name of a service's container."""
    return service if namespace == "rockstat" else f"{namespace}-{service}"


class Engine(Protocol):
    """What the director needs of an engine. Every method raises DockerAway or DockerRefused.

    Calls have a time limit; `events`, and an `output` that is followed, wait for as long as there may be more to come.
    """

    async def ping(self) -> str:
        """Return the engine's version."""

    async def containers(self, known: Collection[Container] = ()) -> list[Container]:
        """Return the containers of this namespace; `known` ones that look unchanged are not inspected."""

    async def inspect(self, container: str) -> Container | None:
        """Return one container of this namespace, None when there is none."""

    async def closed_ports(self, ports: Collection[int]) -> set[int]:
        """Return those of the ports of the host's loopback that accept no connection."""

    async def port_holder(self, port: int) -> str:
        """Return which of the host's running containers uses a host port, in words; empty if none does."""

    async def used_ports(self) -> set[int]:
        """Return the host ports of all containers of the host, whoever they belong to."""

    async def create(self, name: str, config: Mapping[str, Any]) -> str:
        """Create a container and return its id."""

    async def start(self, container: str) -> None:
        """Start a container; raises PortTaken if its host port is in use."""

    async def stop(self, container: str, timeout: float) -> None:
        """Stop a container: SIGTERM, `timeout` seconds, SIGKILL. One that is gone is stopped."""

    async def remove(self, container: str) -> None:
        """Remove a container, running or not. One that is gone is removed."""

    async def rename(self, container: str, name: str) -> None:
        """Give a container another name."""

    async def set_restart_policy(self, container: str, *, on: bool) -> None:
        """Switch automatic restarts by the engine on or off."""

    async def logs(self, container: str, tail: int) -> list[str]:
        """Return the last lines of a container's output; nothing when it is gone."""

    def output(
        self, container: str, *, tail: int, since: float = 0.0, follow: bool = True
    ) -> AsyncGenerator[Printed, None]:
        """Yield up to `tail` last lines since a time (seconds since 1970); with `follow` each new one until it ends."""

    def events(self) -> AsyncIterator[Event]:
        """Yield what happens to containers of this namespace, until the stream ends."""

    async def sample(self, container: str) -> Sample | None:
        """Return what a container uses; None when it does not run."""

    async def image(self, reference: str) -> ImageInfo | None:
        """Return an image that is present, else None."""

    async def images(self, *, sizes: bool = False) -> list[ImageInfo]:
        """Return the images of this namespace; `sizes` has the engine find out what they share."""

    async def used_images(self) -> frozenset[str]:
        """Return the ids of the images of all containers of the host, whoever they belong to."""

    async def remove_image(self, reference: str) -> None:
        """Remove a tag, or an image that has none. One that is gone is removed; one in use is refused."""

    async def connect(self, container: str, network: str, alias: str) -> None:
        """Connect a container to a network, where `alias` names it; the network is made if it is gone."""

    async def ensure_network(self, name: str) -> None:
        """Create a bridge network unless it exists."""

    async def own_container(self) -> OwnContainer | None:
        """Return the container this process runs in; None on a host."""

    async def close(self) -> None:
        """Close the connection."""
