"""The HTTP server of a service's port: aiohttp's, except for what it says of a request that it cannot read."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from aiohttp import web

from band.telemetry.logs import logger

IDLE_SECONDS = 30.0
"""A connection without a request is closed after this time."""


class Connection(web.RequestHandler):
    """Repeats nothing of an unreadable request, neither in the response nor in the log: it may hold a token.

    aiohttp's own answer quotes the line, for example ``Authorization: Bearer …`` with a carriage return too many.
    """

    __slots__ = ()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Return the response; a failure of ours (500) is aiohttp's matter."""
        if status >= 500:
            return super().handle_error(request, status, exc, message)
        logger.debug("http_request_unreadable", reason=type(exc).__name__)
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the response was sent already")
        response = web.json_response({"message": "The request is not valid HTTP/1.1"}, status=status)
        response.force_close()
        return response


class Runner(web.AppRunner):
    """Runs an application with such connections; no access log."""

    def __init__(self, app: web.Application) -> None:
        self._silent: dict[str, Any] = {"access_log": None}  # aiohttp's types know no None
        super().__init__(app, shutdown_timeout=2.0, **self._silent)

    @property
    def server(self) -> Any:
        """The factory of connections, which a site asks for; None before the setup."""
        manager = super().server
        if manager is None:
            return None
        loop = asyncio.get_running_loop()
        return partial(Connection, manager, loop=loop, keepalive_timeout=IDLE_SECONDS, **self._silent)
