"""The HTTP face: Mixpanel's own addresses, and `/_double/…` to command and to look."""

import gzip
import time
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from band.platform import protect, service_policy
from mixpanel_double.access import Access
from mixpanel_double.faults import FaultError, Faults, error_body, perform
from mixpanel_double.libraries import Call
from mixpanel_double.page import render_page
from mixpanel_double.profiles import GROUPS, PEOPLE, Profiles, change_complaint
from mixpanel_double.rules import MAX_BODY, MAX_EVENTS, Complaint, complaint, seconds
from mixpanel_double.store import Store

_TRACK_MAX_AGE = 5 * 86400
_CONTENT_TYPES = {"application/json", "application/x-ndjson"}
_ORDERED = ("properties", "refused because a fault was set")


class RefusedRequest(Exception):
    """The whole request is refused with `status`."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Double:
    """One pretended Mixpanel. `id_field` is the name that failed records have for the id: documents show both."""

    def __init__(self, store: Store | None = None, max_body: int = MAX_BODY, id_field: str = "insert_id") -> None:
        self.store = store or Store()
        self.profiles = Profiles()
        self.faults = Faults()
        self.access = Access()
        self.max_body = max_body
        self.id_field = id_field

    # --- Mixpanel's own

    async def import_events(self, request: web.Request) -> web.StreamResponse:
        """`POST /import`."""
        return await self._with_faults(request, self._import)

    async def _with_faults(
        self, request: web.Request, take: Callable[[web.Request, int], Awaitable[tuple[int, dict[str, Any]]]]
    ) -> web.StreamResponse:
        """Take a request, unless a fault is ordered."""
        fault = self.faults.next()
        refuse = fault.refuse if fault is not None else 0
        if refuse:
            fault = None
        if fault is not None and not fault.stores:
            self.store.count_request(fault.status)
            return await perform(fault, request, {})
        try:
            status, answer = await take(request, refuse)
        except RefusedRequest as refused:
            status, answer = refused.status, error_body(refused.status, str(refused))
        if fault is not None:
            self.store.count_request(fault.status_after_store)
            return await perform(fault, request, answer)
        self.store.count_request(status)
        return web.json_response(answer, status=status)

    async def _import(self, request: web.Request, refuse: int) -> tuple[int, dict[str, Any]]:
        project = self.access.project_of(request)
        if project is None:
            raise RefusedRequest(401, "Invalid credentials")
        check_form(request)
        body = await read_body(request, self.max_body)
        records = read_records(request.content_type, body)
        if not records:
            raise RefusedRequest(400, "no data points in the request")
        if len(records) > MAX_EVENTS:
            raise RefusedRequest(413, f"request exceeds max limit of {MAX_EVENTS} events")
        self.store.bytes_unpacked += len(body)
        self.store.biggest_body = max(self.store.biggest_body, len(body))
        self.store.biggest_batch = max(self.store.biggest_batch, len(records))
        return self._take(records, project, refuse, strict=request.query.get("strict", "1") == "1")

    def _take(self, records: list[Any], project: str, refuse: int, *, strict: bool) -> tuple[int, dict[str, Any]]:
        failed, good = [], []
        for index, record in enumerate(records):
            found = complaint(record) or (_ORDERED if index < refuse else None)
            if found is None:
                good.append(record)
                continue
            properties = record.get("properties") if isinstance(record, dict) else None
            insert_id = properties.get("$insert_id") if isinstance(properties, dict) else None
            failed.append({self.id_field: str(insert_id or ""), **_failure(index, found)})
        self.store.add(good, project)
        self.store.refused += len(failed)
        return _verdict(len(good), failed if strict else [])

    async def track(self, request: web.Request) -> web.StreamResponse:
        """`/track`: success whatever the token, as the real one does, and drops what is older than 5 days."""
        try:
            call = Call(request, await read_body(request, self.max_body))
        except (RefusedRequest, ValueError):
            return web.Response(text="0")
        unknown = 0
        for record in call.records:
            properties = record.get("properties") if isinstance(record, dict) else None
            if not isinstance(properties, dict) or not isinstance(record.get("event"), str):
                continue
            token = str(properties.get("token", "track"))
            unknown += not self.access.knows(token)
            at = properties.get("time", time.time())
            if isinstance(at, int | float) and time.time() - seconds(at) < _TRACK_MAX_AGE and self.access.knows(token):
                kept = {name: value for name, value in properties.items() if name != "token"}
                self.store.add([{"event": record["event"], "properties": kept}], token)
        return call.answer(f"{unknown} events have an unknown token" if unknown and call.verbose else "")

    async def change_people(self, request: web.Request) -> web.StreamResponse:
        """`/engage`."""
        return await self._change(request, PEOPLE)

    async def change_groups(self, request: web.Request) -> web.StreamResponse:
        """`/groups`."""
        return await self._change(request, GROUPS)

    async def _change(self, request: web.Request, endpoint: str) -> web.StreamResponse:
        try:
            call = Call(request, await read_body(request, self.max_body))
        except (RefusedRequest, ValueError) as error:
            return web.json_response({"status": 0, "error": str(error)})

        async def take(_request: web.Request, refuse: int) -> tuple[int, dict[str, Any]]:
            return self._take_changes(call.records, endpoint, refuse)

        if request.query.get("strict") == "1":
            return await self._with_faults(request, take)
        _, verdict = self._take_changes(call.records, endpoint, 0)
        return call.answer(verdict.get("error", ""))

    def _take_changes(self, changes: list[Any], endpoint: str, refuse: int) -> tuple[int, dict[str, Any]]:
        if len(changes) > MAX_EVENTS:
            raise RefusedRequest(413, f"request exceeds max limit of {MAX_EVENTS} updates")
        failed = []
        for index, change in enumerate(changes):
            found = change_complaint(change, endpoint) or (_ORDERED if index < refuse else None)
            if found is None and not self.access.knows(change["$token"]):
                found = ("$token", "'$token' is not a token of a project")
            if found is None:
                self.profiles.change(change, endpoint)
            else:
                failed.append(_failure(index, found))
        return _verdict(len(changes) - len(failed), failed)

    # --- commands and views

    async def changes(self, request: web.Request) -> web.Response:
        """`GET /_double/changes?limit=100`: the newest changes of profiles, oldest first."""
        return web.json_response({"changes": list(self.profiles.changes)[-_limit(request, 100) :]})

    async def people(self, request: web.Request) -> web.Response:
        """`GET /_double/profiles?limit=100`: people and groups that were changed last."""
        limit = _limit(request, 100)
        return web.json_response(
            {"people": self.profiles.listed(PEOPLE, limit), "groups": self.profiles.listed(GROUPS, limit)}
        )

    async def fail(self, request: web.Request) -> web.Response:
        """`POST /_double/fail`: order a fault. `DELETE` forgets them, `GET` lists them."""
        if request.method == "DELETE":
            self.faults.clear()
        elif request.method == "POST":
            try:
                self.faults.order(await _json(request))
            except FaultError as error:
                return web.json_response({"error": str(error)}, status=422)
        return web.json_response({"orders": self.faults.open()})

    async def settings(self, request: web.Request) -> web.Response:
        """`POST /_double/settings`: `tokens`, `accounts`, `max_body`, `id_field`."""
        wanted = await _json(request)
        try:
            if "tokens" in wanted or "accounts" in wanted:
                self.access.set(wanted.get("tokens", []), wanted.get("accounts", {}))
            self.max_body = int(wanted.get("max_body", self.max_body))
            self.id_field = str(wanted.get("id_field", self.id_field))
        except (TypeError, ValueError) as error:
            return web.json_response({"error": str(error)}, status=422)
        return web.json_response({"closed": self.access.closed, "max_body": self.max_body, "id_field": self.id_field})

    async def events(self, request: web.Request) -> web.Response:
        """`GET /_double/events?limit=100`: the newest records first."""
        return web.json_response({"events": self.store.newest(_limit(request, 100))})

    async def ids(self, _request: web.Request) -> web.Response:
        """`GET /_double/ids`: every unique $insert_id, oldest first."""
        return web.json_response({"ids": self.store.ids()})

    async def stats(self, _request: web.Request) -> web.Response:
        """`GET /_double/stats`: figures."""
        return web.json_response(self.store.stats())

    async def reset(self, _request: web.Request) -> web.Response:
        """`POST /_double/reset`: forget events, orders and credentials."""
        self.store.reset()
        self.profiles.reset()
        self.faults.clear()
        self.access.set([], {})
        return web.json_response({"ok": True})

    async def page(self, _request: web.Request) -> web.Response:
        """`GET /`: the newest events, for a person."""
        return web.Response(text=render_page(self.store.stats(), self.store.newest(50)), content_type="text/html")


def add_routes(double: Double) -> list[web.RouteDef]:
    """The routes of one double, for an application or for band's `dome.routes`."""
    return [
        web.post("/import", double.import_events),
        *(
            web.route(method, f"/{name}{end}", handler)
            for name, handler in (
                ("track", double.track),
                ("engage", double.change_people),
                ("groups", double.change_groups),
            )
            for method in ("GET", "POST")
            for end in ("", "/")
        ),
        web.get("/", double.page),
        web.route("GET", "/_double/fail", double.fail),
        web.route("POST", "/_double/fail", double.fail),
        web.route("DELETE", "/_double/fail", double.fail),
        web.post("/_double/settings", double.settings),
        web.post("/_double/reset", double.reset),
        web.get("/_double/events", double.events),
        web.get("/_double/ids", double.ids),
        web.get("/_double/changes", double.changes),
        web.get("/_double/profiles", double.people),
        web.get("/_double/stats", double.stats),
    ]


def _failure(index: int, found: Complaint) -> dict[str, Any]:
    return {"index": index, "field": found[0], "message": found[1]}


def _verdict(good: int, failed: list[dict[str, Any]]) -> tuple[int, dict[str, Any]]:
    if not failed:
        return 200, {"code": 200, "num_records_imported": good, "status": "OK"}
    return 400, {
        "code": 400,
        "error": "some data points in the request failed validation",
        "failed_records": failed,
        "num_records_imported": good,
        "status": "Bad Request",
    }


def make_app(double: Double | None = None) -> web.Application:
    """An aiohttp application that is nothing but the double."""
    app = web.Application()
    app.add_routes(add_routes(double or Double()))
    policy = service_policy("mixpanel_double")
    protect(app, lambda: policy, lambda request: request.method in {"GET", "HEAD"})
    return app


def check_form(request: web.Request) -> None:
    """Hold the query and the headers of `/import` against Mixpanel's specification.

    Raises:
        RefusedRequest: it does not allow them.
    """
    strict = request.query.get("strict", "1")
    if strict not in {"0", "1"}:
        raise RefusedRequest(400, f"'strict' is {strict!r}; it must be 0 or 1")
    if request.content_type not in _CONTENT_TYPES:
        raise RefusedRequest(400, f"Content-Type must be one of {', '.join(sorted(_CONTENT_TYPES))}")
    encoding = request.headers.get("Content-Encoding", "gzip")
    if encoding != "gzip":
        raise RefusedRequest(400, f"Content-Encoding {encoding!r} is not supported; use gzip or none")


async def read_body(request: web.Request, most: int) -> bytes:
    """The body, unpacked, at most `most` bytes.

    Raises:
        RefusedRequest: it is larger, or says gzip and is not.
    """
    body = bytearray()
    try:
        # aiohttp unpacks what says Content-Encoding: gzip while it reads.
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > most:
                raise RefusedRequest(413, f"request exceeds max limit of {most} bytes")
        if body[:2] == b"\x1f\x8b":
            body = bytearray(gzip.decompress(body))
    except RefusedRequest:
        raise
    except (web.RequestPayloadError, OSError, EOFError, zlib.error, ValueError) as error:
        raise RefusedRequest(400, f"failed to read the body: {type(error).__name__}") from None
    if len(body) > most:
        raise RefusedRequest(413, f"request exceeds max limit of {most} bytes")
    return bytes(body)


def read_records(content_type: str, body: bytes) -> list[Any]:
    """The records of a JSON array or of newline-delimited JSON.

    Raises:
        RefusedRequest: it is neither.
    """
    try:
        if content_type == "application/x-ndjson":
            return [msgspec.json.decode(line) for line in body.splitlines() if line.strip()]
        records = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RefusedRequest(400, f"failed to parse request body: {error}") from None
    if not isinstance(records, list):
        raise RefusedRequest(400, "request body must be an array of events")
    return records


async def _json(request: web.Request) -> dict[str, Any]:
    try:
        wanted = msgspec.json.decode(await request.read())
    except msgspec.DecodeError:
        return {}
    return wanted if isinstance(wanted, dict) else {}


def _limit(request: web.Request, default: int) -> int:
    try:
        return max(1, min(int(request.query.get("limit", default)), 20_000))
    except ValueError:
        return default
