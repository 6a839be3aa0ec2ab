"""The composition root: all parts of one front process, put together."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from band import Service
from band.platform import read_health, service_policy
from front.enrichment.circuit_breaker import CircuitBreaker
from front.enrichment.enricher import Enricher
from front.event.client_address import ClientAddresses
from front.event.daily_visitor import DailyVisitors
from front.event.fingerprint import fingerprint_of
from front.event.ids import Snowflakes, now_ms
from front.event.ip_privacy import masker
from front.event.visitor_id import UidCookie
from front.http1.limits import Bounds
from front.http1.server import HttpServer
from front.intake.admin_pages import AdminPages
from front.intake.admission import Admission
from front.intake.context import Intake
from front.intake.door import Door
from front.intake.http import HttpHandler
from front.intake.pages import Pages
from front.intake.websocket import WebSocketHandler
from front.listeners import Listeners
from front.metrics import Counters
from front.pipeline.builtin_handlers import BuiltInHandlers
from front.pipeline.pipeline import Pipeline
from front.pipeline.redirects import Redirects
from front.pipeline.userdata import UserData
from front.process import WorkerProcess
from front.projects.current import CurrentProjects
from front.projects.limits import TELL_EVERY_SECONDS, UNLIMITED_LOOK_EVERY_SECONDS, RateLimits
from front.projects.saved import SavedProjects
from front.projects.table import ProjectTable
from front.routing.current import CurrentRegistrations
from front.routing.registrations import Table
from front.settings import FrontSettings
from front.storage.id_mark import IdMark
from front.storage.journal.journal import Journal
from front.storage.journal_acceptor import JournalAcceptor
from front.storage.page_events import newest_page_event
from front.storage.recovery import Given
from front.storage.redis_persistence import RedisPersistence
from front.storage.retention import Trimmer
from front.storage.stream_acceptor import Acceptor, StreamAcceptor
from front.storage.unpersisted import Unpersisted
from front.workers.cluster import Cluster


class Front:
    """One front process: registrations in, events in, replies out."""

    def __init__(
        self, settings: FrontSettings, process: WorkerProcess, service: Service, visitors: DailyVisitors
    ) -> None:
        self.settings = settings
        self.process = process
        link, rpc = service.link, service.rpc
        self.limits = RateLimits(tells=process.count > 1)
        self.registrations = CurrentRegistrations(link, self._on_registrations, lambda push: self.cluster.push(push))
        self.cluster = Cluster(
            process, lambda: read_health(service.registry, link), service.metrics.render, self.registrations.hear,
            self.limits.hear,
        )  # fmt: skip
        folder, number = Path(settings.journal_dir), settings.worker_id + process.number
        saved = SavedProjects(folder / f"projects-{number}" if settings.journal_dir else None)
        self.projects = CurrentProjects(link, saved, self._on_projects)
        counters = Counters(service.metrics)
        addresses = ClientAddresses(settings.trusted_proxies)
        self.door = Door(addresses, counters, self.limits, require_key=settings.require_key)
        mask = masker(settings.ip_privacy, settings.ip_hash_key.reveal())

        self.redis_persistence = RedisPersistence(link, settings.events_maxlen, settings.workers)
        self.trimmer = Trimmer(
            link, self.redis_persistence, settings.events_keep, settings.events_keep_mb << 20, settings.events_maxlen
        )
        unwritten: Given | None = Unpersisted() if settings.journal_dir else None
        stream = StreamAcceptor(link, self.redis_persistence, settings.accept_timeout_ms / 1000, unwritten)
        self.journal: JournalAcceptor | None = None
        if unwritten is not None:
            journal = Journal(folder, settings.journal_max_mb << 20)
            self.journal = JournalAcceptor(stream, journal, link, self.redis_persistence, unwritten)
            self.redis_persistence.tell(self.journal)
        acceptor: Acceptor = self.journal or stream
        flakes = Snowflakes(number)
        self.id_mark = IdMark(folder, number, flakes) if settings.journal_dir else None

        self.circuit_breaker = CircuitBreaker()
        self.enricher = Enricher(
            rpc, link, self.circuit_breaker, timeout=settings.enrich_timeout_ms / 1000, stored=settings.stored,
            fingerprint=fingerprint_of(settings.fpid, mask),
        )  # fmt: skip
        builtin = BuiltInHandlers(Redirects(settings.redirect_hosts, settings.domain, settings.redirect_key.reveal()))
        timeout = settings.handler_timeout_ms / 1000
        userdata = UserData(link, self.redis_persistence, stored=settings.stored)
        self.pipeline = Pipeline(rpc, self.enricher, acceptor, mask, builtin, userdata, counters, timeout)

        self.bounds = Bounds(settings.limits, addresses.bound_key)
        policy = service_policy("front", hosts=settings.allowed_hosts)
        near = ClientAddresses(settings.near)
        admin_pages = AdminPages(
            settings.http_prefix, near, policy, self.cluster.health, self.cluster.metrics,
            lambda: newest_page_event(link, now_ms()),
        )  # fmt: skip
        intake = Intake(
            self.pipeline, flakes, addresses, counters, Admission(), settings.body_limit, settings.batch_limit,
            self.door, visitors, settings.require_consent, settings.sources,
        )  # fmt: skip
        pages = Pages(settings.public_url, settings.demo, addresses, admin_pages)
        http = HttpHandler(intake, UidCookie(settings.domain, time.time()), admin_pages, pages)
        server = HttpServer(self.bounds, settings.body_limit, http.body_limit_of, WebSocketHandler(intake, self.bounds))
        self.listeners = Listeners(settings, server, http.answer)

    async def open(self) -> None:
        """Open the journal, then the ports. OSError if one is in use."""
        await self.cluster.open()
        if self.journal is not None:
            await self.journal.open()
        if self.id_mark is not None:
            await self.id_mark.open()
        await self.listeners.open(self.process.listening)

    async def close(self) -> None:
        """Take no more connections and let requests in progress end, before Redis goes."""
        await self.listeners.close()
        if self.journal is not None:
            await self.journal.close()
        if self.id_mark is not None:
            await self.id_mark.close()
        await self.cluster.close()

    def _on_projects(self, table: ProjectTable) -> None:
        self.door.use(table)
        self.pipeline.projects = table

    async def share_limits(self) -> None:
        """Tell the other workers what was taken of limits."""
        if taken := self.limits.report():
            self.cluster.tell(taken)
        await asyncio.sleep(TELL_EVERY_SECONDS if self.projects.table.limited else UNLIMITED_LOOK_EVERY_SECONDS)

    def _on_registrations(self, table: Table) -> None:
        self.pipeline.table = table
        self.circuit_breaker.forget()
        self.enricher.use(table.plan)
