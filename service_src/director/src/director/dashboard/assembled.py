"""Puts the page together: what it asks, what it renders, and the routes it answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from director.api import LOGIN
from director.dashboard.assets import PREFIX, Assets
from director.dashboard.board import Board
from director.dashboard.inside import Inside
from director.dashboard.live import Live
from director.dashboard.login import Login
from director.dashboard.pages import Pages
from director.dashboard.rendering import Renderer
from director.desired import Store
from director.feed import Feed
from director.locks import Locks
from director.progress import Progress

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
        namespace: str,
        token: str | None,
    ) -> None:
        self._assets = Assets()
        renderer = Renderer(self._assets, namespace=namespace, guarded=token is not None)
        board = Board(inside, progress, locks, store)
        self._live = Live(board, renderer)
        self._pages = Pages(board, inside, renderer, feed)
        self._login = Login(token, renderer)

    def routes(self) -> list[web.RouteDef]:
        """Return every route of the page."""
        live = web.get("/dashboard/live", self._live.handle)
        return [*self._pages.routes(), *self._assets.routes(), *self._login.routes(), live]

    @property
    def work(self) -> Callable[[], Awaitable[None]]:
        """What runs in the background as long as the director does."""
        return self._live.run
