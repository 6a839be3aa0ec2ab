"""Waiting until a container serves: it answers its status, and it is healthy where it has a check of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import msgspec

from band import logger
from director.deploy.spec_builder import platform_hash
from director.discovery.health import FAILING, complaints, reported
from director.discovery.probe import Prober, is_from
from director.discovery.statuses import Status
from director.engine.interface import Observed, Runtime
from director.engine.lines import cut
from director.errors import DockerUnavailable, ServiceFailed, TimedOut
from director.redact import scrub, secret_values
from director.redis.users import Keys, RedisUsers
from director.state.desired import Wanted
from director.state.spec import HealthCheck

LOG_LINES = 20
PROBE_INTERVAL = 0.1
LOOK_EVERY = 0.25


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What every service of this director gets: `env` includes the DSN of Redis; times in seconds.

    With `users` each has a Redis user of its own, and another DSN. `own_ports` are the director's host ports.
    """

    namespace: str
    network: str
    env: Mapping[str, str]
    memory: str
    ready_timeout: float = 60.0
    users: RedisUsers | None = None
    own_ports: frozenset[int] = frozenset()

    @property
    def platform(self) -> str:
        """A hash over all of it that shapes a container; a new Redis password changes it."""
        return platform_hash(self.env_of("*"), self.memory)

    def env_of(self, service: str) -> dict[str, str]:
        """Return the environment that a service gets."""
        return {**self.env, "REDIS_DSN": self.users.dsn(service)} if self.users else dict(self.env)

    async def admit(self, service: str, keys: Keys) -> None:
        """Let a service into Redis, before its container is made.

        Raises:
            RedisError: Redis is away, or does not let the director do it.
        """
        if self.users:
            await self.users.make(service, keys)


class Started(msgspec.Struct, frozen=True):
    """A container that answered, and what it answered."""

    container: Observed
    status: Status


class Readiness:
    """Waits for containers, and says why one did not come up."""

    def __init__(self, runtime: Runtime, prober: Prober, surroundings: Surroundings) -> None:
        self._runtime = runtime
        self._prober = prober
        self._around = surroundings

    async def wait(self, container: str, wanted: Wanted, since: float, *, well: bool = False) -> Started:
        """Wait until this very container serves, and not an older one of the same service.

        From then on the engine restarts it by itself. With `well` it must not say of itself that it is failing.

        Raises:
            ServiceFailed: it ended, or it or its own health check says that it is not well.
            TimedOut: it did not answer in time.
        """
        begun = time.monotonic()
        status = await self._answer(container, wanted, since, well=well)
        await self._healthy(container, wanted, begun)
        if not wanted.spec.auto_remove:
            await self._runtime.keep_running(container)
        seconds = round(time.monotonic() - begun, 3)
        logger.info("service_ready", service=wanted.spec.name, container=container[:12], seconds=seconds)
        return Started(await self.look(container), status)

    async def look(self, container: str) -> Observed:
        """Return a container as it is now.

        Raises:
            ServiceFailed: it is gone.
        """
        seen = await self._runtime.inspect(container)
        if seen is None:
            raise ServiceFailed("the container is gone", "did somebody remove it? Run it again", log=[])
        return seen

    async def last_lines(self, container: str, wanted: Wanted) -> list[str]:
        """Return the last lines of a container's output, secrets masked; none when the engine cannot be asked."""
        secrets = self._secrets(wanted)
        try:
            return [cut(scrub(line, secrets)) for line in await self._runtime.logs(container, LOG_LINES)]
        except DockerUnavailable:
            return []

    async def _answer(self, container: str, wanted: Wanted, since: float, *, well: bool) -> Status:
        seen = await self.look(container)
        unwell: Status = {}

        def accept(status: Status) -> bool:
            if not is_from(status, seen, since) or status.get("app_state", "running") != "running":
                return False
            if well and reported(status) == FAILING:
                unwell.update(status)
                return False
            return True

        timeout = self._around.ready_timeout
        asking = asyncio.create_task(
            self._prober.ask(wanted.spec.name, timeout=timeout, interval=PROBE_INTERVAL, accept=accept)
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

    async def _late(self, container: str, wanted: Wanted, unwell: Status) -> ServiceFailed | TimedOut:
        name, lines = wanted.spec.name, await self.last_lines(container, wanted)
        if unwell:
            said = scrub(complaints(unwell) or "no reason given", self._secrets(wanted))
            hint = "what served before did not, and goes on; the log holds the last lines of the new one"
            return ServiceFailed(f"{name} answers, and says that it is failing: {said}", hint, log=lines)
        return TimedOut(
            f"{name} did not answer __status within {self._around.ready_timeout:.0f} s",
            "does it reach Redis, and is its name right? The log holds its last lines",
            log=lines,
        )

    def _secrets(self, wanted: Wanted) -> tuple[str, ...]:
        return secret_values({**self._around.env_of(wanted.spec.name), **wanted.spec.env}, wanted.spec.secrets)

    async def _healthy(self, container: str, wanted: Wanted, begun: float) -> None:
        """Wait for a health check that the service brought. Band's own asks what the status has just answered."""
        check = wanted.spec.health
        if check is None or check.command == HealthCheck().command:
            return
        while True:
            seen = await self._check_alive(container, wanted)
            if seen.health in {"", "healthy"}:
                return
            late = time.monotonic() - begun > self._around.ready_timeout
            if seen.health == "unhealthy" or late:
                kind = TimedOut if late else ServiceFailed
                raise kind(
                    f"{wanted.spec.name} answers, but its health check says {seen.health}",
                    "look at `health` in its band.yml; the log holds its last lines",
                    log=await self.last_lines(container, wanted),
                )
            await asyncio.sleep(LOOK_EVERY)

    async def _check_alive(self, container: str, wanted: Wanted) -> Observed:
        seen = await self._runtime.inspect(container)
        if seen is not None and seen.state in {"running", "created", "paused"} and not seen.restarts:
            return seen
        code = seen.exit_code if seen else None
        why, hint = f"ended with exit code {code}", "the log holds its last lines"
        if seen is None:
            why = "ended, and its container is gone,"
            hint = "without auto_remove its output would be kept" if wanted.spec.auto_remove else "run it again"
        elif seen.oom_killed:
            why = "was out of memory"
        raise ServiceFailed(
            f"{wanted.spec.name} {why} before it was ready",
            hint,
            exit_code=code,
            oom_killed=bool(seen and seen.oom_killed),
            log=await self.last_lines(container, wanted),
        )
