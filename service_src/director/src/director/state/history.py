"""The history of a service's releases: a value with pure functions, newest first, and its hash in Redis.

One record per spec (image and everything else that shapes the container). `current` serves, or should serve. A rollback
moves that mark down the list and keeps the order, so that a second rollback goes back one more.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal

import msgspec

from director.state.desired import DesiredService, Spec
from director.state.store import RedisHash, Store

ReleaseState = Literal["current", "good", "failed", "rolled_back"]
By = Literal["run", "rollback", "watch", "restart", "revive", "renew", "adopted"]
"""What triggered a release: a request, the watch after a deploy, the reconciler, or a container that was found."""

FAILURES_KEPT = 5
PER_IMAGE = 10
"""Releases of one image that are remembered: each other env makes one, and there is no end to those."""
ID_DIGITS = 12


class Release(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One release. Times are seconds since 1970.

    Attributes:
        spec: everything that shapes its container, secrets included, so mask it before showing it. Platform settings
            are not part of it: a new Redis password is not a new release.
        at: when it was deployed (not: rolled back to).
        by: what triggered it.
        reason: why it failed, or was rolled back.
        exit_code: the exit code of its process, if that is the reason.
        since: when it last became the current one.
        watch_until: the end of its watch; 0 if that is over, or there is no earlier release.
    """

    spec: Spec
    title: str = ""
    at: float
    by: By = "run"
    state: ReleaseState = "good"
    reason: str = ""
    exit_code: int | None = None
    since: float = 0.0
    watch_until: float = 0.0

    @property
    def id(self) -> str:
        """The first 12 digits of the image's tag. Releases that differ in their env only have one id."""
        return release_id(self.spec.image)


History = tuple[Release, ...]


def bare(spec: Spec) -> Spec:
    """Return a spec without platform settings, by which releases are distinguished."""
    return msgspec.structs.replace(spec, platform="")


def release_id(image: str) -> str:
    """Return the id of the releases of an image: the first 12 characters of its tag."""
    return image.rpartition(":")[2][:ID_DIGITS]


def current(history: History) -> Release | None:
    """Return the release that serves, or is to serve."""
    return next((item for item in history if item.state == "current"), None)


def previous(history: History) -> Release | None:
    """Return the last good release before the current one; without a current one the last good one."""
    states = [item.state for item in history]
    start = states.index("current") + 1 if "current" in states else 0
    return next((item for item in history[start:] if item.state == "good"), None)


def find(history: History, wanted: str) -> Release | None:
    """Return the release with this id or spec hash.

    Of several with one id, the newest that served before: the one that a rollback means.
    """
    matching = [item for item in history if item.id == wanted or item.spec.hash() == wanted]
    served = [item for item in matching if item.state in {"good", "rolled_back"}]
    return next(iter([*served, *matching]), None)


def deployed(history: History, wanted: DesiredService, by: By, now: float, watch: float) -> History:
    """Return the history after `wanted` was deployed and serves; what served before was good.

    A switch to another release is watched for `watch` seconds when there is something to go back to. A fresh container
    of the same release, once that has proved itself, is not.
    """
    spec, before = bare(wanted.spec), current(history)
    spec_hash = spec.hash()
    known = next((item for item in history if item.spec.hash() == spec_hash), None)
    rest = tuple(_replaced(item) for item in history if item is not known)
    on_trial = known is None or known is not before or known.watch_until > now
    going_back = any(item.state == "good" for item in rest)
    until = now + watch if watch and on_trial and going_back else 0.0
    if known is not None and known is before:
        kept = msgspec.structs.replace(known, title=wanted.title, since=now, watch_until=until)
        return tuple(kept if item is known else item for item in history)
    new = Release(spec=spec, title=wanted.title, at=now, by=by, state="current", since=now, watch_until=until)
    return (new, *rest)


def rolled_back(history: History, target: Release, by: By, reason: str, now: float, watch: float) -> History:
    """Return the history after a rollback from the current release to `target`, which keeps its place."""
    until = now + watch if watch and target.state != "good" else 0.0
    return tuple(
        msgspec.structs.replace(item, state="current", by=by, reason="", exit_code=None, since=now, watch_until=until)
        if item.spec.hash() == target.spec.hash()
        else msgspec.structs.replace(item, state="rolled_back", reason=reason, watch_until=0.0)
        if item.state == "current"
        else item
        for item in history
    )


def failed(history: History, wanted: DesiredService, by: By, reason: str, exit_code: int | None, now: float) -> History:
    """Return the history after deploying `wanted` failed; one that served once stays what it was."""
    spec = bare(wanted.spec)
    spec_hash = spec.hash()
    if any(item.spec.hash() == spec_hash and item.state != "failed" for item in history):
        return history
    rest = tuple(item for item in history if item.spec.hash() != spec_hash)
    new = Release(spec=spec, title=wanted.title, at=now, by=by, state="failed", reason=reason, exit_code=exit_code)
    return (new, *rest)


def proven(history: History, now: float) -> History:
    """Return the history after the watch over its current release ended well."""
    return tuple(
        msgspec.structs.replace(item, watch_until=0.0) if 0 < item.watch_until <= now else item for item in history
    )


def kept_images(history: History, keep: int) -> frozenset[str]:
    """Return the images that must stay: of the last `keep` that served, and of the current release."""
    images = list(dict.fromkeys(item.spec.image for item in history if item.state != "failed"))
    serving = current(history)
    return frozenset([*images[:keep], *([serving.spec.image] if serving else [])])


def trimmed(history: History, keep: int) -> History:
    """Return the history without the releases whose images are not kept, and without all but the last few of the rest.

    Those are failures, and what differs from others of the same image in its env only.
    """
    images, kept = kept_images(history, keep), list[Release]()
    counts: Counter[str] = Counter()
    for item in history:
        group, most = ("", FAILURES_KEPT) if item.state == "failed" else (item.spec.image, PER_IMAGE)
        counts[group] += 1
        if item.state == "current" or (counts[group] <= most and (not group or group in images)):
            kept.append(item)
    return tuple(kept)


def is_held(history: History, spec: Spec) -> Release | None:
    """Return the rolled-back release of exactly this spec: it is not deployed again."""
    serving = current(history)
    if serving is None:
        return None
    return next((item for item in history if item.state == "rolled_back" and item.spec == bare(spec)), None)


def _replaced(item: Release) -> Release:
    return msgspec.structs.replace(item, state="good", watch_until=0.0) if item.state == "current" else item


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
        return self.get(service) or ()

    def kept_images(self) -> frozenset[str]:
        """Return the images that releases need, of all services."""
        histories = self.all().values()
        return frozenset().union(*(kept_images(history, self.keep) for history in histories))

    async def put(self, service: str, changed: History) -> None:
        """Store the history of a service, without releases beyond the limit."""
        kept = trimmed(changed, self.keep)
        if kept != self.of(service):
            await self.write(service, kept)

    def lacks(self, wanted: DesiredService) -> bool:
        """Return whether a desired state has no current release: it predates histories, or Redis lost them."""
        serving = current(self.of(wanted.spec.name))
        return wanted.state != "removed" and (serving is None or serving.spec != bare(wanted.spec))

    async def adopt(self, wanted: DesiredService) -> None:
        """Record the desired state as the current release; the caller holds the service's lock."""
        if self.lacks(wanted):
            name = wanted.spec.name
            await self.put(name, deployed(self.of(name), wanted, "adopted", wanted.since, 0.0))
