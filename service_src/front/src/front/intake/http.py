"""Events over HTTP: a request in, a response out. Nothing a client sends ends in a 500 or without a response."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from typing import Any

from band import logger
from band.platform import encode
from front.errors import BadRequest, NotAccepted, NotAdmitted, Overloaded, RateLimited
from front.event import message
from front.event.consent import consent_of, mark_objection
from front.event.hostnames import host_of
from front.event.ids import now_ms
from front.event.url_path import EventPath, read_path
from front.event.visitor_id import UidCookie, cookie_uid, valid_uid
from front.http1.request import BAD_HANDSHAKE, BROKEN, NOT_ADMITTED, OVERLOADED, Request, Response
from front.http1.response_head import PREFLIGHT, allowed_origin, head
from front.intake.admin_pages import AdminPages
from front.intake.admission import SMALL_BYTES
from front.intake.batch import Sender, in_turns
from front.intake.body import parse_body
from front.intake.content_encoding import unpacked
from front.intake.context import Intake, target_of, td_of
from front.intake.families.family import Family, Post
from front.intake.families.table import FIRST_SEGMENTS, UNNAMED_PATHS, family_of, unnamed_family_of
from front.intake.families.webhooks import WEBHOOKS
from front.intake.keys import QUERY_NAME, key_in_head
from front.intake.pages import PAGES, SDK, VISITOR, Pages, sdk_file, visitor
from front.intake.qs import parse_query
from front.intake.server_fields import apply_client_fields
from front.intake.visit import Visit
from front.pipeline import replies
from front.pipeline.replies import HttpReply
from front.projects.table import OPEN
from front.storage.stream_acceptor import Event

_ERRORS = {
    401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 413: "Payload Too Large", 429: "Too Many Requests",
}  # fmt: skip
_NO_PATH = EventPath("", "", "", "", native=False)
_SAME_SITE = (b"same-origin", b"same-site", b"none")
"""What `Sec-Fetch-Site` says of a page that may know the uid of this host's cookie."""


class RequestState:
    """The state of one request, which its response needs in any case."""

    __slots__ = (
        "begun", "cookie_domain", "cookie_uid", "family", "objects", "origin", "place", "query", "refused", "request",
        "sets_cookie", "uid",
    )  # fmt: skip

    def __init__(self, request: Request, begun: float) -> None:
        self.request = request
        self.begun = begun
        self.place = _NO_PATH
        self.family: Family | None = None
        self.query: message.Message = {}
        self.uid: Any = None
        self.refused = False
        self.objects = False
        self.cookie_uid = cookie_uid(request.header(b"cookie"))
        self.cookie_domain = ""
        self.sets_cookie = True
        self.origin = allowed_origin(request.header(b"origin"), request.header(b"referer"))

    def refusal(self) -> str:
        """Return why this request may not store data about its visitor; empty when it may."""
        if self.request.method != "POST":
            return "Data about a visitor is accepted by POST only"
        if self.request.headers.get(b"sec-fetch-site", b"none") not in _SAME_SITE:
            return "Data about a visitor is not accepted from pages of other sites"
        return ""

    def claim(self) -> str:
        """Take the visitor for that of the cookie, whatever else the request says; returns its uid, empty for none."""
        if valid_uid(self.cookie_uid):
            self.uid = self.cookie_uid
        return self.cookie_uid


class HttpHandler:
    """Handles requests of the event port."""

    def __init__(self, intake: Intake, cookie: UidCookie, admin_pages: AdminPages, pages: Pages) -> None:
        self._intake = intake
        self._cookie = cookie
        self._admin_pages = admin_pages
        self._pages = pages

    async def answer(self, request: Request) -> Response:
        """Process one request."""
        state = RequestState(request, time.perf_counter())
        try:
            return self._reply(state, await self._route(state))
        except (BadRequest, NotAccepted) as error:
            self._intake.count(error)
            return self._reply(state, self._refused(state, error))
        except Exception as error:  # noqa: BLE001 - the last resort: an answer and a line in the log, not a hanging client
            self._intake.counters.add("failed")
            logger.exception("request_failed", reason=f"{type(error).__name__}")
            return self._reply(state, HttpReply(500, b'{"message":"Internal Server Error"}'))

    async def _route(self, state: RequestState) -> HttpReply:
        request = state.request
        if request.fault:
            raise self._fault(request)
        path, query_text = target_of(request.target)
        method = request.method
        forwarded = request.header(b"x-forwarded-host")
        if forwarded and self._intake.addresses.trusts(request.peer):
            state.cookie_domain = host_of(forwarded)
        if path.startswith(self._admin_pages.prefix):
            state.origin, state.sets_cookie = "", False
            return await self._admin_pages.page(path, request)
        if method == "OPTIONS":
            state.query = parse_query(query_text)
            self._intake.door.ask(request.header(b"origin"), key_in_head({}, state.query))
            return HttpReply(200, b"{}", replies.JSON, PREFLIGHT)
        if method not in ("GET", "POST"):
            raise BadRequest("method", f"the method {method[:20]} is not supported; use GET, POST or OPTIONS")
        return await self._event(state, path, query_text, has_body=method == "POST")

    def _event(self, state: RequestState, path: str, query_text: str, *, has_body: bool) -> Awaitable[HttpReply]:
        """Make events of a request; a large one waits for its turn."""
        request = state.request
        place = state.place = read_path(path)
        raw = b""
        if has_body:
            raw = request.body
            if b"content-encoding" in request.headers:
                raw = unpacked(raw, request.header(b"content-encoding") or "", self._limit_of(request, path))
        if not place.native and (place.service in FIRST_SEGMENTS or path in UNNAMED_PATHS):
            state.query = parse_query(query_text)
            state.family = self._family_of(request, path, state.query, raw)
        if family := state.family:
            raw = family.unpack(raw, state.query, self._intake.batch_limit)
            taking = self._take_family(state, family, path, raw)
        else:
            taking = self._take(state, path, query_text, raw if has_body else None)
        size = len(raw) + len(query_text)
        return taking if size <= SMALL_BYTES else self._intake.admission.run(size, taking)

    def _refused(self, state: RequestState, error: BadRequest | NotAccepted) -> HttpReply:
        """Return the response to a refused request, in the form of its family."""
        if isinstance(error, (NotAdmitted, RateLimited)):
            state.sets_cookie = False
            if error.code == "origin":
                state.origin = ""
        refused = _refused(error, native=state.place.native)
        try:
            family = state.family or self._family_of(state.request, target_of(state.request.target)[0])
        except BadRequest:
            return refused
        if family is None:
            return refused
        told = family.refusal(refused.status, error.reason) if family.refusal is not None else None
        if isinstance(error, NotAdmitted):
            refused.status, own = family.not_admitted(error.reason)
            told = own or told
        if told is not None:
            refused.body, refused.content_type = encode(told), replies.JSON
        return refused

    def _family_of(
        self, request: Request, path: str, query: message.Message | None = None, body: bytes = b""
    ) -> Family | None:
        """Return the family of a request; None for a native one, as all to a service of that name are."""
        content_type = (request.header(b"content-type") or "").lower()
        if query is not None and path in UNNAMED_PATHS:
            family = unnamed_family_of(path, query, body, content_type)
            if family is not None:
                return family
        if self._intake.pipeline.table.routes.serves(read_path(path).service):
            return None
        family = family_of(request.method, path, content_type)
        return None if family is WEBHOOKS and not self._intake.webhook_sources else family

    def body_limit_of(self, request: Request) -> int:
        """Return how many bytes the body of a request may have."""
        try:
            return self._limit_of(request, target_of(request.target)[0])
        except BadRequest:
            return self._intake.body_limit

    def _limit_of(self, request: Request, path: str) -> int:
        several = (
            "json" in (request.header(b"content-type") or "").lower()
            or path in UNNAMED_PATHS
            or self._family_of(request, path)
        )
        usual = self._intake.batch_limit if several else self._intake.body_limit
        if not self._intake.door.guarded:
            return usual
        key = key_in_head(request.headers, parse_query(target_of(request.target)[1]))
        return max(usual, self._intake.door.body_limit(key))

    async def _take_family(self, state: RequestState, family: Family, path: str, raw: bytes) -> HttpReply:
        """Process what a family's client sends; it gets a cookie only if it does not say who its visitors are."""
        request, query = state.request, state.query
        content_type = (request.header(b"content-type") or "").lower()
        server, sources = self._pages.server(request), self._intake.webhook_sources
        post = Post(path, query, raw, content_type, request.headers, now_ms(), server, sources)
        state.sets_cookie = False  # if it cannot be read, the visitor may have refused
        self._identify(state, {}, consent_of(query))
        td = td_of(request, self._intake.addresses)
        visit = self._visit(request, td, len(raw)) if self._intake.door.guarded else None
        if visit is not None and (key := family.key(post)):
            visit.enter(key)
        drafts = await in_turns(family.read(post))
        state.sets_cookie = not all(draft.uid for draft in drafts)
        said = [draft.consent for draft in drafts]
        self._identify(state, {}, consent_of(query), *said)
        accesses = visit.accesses_of(drafts) if visit is not None else [OPEN] * len(drafts)
        events = await Sender(self._intake, request, state.uid, query, td).of_drafts(drafts, accesses, said)
        if visit is not None:
            events = visit.count(events, accesses)
        await self._intake.pipeline.run_all(events, post.received)
        reply = family.respond(post, drafts)
        if reply.shared:
            state.origin = "*"
        return reply

    def _visit(self, request: Request, td: message.Message, size: int) -> Visit:
        return Visit(self._intake.door, request.headers, td.get("ip", ""), size)

    async def _take_several(
        self, state: RequestState, channel: str, bodies: list[message.Message], td: message.Message, visit: Visit | None
    ) -> HttpReply:
        """Process several events of the native form."""
        place, query = state.place, state.query
        said = [consent_of(body) for body in bodies]
        if any(body.get("cookieless") is True for body in bodies):
            state.sets_cookie = False
        self._identify(state, {}, consent_of(query), *said)
        sender = Sender(self._intake, state.request, state.uid, query, td)
        events = await sender.of_bodies(place, channel, bodies, said)
        ids = [event["id"] for event in events]
        if visit is not None:
            events = visit.admit_all(events)
        await self._intake.pipeline.run_all(events, now_ms())
        return replies.render(replies.data({"ids": ids}), native=place.native)

    async def _take(self, state: RequestState, path: str, query_text: str, raw: bytes | None) -> HttpReply:
        """Process an event; `raw` is its body after decompression, None if there is none."""
        request, place = state.request, state.place
        query = state.query = parse_query(query_text)
        td = td_of(request, self._intake.addresses)
        visit: Visit | None = None
        if self._intake.door.guarded and path != SDK and path not in PAGES:
            visit = self._visit(request, td, len(raw or b""))
            if key := key_in_head(request.headers, query):
                query.pop(QUERY_NAME, None)
                visit.enter(key)
        content_type = place.content_type or (request.header(b"content-type") or "").lower()
        channel = message.CHANNEL_PIXEL if "image" in content_type else message.CHANNEL_HTTP
        body: message.Message = {}
        if raw is not None and path != "/":
            limit = visit.body_limit(self._intake.body_limit) if visit is not None else self._intake.body_limit
            too_large = len(raw) > limit
            if too_large and "json" not in content_type:
                raise self._too_large(limit)
            parsed: Any = parse_body(raw, content_type)
            if type(parsed) is list:
                return await self._take_several(state, channel, parsed, td, visit)
            if too_large:
                raise self._too_large(limit)
            body = parsed
        if body.get("cookieless") is True:
            state.sets_cookie = False
        self._identify(state, body, consent_of(query, body))
        if path == SDK:
            return self._visitor(state) if query.get("part") == VISITOR else self._sdk(state)
        if path in PAGES and (special := self._pages.page(path, request)) is not None:
            return special
        service, name = message.service_and_name(place, query, body)
        if not service or not name:
            return self._pages.demo(path, request) or replies.render(
                replies.error("Not Found", 404), native=place.native
            )
        event = message.http_message(
            self._intake.event_key(service, name),
            channel, service, name, place, query, body, state.uid, td, self._intake.flakes,
        )  # fmt: skip
        apply_client_fields(event, self._intake.visitors)
        into: list[Event] | None = None if visit is None or visit.admit(event, event["projectId"]) else []
        mark_objection(event, gpc=request.headers.get(b"sec-gpc") == b"1", refused=state.objects)
        own_hosts = (host_of(request.header(b"host") or ""), state.cookie_domain) if "to" in event["data"] else ()
        answer = await self._intake.pipeline.run(event, own_hosts, state, into=into)
        return replies.render(answer, native=place.native)

    def _sdk(self, state: RequestState) -> HttpReply:
        """Respond with a file of the browser SDK; asked for with a refusal, the response also ends the cookie."""
        shared = "consent" not in state.query
        if shared:
            state.sets_cookie, state.origin = False, "*"
        return sdk_file(state.query.get("part", ""), state.request, shared=shared)

    def _visitor(self, state: RequestState) -> HttpReply:
        """Respond with the visitor's uid; a page of another site that no project lists does not learn the cookie's.

        A visitor with a cookie is identified by it when events arrive. One without gets a new uid, which becomes the
        cookie with the first event.
        """
        intake, request, shown = self._intake, state.request, str(state.uid)
        project = OPEN.project
        if intake.door.guarded:
            key = key_in_head(request.headers, state.query)
            project = intake.door.enter(request.headers, key, str(state.query.get("projectId", ""))).project
        mode = "opt-in" if intake.require_consent else project.consent
        state.sets_cookie = mode in ("off", "opt-out")
        listed = project.origins is not None and b"origin" in request.headers
        if not listed and request.headers.get(b"sec-fetch-site") not in _SAME_SITE:
            if shown == state.cookie_uid:
                shown = ""
            else:
                state.sets_cookie = False
        return visitor(shown, consent=mode)

    def _identify(self, state: RequestState, body: message.Message, *said: bool | None) -> None:
        """Record the sender and the consent: a sender who objects is not identified."""
        state.refused, state.objects = False in said, self._intake.objects(*said)
        known = "" if state.objects else state.cookie_uid
        state.uid = message.uid_of(state.query, body, known, self._intake.flakes)

    def _set_cookie(self, state: RequestState) -> str:
        """Return the value of `Set-Cookie`; empty if none may be set, as without a required consent."""
        if state.refused:
            return self._cookie.removal(state.cookie_domain) if state.cookie_uid else ""
        if state.objects or not state.sets_cookie:
            return ""
        return self._cookie.value(state.uid, state.cookie_domain)

    def _fault(self, request: Request) -> BadRequest | NotAccepted:
        if request.fault == OVERLOADED:
            return Overloaded("too many connections; try again later")
        if request.fault == BAD_HANDSHAKE:
            return BadRequest(BAD_HANDSHAKE, "not a WebSocket handshake of version 13")
        if request.fault == NOT_ADMITTED:
            return self._not_admitted(request)
        if request.fault == BROKEN:
            self._intake.counters.add("protocol_errors")
            return BadRequest(BROKEN, "this is not a valid HTTP request")
        return self._too_large(self.body_limit_of(request))

    def _not_admitted(self, request: Request) -> BadRequest:
        """Return why the key of a WebSocket is refused."""
        try:
            query = parse_query(target_of(request.target)[1])
            self._intake.door.enter(request.headers, key_in_head(request.headers, query))
        except BadRequest as error:
            return error
        return NotAdmitted("unknown_key", "the projects have just changed; try again")

    def _too_large(self, limit: int) -> BadRequest:
        return BadRequest("too_large", f"the body is larger than {limit} bytes; send smaller events", 413)

    def _reply(self, state: RequestState, rendered: HttpReply) -> Response:
        if state.uid is None:  # the request did not get as far as its consent
            self._identify(state, {}, _said_in_query(state.request) if state.sets_cookie else None)
        request = state.request
        keep_alive = request.keep_alive and rendered.status != 413
        body = rendered.body
        top = head(
            rendered.status,
            len(body),
            rendered.content_type,
            state.origin,
            self._set_cookie(state),
            int((time.perf_counter() - state.begun) * 1000),
            keep_alive=keep_alive,
            extra=rendered.headers,
            shared=rendered.shared,
        )
        # A response to HEAD has the headers of a body, never the body.
        return Response(top if request.method == "HEAD" else top + body, keep_alive)


def _said_in_query(request: Request) -> bool | None:
    """Return what the query alone says of consent."""
    try:
        return consent_of(parse_query(target_of(request.target)[1]))
    except BadRequest:
        return None


def _refused(error: BadRequest | NotAccepted, *, native: bool) -> HttpReply:
    if isinstance(error, BadRequest):
        text = _ERRORS.get(error.status, "Bad Request")
        body = {"message": text, "code": error.code, "reason": error.reason}
        again = [("Retry-After", str(error.retry_after))] if isinstance(error, RateLimited) else []
        return HttpReply(error.status, encode(body), replies.JSON, again)
    again = [("Retry-After", str(error.retry_after))]
    if native:
        rendered = replies.render(replies.error("Service Unavailable", 503), native=True)
        rendered.headers = again
        return rendered
    return HttpReply(503, encode({"message": "Service Unavailable", "reason": error.reason}), replies.JSON, again)
