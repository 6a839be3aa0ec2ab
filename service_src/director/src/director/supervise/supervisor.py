"""The reconciliation loop: follow Docker's events, ask `reconcile` for actions, carry them out."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from band import RedisError, logger
from band.platform import Backoff, run_forever
from director.deploy.interface import Deployer
from director.deploy.ledger import is_own_failure
from director.deploy.operations import Operations
from director.deploy.rollback import Rollback
from director.discovery.announcer import Announcer
from director.engine.docker_json import spec_of
from director.engine.interface import LABEL_POS, LABEL_TITLE, Container, Engine, Event, primary_name
from director.engine.snapshot import Snapshot
from director.errors import DirectorError, DockerRefused, DockerUnavailable
from director.locks import Locks
from director.state import history
from director.state.crash_log import CrashLog, ExitRecord
from director.state.desired import Desired, DesiredService, State
from director.state.history import Releases
from director.supervise.incidents import Incidents
from director.supervise.policy import ExitReader
from director.supervise.probation import Probation
from director.supervise.reconcile import Action, World, reconcile
from director.supervise.renewals import Renewals

INTERVAL = 5.0
SOON = 0.5
FRESH_EVERY = 60.0
LONGEST_BACKOFF = 10.0
AT_ONCE = 4


@dataclass(kw_only=True, eq=False)
class Supervisor:
    """Supervises one namespace: observe, decide, act. `self_id` is the director's own container."""

    engine: Engine
    snapshot: Snapshot
    desired: Desired
    releases: Releases
    crashes: CrashLog
    deployer: Deployer
    operations: Operations
    rollback: Rollback
    watch: Probation
    renewals: Renewals
    incidents: Incidents
    announcer: Announcer
    locks: Locks
    namespace: str
    self_id: str = ""
    _ends: ExitReader = field(default_factory=ExitReader, init=False)
    _working: dict[str, asyncio.Task[None]] = field(default_factory=dict, init=False)
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE), init=False)
    _next_fresh: float = field(default=0.0, init=False)
    _backoff: Backoff = field(default_factory=lambda: Backoff(0.2, LONGEST_BACKOFF), init=False)

    async def run(self) -> None:
        """Follow events and reconcile, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(run_forever("docker_events", self._follow_events), name="docker-events")
            group.create_task(run_forever("reconcile", self._reconcile), name="reconcile")

    async def close(self) -> None:
        """Let actions in progress finish, and store pending records."""
        if self._working:
            await asyncio.wait(set(self._working.values()), timeout=5)
        try:
            await self.crashes.save()
        except DirectorError as error:
            logger.warning("crashes_not_saved", reason=error.message)

    async def _reconcile(self) -> None:
        """Observe, decide, act, and wait for the next reason to do so."""
        self.snapshot.requested.clear()
        due: float | None = None
        try:
            now = time.monotonic()
            await self.snapshot.refresh(fresh=now >= self._next_fresh)
            self._next_fresh = now + FRESH_EVERY if now >= self._next_fresh else self._next_fresh
            due = await self._turn()
        except DockerUnavailable as error:
            logger.warning("docker_unavailable", formerly="docker_away", reason=error.message)
        pause = INTERVAL if self.desired.loaded else SOON
        if due is not None:
            pause = min(pause, max(0.05, due - time.time()))
        try:
            async with asyncio.timeout(pause):
                await self.snapshot.requested.wait()
            await asyncio.sleep(0.03)  # events come in handfuls; one listing serves them all
        except TimeoutError:
            pass

    async def _turn(self) -> float | None:
        if not self.desired.loaded:
            await self._load_desired()
        if self.desired.loaded:
            await self._keep_books()
        busy = self.locks.busy | frozenset(self._working) | self.deployer.retiring
        world = World(
            desired=self.desired.all() if self.desired.loaded else None,
            observed=self.snapshot.containers,
            now=time.time(),
            namespace=self.namespace,
            busy=busy,
            records=self.crashes.all(),
            limits=self.crashes.limits,
            trials=self.watch.trials(),
            renewals=self.renewals.due(self.desired.all(), busy),
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
            await self.crashes.load()
            await self.releases.load()
            await self.desired.load()
            logger.info("desired_loaded", services=len(self.desired.all()))
        except (DirectorError, RedisError) as error:
            logger.warning("desired_unknown", reason=str(error))

    async def _keep_books(self) -> None:
        try:
            await self.crashes.save()
            for name, wanted in self.desired.all().items():
                if name not in self.locks.busy and self.releases.lacks(wanted):
                    async with self.locks.hold(name):
                        await self.releases.adopt(self.desired.get(name) or wanted)
        except (DirectorError, RedisError) as error:
            logger.debug("books_not_kept", reason=str(error))

    async def _act(self, service: str, actions: list[Action], wanted: DesiredService | None) -> None:
        try:
            async with self._slots, self.locks.hold(service):
                if self.desired.get(service) is not wanted:
                    logger.debug("plan_outdated", service=service)  # a request came first: check again
                    return
                for action in actions:
                    told = {"container": action.container[:12], "reason": action.reason}
                    logger.info("action", verb=action.verb, service=service, **told)
                    await self.do(action, self.snapshot.find(action.container))
        except (DirectorError, RedisError) as error:
            self._note_failure(service, error)
            logger.warning("action_failed", service=service, reason=str(error))
        except Exception:  # noqa: BLE001 - one service's trouble must not end the loop for the others
            self.crashes.note(service, ExitRecord(time.time(), "refused"))
            logger.exception("action_failed", service=service)
        finally:
            self._working.pop(service, None)
            self.snapshot.request()

    def _note_failure(self, service: str, error: DirectorError | RedisError) -> None:
        """Record a failed start: a crash if the service itself caused it."""
        if not isinstance(error, DirectorError) or not is_own_failure(error):
            self.crashes.note(service, ExitRecord(time.time(), "refused"))
            return
        code, oom = error.facts.get("exit_code"), bool(error.facts.get("oom_killed"))
        self.crashes.note(service, ExitRecord(time.time(), "crash", code, oom_killed=oom))
        self.crashes.keep_output(service, list(error.facts.get("log") or []))

    async def do(self, action: Action, container: Container | None) -> None:
        """Do one action, or raise DirectorError; `container` is the one it is about, None when there is none."""
        service, wanted = action.service, self.desired.get(action.service)
        match action.verb:
            case "deploy" if wanted is not None:
                await self.operations.bring_back(wanted, "revive")
            case "renew" if wanted is not None:
                await self.renewals.renew(wanted)
            case "forget":
                await self.desired.forget(service)
                await self.releases.forget(service)
                self.crashes.reset(service)
            case "prove":
                await self.releases.put(service, history.proven(self.releases.of(service), time.time()))
                logger.info("release_proven", service=service)
            case "roll_back" if wanted is not None:
                await self._roll_back(service, action.reason)
            case "crash" if wanted is not None:
                await self.incidents.crashed(service, container, wanted, action.reason)
            case "retry" if wanted is not None:
                await self._retry(service, container, wanted)
            case "recover":
                self.incidents.recovered(service, action.reason)
            case _ if container is not None:
                await self._do_to(action, container, wanted)
            case _:
                logger.debug("action_outdated", verb=action.verb, service=service)

    async def _do_to(self, action: Action, container: Container, wanted: DesiredService | None) -> None:
        match action.verb:
            case "start":
                await self._start(container, wanted)
            case "stop":
                await self.engine.stop(container.id, container.stop_timeout)
            case "remove":
                await self.deployer.retire(container)
            case "connect":
                await self.engine.connect(container.id, container.cut_off_from, action.service)
            case "rename":
                await self.engine.rename(container.id, primary_name(self.namespace, action.service))
            case "curb" | "uncurb":
                await self.engine.set_restart_policy(container.id, on=action.verb == "uncurb")
                self.snapshot.invalidate(container.id)
            case "adopt":
                await self._adopt(container)
            case _:
                logger.debug("action_outdated", verb=action.verb, service=action.service)

    async def _start(self, container: Container, wanted: DesiredService | None) -> None:
        try:
            await self.engine.start(container.id)  # its heartbeat shows when it is ready; nothing waits for it here
        except DockerRefused as error:
            if container.kind == "core" or wanted is None:
                raise
            # Its port or network is no longer to be had: a fresh container gets others.
            logger.warning("start_refused", service=container.service, reason=error.message)
            await self.operations.bring_back(wanted, "revive")

    async def _retry(self, service: str, container: Container | None, wanted: DesiredService) -> None:
        if container is not None and container.alive:
            self.incidents.tried(service, container.started_at)
            return
        self.incidents.tried(service, time.time())
        if container is not None and container.config == wanted.spec.hash():
            await self._start(container, wanted)
        else:
            await self.operations.bring_back(wanted, "revive")

    async def _roll_back(self, service: str, reason: str) -> None:
        source = history.current(self.releases.of(service))
        target = await self.rollback.away(service, reason)
        if target is not None:
            await self.incidents.rolled_back(service, source, target, reason)

    async def _adopt(self, container: Container) -> None:
        spec = spec_of(container)
        if spec is not None:
            title, pos = container.labels.get(LABEL_TITLE, ""), container.labels.get(LABEL_POS) or None
            state: State = "running" if container.alive else "stopped"
            await self.desired.put(DesiredService(spec=spec, state=state, title=title, pos=pos, since=time.time()))

    async def _follow_events(self) -> None:
        """Follow the engine's events until the stream ends, then pause."""
        try:
            await self.engine.ping()
            self.snapshot.request()  # a full listing finds what happened while nobody listened
            async for event in self.engine.events():
                self._backoff.reset()
                self._take(event)
        except DockerUnavailable as error:
            logger.warning("docker_events_lost", reason=error.message)
        finally:
            self.snapshot.request()
        await asyncio.sleep(self._backoff.next())

    def _take(self, event: Event) -> None:
        try:
            self.snapshot.invalidate(event.container)
            self._on_event(event)
        except Exception:  # noqa: BLE001 - one bad event spoils itself, not those behind it
            logger.exception("docker_event_failed", action=event.action, container=event.container[:12])

    def _on_event(self, event: Event) -> None:
        service = event.service
        if event.action == "start" and service:
            self.announcer.started(service)
        if event.action == "oom" and service:
            self.watch.out_of_memory(service)
        end = self._ends.read(event, time.time())
        # Only the switch gives a container its service's name: one called `x.old-…` or `x.next` does not serve.
        leftover = event.name.startswith(f"{primary_name(self.namespace, service)}.")
        if end is not None and service and not leftover and event.container not in self.deployer.starting:
            self.crashes.note(service, end)
            self.announcer.ended(service)
            logger.warning(
                "container_ended",
                service=service,
                container=event.container[:12],
                exit_code=end.exit_code,
                oom_killed=end.oom_killed,
                how=end.kind,
            )
        self.snapshot.request()
