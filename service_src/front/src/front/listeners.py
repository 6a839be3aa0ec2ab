"""The ports of front: the one for events, and perhaps a second one for WebSockets alone."""

from __future__ import annotations

import socket
from typing import Final

from front.http1.limits import Bounds
from front.http1.server import Answer, EventServer, listening_socket
from front.intake import websocket_port
from front.intake.websocket import Sockets
from front.settings import FrontSettings

_CLOSE_WITHIN_S: Final = 1.5


class Ports:
    """Opens and closes them."""

    def __init__(self, settings: FrontSettings, answer: Answer, sockets: Sockets, bounds: Bounds) -> None:
        self._settings = settings
        self._answer = answer
        self._server = EventServer(sockets, bounds, settings.body_limit)
        self.number = 0
        """The number of the event port once it is open."""

    async def open(self, listening: socket.socket | None = None) -> None:
        """Open the ports; the event port may be a socket that listens already. OSError when one is taken."""
        settings = self._settings
        listening = listening or listening_socket(settings.event_host, settings.event_port)
        if settings.ws_port:
            extra = listening_socket(settings.event_host, settings.ws_port, shared=settings.workers > 1)
            await self._server.open(extra, websocket_port.refuse)
        await self._server.open(listening, self._answer)
        self.number = int(listening.getsockname()[1])

    async def close(self) -> None:
        """Take no more connections and let requests in progress end."""
        await self._server.close(_CLOSE_WITHIN_S)
