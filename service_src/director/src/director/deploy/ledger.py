"""What a deploy stores (config, history, desired state, crash record), and its rollback on failure."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from dataclasses import dataclass

from band import RedisError, logger
from director.deploy.interface import BY_ITSELF, Change
from director.deploy.readiness import ReadyContainer
from director.discovery.registrations import FAILING, Registrations, reported
from director.errors import BuildFailed, DirectorError, DockerUnavailable, RedisUnavailable, ServiceFailed, TimedOut
from director.state import history
from director.state.crash_log import CrashLog, CrashRecord
from director.state.desired import Configs, Desired, DesiredService, Document
from director.state.history import By, History, Releases
from director.webhook import Webhook


@dataclass(kw_only=True, eq=False)
class Ledger:
    """Stores deploys, whichever engine carries them out; `watch` is in seconds, 0 for none."""

    desired: Desired
    releases: Releases
    configs: Configs
    crashes: CrashLog
    registrations: Registrations
    webhook: Webhook
    watch: float

    def requires_health(self, change: Change) -> bool:
        """Return whether the new release must not report that it is failing, because the current one does not.

        A rollback and a restored service are accepted as they are: they may be failing for the same reason.
        """
        says = reported(self.registrations.status(change.wanted.spec.name))
        return change.by in {"run", "renew"} and says not in {None, FAILING}

    async def commit(self, change: Change, undo: AsyncExitStack) -> None:
        """Store the new desired state; `undo` restores the previous one.

        Otherwise the reconciler would later start a release whose request failed.
        """
        wanted, name = change.wanted, change.wanted.spec.name
        before = await self.configs.get(name) if change.config is not None else None
        undo.push_async_callback(self._write_back, name, self.desired.get(name), self.releases.of(name), before)
        if change.config is not None:
            await self.configs.put(name, change.config)
        # The history before the desired state: if Redis dies in between, the running release counts as current.
        await self.releases.put(name, self._after(change, self.releases.of(name)))
        await self.desired.put(wanted)
        if change.by not in BY_ITSELF:
            undo.callback(self.crashes.put, name, self.crashes.reset(name))

    def ready(self, started: ReadyContainer, before: CrashRecord) -> None:
        """Record that a container is ready; `before` is the crash record from before the deploy."""
        name = started.container.service
        self.registrations.note(name, started.status, time.time())
        self.crashes.forget_output(name)
        if before.crash is not None and self.crashes.of(name).crash is None:
            reason = "was started and responds again"
            logger.info("service_recovered", service=name, reason=reason)
            self.webhook.tell("service_recovered", name, reason=reason)

    async def failed(self, wanted: DesiredService, by: By, error: DirectorError) -> None:
        """Record that a release failed; an unavailable engine or Redis is not a failure of the release."""
        if not is_own_failure(error):
            return
        name, code = wanted.spec.name, error.facts.get("exit_code")
        self.crashes.keep_output(name, list(error.facts.get("log") or []))
        try:
            before = self.releases.of(name)
            await self.releases.put(name, history.failed(before, wanted, by, error.message, code, time.time()))
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

    def _after(self, change: Change, before: History) -> History:
        wanted, now = change.wanted, time.time()
        watch = self.watch if wanted.watch is None else wanted.watch
        if change.target is None:
            return history.deployed(before, wanted, change.by, now, watch)
        return history.rolled_back(before, change.target, change.by, change.reason, now, watch)

    async def _write_back(
        self, name: str, wanted: DesiredService | None, releases: History, config: Document | None
    ) -> None:
        try:
            if config is not None:
                await self.configs.put(name, config)
            if self.releases.of(name) != releases:
                await self.releases.put(name, releases)
            if self.desired.get(name) == wanted:
                return
            if wanted is None:
                await self.desired.forget(name)
            else:
                await self.desired.put(wanted)
        except (RedisError, RedisUnavailable) as away:
            logger.warning("deploy_not_taken_back", service=name, reason=str(away))


def is_own_failure(error: DirectorError) -> bool:
    """Return whether the service itself caused an error, not an unavailable engine or Redis."""
    return isinstance(error, ServiceFailed | TimedOut) and not isinstance(error, DockerUnavailable | RedisUnavailable)
