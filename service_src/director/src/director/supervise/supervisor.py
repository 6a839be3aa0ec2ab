"""The loop that keeps what is close to what should be: follows Docker's events, asks `reconcile`, does what it says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping

from band import logger
from band.background import run_forever
from band.backoff import Backoff
from band.errors import RedisError
from director.deploy.replacement import Deployer
from director.engine.interface import Event, Observed, Runtime
from director.errors import DirectorError, DockerUnavailable, RedisUnavailable, ServiceFailed, TimedOut
from director.locks import Locks
from director.state import history
from director.state.crash_log import Crashes, End, Record
from director.state.desired import Desired, Wanted
from director.state.history import Release
from director.state.releases import Releases
from director.supervise.actor import Actor
from director.supervise.exits import Ends
from director.supervise.incidents import Incidents
from director.supervise.probation import Watch
from director.supervise.reconcile import Action, World, primary_name, reconcile

INTERVAL = 5.0
SOON = 0.5
FRESH_EVERY = 60.0
LONGEST_BACKOFF = 10.0
AT_ONCE = 4


class Supervisor:
    """Watches one namespace. `observed` is the newest picture of it; `docker_error` says why it is old, when it is."""

    def __init__(
        self,
        *,
        runtime: Runtime,
        desired: Desired,
        releases: Releases,
        crashes: Crashes,
        deployer: Deployer,
        watch: Watch,
        locks: Locks,
        namespace: str,
    ) -> None:
        self.observed: list[Observed] = []
        self.docker_error = "not asked yet"
        self.pictured = asyncio.Event()
        self.self_id = ""
        self.renewals: Callable[[Mapping[str, Wanted], Collection[str]], Mapping[str, float]] = lambda _all, _busy: {}
        """Tells which services are to be replaced and when, of all there should be; see `Renewals.due`."""
        self._runtime = runtime
        self._desired = desired
        self._releases = releases
        self._crashes = crashes
        self._deployer = deployer
        self._watch = watch
        self._locks = locks
        self._namespace = namespace
        self._ends = Ends()
        self._wake = asyncio.Event()
        self._camera = asyncio.Lock()
        self._working: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._next_fresh = 0.0
        self._backoff = Backoff(0.2, LONGEST_BACKOFF)
        self._actor: Actor | None = None
        self._incidents: Incidents | None = None
        self._on_change: Callable[[], None] = lambda: None
        self._on_end: Callable[[str], None] = lambda _: None
        self._on_start: Callable[[str], None] = lambda _: None

    def attach(
        self,
        actor: Actor,
        incidents: Incidents,
        on_change: Callable[[], None],
        on_end: Callable[[str], None],
        on_start: Callable[[str], None],
    ) -> None:
        """Say who does what is decided, and whom to tell of what is seen.

        `on_change` is told of every new picture, `on_end` of a service whose container ended by itself, `on_start` of
        one that Docker or the reconciler started.
        """
        self._actor = actor
        self._incidents = incidents
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

    def ended(self) -> dict[str, float]:
        """Return the services that have containers, none of which runs, and when the last of them ended."""
        running = {item.service for item in self.observed if item.state == "running"}
        ends = {name: 0.0 for name, wanted in self._desired.all().items() if wanted.state != "running"}
        for item in self.observed:
            if item.kind == "service":
                ends[item.service] = max(ends.get(item.service, 0.0), item.finished_at, item.created_at)
        return {name: at for name, at in ends.items() if name not in running}

    def record(self, service: str) -> Record:
        """Return how a service ended of late, whether it is called crashed, and its last rollback."""
        return self._crashes.of(service)

    def release(self, service: str) -> Release | None:
        """Return the current release of a service."""
        return history.current(self._releases.of(service))

    def crashes(self, service: str) -> int:
        """Return how often a service crashed within the window."""
        return len(self._crashes.of(service).crashes(time.time(), self._crashes.limits.window))

    async def run(self) -> None:
        """Follow events and reconcile, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(run_forever("docker_events", self._follow_events), name="docker-events")
            group.create_task(run_forever("reconcile", self._reconcile), name="reconcile")

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

    async def _reconcile(self) -> None:
        """Look, decide, act, and wait until there is a reason to look again."""
        self._wake.clear()
        due: float | None = None
        try:
            now = time.monotonic()
            await self.refresh(fresh=now >= self._next_fresh)
            self._next_fresh = now + FRESH_EVERY if now >= self._next_fresh else self._next_fresh
            due = await self._turn()
        except DockerUnavailable as error:
            logger.warning("docker_away", reason=error.message)
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
        if self._desired.loaded:
            await self._keep_books()
        busy = self._locks.busy | frozenset(self._working) | self._deployer.retiring
        world = World(
            desired=self._desired.all() if self._desired.loaded else None,
            observed=self.observed,
            now=time.time(),
            namespace=self._namespace,
            busy=busy,
            records=self._crashes.all(),
            limits=self._crashes.limits,
            trials=self._watch.trials(),
            renewals=self.renewals(self._desired.all(), busy),
            self_id=self.self_id,
        )
        plan = reconcile(world)
        by_service: dict[str, list[Action]] = {}
        for action in plan.actions:
            by_service.setdefault(action.service, []).append(action)
        for service, actions in by_service.items():
            task = asyncio.create_task(self._act(service, actions, world.wanted(service)), name=f"act-{service}")
            self._working[service] = task
        return plan.due

    async def _load_desired(self) -> None:
        try:
            await self._crashes.load()
            await self._releases.load()
            await self._desired.load()
            logger.info("desired_loaded", services=len(self._desired.all()))
        except (DirectorError, RedisError) as error:
            logger.warning("desired_unknown", reason=str(error))

    async def _keep_books(self) -> None:
        try:
            await self._crashes.save()
            for name, wanted in self._desired.all().items():
                if name not in self._locks.busy and self._releases.lacks(wanted):
                    async with self._locks.hold(name):
                        await self._releases.adopt(self._desired.get(name) or wanted)
        except (DirectorError, RedisError) as error:
            logger.debug("books_not_kept", reason=str(error))

    async def _act(self, service: str, actions: list[Action], wanted: Wanted | None) -> None:
        try:
            async with self._slots, self._locks.hold(service):
                if self._desired.get(service) is not wanted:
                    logger.debug("plan_outdated", service=service)  # somebody's request came first: look again
                    return
                for action in actions:
                    told = {"container": action.container[:12], "reason": action.reason}
                    logger.info("action", verb=action.verb, service=service, **told)
                    container = next((item for item in self.observed if item.id == action.container), None)
                    assert self._actor is not None  # noqa: S101 - attached before anything runs
                    await self._actor.do(action, container)
        except (ServiceFailed, TimedOut) as error:
            self._note_refusal(service, error)
        except (DirectorError, RedisError) as error:
            self._crashes.note(service, End(time.time(), "refused"))
            logger.warning("action_failed", service=service, reason=str(error))
        except Exception:  # noqa: BLE001 - one service's trouble must not end the loop for the others
            self._crashes.note(service, End(time.time(), "refused"))
            logger.exception("action_failed", service=service)
        finally:
            self._working.pop(service, None)
            self.poke()

    def _note_refusal(self, service: str, error: DirectorError) -> None:
        """Take note of a start that failed: a crash if it was the service's own doing."""
        own = not isinstance(error, DockerUnavailable | RedisUnavailable)
        code = error.facts.get("exit_code")
        oom = bool(error.facts.get("oom_killed"))
        self._crashes.note(service, End(time.time(), "crash" if own else "refused", code, oom_killed=oom))
        if own and self._incidents is not None:
            self._incidents.said(service, list(error.facts.get("log") or []))
        logger.warning("action_failed", service=service, reason=error.message)

    async def _follow_events(self) -> None:
        """Follow the engine's events until the stream ends, then pause."""
        try:
            await self._runtime.ping()
            self.poke()  # whatever happened while nobody listened is found by a full listing
            async for event in self._runtime.events():
                self._backoff.reset()
                self._take(event)
        except DockerUnavailable as error:
            logger.warning("docker_events_lost", reason=error.message)
        finally:
            self.poke()
        await asyncio.sleep(self._backoff.next())

    def _take(self, event: Event) -> None:
        try:
            self._on_event(event)
        except Exception:  # noqa: BLE001 - one bad event spoils itself, not those behind it
            logger.exception("docker_event_failed", action=event.action, container=event.container[:12])

    def _on_event(self, event: Event) -> None:
        service = event.service
        if event.action == "start" and service:
            self._on_start(service)
        if event.action == "oom" and service:
            self._watch.out_of_memory(service)
        end = self._ends.read(event, time.time())
        # Only the switch gives a container its service's name: one called `x.old-…` or `x.next` is not what serves.
        leftover = event.name.startswith(f"{primary_name(self._namespace, service)}.")
        if end is not None and service and not leftover and event.container not in self._deployer.proving:
            self._crashes.note(service, end)
            self._on_end(service)
            logger.warning(
                "container_ended",
                service=service,
                container=event.container[:12],
                exit_code=end.exit_code,
                oom_killed=end.oom_killed,
                how=end.kind,
            )
        if not event.action.startswith("exec_"):
            self.poke()
