"""Receives heartbeats, asks for statuses, and sends front the registrations of all services."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import msgspec

from band import RedisError, logger
from band.platform import INSTANCES_CHANNEL as PRESENCE
from band.platform import REGISTRATIONS_KEY, RedisLink, run_forever, wait_until_set
from director.discovery.probe import Prober
from director.discovery.registrations import Registrations, Row, state_hash
from director.engine.snapshot import Snapshot
from director.state.desired import Desired

FRONT = "front"
STATUS_TIMEOUT = 2.0
SWEEP_TIMEOUT = 3.0
START_TIMEOUT = 20.0
LOOK_EVERY = 5.0
UNHEARD_SECONDS = 10.0
"""Seconds after which a service that runs is asked although no heartbeat came: two of them are missing."""


@dataclass(eq=False)
class Announcer:
    """Keeps `Registrations` current.

    Nothing is pushed before the first sweep: an empty table would clear front's routes.
    """

    link: RedisLink
    prober: Prober
    registrations: Registrations
    snapshot: Snapshot
    desired: Desired
    refusal: str = field(default="", init=False)
    """Why front did not take the registrations, while it does not."""
    _swept: bool = field(default=False, init=False)
    _pushed: int | None = field(default=None, init=False)
    _kept: tuple[int, int] | None = field(default=None, init=False)
    _changed: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _asking: set[str] = field(default_factory=set, init=False)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    def rows(self) -> list[Row]:
        """Return the rows of the services that are there."""
        return self.registrations.rows(time.time(), self.snapshot.ended(self.desired.stopped()))

    async def heard(self, service: str) -> None:
        """Take a heartbeat: ask that service for its status, front together with what it should know."""
        if service in self._asking:
            return
        self._asking.add(service)
        try:
            if service == FRONT and self._swept:
                await self._push()
            else:
                await self._ask(service, STATUS_TIMEOUT)
        finally:
            self._asking.discard(service)

    def changed(self) -> None:
        """Check soon whether the registrations for front have changed."""
        self._changed.set()

    def ended(self, service: str) -> None:
        """Handle a container that exited without saying goodbye: its peers look up at once which instances are left."""
        self.registrations.drop(service)
        if service == FRONT:
            self.refusal = ""
        self.link.publish(PRESENCE, service.encode())

    def started(self, service: str) -> None:
        """Handle a container that was started without anybody waiting for it: ask until it responds."""
        if service not in self._asking:
            self._spawn(self._guarded(service, self._await_start(service)))

    async def _await_start(self, service: str) -> None:
        self._asking.add(service)
        try:
            await self._ask(service, START_TIMEOUT, interval=0.25)
        finally:
            self._asking.discard(service)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, service: str, work: Coroutine[Any, Any, None]) -> None:
        """Ask one service; a malformed response does not affect others."""
        try:
            await work
        except Exception as error:  # noqa: BLE001 - the failure of one service must not be silent
            logger.exception("ask_failed", service=service)
            self.registrations.fault(service, f"its response is invalid: {type(error).__name__}", time.time())

    async def run(self) -> None:
        """Ask all services once, then push whenever the rows differ from the last push."""
        await run_forever("announcer", self._turn)

    async def _turn(self) -> None:
        if not self._swept:
            await self._sweep()
        await wait_until_set(self._changed, LOOK_EVERY)
        self._changed.clear()
        if self.link.connected:
            self._ask_unheard()
            await self._keep(rows := self.rows(), state_hash(rows))
        if state_hash(self.rows()) != self._pushed:
            await self.push()

    async def push(self) -> None:
        """Send front the current rows if they have changed; without front, its next heartbeat triggers a push."""
        rows = self.rows()
        if self._swept and self.link.connected and state_hash(rows) != self._pushed:
            await self._push()

    def _ask_unheard(self) -> None:
        """Ask every running service that has been silent for a while, each in the background."""
        now = time.time()
        for item in self.snapshot.primaries().values():
            silent = self.registrations.silent_for(item.service, item.started_at, now)
            if item.state == "running" and silent > UNHEARD_SECONDS and item.service not in self._asking:
                self._spawn(self._guarded(item.service, self.heard(item.service)))

    async def _push(self) -> None:
        rows = self.rows()
        value = state_hash(rows)
        self._pushed = value
        await self._keep(rows, value)
        status = await self.prober.ask(
            FRONT,
            timeout=STATUS_TIMEOUT,
            params={"register": rows, "state_hash": value},
            null_is_answer=True,
            on_error=self._refused,
        )
        if status is None:
            return
        self.refusal = ""
        logger.debug("front_told", rows=len(rows), state_hash=value)
        if status:
            self.registrations.note(FRONT, status, time.time())
        else:  # it has them already, and said nothing of how it is
            self.registrations.touch(FRONT, time.time())
            await self._ask(FRONT, STATUS_TIMEOUT)

    def _refused(self, said: str) -> None:
        reason = self.registrations.scrubbed(FRONT, said)
        if reason != self.refusal:
            logger.error("registrations_refused", service=FRONT, reason=reason)
        self.refusal = reason

    async def _keep(self, rows: list[Row], value: int) -> None:
        """Write the rows where front reads them, again when Redis was unavailable: it may have lost them."""
        if self._kept == (value, self.link.reconnects):
            return
        document = msgspec.json.encode({"register": rows, "state_hash": value})
        try:
            await self.link.command("SET", REGISTRATIONS_KEY, document)
            self._kept = (value, self.link.reconnects)
        except RedisError as error:
            logger.warning("registrations_not_kept", reason=str(error))

    async def _ask(self, service: str, timeout: float, interval: float | None = None) -> None:
        status = await self.prober.ask(service, timeout=timeout, interval=interval)
        if status:
            self.registrations.note(service, status, time.time())
            self.changed()

    async def _sweep(self) -> None:
        """Ask everything that runs, so that the first table that front gets is whole."""
        await self.snapshot.ready.wait()
        while not self.link.connected:
            with contextlib.suppress(RedisError):
                await self.link.ready(60.0)
        running = sorted(
            {item.service for item in self.snapshot.containers if item.state == "running"} - {"redis", "director"}
        )
        asks = {service: self._ask(service, SWEEP_TIMEOUT, interval=0.25) for service in running}
        await asyncio.gather(*(self._guarded(service, ask) for service, ask in asks.items()))
        self._swept = True
        self.changed()
        logger.info("registrations_swept", asked=len(running), rows=len(self.rows()))
