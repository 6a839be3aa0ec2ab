"""The HTTP door: a request in, an answer out. Nothing a client sends ends in a 500 or without an answer."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from multidict import istr

from band.jsonio import encode
from band.logs import logger
from front import answers, message
from front.address import ClientAddresses
from front.answers import Rendered
from front.body import parse_body
from front.counters import Counters
from front.domains import host_of
from front.errors import BadRequest, NotAccepted
from front.flake import Flakes
from front.heads import PREFLIGHT, allowed_origin, head
from front.hints import read_hints
from front.identity import UidCookie, cookie_uid
from front.objection import mark_objection
from front.operator_pages import OperatorPages
from front.pages import page
from front.pipeline import Pipeline
from front.qs import parse_query
from front.sockets import Sockets
from front.urls import Place, place_of
from front.wire_reply import WireReply

_REAL_IP = istr("X-Real-IP")
_FORWARDED_FOR = istr("X-Forwarded-For")
_FORWARDED_HOST = istr("X-Forwarded-Host")
_WS_PATH = "/wss"
_NO_PLACE = Place("", "", "", "", native=False)


class Visit:
    """What is known of one request while it is worked on; the answer needs it whatever happens."""

    __slots__ = ("begun", "cookie_domain", "origin", "peer", "place", "query", "request", "uid")

    def __init__(self, request: web.BaseRequest, begun: float, peer: str) -> None:
        self.request = request
        self.begun = begun
        self.peer = peer
        self.place = _NO_PLACE
        self.query: message.Message = {}
        self.uid: Any = None
        self.cookie_domain = ""
        headers = request.headers
        self.origin = allowed_origin(headers.get(hdrs.ORIGIN), headers.get(hdrs.REFERER))


class Door:
    """Handles requests of the event port."""

    def __init__(
        self,
        pipeline: Pipeline,
        flakes: Flakes,
        addresses: ClientAddresses,
        cookie: UidCookie,
        sockets: Sockets,
        operator_pages: OperatorPages,
        counters: Counters,
        body_limit: int,
    ) -> None:
        self._pipeline = pipeline
        self._flakes = flakes
        self._addresses = addresses
        self._cookie = cookie
        self._sockets = sockets
        self._operator_pages = operator_pages
        self._counters = counters
        self._body_limit = body_limit

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        visit = Visit(request, time.perf_counter(), peer_of(request))
        try:
            return await self._route(visit)
        except BadRequest as error:
            self._counters.add(f"rejected_{error.code}")
            return self._reply(visit, _refused(error))
        except NotAccepted as error:
            self._counters.add("not_accepted")
            return self._reply(visit, _unavailable(error, native=visit.place.native))
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception as error:  # noqa: BLE001 - the last resort: an answer and a line in the log, not a hanging client
            self._counters.add("failed")
            logger.exception("request_failed", reason=f"{type(error).__name__}")
            return self._reply(visit, Rendered(500, b'{"message":"Internal Server Error"}'))

    async def _route(self, visit: Visit) -> web.StreamResponse:
        request = visit.request
        path, query_text = target_of(request)
        method = request.method
        forwarded = request.headers.get(_FORWARDED_HOST)
        if forwarded and self._addresses.trusts(visit.peer):
            visit.cookie_domain = host_of(forwarded)
        if method == "GET":
            if path == _WS_PATH and request.headers.get(hdrs.UPGRADE, "").lower() == "websocket":
                return await self._sockets.serve(request, parse_query(query_text))
            if path.startswith(self._operator_pages.prefix):
                return self._reply(visit, await self._operator_pages.page(path, request, visit.peer))
        elif method == "OPTIONS":
            visit.query = parse_query(query_text)
            return self._reply(visit, Rendered(200, b"{}", answers.JSON, PREFLIGHT))
        elif method != "POST":
            raise BadRequest("method", f"the method {method[:20]} is not supported; use GET, POST or OPTIONS")
        return self._reply(visit, await self._event(visit, path, query_text, has_body=method == "POST"))

    async def _event(self, visit: Visit, path: str, query_text: str, *, has_body: bool) -> Rendered:
        query = visit.query = parse_query(query_text)
        place = visit.place = place_of(path)
        headers = visit.request.headers
        content_type = place.content_type or headers.get(hdrs.CONTENT_TYPE, "").lower()
        body: message.Message = {}
        if has_body:
            raw = await self._read(visit.request)
            if path != "/":
                body = parse_body(raw, content_type)
        visit.uid = self._uid(visit, body)
        if (special := page(path, visit.uid)) is not None:
            return special
        service, name = message.service_and_name(place, query, body)
        if not service or not name:
            return answers.render(answers.error("Not Found", 404), native=place.native)
        key = message.event_key(service, name)
        host = headers.get(_FORWARDED_HOST)
        event = message.http_message(
            key,
            message.CHANNEL_PIXEL if "image" in content_type else message.CHANNEL_HTTP,
            service, name, place, query, body, visit.uid, self._td(visit, host), self._flakes,
        )  # fmt: skip
        mark_objection(event, headers)
        own_hosts = (host_of(headers.get(hdrs.HOST, "")), visit.cookie_domain) if "to" in event["data"] else ()
        return answers.render(await self._pipeline.run(event, own_hosts), native=place.native)

    def _td(self, visit: Visit, host: str | None) -> message.Message:
        headers = visit.request.headers
        user_agent, referer = headers.get(hdrs.USER_AGENT), headers.get(hdrs.REFERER)
        # Some proxies add a line of their own below the client's: all lines together are the chain.
        forwarded_for = ",".join(headers.getall(_FORWARDED_FOR)) if _FORWARDED_FOR in headers else None
        return message.visit(
            self._addresses.find(visit.peer, headers.get(_REAL_IP), forwarded_for),
            user_agent if user_agent is None else message.clean(user_agent),
            referer if referer is None else message.clean(referer),
            host if host is None else message.clean(host),
            read_hints(headers),
        )

    def _uid(self, visit: Visit, body: message.Message) -> Any:
        return message.uid_of(visit.query, body, cookie_uid(visit.request.headers.get(hdrs.COOKIE)), self._flakes)

    async def _read(self, request: web.BaseRequest) -> bytes:
        length = request.content_length
        if length is not None and length > self._body_limit:
            raise self._too_large()
        if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue" and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            return await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise self._too_large() from None
        except web.RequestPayloadError:
            raise BadRequest("broken_body", "the body does not match its Content-Length or Content-Encoding") from None

    def _too_large(self) -> BadRequest:
        return BadRequest("too_large", f"the body is larger than {self._body_limit} bytes; send smaller events", 413)

    def _reply(self, visit: Visit, rendered: Rendered) -> WireReply:
        if visit.uid is None:
            visit.uid = self._uid(visit, {})
        request = visit.request
        keep_alive = request.keep_alive and rendered.status != 413
        body = rendered.body
        top = head(
            rendered.status,
            len(body),
            rendered.content_type,
            visit.origin,
            self._cookie.value(visit.uid, visit.cookie_domain),
            int((time.perf_counter() - visit.begun) * 1000),
            keep_alive=keep_alive,
            extra=rendered.headers,
        )
        # An answer to HEAD has the headers of a body, never the body.
        return WireReply(top if request.method == "HEAD" else top + body, keep_alive=keep_alive)


def peer_of(request: web.BaseRequest) -> str:
    """The address of the socket's other end, remembered by aiohttp even when the client has gone already."""
    return request.remote or ""


def target_of(request: web.BaseRequest) -> tuple[str, str]:
    """Path and query of a request, not decoded, as valid text."""
    target = message.clean(request.raw_path)
    if not target.startswith("/"):
        try:
            parts = urlsplit(target)
        except ValueError:
            raise BadRequest("target", "the request target is not a path") from None
        return parts.path or "/", parts.query
    path, _, query = target.partition("?")
    return path, query


def _refused(error: BadRequest) -> Rendered:
    message_text = "Payload Too Large" if error.status == 413 else "Bad Request"
    return Rendered(error.status, encode({"message": message_text, "code": error.code, "reason": error.reason}))


def _unavailable(error: NotAccepted, *, native: bool) -> Rendered:
    again = [("Retry-After", str(error.retry_after))]
    if native:
        rendered = answers.render(answers.error("Service Unavailable", 503), native=True)
        rendered.headers = again
        return rendered
    return Rendered(503, encode({"message": "Service Unavailable", "reason": error.reason}), answers.JSON, again)
