"""Puts the page together: what it asks, what it renders, and the routes it answers."""

from __future__ import annotations

import asyncio

from aiohttp import web

from director.api.server import LOGIN
from director.api.throttle import Guesses
from director.api.websocket import LogSocket
from director.dashboard.assets import PREFIX, Assets
from director.dashboard.board import Board
from director.dashboard.inside import Inside
from director.dashboard.live import Live
from director.dashboard.login import Login
from director.dashboard.pages import Pages
from director.dashboard.rendering import Renderer
from director.engine.log_feed import Feed
from director.images.progress import Progress
from director.locks import Locks
from director.settings import DirectorSettings
from director.state.desired import Store

OPEN = (LOGIN, PREFIX)
"""Beginnings of the paths that are open without a token: the way in, and what it looks like."""


class Dashboard:
    """All of the page."""

    def __init__(
        self,
        inside: Inside,
        *,
        progress: Progress,
        locks: Locks,
        feed: Feed,
        store: Store,
        settings: DirectorSettings,
        guesses: Guesses,
    ) -> None:
        self._feed = feed
        self._assets = Assets()
        renderer = Renderer(self._assets, namespace=settings.namespace, guarded=settings.token is not None)
        board = Board(inside, progress, locks, store)
        self._live = Live(board, renderer)
        self._pages = Pages(board, inside, renderer, feed)
        self._login = Login(settings.token, renderer, guesses)

    def routes(self) -> list[web.RouteDef]:
        """Return every route of the page, and that of the live log."""
        live = web.get("/dashboard/live", self._live.handle)
        pages = [*self._pages.routes(), *self._assets.routes(), *self._login.routes()]
        return [*pages, live, *LogSocket(self._feed).routes()]

    async def run(self) -> None:
        """Keep open pages fresh and follow what is read, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._live.run(), name="page")
            group.create_task(self._feed.run(), name="feed")
