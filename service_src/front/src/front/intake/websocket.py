"""Events over a WebSocket: the same events and replies over one long connection."""

from __future__ import annotations

import asyncio
from functools import partial
from sys import getsizeof
from typing import Any, Final, NamedTuple

from band import logger
from front.errors import BadRequest, NotAccepted
from front.event import message
from front.event.coercion import to_number
from front.event.consent import consent_of, mark_objection
from front.http1.limits import Bounds
from front.http1.request import BAD_HANDSHAKE, NOT_ADMITTED, OVERLOADED, Headers, Request
from front.intake.admission import SMALL_BYTES
from front.intake.body import decode_json
from front.intake.context import Intake, target_of, td_of
from front.intake.keys import key_in_head
from front.intake.qs import parse_query
from front.intake.server_fields import apply_client_fields
from front.intake.visit import Visit
from front.pipeline import replies
from front.pipeline.replies import Reply
from front.storage.stream_acceptor import Event
from front.websocket.connection import WebSocket
from front.websocket.frames import FrameReader
from front.websocket.handshake import shake_hands, wants_websocket

_BAD = replies.error("Bad Request", 400)
# The text of the original, its missing quote included: clients compare it.
_INCOMPLETE = replies.error('Request must contains "service" and "name', 400)
_TITLES: Final = {403: "Forbidden", 413: "Payload Too Large", 429: "Too Many Requests"}
_PAGE: Final[tuple[bytes, ...]] = (b"origin", b"sec-fetch-site")
_KEPT_BYTES: Final = 4096
"""Approximate bytes of one open WebSocket, besides the strings of its handshake."""


class Client(NamedTuple):
    """The data of the handshake: uid (None if the URL has none), `td` of each event, objection, consent."""

    uid: Any
    td: message.Message
    gpc: bool
    consent: bool | None
    """The URL's consent: a refusal applies to all messages, a consent to those without their own."""
    address: str
    """The key under which the connection is counted; empty for a proxy that does not name its client."""
    kept_bytes: int
    key: str
    """The write key; empty for none."""
    page: Headers
    """The headers that browsers send for a page."""


class WebSocketHandler:
    """Accepts WebSocket handshakes, and processes the messages."""

    wants = staticmethod(wants_websocket)

    def __init__(self, intake: Intake, bounds: Bounds) -> None:
        self._intake = intake
        self._bounds = bounds

    def take(self, transport: asyncio.Transport, request: Request, rest: bytes) -> str:
        """Make a WebSocket of the connection of a request; `rest` came behind it. Returns why it is refused, or ""."""
        hands = shake_hands(request)
        if hands is None:
            return BAD_HANDSHAKE
        client = self._client_of(request)
        if client.key and self._intake.door.guarded:
            try:
                self._intake.door.enter(client.page, client.key)
            except BadRequest:
                return NOT_ADMITTED
        socket = WebSocket(
            self._bounds, transport, client.address, partial(self._reply, client=client), self._count_error,
            FrameReader(self._intake.body_limit, unpack=hands.unpack), client.kept_bytes,
        )  # fmt: skip
        if not self._bounds.websockets.admit(socket, asyncio.get_running_loop().time()):
            return OVERLOADED
        transport.write(hands.answer)
        transport.set_protocol(socket)
        if client.uid is None:
            socket.close_unidentified()
        else:
            socket.begin(rest)
        return ""

    def _client_of(self, request: Request) -> Client:
        """Read the client from a handshake. As for requests, an invalid uid is replaced by a new one."""
        query = parse_query(target_of(request.target)[1])
        named = query.get("uid")
        uid: Any = None
        if isinstance(named, str) and named:
            uid = message.uid_of(query, {}, "", self._intake.flakes)
        td = td_of(request, self._intake.addresses)
        key = key_in_head(request.headers, query)
        page = {name: request.headers[name] for name in _PAGE if name in request.headers}
        texts = [*td.values(), *td.get("ch", {}).values(), key, *page.values()]
        return Client(
            uid,
            td,
            request.headers.get(b"sec-gpc") == b"1",
            consent_of(query),
            self._intake.addresses.bound_key(td.get("ip", "")),
            _KEPT_BYTES + sum(map(getsizeof, texts)),
            key,
            page,
        )

    def _visit(self, client: Client, size: int) -> Visit:
        return Visit(self._intake.door, client.page, client.td.get("ip", ""), size)

    def _count_error(self) -> None:
        """Count a connection that ends because of an invalid frame."""
        self._intake.counters.add("protocol_errors")

    async def _reply(self, payload: bytes, client: Client) -> bytes:
        """Process one message; never raises."""
        if len(payload) <= SMALL_BYTES:
            return await self._answer(payload, client)
        try:
            return await self._intake.admission.run(len(payload), self._answer(payload, client))
        except NotAccepted as error:
            return replies.ws_form(self._unavailable(error))

    async def _answer(self, raw: bytes, client: Client) -> bytes:
        try:
            received = decode_json(raw)
        except BadRequest as error:
            self._intake.count(error)
            return replies.ws_form(_BAD)
        if not isinstance(received, dict):
            self._intake.counters.add("rejected", "not_an_object")
            return replies.ws_form(_BAD)
        return replies.ws_form(await self._take(received, client, len(raw)), received.get("id__"))

    async def _take(self, received: message.Message, client: Client, size: int) -> Reply:
        service, name = received.get("service"), received.get("name")
        if not service or not name:
            self._intake.counters.add("rejected", "incomplete")
            return _INCOMPLETE
        try:
            key = self._intake.event_key(service, name)
            event = message.ws_message(key, service, name, received, client.uid, client.td, self._intake.flakes)
            apply_client_fields(event, self._intake.visitors)
            into = self._admit(event, client, size) if self._intake.door.guarded else None
            said = (client.consent, consent_of(received))
            mark_objection(event, gpc=client.gpc, refused=self._intake.objects(*said))
            return await self._intake.pipeline.run(event, into=into)
        except BadRequest as error:
            self._intake.count(error)
            return replies.error(f"{_TITLES.get(error.status, 'Bad Request')}: {error.reason}", error.status)
        except NotAccepted as error:
            return self._unavailable(error)
        except Exception as error:  # noqa: BLE001 - one message must not end the connection
            self._intake.counters.add("failed")
            logger.exception("message_failed", reason=type(error).__name__)
            return replies.error("Internal Server Error", 500)

    def _admit(self, event: message.Message, client: Client, size: int) -> list[Event] | None:
        """Admit a message by the key of the handshake; returns where to put it instead of the stream, if anywhere."""
        visit = self._visit(client, size)
        if client.key:
            visit.enter(client.key)
        return None if visit.admit(event, to_number(event["data"].get("projectId"))) else []

    def _unavailable(self, error: NotAccepted) -> Reply:
        self._intake.count(error)
        return replies.error(f"Service Unavailable: {error.reason}", 503)
