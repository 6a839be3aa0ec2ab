"""A deploy with everything that belongs to it: the image, the desired state, the history, and who has to be told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import msgspec

from band import logger
from band.errors import RedisError
from director.deploy.readiness import Started
from director.deploy.replacement import Commit, Deployer
from director.discovery.health import FAILING, reported
from director.discovery.registrations import Registrations
from director.engine.interface import Observed, Runtime
from director.errors import (
    BuildFailed,
    DirectorError,
    DockerRefused,
    DockerUnavailable,
    RedisUnavailable,
    ServiceFailed,
    TimedOut,
)
from director.images.images import Images
from director.state import history
from director.state.crash_log import Record
from director.state.desired import Desired, Wanted
from director.state.history import By, History, Release
from director.state.releases import Releases
from director.state.spec import Spec
from director.supervise.incidents import Incidents

Change = Callable[[History], History]
_BY_ITSELF: frozenset[By] = frozenset({"revive", "renew", "adopted"})
"""Deploys that nobody asked for: they do not make the crashes before them forgotten."""


async def _nothing() -> None:
    return None


class Also(msgspec.Struct, frozen=True):
    """What else is written before the switch, and written back when the switch breaks off."""

    write: Commit = _nothing
    write_back: Commit = _nothing


class Deployments:
    """Deploys, and remembers it. The caller holds the service's lock; `watch` is in seconds, 0 for none."""

    def __init__(
        self,
        *,
        runtime: Runtime,
        images: Images,
        desired: Desired,
        releases: Releases,
        deployer: Deployer,
        incidents: Incidents,
        refresh: Callable[..., Awaitable[None]],
        registrations: Registrations,
        platform: str,
        watch: float,
    ) -> None:
        self._runtime = runtime
        self._images = images
        self._desired = desired
        self._releases = releases
        self._deployer = deployer
        self._incidents = incidents
        self._refresh = refresh
        self._registrations = registrations
        self._platform = platform
        self._watch = watch

    def of_today(self, spec: Spec) -> Spec:
        """Return an earlier spec with what the director gives every service now."""
        return msgspec.structs.replace(spec, platform=self._platform)

    def watch_of(self, wanted: Wanted) -> float:
        """Return for how many seconds a new release of a service is watched."""
        return self._watch if wanted.watch is None else wanted.watch

    async def deploy(self, wanted: Wanted, by: By, also: Also = Also()) -> Observed:  # noqa: B008 - it is frozen
        """Put a fresh container of `wanted` in place and remember the release; `also` is written before the switch.

        Raises:
            DirectorError: it did not come up; what served before still does, and the failure is remembered.
        """
        watch = self.watch_of(wanted)
        return await self._deploy(
            wanted, by, lambda before: history.deployed(before, wanted, by, time.time(), watch), also
        )

    async def go_back(self, wanted: Wanted, target: Release, by: By, reason: str) -> Observed:
        """Put a fresh container of an earlier release in place; `wanted` is what should be, with its spec.

        Raises:
            DirectorError: it did not come up; what served before still does.
        """
        watch = self.watch_of(wanted)
        return await self._deploy(
            wanted, by, lambda before: history.rolled_back(before, target, by, reason, time.time(), watch)
        )

    async def bring(self, wanted: Wanted, by: By) -> Observed:
        """Deploy what should be, with what all are given now, its image made from the folder if somebody removed it."""
        wanted = msgspec.structs.replace(wanted, spec=self.of_today(wanted.spec))
        if await self._runtime.image(wanted.spec.image) is None:
            # What the folder holds now is all there is to make it from.
            plan = await self._images.plan(wanted.spec.name)
            await self._images.ensure(plan)
            logger.warning("image_was_gone", service=wanted.spec.name, image=wanted.spec.image, rebuilt=plan.tag)
            wanted = msgspec.structs.replace(wanted, spec=msgspec.structs.replace(wanted.spec, image=plan.tag))
        return await self.deploy(wanted, by)

    async def start(self, container: Observed, wanted: Wanted) -> Observed:
        """Start the container that is there, because somebody wants the service again.

        One that the engine refuses to start, since its port or network is gone, is replaced by a fresh one.

        Raises:
            DirectorError: it did not come up.
        """
        name = wanted.spec.name
        before = self._incidents.begins_anew(name)
        try:
            started = await self._deployer.start(container, wanted)
        except DockerRefused as error:
            self._incidents.never_mind(name, before)
            logger.warning("start_refused", service=name, reason=error.message)
            return await self.bring(wanted, "restart")
        except BaseException:
            self._incidents.never_mind(name, before)
            raise
        self._incidents.serves(name, before)
        return await self.serves(started)

    async def serves(self, started: Started) -> Observed:
        """Take note of a container that answered, and return it."""
        name = started.container.service
        self._registrations.note(name, started.status, time.time())
        self._incidents.said(name, [])
        await self.look_again(name)
        return started.container

    async def look_again(self, name: str, *, fresh: bool = False) -> bool:
        """List the containers after something was done to a service; returns whether that could be done.

        What was done stays done: an engine that cannot list now does not make an error of it.
        """
        try:
            await self._refresh(fresh=fresh)
        except DockerUnavailable as error:
            logger.warning("containers_not_listed", service=name, reason=error.message)
            return False
        return True

    async def failed(self, wanted: Wanted, by: By, error: DirectorError) -> None:
        """Remember that a release failed; an engine or a Redis that was away is no failure of the release."""
        own = isinstance(error, ServiceFailed | TimedOut) and not isinstance(
            error, DockerUnavailable | RedisUnavailable
        )
        if not own:
            return
        name, code = wanted.spec.name, error.facts.get("exit_code")
        self._incidents.said(name, list(error.facts.get("log") or []))
        try:
            before = self._releases.of(name)
            await self._releases.put(name, history.failed(before, wanted, by, error.message, code, time.time()))
        except (RedisError, RedisUnavailable) as away:
            logger.warning("release_not_remembered", service=name, reason=str(away))
        logger.warning(
            "release_failed",
            service=name,
            release=history.release_id(wanted.spec.image),
            build=isinstance(error, BuildFailed),
            exit_code=code,
            reason=error.message,
        )

    async def _deploy(self, wanted: Wanted, by: By, change: Change, also: Also = Also()) -> Observed:  # noqa: B008
        name = wanted.spec.name
        # A new release that is failing takes no one's place who is not. What somebody goes back to, or what has to be
        # brought back, is taken as it is: it may be failing for the same reason.
        well = by in {"run", "renew"} and reported(self._registrations.status(name)) not in {None, FAILING}
        before: Record | None = None
        committing = False
        was = (self._desired.get(name), self._releases.of(name))

        async def commit() -> None:
            nonlocal before, committing
            committing = True
            await also.write()
            # The history before the desired state: should Redis die between, the one that runs is taken for current.
            await self._releases.put(name, change(self._releases.of(name)))
            await self._desired.put(wanted)
            if by not in _BY_ITSELF:
                before = self._incidents.begins_anew(name)

        try:
            started = await self._deployer.deploy(wanted, commit, well=well)
        except BaseException as error:
            if before is not None:
                self._incidents.never_mind(name, before)
            if committing and isinstance(error, DirectorError | RedisError | asyncio.CancelledError):
                await self._take_back(name, *was, also.write_back)
            if isinstance(error, DirectorError):
                await self.failed(wanted, by, error)
            await self.look_again(name)  # what was given up is gone: nobody is to see it in a list
            raise
        if before is not None:
            self._incidents.serves(name, before)
        return await self.serves(started)

    async def _take_back(self, name: str, wanted: Wanted | None, releases: History, also: Commit) -> None:
        """Have what was before be what should be again, when the switch broke off in its middle.

        Without that the reconciler would bring a release up later whose request was answered with an error.
        """
        try:
            await also()
            if self._releases.of(name) != releases:
                await self._releases.put(name, releases)
            if self._desired.get(name) == wanted:
                return
            if wanted is None:
                await self._desired.forget(name)
            else:
                await self._desired.put(wanted)
        except (RedisError, RedisUnavailable) as away:
            logger.warning("deploy_not_taken_back", service=name, reason=str(away))
