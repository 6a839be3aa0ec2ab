"""What was released of each service: the histories in Redis, with a copy in memory. The director is the only writer."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from director.redact import mask_env
from director.state import history
from director.state.desired import DesiredService
from director.state.history import History, Release
from director.state.store import RedisHash, Store


class Releases(RedisHash[History]):
    """The hash `<namespace>:director:releases`, one document a service; `keep` is how many images a service keeps."""

    def __init__(self, store: Store, namespace: str, *, keep: int = 5) -> None:
        super().__init__(store, f"{namespace}:director:releases", History)
        self.keep = keep

    async def read(self) -> dict[str, History]:
        """Return the histories in Redis; a release of another service is left out."""
        found = await super().read()
        own = {name: tuple(item for item in one if item.spec.name == name) for name, one in found.items()}
        return {name: one for name, one in own.items() if one}

    def of(self, service: str) -> History:
        """Return the history of a service, newest first."""
        return self.get(service) or ()

    def kept_images(self) -> frozenset[str]:
        """Return the images that releases need, of all services."""
        return history.images_of(self.all().values(), self.keep)

    async def put(self, service: str, changed: History) -> None:
        """Write the history of a service, without what is not kept any more.

        Raises:
            RedisUnavailable: Redis does not answer; nothing was changed.
        """
        kept = history.trimmed(changed, self.keep)
        if kept != self.of(service):
            await self.write(service, kept)

    def lacks(self, wanted: DesiredService) -> bool:
        """Tell whether what should run has no current release: it is older than histories, or Redis lost them."""
        serving = history.current(self.of(wanted.spec.name))
        return wanted.state != "removed" and (serving is None or serving.spec != history.bare(wanted.spec))

    async def adopt(self, wanted: DesiredService) -> None:
        """Write down what should run as the current release; the caller holds the service's lock.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        if self.lacks(wanted):
            name = wanted.spec.name
            await self.put(name, history.deployed(self.of(name), wanted, "adopted", wanted.since, 0.0))


def shown(release: Release, present: Collection[str]) -> dict[str, Any]:
    """Return a release as `/releases` shows it, secrets masked; `present` are the tags of the images that are there."""
    return {
        "id": release.id,
        "image": release.spec.image,
        "spec_hash": release.spec.hash(),
        "at": release.at,
        "since": release.since or None,
        "by": release.by,
        "state": release.state,
        "reason": release.reason,
        "exit_code": release.exit_code,
        "watch_until": release.watch_until or None,
        "images_present": release.spec.image in present,
        "env": mask_env(release.spec.env, release.spec.secrets),
    }
