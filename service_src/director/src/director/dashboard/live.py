"""Keeps open pages fresh: one round a second for all of them, and only what changed is sent."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from aiohttp import WSCloseCode, web

from band import RedisError, logger
from band.platform import run_forever
from director.api.websocket import in_background, open_socket, send_message
from director.dashboard.board import Board
from director.dashboard.rendering import Renderer
from director.errors import DirectorError
from director.state.store import stream_order

ROUND = 1.0
WAITING = 32
"""Updates that may wait for one page; a slower page is disconnected, and reconnects by itself."""
MOST_AT_ONCE = 20
"""Events per update: nobody reads more, and the rate shows how many there are."""

Message = dict[str, Any]


class Live:
    """The WebSocket `/dashboard/live`, and the round behind it. Pages get HTML made by the same templates."""

    def __init__(self, board: Board, renderer: Renderer) -> None:
        self._board = board
        self._renderer = renderer
        self._viewers: set[asyncio.Queue[Message]] = set()
        self._parts: dict[str, str] = {}
        self._order: list[list[Any]] = []
        self._newest = ""
        self._added: tuple[float, int] | None = None
        self._told_rate: float | None = None
        self._wake = asyncio.Event()

    async def run(self) -> None:
        await run_forever("page", self._turn, pause_seconds=ROUND)

    async def _turn(self) -> None:
        if not self._viewers:
            self._wake.clear()
            await self._wake.wait()
        try:
            await self._round()
        except (DirectorError, RedisError) as error:
            logger.debug("page_not_fresh", reason=str(error))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one open page until it leaves; raises as `open_socket` does."""
        socket = await open_socket(request, len(self._viewers), "open the page at /")
        queue: asyncio.Queue[Message] = asyncio.Queue(WAITING)
        # Send the whole state first: the page may be new, or reconnect after an hour.
        if self._viewers:
            queue.put_nowait({"kind": "board", "parts": self._parts, "order": self._order})
        else:
            self._forget()
        self._viewers.add(queue)
        self._newest = ""  # the newest events once more: a page knows those it has by their ids
        self._wake.set()
        async with in_background(self._send(socket, queue)):
            try:
                async for _ in socket:
                    pass
            finally:
                self._viewers.discard(queue)
        return socket

    def _forget(self) -> None:
        self._parts, self._order, self._newest, self._added = {}, [], "", None

    async def _send(self, socket: web.WebSocketResponse, queue: asyncio.Queue[Message]) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError, RuntimeError):
            while queue in self._viewers:
                await send_message(socket, await queue.get())
        await socket.close(code=WSCloseCode.TRY_AGAIN_LATER)

    def _tell(self, message: Message) -> None:
        for queue in list(self._viewers):
            try:
                queue.put_nowait(message)
            except asyncio.QueueFull:
                self._viewers.discard(queue)

    async def _round(self) -> None:
        await self._show_board()
        await self._show_events()

    async def _show_board(self) -> None:
        cards = await self._board.cards()
        facts = await self._board.facts(cards)
        folders = await self._board.folders({one.name for one, _ in cards})
        queues = await self._board.known_queues()
        macro = self._renderer.macro
        parts = {
            "summary": macro("parts.html", "summary")(facts),
            "shelf": macro("parts.html", "shelf")(folders),
            "dead": macro("parts.html", "dead")(queues),
        }
        draw = macro("card.html", "render")
        parts |= {f"card-{one.name}": draw(one, cell) for one, cell in cards}
        order = [[one.name, *cell] for one, cell in cards]
        changed = {key: html for key, html in parts.items() if self._parts.get(key) != html}
        message: Message = {"kind": "board", "parts": changed, "troubled": len(facts.troubled)}
        if order != self._order:
            message["order"] = order
        self._parts, self._order = parts, order
        self._tell(message)

    async def _show_events(self) -> None:
        events = await self._board.events()
        known, self._newest = self._newest, events[0].stream_id if events else self._newest
        fresh = [one for one in events if stream_order(one.stream_id) > stream_order(known)][:MOST_AT_ONCE]
        rate = await self._rate()
        if not fresh and rate == self._told_rate:
            return
        self._told_rate = rate
        draw = self._renderer.macro("parts.html", "event")
        self._tell({"kind": "events", "html": [draw(one) for one in reversed(fresh)], "rate": rate})

    async def _rate(self) -> float | None:
        """Return how many events a second came since the last round; None when that is not known."""
        added = await self._board.events_added()
        now = asyncio.get_running_loop().time()
        before, self._added = self._added, None if added is None else (now, added)
        if before is None or added is None or now <= before[0] or added < before[1]:
            return None
        return round((added - before[1]) / (now - before[0]), 1)
