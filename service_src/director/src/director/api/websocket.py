"""`/ws`: the live feed as the original sent it, one JSON object a message; `?name=` for one service."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from director.api.security import session_cookie
from director.engine.log_feed import WAITING, LogFeed, Reader, make_line
from director.errors import BadParameter, Conflict
from director.state.desired import check_name

MOST_CLIENTS = 64
SEND_TIMEOUT = 10.0
"""Seconds that sending a message may take; then a stalled client is disconnected."""
HEARTBEAT = 20.0
_opened: weakref.WeakKeyDictionary[web.WebSocketResponse, tuple[str, asyncio.Transport]] = weakref.WeakKeyDictionary()
"""The sockets that browsers opened, with the session and the connection of each."""


async def open_socket(request: web.Request, connected: int, hint: str) -> web.WebSocketResponse:
    """Return the WebSocket of a request; `connected` are the clients of its kind that there are.

    Raises:
        BadParameter: the request is for no WebSocket; `hint` says what to do instead.
        Conflict: too many are connected.
    """
    socket = web.WebSocketResponse(heartbeat=HEARTBEAT, compress=True, max_msg_size=4096)
    if not socket.can_prepare(request):
        raise BadParameter("this path is a WebSocket", hint)
    if connected >= MOST_CLIENTS:
        raise Conflict(f"{MOST_CLIENTS} clients are already connected", "close one of the connections")
    await socket.prepare(request)
    if (session := session_cookie(request.headers)) and request.transport is not None:
        _opened[socket] = session, request.transport
    return socket


def close_sockets(session: str) -> None:
    """Close the connections of a session that has ended, without waiting for the other side."""
    for opened, transport in list(_opened.values()):
        if opened == session:
            transport.close()


@contextlib.asynccontextmanager
async def in_background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do `work` beside the block, and no longer."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def send_message(socket: web.WebSocketResponse, message: Any) -> None:
    """Send a value as JSON; raises TimeoutError when the client does not take it."""
    async with asyncio.timeout(SEND_TIMEOUT):
        await socket.send_str(msgspec.json.encode(message).decode())


async def serve_lines(feed: LogFeed, request: web.Request) -> web.StreamResponse:
    """Serve a reader of the feed until it leaves; raises as `open_socket`, and for an unknown parameter or name."""
    name = _name(request)
    socket = await open_socket(request, feed.readers, "open ws://…/ws; GET /logs/<name>?follow=1 streams plain text")
    async with feed.reading(name) as reader, in_background(_send(socket, reader)):
        async for message in socket:
            if message.type is WSMsgType.TEXT and message.data == "close":
                await socket.close()
    return socket


def _name(request: web.Request) -> str | None:
    unknown = sorted(set(request.query) - {"name"})
    if unknown:
        raise BadParameter(f"unknown parameter {unknown[0][:80]!r}", "known parameters: name")
    name = request.query.get("name")
    return check_name(name) if name else None


async def _send(socket: web.WebSocketResponse, reader: Reader) -> None:
    try:
        while True:
            lines = await reader.take()
            if reader.lost:
                reason = f"client too slow: {WAITING} lines buffered; reconnect to continue"
                await send_message(socket, make_line("director", "director", reason))
                await socket.close(code=WSCloseCode.TRY_AGAIN_LATER, message=b"too slow")
                return
            for line in lines:
                await send_message(socket, line)
    except (ConnectionError, TimeoutError, RuntimeError):
        await socket.close(code=WSCloseCode.GOING_AWAY)
