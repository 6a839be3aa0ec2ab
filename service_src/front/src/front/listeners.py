"""The ports of front: the one for events, and perhaps a second one for WebSockets alone."""

from __future__ import annotations

import socket
from typing import Final

from front.http1.request import Request, Response
from front.http1.response_head import head
from front.http1.server import Handler, HttpServer, listening_socket
from front.pipeline.replies import JSON
from front.settings import FrontSettings

_CLOSE_WITHIN_SECONDS: Final = 1.5
_NOT_A_WEBSOCKET: Final = b'{"message":"Bad Request"}'


class Listeners:
    """Opens and closes the ports."""

    def __init__(self, settings: FrontSettings, server: HttpServer, answer: Handler) -> None:
        self._settings = settings
        self._server = server
        self._answer = answer
        self.port = 0
        """The number of the event port once it is open."""

    async def open(self, listening: socket.socket | None = None) -> None:
        """Open the ports; the event port may be a listening socket. OSError if one is in use."""
        settings = self._settings
        listening = listening or listening_socket(settings.event_host, settings.event_port)
        if settings.ws_port:
            extra = listening_socket(settings.event_host, settings.ws_port, shared=settings.workers > 1)
            await self._server.open(extra, _refuse)
        await self._server.open(listening, self._answer)
        self.port = int(listening.getsockname()[1])

    async def close(self) -> None:
        """Take no more connections and let requests in progress end."""
        await self._server.close(_CLOSE_WITHIN_SECONDS)


async def _refuse(_request: Request) -> Response:
    """Respond to requests that are not WebSockets on the port for WebSockets only, which the original's clients use."""
    top = head(400, len(_NOT_A_WEBSOCKET), JSON, "*", "", 0, keep_alive=False)
    return Response(top + _NOT_A_WEBSOCKET, keep_alive=False)
