"""The HTTP server: accepts connections, enforces their timeouts, closes them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from band.platform import run_forever, wait_until_set
from front.http1.connection import Connection
from front.http1.limits import KERNEL_IN_BYTES, KERNEL_OUT_BYTES, Bounds
from front.http1.request import OVERLOADED, Request, Response

SWEEP_EVERY_SECONDS: Final = 5.0
BACKLOG: Final = 1024

Handler = Callable[[Request], Awaitable[Response]]


class Upgrade(Protocol):
    """Another protocol that a connection can switch to."""

    def wants(self, request: Request) -> bool:
        """Return whether a request with the header `Upgrade` asks for it."""

    def take(self, transport: asyncio.Transport, request: Request, rest: bytes) -> str:
        """Serve the connection from now on; `rest` is the data after the request.

        Returns the fault for which to refuse the request, else an empty string.
        """


class HttpServer:
    """Serves listening sockets: requests go to the handler of their socket, upgraded connections to `other`."""

    def __init__(self, bounds: Bounds, body_limit: int, larger_limit: Callable[[Request], int], other: Upgrade) -> None:
        self.bounds = bounds
        self.body_limit = body_limit
        self.larger_limit = larger_limit
        self.stopping = False
        self.wants_upgrade = other.wants
        self._other = other
        self._servers: list[asyncio.Server] = []
        self._sweeper: asyncio.Task[None] | None = None

    async def open(self, listening: socket.socket, answer: Handler) -> None:
        """Accept connections of a listening socket; `answer` never raises."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(self, answer), sock=listening, backlog=BACKLOG)
        self._servers.append(server)
        if self._sweeper is None:
            self._sweeper = loop.create_task(run_forever("front_sweep", self._sweep, pause_seconds=SWEEP_EVERY_SECONDS))

    async def close(self, within: float) -> int:
        """Accept no more connections, let requests finish; returns how many were cut off after `within` seconds."""
        self.stopping = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for server in self._servers:
            server.close()
        for guest in self.bounds.guests():
            guest.finish()
        if self.bounds.guests():
            self.bounds.emptied.clear()
            await wait_until_set(self.bounds.emptied, within)
        left = self.bounds.guests()
        for guest in left:
            guest.abort()
        return len(left)

    def upgrade(self, transport: asyncio.Transport, request: Request, rest: bytes) -> str:
        """Have the connection served by the other protocol; returns the fault of a request that is refused."""
        return OVERLOADED if self.stopping else self._other.take(transport, request, rest)

    async def _sweep(self) -> None:
        """Check the timeouts of all connections, which costs less than a timer for each."""
        now = asyncio.get_running_loop().time()
        for guest in self.bounds.guests():
            guest.check_timeouts(now)
        self.bounds.log_refusals()


def listening_socket(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Return a bound socket for `open`. OSError if the port is in use.

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
