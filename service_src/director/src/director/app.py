"""Puts the director together and ties it to band: routes, guard, heartbeats, background work."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec

from band import RedisError, app, cleanup, dome, expose, health, link, logger, rpc, worker
from band.platform import RedisAddress, RedisLink, host_names
from director.api.handlers import (
    READING,
    EventHandlers,
    ProjectHandlers,
    ReleaseHandlers,
    ServiceHandlers,
    SettingsHandlers,
    SystemHandlers,
)
from director.api.metrics import Metrics, RequestCounts
from director.api.routes import bound
from director.api.security import Guard
from director.api.server import error_middleware, routes
from director.api.service_table import ServiceTable
from director.api.throttle import TokenThrottle
from director.dashboard.board import Api
from director.dashboard.pages import OPEN, Dashboard
from director.deploy.containers import PortPool
from director.deploy.docker_rolling import DockerRolling
from director.deploy.ledger import Ledger
from director.deploy.operations import Operations
from director.deploy.readiness import Readiness
from director.deploy.rollback import Rollback
from director.discovery.announcer import Announcer
from director.discovery.probe import Prober
from director.discovery.registrations import Registrations, Secrets
from director.discovery.rpc import Rpc
from director.engine.docker import DockerEngine
from director.engine.host import own_gateways
from director.engine.interface import OwnContainer
from director.engine.log_feed import LogFeed
from director.engine.snapshot import Snapshot
from director.engine.stats import UsageMeter
from director.images.buildkit import Builder, Progress
from director.images.catalog import Catalog
from director.images.planning import Images
from director.images.prune import Pruner, PruneSettings
from director.locks import Locks
from director.redis.health import RedisHealth
from director.redis.scripts import Scripts
from director.redis.users import RedisUsers, UserKeeper
from director.settings import DirectorSettings
from director.startup import surroundings
from director.state.crash_log import CrashLimits, CrashLog
from director.state.desired import Configs, Desired
from director.state.history import Releases
from director.state.projects import Projects
from director.supervise.alerts import Alerts
from director.supervise.incidents import Incidents
from director.supervise.probation import Probation
from director.supervise.published_ports import PublishedPorts
from director.supervise.renewals import Renewals
from director.supervise.status import StatusBoard
from director.supervise.supervisor import Supervisor
from director.webhook import Webhook

HTTP_PREFIX = "/_band"


class Director:
    """All parts of one director, created bottom-up; `install` hands them to band, which starts and stops them."""

    def __init__(self, settings: DirectorSettings, engine: DockerEngine, own: OwnContainer | None) -> None:
        namespace = settings.namespace
        self.settings, self.engine = settings, engine
        self.users = (
            RedisUsers(
                link, settings.redis_dsn.reveal(), settings.service_redis_dsn.reveal(), namespace,
                anonymous=settings.redis_anonymous,
            )
            if settings.redis_users
            else None
        )  # fmt: skip
        self.around = around = surroundings(settings, own, self.users)
        token = settings.token.reveal() if settings.token else None
        self.guard = Guard(
            _hosts(settings, own), token, frozenset({f"{HTTP_PREFIX}/health"}), OPEN, READING,
            gateways=own_gateways if own and not own.host_network else None,
        )  # fmt: skip
        self.requests, self.guesses = RequestCounts(), TokenThrottle()
        self.locks = Locks()
        self.webhook = Webhook(settings.webhook_url.reveal() if settings.webhook_url else None, namespace)

        self.desired = Desired(link, namespace)
        self.releases = Releases(link, namespace, keep=settings.keep_releases)
        self.configs = Configs(link, namespace)
        limits = CrashLimits(count=settings.crashes, window=settings.crash_window, cooldown=settings.crash_cooldown)
        self.crashes = CrashLog(link, namespace, limits)

        self.snapshot = Snapshot(engine, namespace)
        self.usage = UsageMeter(engine, self.snapshot)
        self.catalog = Catalog(
            settings.images,
            settings.builtin_images,
            (settings.service_src,) if settings.service_src else (),
            mounts=own.mounts if own else {},
        )
        self.secrets = Secrets(
            desired=self.desired, releases=self.releases, snapshot=self.snapshot, catalog=self.catalog
        )
        self.feed = LogFeed(engine.output, self.snapshot, self.secrets.declared)
        self.progress = Progress(self.feed)
        self.builder = Builder(timeout=settings.build_timeout)
        self.images = Images(
            engine, self.catalog, self.builder, namespace=namespace, base_image=settings.base_image,
            base_ts_image=settings.base_ts_image, rootfs_image=settings.rootfs_image,
            npm_registry=settings.npm_registry, progress=self.progress,
        )  # fmt: skip
        self.pruner = Pruner(
            engine=engine, desired=self.desired, releases=self.releases, locks=self.locks, namespace=namespace,
            settings=PruneSettings(age=settings.prune_age, disk=settings.prune_disk),
        )  # fmt: skip

        self.redis_health = RedisHealth(link, namespace, self.desired.all)
        self.scripts = Scripts(link, RedisAddress.parse(settings.redis_dsn.reveal()))
        self.registrations = Registrations(self.secrets.values)
        self.prober = Prober(link, hide=self.secrets.values)
        self.probe_link = RedisLink("director-probe", on_message=self.prober.on_message)
        self.announcer = Announcer(link, self.prober, self.registrations, self.snapshot, self.desired)
        self.rpc = Rpc(
            client=rpc, link=link, registrations=self.registrations, secrets=self.secrets, users=around.users
        )

        self.ledger = Ledger(
            desired=self.desired, releases=self.releases, configs=self.configs, crashes=self.crashes,
            registrations=self.registrations, webhook=self.webhook, watch=settings.watch,
        )  # fmt: skip
        self.deployer = DockerRolling(
            engine=engine, snapshot=self.snapshot, ledger=self.ledger, ports=PortPool(*settings.ports), around=around,
            readiness=Readiness(engine, self.snapshot, self.prober, around, self._tell),
        )  # fmt: skip
        self.operations = Operations(
            engine=engine, snapshot=self.snapshot, images=self.images, desired=self.desired, releases=self.releases,
            configs=self.configs, crashes=self.crashes, deployer=self.deployer, ledger=self.ledger,
            registrations=self.registrations, locks=self.locks, around=around,
        )  # fmt: skip
        self.rollback = Rollback(
            engine=engine, images=self.images, desired=self.desired, releases=self.releases, deployer=self.deployer,
            locks=self.locks, around=around,
        )  # fmt: skip

        self.watch = Probation(self.desired, self.releases, self.prober, self.snapshot, link)
        self.ports = PublishedPorts(engine, self.snapshot, self.operations, every=settings.port_check)
        self.supervisor = Supervisor(
            engine=engine, snapshot=self.snapshot, desired=self.desired, releases=self.releases, crashes=self.crashes,
            deployer=self.deployer, operations=self.operations, rollback=self.rollback, watch=self.watch,
            renewals=Renewals(
                self.operations, self.registrations, self.snapshot, link, around.platform, settings.renew_after
            ),
            incidents=Incidents(engine, self.crashes, self.deployer, self.webhook), announcer=self.announcer,
            locks=self.locks, namespace=namespace, self_id=own.id if own else "",
        )  # fmt: skip
        self.board = StatusBoard(
            snapshot=self.snapshot, desired=self.desired, releases=self.releases, crashes=self.crashes,
            registrations=self.registrations, announcer=self.announcer, redis=self.redis_health, scripts=self.scripts,
            ports=self.ports,
        )  # fmt: skip
        self.alerts = Alerts(self.webhook, link, namespace, self.board, quiet_minutes=settings.no_events_minutes)

        self.table = ServiceTable(self.board, self.usage)
        self.api = self._api()
        self.dashboard = Dashboard(
            self.api, progress=self.progress, locks=self.locks, feed=self.feed, store=link, settings=settings,
            guesses=self.guesses,
        )  # fmt: skip
        self.snapshot.subscribe(self.announcer.changed)
        self.snapshot.subscribe(partial(self.feed.note_changes, self.crashes.words))
        logger.info("director_assembled", namespace=namespace, network=around.network, in_container=own is not None)

    def _api(self) -> Api:
        return Api(
            ServiceHandlers(
                engine=self.engine, snapshot=self.snapshot, catalog=self.catalog, secrets=self.secrets,
                operations=self.operations, desired=self.desired, crashes=self.crashes,
                registrations=self.registrations, announcer=self.announcer, prober=self.prober, rpc=self.rpc,
                board=self.board, table=self.table,
            ),
            SettingsHandlers(
                operations=self.operations, configs=self.configs, catalog=self.catalog, secrets=self.secrets,
                board=self.board,
            ),
            ReleaseHandlers(
                engine=self.engine, releases=self.releases, rollback=self.rollback, pruner=self.pruner,
                board=self.board, announcer=self.announcer,
            ),
            ProjectHandlers(projects=Projects(link)),
            EventHandlers(rpc=self.rpc, link=link, board=self.board, registrations=self.registrations),
            SystemHandlers(
                board=self.board, registrations=self.registrations, prober=self.prober, link=link, rpc=self.rpc,
                figures=Metrics(self.table, self.requests, self.images.builds), namespace=self.settings.namespace,
            ),
        )  # fmt: skip

    def install(self) -> None:
        """Give band the routes, the guard, the heartbeat's receiver and the background work."""
        app.middlewares.append(error_middleware(self.guard, self.requests, self.guesses))
        dome.guarded = False  # the director's own guard knows the token too
        dome.routes += [*routes(bound(*msgspec.structs.astuple(self.api)), self.feed), *self.dashboard.routes()]
        expose(name="__iamalive")(self._on_heartbeat)
        health("docker")(self._docker_health)
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
            worker(UserKeeper(self.users, link, self.desired, self.snapshot, self.locks).run)
        cleanup(self._close)

    def _tell(self, name: str, text: str) -> None:
        """Add what a new container says of itself to the feed; it may know secrets of an earlier release."""
        self.feed.note("director", name, self.registrations.scrubbed(name, text))

    def _docker_health(self) -> dict[str, str]:
        found: dict[str, str] = msgspec.to_builtins(self.board.parts().docker)
        return found

    async def _on_heartbeat(self, name: str = "", **_more: Any) -> None:
        if isinstance(name, str) and name and name != "director":
            await self.announcer.heard(name)

    async def _hurry(self) -> None:
        """Trigger the supervisor as soon as Redis is connected, half a second before its own next turn."""
        while not link.connected:
            with contextlib.suppress(RedisError):
                await link.ready(60.0)
        self.snapshot.request()

    async def _listen_for_answers(self) -> None:
        await self.probe_link.subscribe(self.prober.reply_to)
        self.probe_link.start(RedisAddress.parse(self.settings.redis_dsn.reveal()))

    async def _close(self) -> None:
        await self.supervisor.close()
        await self.deployer.close()
        await self.probe_link.close()
        await self.engine.close()


def _hosts(settings: DirectorSettings, own: OwnContainer | None) -> frozenset[str]:
    url = settings.band_url or ""
    host = url.partition("://")[2].partition("/")[0]
    names = ["director", socket.gethostname(), host, *([own.name] if own else [])]
    return host_names(names, settings.allowed_hosts)


def server_settings(settings: DirectorSettings) -> Mapping[str, Any]:
    """Return what band's `start_server` gets."""
    return {
        "name": "director",
        "listen": f"{settings.host}:{settings.port}",
        "redis_dsn": settings.redis_dsn.reveal(),
        "http_prefix": HTTP_PREFIX,
        "log_level": settings.log_level,
        "json_logs": settings.json_logs,
    }
