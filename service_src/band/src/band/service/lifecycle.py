"""The life of a service: settings → start → run → drain → stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from aiohttp import web

from band import config
from band.background import check_loops, run_forever
from band.config import Settings, Truth, first, words
from band.constants import (
    BROADCAST,
    DEAD_LETTERS,
    DIRECTOR_SERVICE,
    ENRICH,
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
from band.jsonrpc.instances import CHANNEL as PRESENCE_CHANNEL
from band.jsonrpc.instances import Presence, instance_channel
from band.redis import RedisAddress, RedisLink, dsn_from_env
from band.registry import Expose, Exposed, Health, Registry, Worker, resolve
from band.responses import response
from band.service.cross_site import hostname, is_origin, protect, service_policy
from band.service.health import read_health
from band.service.http import BODY_LIMIT, HttpFace
from band.service.jobs import JOBS_LIMIT, Scheduler, threads
from band.stream.dead_letter_limit import MAX_ENTRIES, MAX_MB, DeadLetterLimit
from band.stream.dead_letter_methods import DeadLetters
from band.stream.listener import StreamListener
from band.stream.processor import Feed
from band.telemetry.failures import SETUP, WORKER
from band.telemetry.logs import configure_logs, know_secrets, logger
from band.telemetry.metrics import Metrics

VERSION: Final = "0.1.0"
HEARTBEAT: Final = 5.0
FIRST_HEARTBEAT: Final = 1.0
LEAVE_TIME: Final = 0.5
"""Seconds in which an instance that stops still takes calls, when there are others to take the next ones."""
SETUP_TIMEOUT: Final = 40.0
"""Seconds that one setup may take; the director waits 60 for a service to answer."""
STOP_TIMEOUT: Final = 8.0
"""Seconds from SIGTERM to the end; Docker kills after 10."""
CLOSE_SECONDS: Final = 1.0
"""Seconds after the end of all work in which the loop may be closed before the process ends all the same."""
IDLE_SECONDS = 30.0
"""Seconds after which the HTTP port closes a connection without a request: none, half a head, or no other one."""


DEFAULT_HOST: Final = "0.0.0.0"  # noqa: S104 - inside a container; the director publishes on loopback
DEFAULT_PORT: Final = 8080


class ServiceConfig(msgspec.Struct, frozen=True):
    """What the framework itself needs to know, read once at start."""

    name: str
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    redis_dsn: str = ""
    listen_all: bool = False
    listen_enrich: bool = False
    jobs_limit: int = JOBS_LIMIT
    http_prefix: str = ""
    log_level: str = "INFO"
    json_logs: bool = False
    events_from: str = "$"
    stop_timeout: float = STOP_TIMEOUT
    dead_letters_max: int = MAX_ENTRIES
    dead_letters_max_mb: int = MAX_MB
    allowed_hosts: frozenset[str] = frozenset()
    allowed_origins: frozenset[str] = frozenset()

    @classmethod
    def read(cls, settings: Mapping[str, Any], env: Mapping[str, str]) -> ServiceConfig:
        """Return the configuration in ``settings`` (config.yaml) over ``env``.

        Raises:
            SettingsError: all that is wrong, together.
        """
        problems: list[str] = []
        rpc = settings.get("rpc_params") or settings.get("redis_params") or {}
        if not isinstance(rpc, Mapping):
            problems.append(f"rpc_params={rpc!r} is not a mapping; write rpc_params: {{listen_all: yes}}")
            rpc = {}
        host, port = _read_listen(settings.get("listen"), env, problems)

        def truth(value: Any, name: str) -> bool:
            try:
                return Truth.read(value, name)
            except SettingsError as error:
                problems.append(str(error))
                return False

        def of(name: str) -> Any:
            return first(settings.get(name), env.get(name.upper()))

        def number(value: Any, name: str, default: float) -> float:
            try:
                return default if value is None or value == "" else float(value)
            except (TypeError, ValueError):
                problems.append(f"{name}={value!r} is not a number")
                return default

        read = cls(
            name=str(first(settings.get("name"), env.get("NAME"), socket.gethostname())),
            host=host,
            port=port,
            redis_dsn=str(first(settings.get("redis_dsn")) or dsn_from_env(env)),
            listen_all=truth(rpc.get("listen_all"), "rpc_params.listen_all"),
            listen_enrich=truth(rpc.get("listen_enrich"), "rpc_params.listen_enrich"),
            jobs_limit=int(number(settings.get("jobs_limit"), "jobs_limit", JOBS_LIMIT)),
            http_prefix=str(settings.get("http_prefix") or ""),
            log_level=str(first(env.get("LOG_LEVEL"), settings.get("log_level"), "INFO")),
            json_logs=truth(first(env.get("JSON_LOGS"), settings.get("json_logs")), "JSON_LOGS"),
            events_from=str(first(settings.get("events_from"), "$")),
            stop_timeout=number(settings.get("stop_timeout"), "stop_timeout", STOP_TIMEOUT),
            dead_letters_max=int(number(of("dead_letters_max"), "dead_letters_max", MAX_ENTRIES)),
            dead_letters_max_mb=int(number(of("dead_letters_max_mb"), "dead_letters_max_mb", MAX_MB)),
            allowed_hosts=_read_hosts(of("allowed_hosts"), problems),
            allowed_origins=_read_origins(of("allowed_origins"), problems),
        )
        try:
            RedisAddress.parse(read.redis_dsn)
        except SettingsError as error:
            problems.append(str(error))
        wanted = env.get("BAND_SERVICE")
        if wanted and wanted != read.name:
            problems.append(
                f"config.yaml says `name: {read.name}`, but the director runs this folder as {wanted!r}; "
                f"write `name: {wanted}` there, or rename the folder"
            )
        if ":" in read.name or not read.name.strip():
            problems.append(f"name={read.name!r} cannot be a service's name: it must be a text without ':'")
        if problems:
            raise SettingsError("The settings cannot be used: " + "; ".join(problems))
        return read


def _read_listen(listen: Any, env: Mapping[str, str], problems: list[str]) -> tuple[str, int]:
    host, port = env.get("HOST") or DEFAULT_HOST, env.get("PORT") or str(DEFAULT_PORT)
    if isinstance(listen, str) and listen:
        given_host, _, given_port = listen.rpartition(":")
        host, port = given_host or host, given_port or port
    if not port.isdigit() or int(port) > 65535:
        problems.append(f"port {port!r} is not a number from 0 to 65535; check PORT and `listen`")
        return host, DEFAULT_PORT
    return host, int(port)


def _read_words(value: Any, name: str, problems: list[str]) -> list[str]:
    if value is None or isinstance(value, str | list):
        return words(value)
    problems.append(f"{name}={value!r} is neither a text nor a list")
    return []


def _read_hosts(value: Any, problems: list[str]) -> frozenset[str]:
    wanted = _read_words(value, "allowed_hosts", problems)
    problems += [f"allowed_hosts has {name!r}, which is no host name" for name in wanted if not hostname(name)]
    return frozenset(wanted)


def _read_origins(value: Any, problems: list[str]) -> frozenset[str]:
    wanted = [origin.lower().rstrip("/") for origin in _read_words(value, "allowed_origins", problems)]
    problems += [
        f"allowed_origins has {origin!r}; write https://app.example, or * for every site"
        for origin in wanted
        if not is_origin(origin)
    ]
    return frozenset(wanted)


class Dome:
    """What the original's ``dome`` offers: routes to add to the service's own port.

    ``guarded``: False where the application itself refuses requests of other sites, as the director's does.
    """

    def __init__(self) -> None:
        self.routes: list[web.RouteDef] = []
        self.guarded = True


class Service:
    """One running service. The module-level names of ``band`` are the parts of the one that a process has."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.expose = Expose(self.registry)
        self.setup = Worker(self.registry.setups)
        self.worker = Worker(self.registry.workers)
        self.cleanup = Worker(self.registry.cleanups)
        self.health = Health(self.registry)
        self.metrics = Metrics()
        self.link = RedisLink(on_message=self._on_message)
        self.presence = Presence(self.link)
        self.rpc = RpcClient(self.link, self.presence)
        self.server = RpcServer(self.link, self.registry, self.rpc, self.metrics, self.presence)
        self.scheduler = Scheduler()
        self.dome = Dome()
        self.state = STATUS_STARTING
        self.started_at = time.time()
        self.instance = secrets.token_hex(4)
        self.config = ServiceConfig(name="")
        self.port = 0
        self._app: web.Application | None = None
        self._runner: web.AppRunner | None = None
        self._feed: Feed | None = None
        self._listener: StreamListener | None = None
        self._limit: DeadLetterLimit | None = None
        self._tasks: list[asyncio.Task[Any]] = []
        self._stop = asyncio.Event()
        self._signal = ""
        self.failed = False
        self._working = False

    @property
    def app(self) -> web.Application:
        """The aiohttp application of the service's port."""
        if self._app is None:
            self._app = web.Application(client_max_size=BODY_LIMIT)
        return self._app

    def renew(self) -> None:
        """Become an instance of its own: what a process is after a fork."""
        self.instance = secrets.token_hex(4)
        self.rpc.renew()

    def status(self) -> dict[str, Any]:
        """Return the facts that ``__status`` answers (wire protocol, section 3), without health.

        ``container`` is how the director calls the container that this process runs in, empty without a director.
        ``dead_letters`` is how many there are now; it is left out where there is no listener of the durable stream.
        """
        return {
            "name": self.config.name,
            "app_started": int(self.started_at * 1000),
            "app_uptime": int((time.time() - self.started_at) * 1000),
            "app_state": self.state,
            "register": self.registry.rows(),
            "methods": sorted(name for name in self.registry.methods if not name.startswith("__")),
            "version": VERSION,
            "instance": self.instance,
            "container": config.environ.get("BAND_CONTAINER", ""),
            **({} if self._limit is None else {"dead_letters": self._limit.count}),
        }

    # --- life cycle

    async def run(self, service_config: ServiceConfig) -> None:
        """Start, work until a signal or :meth:`request_stop`, stop."""
        try:
            await self.start(service_config)
            await self._stop.wait()
        finally:
            await self.stop()

    async def start(self, service_config: ServiceConfig) -> None:
        """Open the HTTP port, connect to Redis, begin to work. Redis being away does not keep it from starting."""
        self.config = service_config
        self.started_at = time.time()
        self.state = STATUS_STARTING
        self._stop.clear()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(number, self.request_stop, number.name)
        self.scheduler.limit = service_config.jobs_limit
        self._name_parts(service_config)
        self._add_status()
        self._add_feed(service_config)
        self._add_gauges()
        self._add_checks()
        await self._prepare()
        await self._open_port(service_config)
        channels = self._channels(service_config)
        self.server.listen(service_config.name, channels)
        await self.link.subscribe(*channels, self.rpc.reply_channel, PRESENCE_CHANNEL)
        self.link.start(RedisAddress.parse(service_config.redis_dsn))
        self._start_listener(service_config)
        self._tasks.append(loop.create_task(self._beat(), name="heartbeat"))
        self._tasks.append(loop.create_task(self.presence.run(service_config.name, self.instance), name="presence"))
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
        """Run the setups before anybody can call: a replica that is not ready must not be asked."""
        self.metrics.failures.begin()
        for function in self.registry.setups:
            try:
                async with asyncio.timeout(SETUP_TIMEOUT):
                    await resolve(function())
            except Exception as error:  # noqa: BLE001 - the service may still be of use, and its health tells
                self.metrics.failures.failed(SETUP, _name_of(function), error)
                logger.exception("setup_failed", function=_name_of(function), reason=repr(error))

    async def _work(self, function: Callable[[], Any]) -> None:
        """Run a worker; one that ends with an exception does not run again, and health tells."""
        try:
            await resolve(function())
        except Exception as error:
            self.metrics.failures.failed(WORKER, _name_of(function), error)
            raise

    def request_stop(self, why: str = "asked to") -> None:
        """Begin to stop; returns at once."""
        self._signal = why
        self._stop.set()

    async def stop(self) -> None:
        """Take nothing new, let what is in progress end within the stop time, then close everything."""
        if self.state == STATUS_STOPPING:
            return
        self.state = STATUS_STOPPING
        begun = time.monotonic()
        budget = self.config.stop_timeout
        await self.presence.leave()
        if not self.presence.alone:  # callers turn to the other instances; what they sent before is still answered
            await asyncio.sleep(min(LEAVE_TIME, budget / 8))
        self.link.unsubscribe(ENRICH, BROADCAST)
        cut_listener = self._listener is not None and not await self._listener.stop(budget / 2)
        cut_calls = await self.server.drain(max(0.5, budget / 4))
        for function in self.registry.cleanups if self._working else ():
            try:
                async with asyncio.timeout(max(0.2, begun + budget * 0.8 - time.monotonic())):
                    await resolve(function())
            except Exception as error:  # noqa: BLE001 - one broken clean-up must not keep the others from running
                logger.exception("cleanup_failed", function=_name_of(function), reason=repr(error))
        await self.scheduler.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        waiting = self.rpc.cancel_all("the service stops")
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = self._app = None  # an application runs once; a service can be started again
        await self.link.close()
        logger.info(
            "service_stopped", name=self.config.name, reason=self._signal or "ended", calls_cut_off=cut_calls,
            listener_cut_off=cut_listener, own_calls_cut_off=waiting, ms=int((time.monotonic() - begun) * 1000),
        )  # fmt: skip

    # --- parts

    def _on_message(self, channel: str, data: bytes) -> None:
        if channel == PRESENCE_CHANNEL:
            self.presence.on_change(data)
        else:
            self.server.on_message(channel, data)

    def _name_parts(self, service_config: ServiceConfig) -> None:
        self.link.name = service_config.name
        self.rpc.name = service_config.name
        self.rpc.reply_channel = instance_channel(service_config.name, self.instance)

    def _add_status(self) -> None:
        if REQUEST_STATUS not in self.registry.methods:
            self.registry.add(Exposed(REQUEST_STATUS, self._answer_status, f"/{REQUEST_STATUS}"))
        if REQUEST_METRICS not in self.registry.methods:
            self.registry.add(Exposed(REQUEST_METRICS, self._answer_metrics, ""))

    def _add_feed(self, service_config: ServiceConfig) -> None:
        """Find the listener of the durable stream, and offer what can be done about its dead letters.

        Not over HTTP: a page in somebody's browser can ask for what a port on this host serves.
        """
        listeners = self.registry.with_role(ROLE_LISTENER)
        if not listeners or service_config.listen_all:
            return
        if len(listeners) > 1:
            names = ", ".join(exposed.name for exposed in listeners)
            raise SettingsError(f"A service is one listener, this one has several ({names}); make one function of them")
        self._feed = Feed(listeners[0])
        self._limit = DeadLetterLimit(
            service_config.name, DEAD_LETTERS.format(name=service_config.name), self.link, self.metrics,
            entries=service_config.dead_letters_max, size=service_config.dead_letters_max_mb << 20,
        )  # fmt: skip
        letters = DeadLetters(service_config.name, self._feed, self.link, self.scheduler.spawn)
        for name, function in letters.methods().items():
            known = self.registry.methods.get(name)
            earlier = known is not None and isinstance(getattr(known.func, "__self__", None), DeadLetters)
            if known is None or earlier:  # the service's own wins; that of an earlier start is replaced
                self.registry.add(Exposed(name, function, ""))

    async def _answer_status(self, **_params: Any) -> Any:
        health = await read_health(self.registry, self.link)
        return response.data({**self.status(), "health": health})

    async def _answer_metrics(self, **_params: Any) -> str:
        return self.metrics.render().decode()

    def _add_gauges(self) -> None:
        if self._feed is not None:
            self.metrics.declare("listener_events", "Events that the listener took.")
            self.metrics.declare("listener_dead_letters", "Events that the listener could not take, put aside.")
        self.metrics.gauge(
            "redis_connected", lambda: float(self.link.connected), "1 while there is a connection to Redis."
        )
        self.metrics.gauge("redis_reconnects", lambda: float(self.link.reconnects), "Connections made after the first.")
        self.metrics.gauge("messages_dropped", lambda: float(self.link.dropped), "Messages that could not leave.")
        self.metrics.gauge(
            "messages_malformed", lambda: float(self.server.malformed), "Messages that were no JSON-RPC."
        )
        self.metrics.gauge("calls_in_progress", self.server.in_progress, "Calls in progress, by method.")
        self.metrics.gauge("calls_in_flight", lambda: float(self.server.in_flight), "Calls in progress.")
        self.metrics.gauge("uptime_seconds", lambda: time.time() - self.started_at, "Seconds since the start.")

    def _add_checks(self) -> None:
        """Have health tell what the framework itself knows; a check with nothing to tell is left out."""
        self.registry.framework_checks |= {
            "redis_writes": self._check_writes,
            "handlers": self.metrics.failures.check,
            "events": lambda: None if self._listener is None else self._listener.check(),
            "dead_letters": lambda: None if self._limit is None else self._limit.check(),
            "background": check_loops,
        }

    def _check_writes(self) -> dict[str, Any] | None:
        refused = self.presence.refused
        return {"status": "degraded", "reason": f"Redis refuses writes: {refused}"} if refused else None

    async def _open_port(self, service_config: ServiceConfig) -> None:
        face = HttpFace(self.registry, self.link, self.metrics, service_config.http_prefix)
        face.add_routes(self.app, self.dome.routes)
        if self.dome.guarded:
            hosts, origins = service_config.allowed_hosts, service_config.allowed_origins
            policy = service_policy(service_config.name, hosts=hosts, origins=origins)
            protect(self.app, lambda: policy, face.reads)
        self._runner = web.AppRunner(self.app, access_log=None, shutdown_timeout=2.0, keepalive_timeout=IDLE_SECONDS)
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
            service_config.name, f"{service_config.name}-{socket.gethostname()}", self._feed.exposed, self.metrics,
            start=service_config.events_from, commands=self.link, feed=self._feed, limit=self._limit,
        )  # fmt: skip
        loop = asyncio.get_running_loop()
        self._tasks.append(loop.create_task(self._listener.run(self.link.address), name="events"))
        if self._limit is not None:
            self._tasks.append(loop.create_task(self._limit.run(), name="dead letters"))

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
    return str(getattr(function, "__qualname__", type(function).__name__))


_loop: asyncio.AbstractEventLoop | None = None


def get_loop() -> asyncio.AbstractEventLoop:
    """Return the loop that the service runs on, made at first use (uvloop where there is one)."""
    global _loop
    if _loop is None or _loop.is_closed():
        try:
            import uvloop

            _loop = uvloop.new_event_loop()
        except ImportError:
            _loop = asyncio.new_event_loop()
        asyncio.set_event_loop(_loop)
    return _loop


service = Service()
"""The service of this process."""
os.register_at_fork(after_in_child=service.renew)


def status() -> dict[str, Any]:
    """Return the plain facts of ``__status`` of this process's service."""
    return service.status()


def start_server(**settings: Any) -> None:
    """Run the service of this process until SIGTERM or SIGINT; the last line of its ``__main__.py``.

    Args:
        settings: what ``config.yaml`` says: ``start_server(**settings)``.

    Raises:
        SystemExit: with status 1 when the settings cannot be used, or when a part of the service broke; the reason is
            printed.
    """
    loop = get_loop()
    try:
        know_secrets(config.environ)
        service_config = ServiceConfig.read(settings, config.environ)
        configure_logs(service_config.log_level, as_json=service_config.json_logs)
        loop.run_until_complete(service.run(service_config))
    except SettingsError as error:
        raise SystemExit(f"{settings.get('name') or Path.cwd().name}: {error}") from None
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        _close(loop)
        _leave_threads()
    if service.failed:
        raise SystemExit(1)


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """Close the loop. uvloop waits there for a look-up of a name, which takes 10 s where DNS does not answer."""
    late = threading.Timer(CLOSE_SECONDS, _exit_now)
    late.daemon = True
    late.start()
    loop.close()
    late.cancel()


def _leave_threads() -> None:
    """Let the process end although a ``blocking`` function still runs: its thread cannot be told to stop."""
    threads.shutdown(wait=False, cancel_futures=True)
    if threads.busy:
        logger.warning("threads_cut_off", count=threads.busy)
        _exit_now()


def _exit_now() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1 if service.failed else 0)


def read_own_settings() -> Settings:
    """Return the settings of the working directory.

    Raises:
        SystemExit: a file cannot be read as settings; the reason is printed.
    """
    try:
        folder = Path(os.getcwd())  # noqa: PTH109 - as the original: at call time
        return config.with_defaults(config.read_settings(folder, config.environ), config.environ)
    except SettingsError as error:
        raise SystemExit(str(error)) from None
