"""The loop that keeps what is close to what should be: follows Docker's events, asks `reconcile`, does what it says."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

from band import logger
from band.errors import RedisError
from director.deploy import Deployer
from director.desired import Desired, State, Wanted
from director.errors import DirectorError, DockerUnavailable
from director.health import in_window
from director.locks import Locks
from director.reconcile import Action, World, primary_name, reconcile
from director.releases import Releases
from director.runtime.container import spec_of
from director.runtime.face import LABEL_POS, LABEL_TITLE, Event, Observed, Runtime

INTERVAL = 5.0
SOON = 0.5
FRESH_EVERY = 60.0
LONGEST_BACKOFF = 10.0
AT_ONCE = 4

Redeploy = Callable[[Wanted], Awaitable[None]]


class Supervisor:
    """Watches one namespace. `observed` is the newest picture of it; `docker_error` says why it is old, when it is."""

    def __init__(
        self, runtime: Runtime, desired: Desired, releases: Releases, deployer: Deployer, locks: Locks, namespace: str
    ) -> None:
        self.observed: list[Observed] = []
        self.docker_error = "not asked yet"
        self.pictured = asyncio.Event()
        self.self_id = ""
        self.failures: dict[str, tuple[float, ...]] = {}
        self._runtime = runtime
        self._desired = desired
        self._releases = releases
        self._deployer = deployer
        self._locks = locks
        self._namespace = namespace
        self._wake = asyncio.Event()
        self._camera = asyncio.Lock()
        self._working: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._redeploy: Redeploy | None = None
        self._on_change: Callable[[], None] = lambda: None
        self._on_end: Callable[[str], None] = lambda _: None
        self._on_start: Callable[[str], None] = lambda _: None

    def attach(
        self,
        redeploy: Redeploy,
        on_change: Callable[[], None],
        on_end: Callable[[str], None],
        on_start: Callable[[str], None],
    ) -> None:
        """Say how a service is brought up anew (its image built if it is gone), and whom to tell of what is seen.

        `on_change` is told of every new picture, `on_end` of a service whose container ended by itself, `on_start` of
        one that Docker or the reconciler started.
        """
        self._redeploy = redeploy
        self._on_change = on_change
        self._on_end = on_end
        self._on_start = on_start

    def poke(self) -> None:
        """Look again now."""
        self._wake.set()

    def of_service(self, service: str) -> list[Observed]:
        """Return the containers of a service in the newest picture."""
        return [item for item in self.observed if item.service == service and item.kind == "service"]

    def primary(self, service: str) -> Observed | None:
        """Return the container that serves a service, or was the last to."""
        return max(self.of_service(service), key=self._rank, default=None)

    def primaries(self) -> dict[str, Observed]:
        """Return the primary container of every service, in one pass."""
        found: dict[str, Observed] = {}
        for item in self.observed:
            if item.kind == "service" and (
                item.service not in found or self._rank(item) > self._rank(found[item.service])
            ):
                found[item.service] = item
        return found

    def _rank(self, item: Observed) -> tuple[bool, bool, float]:
        return (item.name == primary_name(self._namespace, item.service), item.alive, item.created_at)

    def ended(self) -> frozenset[str]:
        """Return the services that have containers, none of which runs."""
        names = {item.service for item in self.observed if item.kind == "service"}
        names |= {name for name, wanted in self._desired.all().items() if wanted.state != "running"}
        return frozenset(names - {item.service for item in self.observed if item.state == "running"})

    def crashes(self, service: str) -> int:
        """Return how often a service ended by itself within the window."""
        return len(in_window(self.failures.get(service, ()), time.time()))

    async def run(self) -> None:
        """Follow events and reconcile, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_events(), name="docker-events")
            group.create_task(self._loop(), name="reconcile")

    async def close(self) -> None:
        """Let actions in progress end."""
        if self._working:
            await asyncio.wait(set(self._working.values()), timeout=5)

    async def refresh(self, *, fresh: bool = False) -> None:
        """Take a new picture; raises DockerUnavailable and keeps the old one when the engine is away."""
        try:
            async with self._camera:  # an older picture must not come after a newer one
                self.observed = await self._runtime.containers(fresh=fresh)
            self.docker_error = ""
            self.pictured.set()
        except DockerUnavailable as error:
            self.docker_error = error.message
            raise
        self._on_change()

    async def _loop(self) -> None:
        next_fresh = 0.0
        while True:
            self._wake.clear()
            due: float | None = None
            try:
                now = time.monotonic()
                await self.refresh(fresh=now >= next_fresh)
                next_fresh = now + FRESH_EVERY if now >= next_fresh else next_fresh
                due = await self._turn()
            except DockerUnavailable as error:
                logger.warning("docker_away", reason=error.message)
            except Exception:  # noqa: BLE001 - whatever one turn meets, the next one is taken
                logger.exception("reconcile_failed")
            pause = INTERVAL if self._desired.loaded else SOON
            if due is not None:
                pause = min(pause, max(0.05, due - time.time()))
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
                await asyncio.sleep(0.03)  # events come in handfuls; one picture serves them all
            except TimeoutError:
                pass

    async def _turn(self) -> float | None:
        if not self._desired.loaded:
            await self._load_desired()
        world = World(
            desired=self._desired.all() if self._desired.loaded else None,
            observed=self.observed,
            now=time.time(),
            namespace=self._namespace,
            busy=self._locks.busy | frozenset(self._working) | self._deployer.retiring,
            failures=self.failures,
            self_id=self.self_id,
        )
        plan = reconcile(world)
        by_service: dict[str, list[Action]] = {}
        for action in plan.actions:
            by_service.setdefault(action.service, []).append(action)
        for service, actions in by_service.items():
            task = asyncio.create_task(self._act(service, actions), name=f"act-{service}")
            self._working[service] = task
        return plan.due

    async def _load_desired(self) -> None:
        try:
            await self._releases.load()
            await self._desired.load()
            await self._releases.complete(self._desired.all())
            logger.info("desired_loaded", services=len(self._desired.all()))
        except (DirectorError, RedisError) as error:
            logger.warning("desired_unknown", reason=str(error))

    async def _act(self, service: str, actions: list[Action]) -> None:
        try:
            async with self._slots, self._locks.hold(service):
                for action in actions:
                    logger.info(
                        "action",
                        verb=action.verb,
                        service=service,
                        container=action.container[:12],
                        reason=action.reason,
                    )
                    await self._do(action)
        except (DirectorError, RedisError) as error:
            self.note_failure(service)
            logger.warning("action_failed", service=service, reason=str(error))
        except Exception:  # noqa: BLE001 - one service's trouble must not end the loop for the others
            self.note_failure(service)
            logger.exception("action_failed", service=service)
        finally:
            self._working.pop(service, None)
            self.poke()

    async def _do(self, action: Action) -> None:
        wanted = self._desired.get(action.service)
        container = next((item for item in self.observed if item.id == action.container), None)
        match action.verb:
            case "start" if container is not None:
                await self._start(container, wanted)
            case "deploy" if wanted is not None:
                await self._bring(wanted)
            case "stop" if container is not None:
                await self._runtime.stop(container.id, container.stop_timeout)
            case "remove" if container is not None:
                await self._deployer.retire(container)
            case "rename":
                await self._runtime.rename(action.container, primary_name(self._namespace, action.service))
            case "forget":
                await self._desired.forget(action.service)
            case "adopt" if container is not None:
                await self._adopt(container)
            case _:
                logger.debug("action_outdated", verb=action.verb, service=action.service)

    async def _start(self, container: Observed, wanted: Wanted | None) -> None:
        if container.kind == "core" or wanted is None:
            await self._runtime.start(container.id)
            return
        try:
            await self._runtime.start(container.id)  # its heartbeat tells when it is ready; nobody waits for it here
        except DockerUnavailable as error:
            if error.facts.get("status") in {None, 900}:
                raise
            # Its port or network is no longer to be had: a fresh container gets others.
            logger.warning("start_refused", service=container.service, reason=error.message)
            await self._bring(wanted)

    async def _bring(self, wanted: Wanted) -> None:
        if self._redeploy is not None:
            await self._redeploy(wanted)

    async def _adopt(self, container: Observed) -> None:
        spec = spec_of(container)
        if spec is not None:
            title, pos = container.labels.get(LABEL_TITLE, ""), container.labels.get(LABEL_POS) or None
            state: State = "running" if container.alive else "stopped"
            await self._desired.put(Wanted(spec=spec, state=state, title=title, pos=pos, since=time.time()))

    def note_failure(self, service: str) -> None:
        """Remember that a service ended by itself, or could not be started, just now."""
        now = time.time()
        self.failures[service] = (*in_window(self.failures.get(service, ()), now), now)

    async def _follow_events(self) -> None:
        delay = 0.0
        while True:
            try:
                await self._runtime.ping()
                self.poke()  # whatever happened while nobody listened is found by a full listing
                async for event in self._runtime.events():
                    delay = 0.0
                    self._on_event(event)
            except DockerUnavailable as error:
                logger.warning("docker_events_lost", reason=error.message)
            self.poke()
            delay = min(LONGEST_BACKOFF, max(0.2, delay * 2))
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret

    def _on_event(self, event: Event) -> None:
        if event.action == "start" and event.service:
            self._on_start(event.service)
        if event.action == "die" and event.service:
            busy = event.service in self._locks.busy or event.service in self._deployer.retiring
            wanted = self._desired.get(event.service)
            if not busy and (wanted is None or wanted.state == "running"):
                self.note_failure(event.service)
                self._on_end(event.service)
                logger.warning(
                    "container_ended", service=event.service, container=event.container[:12], exit_code=event.exit_code
                )
        if not event.action.startswith("exec_"):
            self.poke()
