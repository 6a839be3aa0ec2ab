"""What was released of each service: the histories in Redis, with a copy in memory. The director is the only writer."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from director.errors import RedisUnavailable
from director.redact import mask_env
from director.state import history
from director.state.desired import Store, Wanted, documents
from director.state.history import History, Release


class Releases:
    """The hash `<namespace>:director:releases`, one document a service; `keep` is how many images a service keeps."""

    def __init__(self, store: Store, namespace: str, *, keep: int = 5) -> None:
        self._store = store
        self._key = f"{namespace}:director:releases"
        self._histories: dict[str, History] = {}
        self.keep = keep
        self.loaded = False

    async def load(self) -> None:
        """Read everything from Redis; a document that cannot be read counts as none.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        reply = await self._store.command("HGETALL", self._key)
        found: dict[str, History] = documents(reply, History, self._key)
        own = {name: tuple(item for item in history if item.spec.name == name) for name, history in found.items()}
        self._histories = {name: history for name, history in own.items() if history}
        self.loaded = True

    def of(self, service: str) -> History:
        """Return the history of a service, newest first."""
        return self._histories.get(service, ())

    def all(self) -> Mapping[str, History]:
        """Return the histories of all services."""
        return dict(self._histories)

    def kept_images(self) -> frozenset[str]:
        """Return the images that releases need, of all services."""
        return history.images_of(self._histories.values(), self.keep)

    async def put(self, service: str, changed: History) -> None:
        """Write the history of a service, without what is not kept any more.

        Raises:
            RedisUnavailable: Redis does not answer; nothing was changed.
        """
        if not self.loaded:
            raise RedisUnavailable("releases could not be read from Redis yet", "is Redis up? GET /health tells")
        kept = history.trimmed(changed, self.keep)
        if kept == self.of(service):
            return
        await self._store.command("HSET", self._key, service, msgspec.json.encode(kept))
        self._histories[service] = kept

    async def forget(self, service: str) -> None:
        """Drop the history of a service that is removed.

        Raises:
            RedisUnavailable: Redis does not answer; nothing was changed.
        """
        if service in self._histories:
            await self._store.command("HDEL", self._key, service)
            self._histories.pop(service, None)

    def lacks(self, wanted: Wanted) -> bool:
        """Tell whether what should run has no current release: it is older than histories, or Redis lost them."""
        serving = history.current(self.of(wanted.spec.name))
        return wanted.state != "removed" and (serving is None or serving.spec != history.bare(wanted.spec))

    async def adopt(self, wanted: Wanted) -> None:
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
