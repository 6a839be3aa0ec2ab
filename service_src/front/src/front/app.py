"""All parts of front put together, and its ports."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

from band.jsonrpc.client import Scatter
from band.service.cross_site import service_policy
from band.telemetry.logs import logger
from front.enrichment.circuit_breaker import Attendance
from front.enrichment.enricher import Enricher
from front.enrichment.visitor_store import KeyWatch
from front.event.client_address import ClientAddresses
from front.event.fingerprint import fingerprint_of
from front.event.ids import Flakes
from front.event.ip_privacy import masker
from front.event.visitor_id import UidCookie
from front.http1.limits import Bounds
from front.http1.server import HttpServer
from front.intake.admin_pages import OperatorPages
from front.intake.admission import Admission
from front.intake.http import Door
from front.intake.websocket import WebSocketHandler
from front.listeners import Listeners
from front.metrics import Counters, Metrics
from front.pipeline.builtin_handlers import BuiltIn
from front.pipeline.pipeline import Pipeline
from front.pipeline.redirects import Redirects
from front.routing.registration_store import Registrations, Remembered
from front.routing.registrations import EMPTY, LEFT_OUT, Push, compile_table
from front.settings import FrontSettings
from front.storage.durable import JournalAcceptor
from front.storage.journal.journal import Journal
from front.storage.recovery import Given
from front.storage.redis_persistence import Keeping
from front.storage.retention import Trimmer
from front.storage.stream import Acceptor, StreamAcceptor
from front.storage.unwritten import Unwritten


class Rpc(Protocol):
    """The part of band's `rpc` that front needs."""

    async def call(self, to: str, method: str, params: dict[str, Any] | None = None, timeout: float = ...) -> Any:
        """Call a service's method and return its result as sent."""

    async def scatter(
        self, channel: str, method: str, params: dict[str, Any], *, expect: Any, timeout: float, raw: bool = False
    ) -> Scatter:
        """Ask several services at once."""


class Link(Protocol):
    """The part of band's `link` that front needs."""

    @property
    def connected(self) -> bool:
        """Whether commands go through now."""

    async def ready(self, timeout: float) -> None:
        """Wait until there is a connection; RedisUnavailable after `timeout` seconds."""

    async def command(self, *parts: Any, timeout: float = ...) -> Any:
        """Send one command and return its reply."""

    def ask(self, *parts: Any, timeout: float = ...) -> asyncio.Future[Any]:
        """Send one command; the future has its reply."""

    def send(self, *parts: Any, on_reply: Any, timeout: float = ...) -> None:
        """Send one command; `on_reply` gets its reply."""

    def send_packed(self, packed: bytes, count: int, on_reply: Any, *, timeout: float = ...) -> None:
        """Send commands that are RESP already; `on_reply` gets each reply."""

    def publish(self, channel: str, payload: bytes) -> bool:
        """Publish a message without waiting."""

    @property
    def keys(self) -> KeyWatch:
        """Who tells of changed keys."""


class Front:
    """One front: registrations in, events in, answers out."""

    def __init__(
        self,
        settings: FrontSettings,
        rpc: Rpc,
        link: Link,
        metrics: Metrics,
        health: Callable[[], Awaitable[dict[str, Any]]],
        show_metrics: Callable[[], Awaitable[bytes]],
        tell: Callable[[Push], None] = lambda _push: None,
    ) -> None:
        self.settings = settings
        self.attendance = Attendance()
        self._rpc = rpc
        self._link = link
        self._tell = tell
        self._registered_at = 0.0
        self._remembered = Remembered(link)
        counters = Counters(metrics)
        flakes = Flakes(settings.worker_id + settings.worker)
        addresses = ClientAddresses(settings.trusted_proxies)
        mask = masker(settings.ip_privacy, settings.ip_hash_key)
        self.keeping = Keeping(link, settings.events_maxlen, settings.workers)
        unwritten: Given | None = Unwritten() if settings.journal_dir else None
        stream = StreamAcceptor(link, self.keeping, settings.accept_timeout_ms / 1000, unwritten)
        self.journal: JournalAcceptor | None = None
        if unwritten is not None:
            journal = Journal(Path(settings.journal_dir), settings.journal_max_mb << 20)
            self.journal = JournalAcceptor(stream, journal, link, self.keeping, unwritten)
            self.keeping.tell(self.journal)
        acceptor: Acceptor = self.journal or stream
        self.enricher = Enricher(
            rpc,
            link,
            self.attendance,
            timeout=settings.enrich_timeout_ms / 1000,
            stored=settings.stored,
            fingerprint=fingerprint_of(settings.fpid, mask),
        )
        self.pipeline = Pipeline(
            rpc,
            self.enricher,
            acceptor,
            mask,
            BuiltIn(Redirects(settings.redirect_hosts, settings.domain, settings.redirect_key)),
            counters,
            settings.handler_timeout_ms / 1000,
        )
        self.bounds = Bounds(settings.limits, addresses.bound_key)
        admission = Admission()
        required = settings.require_consent
        websockets = WebSocketHandler(
            self.pipeline, flakes, addresses, counters, admission, self.bounds, settings.body_limit,
            require_consent=required,
        )  # fmt: skip
        door = Door(
            self.pipeline,
            flakes,
            addresses,
            UidCookie(settings.domain, time.time()),
            OperatorPages(
                settings.http_prefix,
                ClientAddresses(settings.near),
                service_policy("front", hosts=settings.allowed_hosts),
                health,
                show_metrics,
            ),
            counters,
            admission,
            settings.body_limit,
            require_consent=required,
        )
        server = HttpServer(self.bounds, settings.body_limit, websockets)
        self.listeners = Listeners(settings, server, door.answer)

    def register(self, rows: Any, state_hash: Any) -> None:
        """Take the registrations of all services, unless they are the ones that it has.

        An empty hash means that the director does not know them yet: nothing changes. New ones are kept for the next
        start.
        """
        if not self.lacks(state_hash) or not isinstance(rows, list):
            return
        self._registered_at = time.monotonic()
        self._apply(Registrations(rows, state_hash))
        self._remembered.keep(Registrations(rows, state_hash))
        self._tell(Push(rows, state_hash, self._registered_at))

    def lacks(self, state_hash: Any) -> bool:
        """Tell whether a hash names other registrations than those that are known."""
        return bool(state_hash) and state_hash != self.pipeline.table.state_hash

    async def look(self, within: float) -> None:
        """Take the registrations that the director keeps in Redis, if they are others, in at most `within` seconds."""
        kept = await self._remembered.recall(within)
        if kept is not None and self.lacks(kept.state_hash):
            self._registered_at = time.monotonic()
            self._apply(kept)
            self._tell(Push(kept.rows, kept.state_hash, self._registered_at))

    def hear(self, push: Push) -> None:
        """Take the registrations that another worker was told, unless newer ones are known."""
        if push.at > self._registered_at and push.state_hash != self.pipeline.table.state_hash:
            self._registered_at = push.at
            self._apply(Registrations(push.register, push.state_hash))

    async def recall(self, within: float) -> bool:
        """Take the registrations that a front before kept, in at most `within` seconds; False when there are none.

        What the director said in the meantime is newer and stays.
        """
        kept = await self._remembered.recall(within)
        if kept is None or self.knows_registrations:
            return False
        self._apply(kept)
        return True

    @property
    def may_recall(self) -> bool:
        """Whether there is no table yet, and Redis has not been heard about what is kept."""
        return not self.knows_registrations and not self._remembered.told

    @property
    def knows_registrations(self) -> bool:
        """Whether there is a table, from the director or from the front before."""
        return self.pipeline.table is not EMPTY

    async def open(self, listening: socket.socket | None = None) -> None:
        """Open the journal, then the ports. OSError when one is taken."""
        if self.journal is not None:
            await self.journal.open()
        await self.listeners.open(listening)

    async def close(self) -> None:
        """Take no more connections and let requests in progress end."""
        await self.listeners.close()
        if self.journal is not None:
            await self.journal.close()

    def trimmer(self) -> Trimmer:
        """Return what trims the stream; one of all workers runs it."""
        own = self.settings
        return Trimmer(self._link, self.keeping, own.events_keep, own.events_keep_mb << 20, own.events_maxlen)

    async def watch_enrichers(self) -> None:
        """Look for absent enrichers for ever; a background task."""
        await self.attendance.watch(self._rpc)

    def _apply(self, known: Registrations) -> None:
        before, table = self.pipeline.table, compile_table(known.rows, known.state_hash)
        self.pipeline.table = table
        for service, reason in table.unusable.items() - before.unusable.items():
            logger.warning("registration_unusable", service=service, reason=reason, hint=LEFT_OUT)
        if table.plan.told_apart != before.plan.told_apart:
            logger.info("enrichers_told_apart", services=table.plan.told_apart)
        self.attendance.forget()
        self.enricher.cache.clear()
