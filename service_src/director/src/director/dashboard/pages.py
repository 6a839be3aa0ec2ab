"""The pages and the fragments of dialogs: each collects its data and renders a template."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from aiohttp import web

from band import RedisError
from band.platform import EVENTS_STREAM
from director.api import service_schemas
from director.api.handlers import ENDPOINTS
from director.api.params import LogsParams, Nothing, ServiceParams, TraceParams, checked
from director.api.schemas import ReleaseRow
from director.api.server import LOGIN
from director.api.throttle import TokenThrottle
from director.api.websocket import serve_lines
from director.dashboard import timeline
from director.dashboard.board import EVENTS, Api, Board
from director.dashboard.cards import front_port
from director.dashboard.lists import fields
from director.dashboard.live import Live
from director.dashboard.login import Login
from director.dashboard.rendering import PREFIX, Assets, Renderer, answer
from director.engine.log_feed import LogFeed
from director.errors import DirectorError, NotFound, RedisUnavailable
from director.images.buildkit import Progress
from director.locks import Locks
from director.settings import DirectorSettings
from director.state.store import Store

Page = Callable[[web.Request], Awaitable[web.Response]]
LINES = 60
"""Log lines in a page rendered by the server; JavaScript loads more at once."""
TAIL = 200
PATIENCE = 0.5
"""Seconds that a page waits for dead letters: a service that hangs must not keep people from looking at it."""

WORDS = (
    ("running", "it responds and reports itself healthy"),
    ("starting", "it has not responded yet"),
    (
        "degraded",
        "it reports a problem, or has not responded for 30 s although its health check passes; see its card",
    ),
    (
        "failing",
        "it reports that it cannot work, its health check fails, it is paused, or it was silent for 30 s; see its card",
    ),
    ("crashing", "it exits repeatedly and is restarted with backoff"),
    ("crashed", "crash loop: not restarted until the cooldown (30 min) ends or it is started manually"),
    ("missing", "it should run but has no running container"),
    ("stopped", "it was stopped manually"),
)
DOCS = (
    ("troubleshooting.md", "what messages mean and what to do"),
    ("operate.md", "secrets, upgrades, rollbacks, backups, what restarts what"),
    ("monitoring.md", "Prometheus, alert rules, a dashboard, the webhook"),
    ("director.md", "the API, releases, the watch after a deploy, the crash window, image folders"),
    ("dashboard.md", "this page"),
    ("write-a-service.md", "a service of your own in ten minutes"),
    ("projects.md", "keys, origins and limits of those who send events"),
    ("front.md", "how events are accepted, and what is refused"),
    ("durability.md", "what a 200 guarantees, and what each fault may cost"),
    ("privacy.md", "IP addresses, consent, retention"),
    ("threat-model.md", "who can reach what"),
)
"""The pages of the documentation that an operator needs first; a test checks that they exist."""


class Pages:
    """The overview, a service, a trace, and the contents of the dialogs."""

    def __init__(self, board: Board, api: Api, renderer: Renderer, feed: LogFeed) -> None:
        self._board = board
        self._api = api
        self._renderer = renderer
        self._feed = feed

    def routes(self) -> list[web.RouteDef]:
        """Return the pages' routes; none of them changes anything."""
        table: dict[str, Page] = {
            "/": self.overview,
            "/dashboard/service/{name}": self.service,
            "/dashboard/trace/{id}": self.trace,
            "/dashboard/form/run/{name}": self.run_form,
            "/dashboard/form/rollback/{name}": self.rollback_form,
            "/dashboard/dead": self.dead,
            "/dashboard/projects": self.projects,
            "/dashboard/help": self.help,
        }
        return [web.get(path, self._shown(page), allow_head=False) for path, page in table.items()]

    async def overview(self, request: web.Request) -> web.Response:
        """`/`: everything at a glance."""
        cards = await self._board.cards()
        return self._renderer.page(
            request,
            "overview.html",
            cards=cards,
            columns=max((cell[0] for _, cell in cards), default=1),
            facts=await self._board.facts(cards),
            folders=await self._board.folders({one.name for one, _ in cards}),
            events=await self._board.events(),
            front_port=front_port(cards),
            most_events=EVENTS,
            lines=self._feed.recent()[-LINES:],
            queues=await self._board.known_queues(PATIENCE),
        )

    async def service(self, request: web.Request) -> web.Response:
        """`/dashboard/service/<name>`: all about one service."""
        name = request.match_info["name"]
        shown = await self._api.services.show(checked(ServiceParams, name=name))
        cards = await self._board.cards()
        card = next((one for one, _ in cards if one.name == name), None)
        if card is None:  # removed since it was shown
            raise NotFound(f"there is no service {name!r}", "GET /list lists the services", service=name)
        queue = await self._board.queue(name, PATIENCE)
        return self._renderer.page(
            request,
            "service.html",
            card=card,
            facts=await self._board.facts(cards),
            releases=await self._releases(name),
            env=sorted(shown.spec.get("env", {}).items()),
            health=shown.status.get("health"),
            forms=service_schemas.forms(self._api.system.schemas(name)),
            topics=_topics(name, self._api.system.schemas(name)),
            register=[_registered(item) for item in shown.register or [] if isinstance(item, Mapping)],
            queues=[queue] if queue is not None and queue.total else [],
            tail=await self._tail(name),
        )

    async def trace(self, request: web.Request) -> web.Response:
        """`/dashboard/trace/<id>`: the path of one event."""
        number = request.match_info["id"]
        found = msgspec.to_builtins(await self._api.events.trace(checked(TraceParams, id=number)))
        return self._renderer.page(request, "trace.html", id=number, **timeline.timeline(found))

    async def projects(self, request: web.Request) -> web.Response:
        """`/dashboard/projects`: who may send events, with which keys."""
        return self._renderer.page(request, "projects.html", projects=await self._api.projects.list_projects(Nothing()))

    async def help(self, request: web.Request) -> web.Response:
        """`/dashboard/help`: a glossary, and links to the documentation and the API."""
        api = [(one.path, one.summary, one.reads and "{" not in one.path) for one in ENDPOINTS]
        return self._renderer.page(request, "help.html", words=WORDS, pages=DOCS, api=api)

    async def run_form(self, request: web.Request) -> web.Response:
        """The dialog for running a service, with its options."""
        name = request.match_info["name"]
        given = checked(ServiceParams, name=name)
        folders = {folder.name: folder for folder in await self._api.services.list_images(Nothing())}
        folder = folders.get(name)
        env = (await self._api.settings.get_config(given)).get("env") or {}
        rows = await self._api.services.list_services(Nothing())
        return self._part(
            "run",
            name,
            folder.title if folder else name,
            fields(folder.secrets if folder else [], env),
            stored=bool(env),
            running=any(row.name == name and row.state == "running" for row in rows),
        )

    async def rollback_form(self, request: web.Request) -> web.Response:
        """The dialog of rolling back: which releases there are."""
        name = request.match_info["name"]
        return self._part("rollback", name, await self._releases(name))

    async def dead(self, request: web.Request) -> web.Response:
        """The dead letters as they are now, after some were replayed or deleted; `?name=`: of one service."""
        only = request.query.get("name", "")
        queues = [await self._board.queue(only)] if only else await self._board.queues(fresh=True)
        there = [queue for queue in queues if queue is not None and queue.total]
        return answer(self._renderer.macro("parts.html", "dead")(there, only))

    def _part(self, macro: str, *values: Any, **named: Any) -> web.Response:
        return answer(self._renderer.macro("forms.html", macro)(*values, **named))

    async def _releases(self, name: str) -> list[ReleaseRow]:
        try:
            return (await self._api.releases.releases_(checked(ServiceParams, name=name))).releases
        except (DirectorError, RedisError):
            return []

    async def _tail(self, name: str) -> str:
        try:
            text = await self._api.services.logs(checked(LogsParams, name=name, tail=TAIL))
        except DirectorError as error:
            return error.message
        return str(text.body)

    def _shown(self, page: Page) -> Page:
        """Return a page whose errors are pages too: people read them."""

        @functools.wraps(page)
        async def handle(request: web.Request) -> web.Response:
            try:
                return await page(request)
            except RedisError as away:
                error: DirectorError = RedisUnavailable(str(away), "check Redis: GET /health")
            except DirectorError as failed:
                error = failed
            return self._renderer.page(
                request, "error.html", status=error.status, message=error.message, hint=error.hint
            )

        return handle


def _topics(name: str, schemas: service_schemas.Schemas) -> list[dict[str, Any]]:
    """Return what the listeners of a service read, and what of an event each asks for."""
    return [
        {"method": method, "about": one.description, "stream": EVENTS_STREAM, "group": name, "event": one.event or {}}
        for method, one in schemas.methods.items()
        if one.role == "listener"
    ]


def _registered(item: Mapping[str, Any]) -> dict[str, str]:
    options = item.get("options") or {}
    about = [", ".join(map(str, options["keys"]))] if options.get("keys") else []
    about += [f"as {options['alias']}"] if options.get("alias") else []
    return {"method": str(item.get("method", "")), "role": str(item.get("role", "")), "about": " ".join(about)}


OPEN = (LOGIN, PREFIX)
"""Prefixes of the paths that need no token: the login page and its assets."""


class Dashboard:
    """All of the page."""

    def __init__(
        self,
        api: Api,
        *,
        progress: Progress,
        locks: Locks,
        feed: LogFeed,
        store: Store,
        settings: DirectorSettings,
        guesses: TokenThrottle,
    ) -> None:
        self._feed = feed
        self._assets = Assets()
        renderer = Renderer(self._assets, namespace=settings.namespace, guarded=settings.token is not None)
        board = Board(api, progress, locks, store)
        self._live = Live(board, renderer)
        self._pages = Pages(board, api, renderer, feed)
        self._login = Login(settings.token.reveal() if settings.token else None, renderer, guesses)

    def routes(self) -> list[web.RouteDef]:
        live = web.get("/dashboard/live", self._live.handle)
        pages = [*self._pages.routes(), *self._assets.routes(), *self._login.routes()]
        return [*pages, live, web.get("/ws", functools.partial(serve_lines, self._feed))]

    async def run(self) -> None:
        """Update open pages and follow the logs that are read, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._live.run(), name="page")
            group.create_task(self._feed.run(), name="feed")
