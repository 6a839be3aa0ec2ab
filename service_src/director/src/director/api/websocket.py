"""`/ws`: the live feed as the original sent it, one JSON object a message; `?name=` for one service."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from director.engine.log_feed import WAITING, Line, LogFeed, Reader, make_line
from director.errors import BadParameter, Conflict
from director.state.desired import check_name

MOST_READERS = 64
SEND_TIMEOUT = 10.0
"""Seconds that one message may take: a reader whose connection stands still is let go."""
HEARTBEAT = 20.0


class LogSocket:
    """The WebSocket of the feed."""

    def __init__(self, feed: LogFeed) -> None:
        self._feed = feed

    def routes(self) -> list[web.RouteDef]:
        """Return its one route."""
        return [web.get("/ws", self.handle)]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one reader until it leaves.

        Raises:
            BadParameter: an unknown parameter, or no WebSocket.
            InvalidValue: the name cannot be one of a service.
            Conflict: too many read already.
        """
        name = _name(request)
        socket = web.WebSocketResponse(heartbeat=HEARTBEAT, compress=True, max_msg_size=4096)
        if not socket.can_prepare(request):
            raise BadParameter("this is a WebSocket", "open ws://…/ws; GET /logs/<name>?follow=1 streams plain text")
        if self._feed.readers >= MOST_READERS:
            raise Conflict(f"{MOST_READERS} clients are already connected", "close one of them")
        await socket.prepare(request)
        async with self._feed.reading(name) as reader:
            sender = asyncio.create_task(_send(socket, reader))
            try:
                await _until_left(socket)
            finally:
                sender.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await sender
        return socket


def _name(request: web.Request) -> str | None:
    unknown = sorted(set(request.query) - {"name"})
    if unknown:
        raise BadParameter(f"unknown parameter {unknown[0][:80]!r}", "parameters here: name")
    name = request.query.get("name")
    return check_name(name) if name else None


async def _until_left(socket: web.WebSocketResponse) -> None:
    async for message in socket:
        if message.type is WSMsgType.TEXT and message.data == "close":
            await socket.close()


async def _send(socket: web.WebSocketResponse, reader: Reader) -> None:
    try:
        while True:
            lines = await reader.take()
            if reader.lost:
                reason = f"client too slow: {WAITING} lines buffered; reconnect to continue"
                await _one(socket, make_line("director", "director", reason))
                await socket.close(code=WSCloseCode.TRY_AGAIN_LATER, message=b"too slow")
                return
            for line in lines:
                await _one(socket, line)
    except (ConnectionError, TimeoutError, RuntimeError):
        await socket.close(code=WSCloseCode.GOING_AWAY)


async def _one(socket: web.WebSocketResponse, line: Line) -> None:
    async with asyncio.timeout(SEND_TIMEOUT):
        await socket.send_str(msgspec.json.encode(line).decode())
