"""The event port: connections come in here, are looked after, and end here."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from band.background import run_forever
from front.http1.connection import Connection
from front.http1.limits import KERNEL_IN_BYTES, KERNEL_OUT_BYTES, Bounds
from front.http1.request import BAD_HANDSHAKE, OVERLOADED, Reply, Request
from front.intake.websocket import Sockets
from front.websocket.connection import WebSocket
from front.websocket.frames import FrameReader
from front.websocket.handshake import shake_hands

SWEEP_EVERY_S: Final = 5.0
BACKLOG: Final = 1024

Answer = Callable[[Request], Awaitable[Reply]]


class EventServer:
    """Serves listening sockets. Requests go to the answer of their socket, messages of WebSockets to `sockets`."""

    def __init__(self, sockets: Sockets, bounds: Bounds, body_limit: int) -> None:
        self.bounds = bounds
        self.body_limit = body_limit
        self.stopping = False
        self._sockets = sockets
        self._servers: list[asyncio.Server] = []
        self._sweeper: asyncio.Task[None] | None = None

    async def open(self, listening: socket.socket, answer: Answer) -> None:
        """Begin to take connections of a listening socket; `answer` never raises."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(self, answer), sock=listening, backlog=BACKLOG)
        self._servers.append(server)
        if self._sweeper is None:
            self._sweeper = loop.create_task(run_forever("front_sweep", self._sweep, pause_seconds=SWEEP_EVERY_S))

    async def close(self, within: float) -> int:
        """Take no more connections, let requests in progress end; returns how many were cut off after `within` s."""
        self.stopping = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for server in self._servers:
            server.close()
        for guest in self.bounds.guests():
            guest.finish()
        if self.bounds.guests():
            self.bounds.emptied.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.bounds.emptied.wait(), within)
        left = self.bounds.guests()
        for guest in left:
            guest.abort()
        return len(left)

    def upgrade(self, transport: asyncio.Transport, request: Request, rest: bytes) -> str:
        """Serve the connection as a WebSocket from now on; `rest` is what came behind the request.

        Returns the fault that the request is to be refused for, else an empty text.
        """
        if self.stopping:
            return OVERLOADED
        hands = shake_hands(request)
        if hands is None:
            return BAD_HANDSHAKE
        client = self._sockets.client_of(request)
        answer = partial(self._sockets.answer, client=client)
        reader = FrameReader(self.body_limit, unpack=hands.unpack)
        on_error = self._sockets.count_error
        socket_ = WebSocket(self.bounds, transport, client.address, answer, on_error, reader, client.kept_bytes)
        if not self.bounds.websockets.admit(socket_, asyncio.get_running_loop().time()):
            return OVERLOADED
        transport.write(hands.answer)
        transport.set_protocol(socket_)
        if client.uid is None:
            socket_.close_unidentified()
        else:
            socket_.begin(rest)
        return ""

    async def _sweep(self) -> None:
        """Look after all connections. One look at all costs less than a timer for each."""
        now = asyncio.get_running_loop().time()
        for guest in self.bounds.guests():
            guest.look(now)
        self.bounds.log_refusals()


def listening_socket(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A bound socket for `open`. OSError when the port is taken.

    With `shared`, other sockets of this user may be bound to the same port: the kernel spreads connections over them.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_IN_BYTES // 2)  # Linux doubles it
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_OUT_BYTES // 2)
        if shared:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening
