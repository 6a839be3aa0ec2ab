"""The life of a service: settings → start → run → drain → stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from band import config
from band.background import Loops, process_loops, run_forever
from band.calls.signature import Handler
from band.constants import (
    BROADCAST,
    DEAD_LETTERS,
    DIRECTOR_SERVICE,
    ENRICH,
    GRANTS_VARIABLE,
    NOTIFY_ALIVE,
    REQUEST_METRICS,
    REQUEST_STATUS,
    ROLE_ENRICHER,
    ROLE_LISTENER,
    STATUS_RUNNING,
    STATUS_STARTING,
    STATUS_STOPPING,
)  # fmt: skip
from band.errors import SettingsError
from band.jsonrpc import RpcClient, RpcServer
from band.jsonrpc.dispatcher import Dispatcher
from band.jsonrpc.instances import CHANNEL as PRESENCE_CHANNEL
from band.jsonrpc.instances import Presence
from band.redis import RedisAddress, RedisLink
from band.registry import Expose, Exposed, Health, Registry, Worker, resolve
from band.responses import response
from band.service.config import ServiceConfig
from band.service.connection import Runner
from band.service.crontab import Crontab
from band.service.cross_site import protect, service_policy
from band.service.health import read_health
from band.service.http import BODY_LIMIT, HttpFace
from band.service.jobs import Scheduler
from band.service.openapi import schemas
from band.stream.dead_letter_limit import DeadLetterLimit
from band.stream.dead_letter_methods import DeadLetters, listener_dead_letters
from band.stream.listener import StreamListener
from band.stream.processor import ListenerCall
from band.stream.replay import EventReplay
from band.telemetry.failures import SETUP, WORKER
from band.telemetry.logs import logger
from band.telemetry.metrics import Metrics

VERSION: Final = "0.1.0"
HEARTBEAT: Final = 5.0
FIRST_HEARTBEAT: Final = 1.0
LEAVE_TIME: Final = 0.5
"""Seconds for which a stopping instance still accepts calls if there are other instances."""
SETUP_TIMEOUT: Final = 40.0
"""Seconds that one setup may take; the director waits 60 for a service to respond."""


class Dome:
    """The original's ``dome``: routes for the service's own port.

    ``guarded``: False if the application itself refuses requests from other sites, as the director's does.
    """

    def __init__(self) -> None:
        self.routes: list[web.RouteDef] = []
        self.guarded = True


class Service:
    """One running service. The module-level names of ``band`` are the attributes of the process's own service."""

    def __init__(self, loops: Loops | None = None) -> None:
        self.loops = loops or Loops()
        self.metrics = Metrics()
        """The service's own metrics, shown at ``/metrics`` of its port."""
        self.registry = Registry()
        self.expose = Expose(self.registry)
        self.middleware = Worker(self.registry.middlewares)
        self.lifespan = Worker(self.registry.lifespans)
        self.setup = Worker(self.registry.setups)
        self.worker = Worker(self.registry.workers)
        self.cleanup = Worker(self.registry.cleanups)
        self.health = Health(self.registry)
        self.crontab = Crontab(self.metrics)
        self.metrics.counter(
            "background_loop_failures", self.loops.failures, "Failed steps of each background loop.", label="loop"
        )
        self.link = RedisLink(on_message=lambda channel, data: self.dispatcher.on_message(channel, data))
        self.presence = Presence(self.link)
        self.rpc = RpcClient(self.link, self.presence)
        self.server = RpcServer(self.link, self.registry, self.metrics, self.presence)
        self.dispatcher = Dispatcher(self.rpc, self.server, self.presence)
        self.scheduler = Scheduler()
        self.dome = Dome()
        self.state = STATUS_STARTING
        self.started_at = time.time()
        self.instance = secrets.token_hex(4)
        self.config = ServiceConfig(name="")
        self.port = 0
        self._app: web.Application | None = None
        self._runner: Runner | None = None
        self._feed: ListenerCall | None = None
        self._listener: StreamListener | None = None
        self._letters: DeadLetters | None = None
        self._replay: EventReplay | None = None
        self._replaying: asyncio.Task[None] | None = None
        self._limit: DeadLetterLimit | None = None
        self._tasks: list[asyncio.Task[Any]] = []
        self._lifespan = contextlib.AsyncExitStack()
        self._values: list[object] = []
        self._schemas: dict[str, Any] = {}
        self._stop = asyncio.Event()
        self._setup_limit: asyncio.Timeout | None = None
        self._signal = ""
        self.failed = False
        self._working = False

    @property
    def app(self) -> web.Application:
        """The aiohttp application of the service's port."""
        if self._app is None:
            self._app = web.Application(client_max_size=BODY_LIMIT)
        return self._app

    @property
    def listener(self) -> StreamListener | None:
        """The consumer of the stream while the service runs; None without a listener."""
        return self._listener

    def renew(self) -> None:
        """Become a separate instance, after a fork."""
        self.instance = secrets.token_hex(4)
        self.rpc.renew()

    def status(self) -> dict[str, Any]:
        """Return the response to ``__status`` (wire protocol, section 3), without health.

        ``container`` is the director's name for the container that this process runs in, empty without a director.
        ``dead_letters`` is their current number; it is missing if there is no listener of the durable stream.
        """
        return {
            "name": self.config.name,
            "app_started": int(self.started_at * 1000),
            "app_uptime": int((time.time() - self.started_at) * 1000),
            "app_state": self.state,
            "register": self.registry.rows(),
            "methods": sorted(name for name in self.registry.methods if not name.startswith("__")),
            "schemas": self._schemas,
            "version": VERSION,
            "instance": self.instance,
            "container": config.environ.get("BAND_CONTAINER", ""),
            **({} if self._limit is None else {"dead_letters": self._limit.count}),
        }

    # --- life cycle

    async def run(self, service_config: ServiceConfig) -> None:
        """Start, run until a signal or :meth:`request_stop`, then stop."""
        try:
            await self.start(service_config)
            await self._stop.wait()
        finally:
            await self.stop()

    async def start(self, service_config: ServiceConfig) -> None:
        """Open the HTTP port, connect to Redis and start to work, even while Redis is unavailable."""
        with self.loops.here():
            await self._start(service_config)

    async def _start(self, service_config: ServiceConfig) -> None:
        self.config = service_config
        self.started_at = time.time()
        self.state = STATUS_STARTING
        self._stop.clear()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(number, self.request_stop, number.name)
        self.scheduler.limit = service_config.jobs_limit
        self.link.name = self.rpc.name = service_config.name
        self.presence.name(service_config.name, self.instance)
        self._add_status()
        self._add_feed(service_config)
        self._add_gauges()
        self._add_checks()
        await self._prepare()
        await self._open_port(service_config)
        channels = self._channels(service_config)
        self.server.group = service_config.service_group
        self.server.grants = config.environ.get(GRANTS_VARIABLE, "")
        self.server.listen(service_config.name, channels)
        await self.link.subscribe(*channels, self.presence.channel, PRESENCE_CHANNEL)
        self.link.start(RedisAddress.parse(service_config.redis_dsn))
        self._start_listener(service_config)
        self._tasks.append(loop.create_task(self._beat(), name="heartbeat"))
        self._tasks.append(loop.create_task(self.presence.run(), name="presence"))
        for task in self._tasks:
            task.add_done_callback(self._on_task_end)
        self._working = True
        await self.scheduler.spawn_tasks([self._work(function) for function in self.registry.workers])
        self.state = STATUS_RUNNING
        logger.info(
            "service_started", name=service_config.name, port=self.port, redis=str(self.link.address),
            methods=len(self.registry.methods), ms=int((time.time() - self.started_at) * 1000),
        )  # fmt: skip

    async def _prepare(self) -> None:
        """Run the setups before anybody can call: a replica that is not ready must not get calls."""
        self.metrics.failures.begin()
        await self._begin_lifespans()
        self.registry.prepare(self._values)
        try:
            self._schemas = schemas(self.registry)
        except Exception as error:  # noqa: BLE001 - without schemas, the functions can still be called
            self._schemas = {}
            logger.warning("schemas_failed", reason=repr(error))
        for function in self.registry.setups:
            if self._stop.is_set():
                break
            try:
                async with asyncio.timeout(SETUP_TIMEOUT) as self._setup_limit:
                    await self._call(function)
            except Exception as error:  # noqa: BLE001 - the service may still be useful, and its health reports it
                if self._stop.is_set() and isinstance(error, TimeoutError):
                    break  # cancelled by request_stop
                self.metrics.failures.failed(SETUP, _name_of(function), error)
                logger.exception("setup_failed", function=_name_of(function), reason=repr(error))
            finally:
                self._setup_limit = None

    async def _begin_lifespans(self) -> None:
        """Run each lifespan up to its ``yield``; later ones and all other functions can request the yielded value.

        Raises:
            Exception: from one of them. The service does not start: its functions would lack the value.
        """
        self._values.clear()
        for function in self.registry.lifespans:
            manager = contextlib.asynccontextmanager(self._bind(function))()
            try:
                async with asyncio.timeout(SETUP_TIMEOUT) as limit:
                    value = await self._lifespan.enter_async_context(manager)
            except TimeoutError:
                if not limit.expired():
                    raise
                what = f"the lifespan {_name_of(function)} did not begin within {SETUP_TIMEOUT:g} s"
                raise TimeoutError(what) from None
            if value is not None:
                self._values.append(value)

    async def _end_lifespans(self, seconds: float) -> None:
        lifespan, self._lifespan = self._lifespan, contextlib.AsyncExitStack()
        try:
            async with asyncio.timeout(seconds):
                await lifespan.aclose()
        except Exception as error:  # noqa: BLE001 - a failure must not keep the connections open
            logger.exception("lifespan_failed", reason=repr(error))

    def _bind(self, function: Callable[..., Any]) -> Callable[[], Any]:
        """Return a function bound to the values that it requests by type."""
        handler = Handler(function)
        handler.prepare(self._values)
        return lambda: handler.call({})

    async def _call(self, function: Callable[..., Any]) -> Any:
        return await resolve(self._bind(function)())

    async def _work(self, function: Callable[[], Any]) -> None:
        """Run a worker; one that ends with an exception does not run again, and health reports it."""
        try:
            await self._call(function)
        except Exception as error:
            self.metrics.failures.failed(WORKER, _name_of(function), error)
            raise

    def request_stop(self, why: str = "asked to") -> None:
        """Start to stop; returns at once. A running setup is cancelled."""
        self._signal = why
        self._stop.set()
        limit, self._setup_limit = self._setup_limit, None
        if limit is not None and not limit.expired():
            limit.reschedule(0)

    async def stop(self) -> None:
        """Accept nothing new, let work in progress finish within the stop timeout, then close everything."""
        if self.state == STATUS_STOPPING:
            return
        self.state = STATUS_STOPPING
        begun = time.monotonic()
        budget = self.config.stop_timeout
        await self.presence.leave()
        if self._replaying is not None:  # before the clean-up: it calls the listener
            self._replaying.cancel()
            await asyncio.wait([self._replaying], timeout=budget / 4)
            self._replaying = None
        if not self.presence.alone:  # callers use the other instances; earlier calls still get a response
            await asyncio.sleep(min(LEAVE_TIME, budget / 8))
        self.link.unsubscribe(ENRICH, BROADCAST)
        cut_listener = self._listener is not None and not await self._listener.stop(budget / 2)
        cut_calls = await self.server.drain(max(0.5, budget / 4))
        for function in self.registry.cleanups if self._working else ():
            try:
                async with asyncio.timeout(max(0.2, begun + budget * 0.8 - time.monotonic())):
                    await self._call(function)
            except Exception as error:  # noqa: BLE001 - the other clean-ups must run
                logger.exception("cleanup_failed", function=_name_of(function), reason=repr(error))
        await self.scheduler.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        waiting = self.rpc.cancel_all("the service stops")
        if self._runner is not None:
            await self._runner.cleanup()  # before the lifespans end: requests in progress use what they yielded
            self._runner = self._app = None  # an application runs once; a service can be started again
        await self._end_lifespans(max(0.2, begun + budget - time.monotonic()))
        await self.link.close()
        logger.info(
            "service_stopped", name=self.config.name, reason=self._signal or "ended", calls_cut_off=cut_calls,
            listener_cut_off=cut_listener, own_calls_cut_off=waiting, ms=int((time.monotonic() - begun) * 1000),
        )  # fmt: skip

    # --- parts

    def _add_status(self) -> None:
        if REQUEST_STATUS not in self.registry.methods:
            self.registry.add(Exposed(REQUEST_STATUS, self._answer_status, f"/{REQUEST_STATUS}"))
        if REQUEST_METRICS not in self.registry.methods:
            self.registry.add(Exposed(REQUEST_METRICS, self._answer_metrics, ""))

    def _add_feed(self, service_config: ServiceConfig) -> None:
        """Find the listener of the durable stream, and expose the methods of its dead letters and replay.

        Not over HTTP: a page in a browser could call them on a port of this host.
        """
        listeners = self.registry.with_role(ROLE_LISTENER)
        if not listeners or service_config.listen_all:
            return
        if len(listeners) > 1:
            names = ", ".join(exposed.name for exposed in listeners)
            raise SettingsError(
                f"A service can have one listener, this one has several ({names}); combine them into one function"
            )
        self._feed = ListenerCall(listeners[0], self.metrics, self.registry.middlewares)
        self._limit = DeadLetterLimit(
            service_config.name, DEAD_LETTERS.format(name=service_config.name), self.link, self.metrics,
            entries=service_config.dead_letters_max, size=service_config.dead_letters_max_mb << 20,
        )  # fmt: skip
        earlier = (self._letters, self._replay)
        self._letters = listener_dead_letters(service_config.name, self._feed, self.link, self.scheduler.spawn)
        self._replay = EventReplay(service_config.name, self._feed, self.link, self._limit)
        for name, function in {**self._letters.methods(), **self._replay.methods()}.items():
            known = self.registry.methods.get(name)
            # The service's own methods win; those of an earlier start are replaced.
            if known is None or any(one and getattr(known.func, "__self__", None) is one for one in earlier):
                self.registry.add(Exposed(name, function, ""))

    async def _answer_status(self, **_params: Any) -> Any:
        health = await read_health(self.registry, self.link)
        return response.data({**self.status(), "health": health})

    async def _answer_metrics(self, **_params: Any) -> str:
        return self.metrics.render().decode()

    def _add_gauges(self) -> None:
        if self._feed is not None:
            self.metrics.declare("listener_events", "Events that the listener processed.")
            self.metrics.declare(
                "listener_dead_letters", "Events that the listener could not process, which became dead letters."
            )
            self.metrics.declare("listener_retries", "Deliveries that the listener postponed with Retry.")
        self.metrics.gauge(
            "redis_connected", lambda: float(self.link.connected), "1 while there is a connection to Redis."
        )
        for name, read, text in (
            ("redis_reconnects", lambda: float(self.link.reconnects), "Reconnections to Redis."),
            ("messages_dropped", lambda: float(self.link.dropped), "Messages that could not be sent."),
            ("messages_malformed", lambda: float(self.dispatcher.malformed), "Messages that were not JSON-RPC."),
        ):
            self.metrics.counter(name, read, text)
            self.metrics.gauge(name, read, f"Deprecated, use band_{name}_total; the next release removes it.")
        self.metrics.gauge("calls_in_progress", self.server.in_progress, "Calls in progress, by method.")
        self.metrics.gauge("calls_in_flight", lambda: float(self.server.in_flight), "Calls in progress.")
        self.metrics.gauge("uptime_seconds", lambda: time.time() - self.started_at, "Seconds since the start.")

    def _add_checks(self) -> None:
        """Add the framework's own health checks; one with nothing to report is left out."""
        self.registry.framework_checks |= {
            "redis_writes": self._check_writes,
            "handlers": self.metrics.failures.check,
            "events": lambda: None if self._listener is None else self._listener.check(),
            "dead_letters": lambda: None if self._limit is None else self._limit.check(),
            "background": self.loops.check,
        }

    def _check_writes(self) -> dict[str, Any] | None:
        refused = self.presence.refused
        return {"status": "degraded", "reason": f"Redis refuses writes: {refused}"} if refused else None

    async def _open_port(self, service_config: ServiceConfig) -> None:
        name, prefix = service_config.name, service_config.http_prefix
        face = HttpFace(self.registry, self.link, self.metrics, prefix, name, VERSION)
        face.add_routes(self.app, self.dome.routes)
        if self.dome.guarded:
            hosts, origins = service_config.allowed_hosts, service_config.allowed_origins
            policy = service_policy(service_config.name, hosts=hosts, origins=origins)
            protect(self.app, lambda: policy, face.reads)
        self._runner = Runner(self.app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, service_config.host, service_config.port, backlog=1024)
        try:
            await site.start()
        except OSError as error:
            raise SettingsError(
                f"Port {service_config.port} on {service_config.host} cannot be opened: {error.strerror}; "
                "set another one with PORT"
            ) from None
        self.port = self._runner.addresses[0][1] if self._runner.addresses else service_config.port

    def _channels(self, service_config: ServiceConfig) -> set[str]:
        channels = {service_config.name}
        if service_config.listen_enrich or self.registry.with_role(ROLE_ENRICHER):
            channels.add(ENRICH)
        if service_config.listen_all:
            channels.add(BROADCAST)
        return channels

    def _start_listener(self, service_config: ServiceConfig) -> None:
        if self._feed is None or self.link.address is None:
            return
        self._listener = StreamListener(
            service_config.name, f"{service_config.name}-{socket.gethostname()}", self._feed, self.metrics,
            start=service_config.events_from or self._feed.exposed.start, commands=self.link, limit=self._limit,
        )  # fmt: skip
        loop = asyncio.get_running_loop()
        self._tasks.append(loop.create_task(self._listener.run(self.link.address), name="events"))
        if self._limit is not None:
            self._tasks.append(loop.create_task(self._limit.run(), name="dead letters"))
        if self._replay is not None:
            self._replaying = loop.create_task(self._replay.run(), name="replay")
            self._tasks.append(self._replaying)

    def _on_task_end(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("task_failed", task=task.get_name(), exc_info=error)
            self.failed = True
            self.request_stop(f"{task.get_name()} failed: {error!r}")

    async def _beat(self) -> None:
        await asyncio.sleep(FIRST_HEARTBEAT)
        await run_forever("heartbeat", self._say_alive, pause_seconds=HEARTBEAT)

    async def _say_alive(self) -> None:
        if self.link.connected:
            await self.rpc.notify(DIRECTOR_SERVICE, NOTIFY_ALIVE, name=self.config.name)


def _name_of(function: Any) -> str:
    return str(getattr(function, "__qualname__", type(function).__name__)).rpartition("<locals>.")[2]


service = Service(process_loops)
"""The service of this process."""
os.register_at_fork(after_in_child=service.renew)
