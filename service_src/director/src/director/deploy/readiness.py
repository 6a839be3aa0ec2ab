"""Waiting until a container is ready: it responds to `__status`, and passes its own health check if it has one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec

from band import logger
from director.deploy.spec_builder import PlatformConfig
from director.discovery.probe import Prober, is_from
from director.discovery.registrations import FAILING, Status, complaints, reported
from director.engine.interface import Container, Engine
from director.engine.log_feed import cut
from director.engine.snapshot import Snapshot
from director.errors import DockerUnavailable, ServiceFailed, TimedOut
from director.redact import scrub, secret_values
from director.state.desired import PYTHON_CHECK, TYPESCRIPT_CHECK, DesiredService

LOG_LINES = 20
PROBE_INTERVAL = 0.1
LOOK_EVERY = 0.25
TELL_EVERY = 1.0


class ReadyContainer(msgspec.Struct, frozen=True):
    """A ready container, and its status."""

    container: Container
    status: Status


class Readiness:
    """Waits for containers, and explains why one did not become ready."""

    def __init__(
        self,
        engine: Engine,
        snapshot: Snapshot,
        prober: Prober,
        surroundings: PlatformConfig,
        tell: Callable[[str, str], None] = lambda _name, _text: None,
    ) -> None:
        """Create one; `tell` gets a service's name and what its health says while it is waited for."""
        self._engine = engine
        self._snapshot = snapshot
        self._prober = prober
        self._around = surroundings
        self._tell = tell

    async def wait(
        self, container: str, wanted: DesiredService, since: float, *, require_healthy: bool = False
    ) -> ReadyContainer:
        """Wait until this container is ready, not an older one of the same service.

        From then on the engine restarts it by itself. With `require_healthy` it must not report that it is failing.

        Raises:
            ServiceFailed: it exited, it reports that it is failing, or its health check fails.
            TimedOut: it did not respond in time.
        """
        begun = time.monotonic()
        status = await self._answer(container, wanted, since, require_healthy=require_healthy)
        await self._healthy(container, wanted, begun)
        if not wanted.spec.auto_remove:
            await self._engine.set_restart_policy(container, on=True)
            self._snapshot.invalidate(container)
        seconds = round(time.monotonic() - begun, 3)
        logger.info("service_ready", service=wanted.spec.name, container=container[:12], seconds=seconds)
        return ReadyContainer(await self.look(container), status)

    async def look(self, container: str) -> Container:
        """Inspect a container; raises ServiceFailed if it is gone."""
        seen = await self._engine.inspect(container)
        if seen is None:
            raise ServiceFailed("the container is gone", "did somebody remove it? Run it again", log=[])
        return seen

    async def last_lines(self, container: str, wanted: DesiredService) -> list[str]:
        """Return the last lines of a container's output, secrets masked; none if the engine is unavailable."""
        secrets = self._secrets(wanted)
        try:
            return [cut(scrub(line, secrets)) for line in await self._engine.logs(container, LOG_LINES)]
        except DockerUnavailable:
            return []

    async def _answer(self, container: str, wanted: DesiredService, since: float, *, require_healthy: bool) -> Status:
        seen = await self.look(container)
        unwell: Status = {}
        tell = self._telling(wanted)

        def accept(status: Status) -> bool:
            if not is_from(status, seen, since):
                return False
            tell(status)
            if status.get("app_state", "running") != "running":
                return False
            if require_healthy and reported(status) == FAILING:
                unwell.update(status)
                return False
            return True

        timeout = self._around.ready_timeout
        asking = asyncio.create_task(
            self._prober.ask(
                wanted.spec.name, timeout=timeout, interval=PROBE_INTERVAL, accept=accept, hide=self._secrets(wanted)
            )
        )
        try:
            while not asking.done():
                await asyncio.wait([asking], timeout=LOOK_EVERY)
                if not asking.done():
                    await self._check_alive(container, wanted)
        finally:
            asking.cancel()
        status = asking.result()
        if status is None:
            raise await self._late(container, wanted, unwell)
        return status

    def _telling(self, wanted: DesiredService) -> Callable[[Status], None]:
        """Return a function that tells what a status complains of: what is new, at most once a second."""
        last, at, secrets = "", float("-inf"), self._secrets(wanted)

        def tell(status: Status) -> None:
            nonlocal last, at
            text, now = scrub(complaints(status), secrets), time.monotonic()
            if text and text != last and now - at >= TELL_EVERY:
                last, at = text, now
                self._tell(wanted.spec.name, text)

        return tell

    async def _late(self, container: str, wanted: DesiredService, unwell: Status) -> ServiceFailed | TimedOut:
        name, lines = wanted.spec.name, await self.last_lines(container, wanted)
        if unwell:
            said = scrub(complaints(unwell) or "no reason given", self._secrets(wanted))
            hint = "the previous release (if any) stays in service; see the new one's last log lines"
            return ServiceFailed(f"{name} answers, but reports that it is failing: {said}", hint, log=lines)
        return TimedOut(
            f"{name} did not answer __status within {self._around.ready_timeout:.0f} s",
            "check its connection to Redis and its name; see its last log lines",
            log=lines,
        )

    def _secrets(self, wanted: DesiredService) -> tuple[str, ...]:
        return secret_values({**self._around.env_of(wanted.spec.name), **wanted.spec.env}, wanted.spec.secrets)

    async def _healthy(self, container: str, wanted: DesiredService, begun: float) -> None:
        """Wait for a health check of the service's own. A framework's would only repeat the status."""
        check = wanted.spec.health
        if check is None or tuple(check.command) in (PYTHON_CHECK, TYPESCRIPT_CHECK):
            return
        while True:
            seen = await self._check_alive(container, wanted)
            if seen.health in {"", "healthy"}:
                return
            late = time.monotonic() - begun > self._around.ready_timeout
            if seen.health == "unhealthy" or late:
                kind = TimedOut if late else ServiceFailed
                raise kind(
                    f"{wanted.spec.name} answers, but its health check reports {seen.health}",
                    "check `health` in its band.yml; see its last log lines",
                    log=await self.last_lines(container, wanted),
                )
            await asyncio.sleep(LOOK_EVERY)

    async def _check_alive(self, container: str, wanted: DesiredService) -> Container:
        seen = await self._engine.inspect(container)
        if seen is not None and seen.state in {"running", "created", "paused"} and not seen.restarts:
            return seen
        code = seen.exit_code if seen else None
        why, hint = f"exited with code {code}", "see its last log lines"
        if seen is None:
            why = "exited, and its container is gone,"
            hint = "without auto_remove its output would be kept" if wanted.spec.auto_remove else "run it again"
        elif seen.oom_killed:
            why = "was OOM-killed"
        raise ServiceFailed(
            f"{wanted.spec.name} {why} before it was ready",
            hint,
            exit_code=code,
            oom_killed=bool(seen and seen.oom_killed),
            log=await self.last_lines(container, wanted),
        )
