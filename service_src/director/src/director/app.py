"""Puts the director together and ties it to band: routes, guard, heartbeats, background work."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Mapping
from typing import Any

from band import app, cleanup, dome, expose, health, link, logger, rpc, worker
from band.errors import RedisError
from band.redis import RedisAddress, RedisLink
from director.api.counts import RequestCounts
from director.api.handlers.events import TraceHandlers
from director.api.handlers.metrics import MetricsHandlers
from director.api.handlers.releases import ReleaseHandlers
from director.api.handlers.services import Handlers
from director.api.handlers.settings import ConfigHandlers
from director.api.handlers.system import HealthHandlers
from director.api.metrics import Metrics
from director.api.places import Places
from director.api.routes import ENDPOINTS, READING
from director.api.security import Guard, allowed_hosts
from director.api.server import error_middleware, routes
from director.api.service_table import Rows
from director.api.throttle import Guesses
from director.dashboard.assembled import OPEN, Dashboard
from director.dashboard.inside import Inside
from director.deploy.deployments import Deployments
from director.deploy.operations import Operations
from director.deploy.ports import PortPool
from director.deploy.replacement import Deployer
from director.deploy.rollback import Rollback
from director.discovery.announcer import FRONT, Announcer
from director.discovery.probe import Prober
from director.discovery.registrations import Registrations
from director.engine.docker import DockerRuntime
from director.engine.interface import Observed, OwnContainer
from director.engine.log_feed import Feed
from director.engine.output import DockerOutput
from director.engine.stats import UsageMeter
from director.images.buildkit import Builder
from director.images.catalog import Catalog
from director.images.images import Images
from director.images.progress import Progress
from director.images.pruner import Pruner, PruneSettings
from director.locks import Locks
from director.redis.health import RedisHealth
from director.redis.scripts import Scripts
from director.redis.users import RedisUsers, UserKeeper
from director.settings import DirectorSettings
from director.startup import surroundings
from director.state.config import Configs
from director.state.crash_log import Crashes, CrashLimits
from director.state.desired import Desired
from director.state.releases import Releases
from director.supervise.actor import Actor
from director.supervise.alerts import Alerts, Sight
from director.supervise.incidents import Incidents
from director.supervise.probation import Watch
from director.supervise.published_ports import PublishedPorts
from director.supervise.renewals import Renewals
from director.supervise.supervisor import Supervisor
from director.webhook import Webhook

HTTP_PREFIX = "/_band"


class Director:
    """All parts of one director; `install` gives them to band, which starts and stops them."""

    def __init__(self, settings: DirectorSettings, runtime: DockerRuntime, own: OwnContainer | None) -> None:
        self.users = (
            RedisUsers(link, settings.redis_dsn, settings.service_redis_dsn, settings.namespace)
            if settings.redis_users
            else None
        )
        around = surroundings(settings, own, self.users)
        self.settings = settings
        self.runtime = runtime
        self.guard = Guard(self._hosts(own), settings.token, frozenset({f"{HTTP_PREFIX}/health"}), OPEN, READING)
        self.catalog = Catalog(
            settings.images,
            settings.builtin_images,
            (settings.service_src,) if settings.service_src else (),
            mounts=own.mounts if own else {},
        )
        self.locks = Locks()
        self.desired = Desired(link, settings.namespace)
        self.releases = Releases(link, settings.namespace, keep=settings.keep_releases)
        self.configs = Configs(link, settings.namespace)
        self.places = Places(self.desired.all)
        self.registrations = Registrations(lambda name: self.rows.secrets(name))
        self.prober = Prober(link)
        self.probe_link = RedisLink("director-probe", on_message=self.prober.on_message)
        self.deployer = Deployer(runtime, PortPool(*settings.ports), self.prober, around)
        limits = CrashLimits(count=settings.crashes, window=settings.crash_window, cooldown=settings.crash_cooldown)
        self.crashes = Crashes(link, settings.namespace, limits)
        self.watch = Watch(self.desired, self.releases, self.prober, lambda: link.connected)
        self.webhook = Webhook(settings.webhook_url, settings.namespace)
        self.incidents = Incidents(runtime, self.crashes, self.deployer, self.webhook)
        self.supervisor = Supervisor(
            runtime=runtime, desired=self.desired, releases=self.releases, crashes=self.crashes,
            deployer=self.deployer, watch=self.watch, locks=self.locks, namespace=settings.namespace,
        )  # fmt: skip
        self.watch.attach(self.supervisor.primary, self.supervisor.poke)
        self.supervisor.self_id = own.id if own else ""
        self.announcer = Announcer(link, self.prober, self.registrations, self.supervisor)
        self.builder = Builder(timeout=settings.build_timeout)
        self.feed = Feed(
            DockerOutput(runtime), lambda: self.supervisor.observed, lambda name: self.handlers.declared(name)
        )
        self.progress = Progress(self.feed)
        self.images = Images(
            runtime, self.catalog, self.builder, namespace=settings.namespace, base_image=settings.base_image,
            progress=self.progress,
        )  # fmt: skip
        self.deployments = Deployments(
            runtime=runtime,
            images=self.images,
            desired=self.desired,
            releases=self.releases,
            deployer=self.deployer,
            incidents=self.incidents,
            refresh=self.supervisor.refresh,
            registrations=self.registrations,
            platform=around.platform,
            watch=settings.watch,
        )
        self.rollback = Rollback(
            runtime=runtime, images=self.images, desired=self.desired, releases=self.releases,
            deployments=self.deployments, locks=self.locks,
        )  # fmt: skip
        self.pruner = Pruner(
            runtime=runtime, desired=self.desired, releases=self.releases, locks=self.locks,
            namespace=settings.namespace, settings=PruneSettings(age=settings.prune_age, disk=settings.prune_disk),
        )  # fmt: skip
        self.operations = Operations(
            runtime=runtime,
            images=self.images,
            desired=self.desired,
            releases=self.releases,
            configs=self.configs,
            deployer=self.deployer,
            deployments=self.deployments,
            incidents=self.incidents,
            supervisor=self.supervisor,
            registrations=self.registrations,
            locks=self.locks,
            surroundings=around,
        )
        self.renewals = Renewals(around.platform, settings.renew_after, self._silent_for, self.operations.renew)
        self.supervisor.renewals = self.renewals.due
        self.actor = Actor(
            runtime=runtime,
            desired=self.desired,
            releases=self.releases,
            deployer=self.deployer,
            rollback=self.rollback,
            incidents=self.incidents,
            redeploy=self.operations.revive,
            renew=self.renewals.renew,
            namespace=settings.namespace,
        )
        self.supervisor.attach(self.actor, self.incidents, self._changed, self.announcer.ended, self.announcer.started)
        self.usage = UsageMeter(runtime, lambda: self.supervisor.observed)
        self.scripts = Scripts(link, RedisAddress.parse(settings.redis_dsn))
        self.redis_health = RedisHealth(link, settings.namespace, self.desired.all)
        self.ports = PublishedPorts(
            runtime, lambda: self.supervisor.observed, self.operations.replace, every=settings.port_check
        )
        self.rows = Rows(
            self.supervisor, self.desired, self.releases, self.registrations, self.usage, self.redis_health,
            self.ports.dead,
        )  # fmt: skip
        self.handlers = Handlers(
            runtime=runtime, catalog=self.catalog, operations=self.operations, supervisor=self.supervisor,
            desired=self.desired, registrations=self.registrations, announcer=self.announcer, prober=self.prober,
            rpc=rpc, link=link, rows=self.rows, places=self.places,
            last_lines=self.incidents.last_lines,
        )  # fmt: skip
        self.release_handlers = ReleaseHandlers(
            runtime=runtime, releases=self.releases, rollback=self.rollback, pruner=self.pruner, rows=self.rows,
            announcer=self.announcer,
        )  # fmt: skip
        self.tracing = TraceHandlers(rpc=rpc, link=link, rows=self.rows, registrations=self.registrations)
        self.config_handlers = ConfigHandlers(
            operations=self.operations, configs=self.configs, catalog=self.catalog, places=self.places,
            rows=self.rows, declared=self.handlers.declared,
        )  # fmt: skip
        self.health_handlers = HealthHandlers(
            supervisor=self.supervisor, desired=self.desired, rows=self.rows, link=link, prober=self.prober,
            registrations=self.registrations, redis=self.redis_health, refusal=lambda: self.announcer.refusal,
            script=lambda: self.scripts.reason,
        )  # fmt: skip
        self.alerts = Alerts(
            self.webhook, link, settings.namespace, self._sight, quiet_minutes=settings.no_events_minutes
        )
        self.requests, self.guesses = RequestCounts(), Guesses()
        self.metrics = Metrics(
            self.rows, self.requests, self.images.builds, self._reached, self.ports.restarts,
            lambda: self.scripts.killed,
        )  # fmt: skip
        self._endpoints = (
            self.handlers,
            self.config_handlers,
            self.health_handlers,
            MetricsHandlers(self.metrics, rpc=rpc, link=link, rows=self.rows),
            self.tracing,
            self.release_handlers,
        )
        self.dashboard = Dashboard(
            Inside(ENDPOINTS, *self._endpoints), progress=self.progress, locks=self.locks, feed=self.feed, store=link,
            settings=settings, guesses=self.guesses,
        )  # fmt: skip
        logger.info(
            "director_assembled", namespace=settings.namespace, network=around.network, in_container=own is not None
        )

    def install(self) -> None:
        """Give band the routes, the guard, the heartbeat's receiver and the background work."""
        app.middlewares.append(error_middleware(lambda: self.guard, self.requests, self.guesses))
        dome.guarded = False  # the director's own guard knows the token too
        dome.routes += [*routes(ENDPOINTS, *self._endpoints), *self.dashboard.routes()]
        expose(name="__iamalive")(self._on_heartbeat)
        health("docker")(lambda: self.health_handlers.parts()["docker"])
        for work in (
            self._listen_for_answers,
            self._hurry,
            self.supervisor.run,
            self.announcer.run,
            self.usage.run,
            self.redis_health.run,
            self.scripts.run,
            self.pruner.run,
            self.ports.run,
            self.watch.run,
            self.webhook.run,
            self.alerts.run,
            self.dashboard.run,
        ):
            worker(work)
        if self.users is not None:
            keeper = UserKeeper(self.users, link, self.desired, self._pictured, lambda: self.locks.busy)
            worker(keeper.run)
        cleanup(self._close)

    def _silent_for(self, service: str) -> float:
        """Return the seconds since a service was heard, or could have been; 0 while Redis is away."""
        seen = self.supervisor.primary(service)
        if seen is None or not link.connected:
            return 0.0
        return self.registrations.silent_for(service, seen.started_at, time.time())

    def _pictured(self) -> list[Observed] | None:
        """Return the newest picture of what runs; None while Docker cannot be asked for one."""
        supervisor = self.supervisor
        return supervisor.observed if supervisor.pictured.is_set() and not supervisor.docker_error else None

    def _changed(self) -> None:
        self.announcer.changed()
        self.feed.pictured(self.supervisor.observed, self.crashes.words)

    def _sight(self) -> Sight:
        return Sight(
            rows=self.rows.unlooked(), parts=self.health_handlers.parts(),
            front=self.registrations.status(FRONT), last_event_at=self.redis_health.last_event_at,
        )  # fmt: skip

    def _reached(self) -> dict[str, float]:
        return {"docker": float(not self.supervisor.docker_error), "redis": float(self.redis_health.status == "ok")}

    async def _on_heartbeat(self, name: str = "", **_more: Any) -> None:
        if isinstance(name, str) and name and name != "director":
            await self.announcer.heard(name)

    async def _hurry(self) -> None:
        """Have the supervisor look as soon as Redis is there: its own next turn comes half a second later."""
        while not link.connected:
            with contextlib.suppress(RedisError):
                await link.ready(60.0)
        self.supervisor.poke()

    async def _listen_for_answers(self) -> None:
        await self.probe_link.subscribe(self.prober.reply_to)
        self.probe_link.start(RedisAddress.parse(self.settings.redis_dsn))

    async def _close(self) -> None:
        await self.supervisor.close()
        await self.incidents.close()
        await self.deployer.close()
        await self.probe_link.close()
        await self.runtime.close()
        self.builder.close()

    def _hosts(self, own: OwnContainer | None) -> frozenset[str]:
        url = self.settings.band_url or ""
        names = [
            "director",
            socket.gethostname(),
            url.partition("://")[2].partition("/")[0],
            *([own.name] if own else []),
        ]
        return allowed_hosts(names, self.settings.allowed_hosts)


def server_settings(settings: DirectorSettings) -> Mapping[str, Any]:
    """Return what band's `start_server` gets."""
    return {
        "name": "director",
        "listen": f"{settings.host}:{settings.port}",
        "redis_dsn": settings.redis_dsn,
        "http_prefix": HTTP_PREFIX,
        "log_level": settings.log_level,
        "json_logs": settings.json_logs,
    }
