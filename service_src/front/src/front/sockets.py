"""The WebSocket door: the same events and answers over one long connection."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, NamedTuple

from aiohttp import WSCloseCode, WSMsgType, web

from band.logs import logger
from front import answers, message
from front.address import ClientAddresses
from front.answers import Answer
from front.body import decode_json
from front.counters import Counters
from front.errors import BadRequest, NotAccepted
from front.flake import Flakes
from front.hints import handshake_hints
from front.objection import consent_of, mark_objection
from front.pipeline import Pipeline

_BAD = answers.error("Bad Request", 400)
# The text of the original, its missing quote included: clients compare it.
_INCOMPLETE = answers.error('Request must contains "service" and "name', 400)
_HEARTBEAT_S = 30.0
_GOODBYE_S = 1.0
"""How long a client may take to answer a close; a stopping front has little time."""


class Client(NamedTuple):
    """What the handshake told: the uid, the `td` of each event, and whether its sender objects to tracking."""

    uid: str
    td: message.Message
    gpc: bool


class Sockets:
    """Serves WebSocket clients; each one's messages are worked on in their order."""

    def __init__(
        self,
        pipeline: Pipeline,
        flakes: Flakes,
        addresses: ClientAddresses,
        counters: Counters,
        message_limit: int,
        *,
        require_consent: bool = False,
    ) -> None:
        self._pipeline = pipeline
        self._flakes = flakes
        self._addresses = addresses
        self._counters = counters
        self._limit = message_limit
        self._require_consent = require_consent
        self._open: set[web.WebSocketResponse] = set()

    @property
    def count(self) -> int:
        """Number of open connections."""
        return len(self._open)

    async def serve(self, request: web.BaseRequest, query: dict[str, Any]) -> web.StreamResponse:
        """Talk with one client until it goes. Without `uid` in the query the connection is closed at once."""
        socket = web.WebSocketResponse(
            timeout=_GOODBYE_S, compress=True, max_msg_size=self._limit, heartbeat=_HEARTBEAT_S
        )
        try:
            await socket.prepare(request)
        except web.HTTPException as refused:
            raise BadRequest("websocket", f"not a WebSocket handshake: {refused.text or refused.reason}") from None
        uid = query.get("uid")
        if not isinstance(uid, str) or not uid:
            await socket.send_frame(b"", WSMsgType.CLOSE)
            await socket.close()
            return socket
        client = Client(uid, self._td(request), request.headers.get("Sec-GPC") == "1")
        self._open.add(socket)
        try:
            async for frame in socket:
                if frame.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                    break
                await socket.send_frame(await self._answer(frame.data, client), WSMsgType.TEXT)
        except ConnectionError:
            pass
        finally:
            self._open.discard(socket)
        return socket

    async def close(self) -> None:
        """Say goodbye to everybody; they come back to the next process."""
        await asyncio.gather(*(self._part(socket) for socket in list(self._open)))

    async def _part(self, socket: web.WebSocketResponse) -> None:
        with contextlib.suppress(ConnectionError):
            await socket.close(code=WSCloseCode.GOING_AWAY, message=b"restart")

    def _td(self, request: web.BaseRequest) -> message.Message:
        def header(name: str) -> str | None:
            value = request.headers.get(name)
            return None if value is None else message.clean(value)

        return message.visit(
            self._addresses.find(
                request.remote or "",
                header("X-Real-IP"),
                ",".join(request.headers.getall("X-Forwarded-For", [])) or None,
            ),
            header("User-Agent"),
            header("Referer"),
            header("X-Forwarded-Host"),
            handshake_hints(request.headers),
        )

    async def _answer(self, raw: str | bytes, client: Client) -> bytes:
        try:
            received = decode_json(raw)
        except BadRequest as error:
            self._counters.add(f"rejected_{error.code}")
            return answers.ws_form(_BAD)
        if not isinstance(received, dict):
            self._counters.add("rejected_not_an_object")
            return answers.ws_form(_BAD)
        return answers.ws_form(await self._take(received, client), received.get("id__"))

    async def _take(self, received: message.Message, client: Client) -> Answer:
        service, name = received.get("service"), received.get("name")
        if not service or not name:
            self._counters.add("rejected_incomplete")
            return _INCOMPLETE
        try:
            key = message.event_key(service, name)
            event = message.ws_message(key, service, name, received, client.uid, client.td, self._flakes)
            consent = consent_of(received)
            refused = consent is False or (self._require_consent and consent is None)
            mark_objection(event, gpc=client.gpc, refused=refused)
            return await self._pipeline.run(event)
        except BadRequest as error:
            self._counters.add(f"rejected_{error.code}")
            return answers.error(f"Bad Request: {error.reason}", 400)
        except NotAccepted as error:
            self._counters.add("not_accepted")
            return answers.error(f"Service Unavailable: {error.reason}", 503)
        except Exception as error:  # noqa: BLE001 - one message must not end the connection
            self._counters.add("failed")
            logger.exception("message_failed", reason=type(error).__name__)
            return answers.error("Internal Server Error", 500)
