"""The event port: connections come in here, are looked after, and end here."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from front.connection import Connection
from front.request import Reply, Request

SWEEP_EVERY_S: Final = 5.0
BACKLOG: Final = 1024

Answer = Callable[[Request], Awaitable[Reply]]


class EventServer:
    """Serves one listening socket. Requests go to `answer`, WebSockets to an aiohttp server."""

    def __init__(self, answer: Answer, sockets: web.Server, body_limit: int) -> None:
        self._connections: set[Connection] = set()
        self._empty = asyncio.Event()
        self.body_limit = body_limit
        self.stopping = False
        self.answer = answer
        """Answers a request; never raises."""
        self._sockets = sockets
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def open(self, listening: socket.socket) -> None:
        """Begin to take connections."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), sock=listening, backlog=BACKLOG)
        self._sweeper = loop.create_task(self._sweep())

    async def close(self, within: float) -> int:
        """Take no more connections, let requests in progress end; returns how many were cut off after `within` s."""
        self.stopping = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.finish()
        if self._connections:
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), within)
        left = list(self._connections)
        for connection in left:
            connection.abort()
        return len(left)

    def welcome(self, connection: Connection) -> None:
        """Look after a connection."""
        self._connections.add(connection)

    def forget(self, connection: Connection) -> None:
        """Look no more after a connection: it is closed, or not HTTP any more."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    def adopt(self, transport: asyncio.Transport, data: bytes) -> None:
        """Hand a connection over to the WebSocket server; it reads the handshake as if it had accepted it."""
        handler = self._sockets()
        transport.set_protocol(handler)
        handler.connection_made(transport)
        handler.data_received(data)

    async def _sweep(self) -> None:
        """End connections that are idle or too slow, for ever. One look at all costs less than a timer for each."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            now = loop.time()
            for connection in list(self._connections):
                if connection.is_late(now):
                    connection.abort()


def listening_socket(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A bound socket for `open`. OSError when the port is taken.

    With `shared`, other sockets of this user may be bound to the same port: the kernel spreads connections over them.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening
