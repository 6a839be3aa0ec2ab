"""A second port that speaks WebSocket only, where clients of the original look for it."""

from __future__ import annotations

from aiohttp import hdrs, web

from front.answers import JSON
from front.door import target_of
from front.errors import BadRequest
from front.heads import head
from front.qs import parse_query
from front.sockets import Sockets
from front.wire_reply import WireReply

_BODY = b'{"message":"Bad Request"}'


class SideDoor:
    """Everything that is not a WebSocket on `/wss` is a 400."""

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        try:
            path, query = target_of(request.raw_path.encode("utf-8", "surrogateescape"))
            if path == "/wss" and request.headers.get(hdrs.UPGRADE, "").lower() == "websocket":
                return await self._sockets.serve(request, parse_query(query))
        except BadRequest:
            pass
        return WireReply(head(400, len(_BODY), JSON, "*", "", 0, keep_alive=False) + _BODY, keep_alive=False)
