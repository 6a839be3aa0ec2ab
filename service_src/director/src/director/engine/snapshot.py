"""The cache of the listed containers, and the notification of changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import msgspec

from band import logger
from director.engine.interface import Container, Engine, primary_name
from director.errors import DockerUnavailable


class Snapshot:
    """The containers of one namespace. `error` says why `containers` is outdated; it is empty while they are current.

    `ready` is set after the first listing; `requested` if another listing is due soon.
    """

    def __init__(self, engine: Engine, namespace: str) -> None:
        self.containers: list[Container] = []
        self.error = "not asked yet"
        self.ready = asyncio.Event()
        self.requested = asyncio.Event()
        self._engine = engine
        self._namespace = namespace
        self._stale: set[str] = set()
        self._listing = asyncio.Lock()
        self._subscribers: list[Callable[[], None]] = []

    def subscribe(self, on_change: Callable[[], None]) -> None:
        """Have `on_change` called after each listing."""
        self._subscribers.append(on_change)

    def request(self) -> None:
        """List the containers again soon."""
        self.requested.set()

    def invalidate(self, container: str) -> None:
        """Inspect a container with the next listing, even if it looks unchanged."""
        self._stale.add(container)

    async def refresh(self, *, fresh: bool = False) -> None:
        """List the containers now; `fresh` inspects each. DockerUnavailable leaves the old listing in place."""
        async with self._listing:  # an older listing must not come after a newer one
            stale, self._stale = self._stale, set()
            known = [] if fresh else [item for item in self.containers if item.id not in stale]
            try:
                self.containers = await self._engine.containers(known)
            except BaseException as error:
                self._stale |= stale
                if isinstance(error, DockerUnavailable):
                    self.error = error.message
                raise
        self.error = ""
        self.ready.set()
        for on_change in self._subscribers:
            on_change()

    async def try_refresh(self, service: str, *, fresh: bool = False) -> bool:
        """List the containers after an operation on a service; returns whether that succeeded.

        An unavailable engine does not turn a finished operation into an error.
        """
        try:
            await self.refresh(fresh=fresh)
        except DockerUnavailable as error:
            logger.warning("containers_not_listed", service=service, reason=error.message)
            return False
        return True

    def current(self) -> list[Container] | None:
        """Return the containers; None while the engine is unavailable."""
        return self.containers if self.ready.is_set() and not self.error else None

    def find(self, container: str) -> Container | None:
        return next((item for item in self.containers if item.id == container), None)

    def of_service(self, service: str) -> list[Container]:
        return [item for item in self.containers if item.service == service and item.kind == "service"]

    def primary(self, service: str) -> Container | None:
        """Return the container that serves a service, or served it last."""
        return max(self.of_service(service), key=self._rank, default=None)

    def primaries(self) -> dict[str, Container]:
        """Return the primary container of every service, in one pass."""
        found: dict[str, Container] = {}
        for item in self.containers:
            known = found.get(item.service)
            if item.kind == "service" and (known is None or self._rank(item) > self._rank(known)):
                found[item.service] = item
        return found

    def ended(self, stopped: Collection[str] = ()) -> dict[str, float]:
        """Return the services without a running container, and when the last one exited (0: `stopped`, without one)."""
        running = {item.service for item in self.containers if item.state == "running"}
        ends = dict.fromkeys(stopped, 0.0)
        for item in self.containers:
            if item.kind == "service":
                ends[item.service] = max(ends.get(item.service, 0.0), item.finished_at, item.created_at)
        return {name: at for name, at in ends.items() if name not in running}

    def _rank(self, item: Container) -> tuple[bool, bool, float]:
        return (item.name == primary_name(self._namespace, item.service), item.alive, item.created_at)


class ContainerChange(msgspec.Struct, frozen=True):
    """A change of a service's container."""

    service: str
    container: str
    text: str


def between(
    before: Mapping[str, Container], now: Iterable[Container], how: Callable[[str], str] = lambda _: ""
) -> Iterator[ContainerChange]:
    """Yield the changes from one snapshot (by container id) to the next.

    `how` returns how a service last exited, in words: Docker may restart a container before its exit is listed.
    """
    present = {item.id: item for item in now if item.kind == "service"}
    for key, item in present.items():
        yield from _about(before.get(key), item, how)
    for key, item in before.items():
        if key not in present and item.kind == "service":
            yield ContainerChange(item.service, key, f"container {item.short_id} removed")


def _about(was: Container | None, item: Container, how: Callable[[str], str]) -> Iterator[ContainerChange]:
    if was is not None and was.state == item.state == "running" and was.started_at != item.started_at:
        ended = how(item.service) or "exited on its own"
        yield ContainerChange(item.service, item.id, f"container {item.short_id} {ended}; Docker started it again")
    if was is None or (was.state, was.started_at) != (item.state, item.started_at):
        text = _state(item)
        if text:
            yield ContainerChange(item.service, item.id, text)
    if was is not None and was.health != item.health and item.health in {"healthy", "unhealthy"} and item.alive:
        yield ContainerChange(item.service, item.id, f"Docker health check: {item.health}")


def _state(item: Container) -> str:
    if item.state == "running":
        return f"container {item.short_id} started, image {item.image}"
    if item.state in {"exited", "dead"}:
        how = ", OOM-killed" if item.oom_killed else ""
        return f"container {item.short_id} exited with code {item.exit_code}{how}"
    return f"container {item.short_id} is {item.state}" if item.state != "created" else ""
