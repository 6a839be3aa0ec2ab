"""Does what `reconcile` decided, one action after another; the supervisor holds the service's lock meanwhile."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from band import logger
from director.deploy.replacement import Deployer
from director.deploy.rollback import Rollback
from director.engine.create import spec_of
from director.engine.interface import LABEL_POS, LABEL_TITLE, Observed, Runtime
from director.errors import DockerRefused
from director.state.desired import Desired, State, Wanted
from director.state.history import proven
from director.state.releases import Releases
from director.supervise.incidents import Incidents
from director.supervise.reconcile import Action, primary_name

Redeploy = Callable[[Wanted], Awaitable[None]]


class Actor:
    """The verbs of the plan. `redeploy` starts a service again and builds a missing image; `renew` replaces it."""

    def __init__(
        self,
        *,
        runtime: Runtime,
        desired: Desired,
        releases: Releases,
        deployer: Deployer,
        rollback: Rollback,
        incidents: Incidents,
        redeploy: Redeploy,
        renew: Redeploy,
        namespace: str,
    ) -> None:
        self._runtime = runtime
        self._desired = desired
        self._releases = releases
        self._deployer = deployer
        self._rollback = rollback
        self._incidents = incidents
        self._redeploy = redeploy
        self._renew = renew
        self._namespace = namespace

    async def do(self, action: Action, container: Observed | None) -> None:
        """Do one action; `container` is the one it is about, None when it is gone or there is none.

        Raises:
            DirectorError: it could not be done.
        """
        service = action.service
        wanted = self._desired.get(service)
        match action.verb:
            case "deploy" if wanted is not None:
                await self._redeploy(wanted)
            case "renew" if wanted is not None:
                await self._renew(wanted)
            case "forget":
                await self._desired.forget(service)
                await self._releases.forget(service)
                self._incidents.begins_anew(service)
            case "prove":
                await self._releases.put(service, proven(self._releases.of(service), time.time()))
                logger.info("release_proven", service=service)
            case "roll_back" if wanted is not None:
                await self._roll_back(service, action.reason)
            case "crash" if wanted is not None:
                await self._incidents.crashed(service, container, wanted, action.reason)
            case "retry" if wanted is not None:
                await self._retry(service, container, wanted)
            case "recover":
                self._incidents.recovered(service, action.reason)
            case _ if container is not None:
                await self._do_to(action, container, wanted)
            case _:
                logger.debug("action_outdated", verb=action.verb, service=service)

    async def _do_to(self, action: Action, container: Observed, wanted: Wanted | None) -> None:
        match action.verb:
            case "start":
                await self._start(container, wanted)
            case "stop":
                await self._runtime.stop(container.id, container.stop_timeout)
            case "remove":
                await self._deployer.retire(container)
            case "rename":
                await self._runtime.rename(container.id, primary_name(self._namespace, action.service))
            case "curb" | "uncurb":
                await self._runtime.keep_running(container.id, on=action.verb == "uncurb")
            case "adopt":
                await self._adopt(container)
            case _:
                logger.debug("action_outdated", verb=action.verb, service=action.service)

    async def _start(self, container: Observed, wanted: Wanted | None) -> None:
        try:
            await self._runtime.start(container.id)  # its heartbeat tells when it is ready; nobody waits for it here
        except DockerRefused as error:
            if container.kind == "core" or wanted is None:
                raise
            # Its port or network is no longer to be had: a fresh container gets others.
            logger.warning("start_refused", service=container.service, reason=error.message)
            await self._redeploy(wanted)

    async def _retry(self, service: str, container: Observed | None, wanted: Wanted) -> None:
        if container is not None and container.alive:
            self._incidents.tried(service, container.started_at)
            return
        self._incidents.tried(service, time.time())
        if container is not None and container.config == wanted.spec.hash():
            await self._start(container, wanted)
        else:
            await self._redeploy(wanted)

    async def _roll_back(self, service: str, reason: str) -> None:
        source = next((item for item in self._releases.of(service) if item.state == "current"), None)
        target = await self._rollback.away(service, reason)
        if target is not None:
            await self._incidents.rolled_back(service, source, target, reason)

    async def _adopt(self, container: Observed) -> None:
        spec = spec_of(container)
        if spec is not None:
            title, pos = container.labels.get(LABEL_TITLE, ""), container.labels.get(LABEL_POS) or None
            state: State = "running" if container.alive else "stopped"
            await self._desired.put(Wanted(spec=spec, state=state, title=title, pos=pos, since=time.time()))
