"""What is done when a service crashed too often, was rolled back or is well again: remember it, log it, tell it."""

from __future__ import annotations

import time
from collections import OrderedDict

import msgspec

from band import logger
from director.deploy.replacement import Deployer
from director.engine.interface import Observed, Runtime
from director.errors import DirectorError
from director.state.crash_log import NO_RECORD, Crash, Crashes, Record, RolledBack
from director.state.desired import Wanted
from director.state.history import Release
from director.webhook import Webhook

MAX_SAID = 100
"""Services whose last lines are remembered; each has at most 20 lines of 8 KiB."""


class Incidents:
    """Writes the records of `Crashes`; the caller holds the service's lock."""

    def __init__(self, runtime: Runtime, crashes: Crashes, deployer: Deployer, webhook: Webhook) -> None:
        self._runtime = runtime
        self._crashes = crashes
        self._deployer = deployer
        self._webhook = webhook
        self._said: OrderedDict[str, list[str]] = OrderedDict()

    def said(self, service: str, lines: list[str]) -> None:
        """Remember what a build, or a container that was removed, printed last (secrets masked); nothing forgets it."""
        self._said.pop(service, None)
        if lines:
            self._said[service] = lines
        while len(self._said) > MAX_SAID:
            self._said.popitem(last=False)

    def last_lines(self, service: str) -> list[str]:
        """Return what `said` remembers, or else what the service printed before it crashed."""
        crash = self._crashes.of(service).crash
        return self._said.get(service) or (crash.last_lines if crash else [])

    async def crashed(self, service: str, container: Observed | None, wanted: Wanted, reason: str) -> None:
        """Call a service crashed: its container lies still from now on and is kept, so that people can look at it."""
        lines = self._said.pop(service, [])
        if container is not None:
            await self._runtime.stop(container.id, container.stop_timeout)  # also ends the engine's own restarts
            lines = await self._deployer.last_lines(container.id, wanted)
        record = self._crashes.of(service)
        last = next((end for end in reversed(record.ends) if end.kind == "crash"), None)
        # The engine may tell of an end before it tells why; looked at afterwards, the container knows.
        out_of_memory = bool(container and not container.alive and container.oom_killed)
        crash = Crash(
            reason=reason,
            exit_code=last.exit_code if last else None,
            oom_killed=out_of_memory or bool(last and last.oom_killed),
            at=time.time(),
            last_lines=lines,
        )
        self._crashes.put(service, msgspec.structs.replace(record, crash=crash, tried_at=0.0))
        await self._crashes.save()  # before it is told: a director that dies here would tell it twice
        facts = {"reason": reason, "exit_code": crash.exit_code, "oom_killed": crash.oom_killed}
        logger.error("service_crashed", service=service, **facts)
        self._webhook.tell("service_crashed", service, **facts)

    async def rolled_back(self, service: str, source: Release | None, target: Release, reason: str) -> None:
        """Take note that the watch left a release for an earlier one, which begins with a clean record."""
        ids = {"from": source.id if source else "", "to": target.id}
        found = RolledBack(at=time.time(), source=ids["from"], target=ids["to"], reason=reason)
        self._crashes.put(service, Record(rolled_back=found))
        await self._crashes.save()
        self._webhook.tell("service_rolled_back", service, reason=reason, **ids)

    def begins_anew(self, service: str) -> Record:
        """Forget how a service ended: somebody runs it. Returns what was known, for `never_mind` or `serves`."""
        before = self._crashes.of(service)
        self._crashes.put(service, NO_RECORD)
        return before

    def never_mind(self, service: str, before: Record) -> None:
        """Take `begins_anew` back: it did not come up."""
        self._crashes.put(service, before)

    def serves(self, service: str, before: Record) -> None:
        """Tell that a service which had crashed answers again."""
        self._said.pop(service, None)
        if before.crash is not None:
            self._recovered(service, "was started and answers again")

    def tried(self, service: str, at: float) -> None:
        """Take note that a crashed service is tried again."""
        self._crashes.put(service, msgspec.structs.replace(self._crashes.of(service), tried_at=at))

    def recovered(self, service: str, reason: str) -> None:
        """Take note that a crashed service is steady again."""
        record = self._crashes.of(service)
        self._crashes.put(service, Record(rolled_back=record.rolled_back))
        self._recovered(service, reason)

    def _recovered(self, service: str, reason: str) -> None:
        logger.info("service_recovered", service=service, reason=reason)
        self._webhook.tell("service_recovered", service, reason=reason)

    async def close(self) -> None:
        """Write what was not written yet."""
        try:
            await self._crashes.save()
        except DirectorError as error:
            logger.warning("crashes_not_saved", reason=error.message)
