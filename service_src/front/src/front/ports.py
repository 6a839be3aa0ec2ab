"""The ports of front: the one for events, and perhaps a second one for WebSockets alone."""

from __future__ import annotations

import asyncio
import socket

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from front.config import FrontSettings
from front.counters import Counters
from front.http_log import http_logger
from front.server import BACKLOG, Answer, EventServer, listening_socket
from front.side_door import SideDoor
from front.sockets import Sockets

_LONGEST_LINE = 16_384
_CLOSE_WITHIN_S = 1.5


class Ports:
    """Opens and closes them. WebSockets of both ports are served by one aiohttp server."""

    def __init__(self, settings: FrontSettings, answer: Answer, sockets: Sockets, counters: Counters) -> None:
        self._settings = settings
        self._answer = answer
        self._sockets = sockets
        self._counters = counters
        self._events: EventServer | None = None
        self._runner: web.ServerRunner | None = None
        self.number = 0
        """The number of the event port once it is open."""

    async def open(self, listening: socket.socket | None = None) -> None:
        """Open the ports; the event port may be a socket that listens already. OSError when one is taken."""
        settings = self._settings
        listening = listening or listening_socket(settings.event_host, settings.event_port)
        server = web.Server(
            SideDoor(self._sockets).handle,
            request_factory=_request,
            access_log=None,
            logger=http_logger(self._counters),
            max_line_size=_LONGEST_LINE,
            max_field_size=_LONGEST_LINE,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=_CLOSE_WITHIN_S)
        await self._runner.setup()
        if settings.ws_port:
            shared = settings.workers > 1
            site = web.TCPSite(
                self._runner, settings.event_host, settings.ws_port, backlog=BACKLOG, reuse_port=shared or None
            )
            await site.start()
        self._events = EventServer(self._answer, server, settings.body_limit)
        await self._events.open(listening)
        self.number = int(listening.getsockname()[1])

    async def close(self) -> None:
        """Take no more connections and let requests in progress end."""
        await self._sockets.close()
        if self._events is not None:
            await self._events.close(_CLOSE_WITHIN_S)
        if self._runner is not None:
            await self._runner.cleanup()


def _request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    return web.BaseRequest(message, payload, protocol, writer, task, asyncio.get_running_loop())
