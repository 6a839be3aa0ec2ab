"""The HTTP port of a service: every exposed function, its health and its metrics."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from multidict import MultiMapping

from band import json_codec
from band.calls.middleware import HTTP, Call, Next, chain, counted, deliver, own
from band.constants import REQUEST_STATUS
from band.errors import DecodingError, InvalidParams, RpcError
from band.jsonrpc.invoke import describe
from band.redis.link import RedisLink
from band.registry import Exposed, Registry, resolve
from band.responses import PIXEL_GIF, BaseBandResponse, ErrorResponse, PixelResponse, RedirectResponse, read_response
from band.service.health import http_status, read_health
from band.service.openapi import document
from band.telemetry.logs import logger
from band.telemetry.metrics import Metrics

BODY_LIMIT: Final = 2 * 1024 * 1024
_READ_METHODS: Final = frozenset({"GET", "HEAD"})


class HttpError(Exception):
    """The request is invalid; ``status`` and text go to the client."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def json_response(value: Any, status: int = 200) -> web.Response:
    """Return a JSON value as a response."""
    return web.Response(body=json_codec.encode(value), status=status, content_type="application/json")


async def read_params(request: web.Request, lists: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Return the parameters of a request: query, then JSON or form body, then path variables; later ones win.

    Args:
        request: the request.
        lists: the names of parameters whose values are collected: ``?tag=a&tag=b``.

    Raises:
        HttpError: the body is not a JSON object.
    """
    params: dict[str, Any] = _collect(request.query, lists)
    if request.can_read_body:
        try:
            if "json" in request.content_type:
                params.update(_read_json(await request.read()))
            else:
                params.update(_collect(await request.post(), lists))
        except (HttpProcessingError, web.RequestPayloadError):  # its text quotes the body
            raise HttpError(400, "The body is not valid HTTP/1.1") from None
        except (ValueError, AssertionError, LookupError) as error:
            raise HttpError(400, f"The form cannot be read: {error}") from None
    params.update(request.match_info)
    return params


def _collect(pairs: MultiMapping[Any], lists: frozenset[str]) -> dict[str, Any]:
    return dict(pairs) | {name: pairs.getall(name) for name in lists if name in pairs}


def _read_json(body: bytes) -> dict[str, Any]:
    if not body.strip():
        return {}
    try:
        value = json_codec.decode_loosely(body)
    except DecodingError as error:
        raise HttpError(400, f"The body is {error}") from None
    if not isinstance(value, dict):
        raise HttpError(400, f"The body must be a JSON object of named arguments, not a {type(value).__name__}")
    return value


def render(result: Any) -> web.StreamResponse:
    """Return the HTTP response for a handler's result: a typed response, one of aiohttp, any JSON value."""
    if isinstance(result, web.StreamResponse):
        return result
    typed = result if isinstance(result, BaseBandResponse) else read_response(result)
    if typed is None:
        return json_response(result)
    if isinstance(typed, ErrorResponse):
        return json_response({"message": typed.message, "data": typed.data}, typed.status_code or 500)
    if isinstance(typed, RedirectResponse):
        return web.Response(status=typed.status_code or 302, headers={"Location": _header(typed.location)})
    if isinstance(typed, PixelResponse):
        return web.Response(body=PIXEL_GIF, content_type="image/gif")
    return json_response(typed.data, typed.status_code or 200)


def _header(value: Any) -> str:
    """Return text for a header: without line ends."""
    return "".join(char for char in str(value or "/") if char.isprintable())


class HttpFace:
    """Builds the aiohttp application of a service."""

    def __init__(
        self, registry: Registry, link: RedisLink, metrics: Metrics, prefix: str = "", name: str = "", version: str = ""
    ) -> None:
        self._title = name, version
        self._registry = registry
        self._link = link
        self._metrics = metrics
        self._prefix = prefix.rstrip("/")
        self._calls: set[web.AbstractResource | None] = set()
        steps = [counted(metrics, fine=(web.HTTPException,)), _respond, *own(registry)]
        self._run = chain(steps, deliver)

    def add_routes(self, app: web.Application, own: list[web.RouteDef]) -> None:
        """Add the built-in routes, the service's own, and one for each exposed function whose path is free."""
        status = f"{self._prefix}/{REQUEST_STATUS}"
        app.router.add_get(f"{self._prefix}/health", self._health)
        app.router.add_get(f"{self._prefix}/metrics", self._metrics_page)
        app.router.add_route("*", status, self._status)
        taken = {f"{self._prefix}/health", f"{self._prefix}/metrics", status}
        app.router.add_routes(own)
        taken.update(route.path for route in own)
        if (page := f"{self._prefix}/openapi.json") not in taken:
            app.router.add_get(page, self._openapi)
            taken.add(page)
        for exposed in self._registry.methods.values():
            if exposed.name.startswith("__") or "*" in exposed.path or not exposed.path:
                continue
            if exposed.path in taken:
                logger.warning("http_path_taken", path=exposed.path, method=exposed.name)
                continue
            taken.add(exposed.path)
            self._add_method(app, exposed)

    def _add_method(self, app: web.Application, exposed: Exposed) -> None:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._call(exposed, request)

        for verb in ("GET", "POST"):
            self._calls.add(app.router.add_route(verb, exposed.path, handle).resource)
        app.router.add_route("OPTIONS", exposed.path, _options)

    def reads(self, request: web.Request) -> bool:
        """Return whether a request changes nothing: a GET of anything but an exposed function."""
        return request.method in _READ_METHODS and request.match_info.route.resource not in self._calls

    async def _call(self, exposed: Exposed, request: web.Request) -> web.StreamResponse:
        try:
            answer: web.StreamResponse = await self._run(Call(HTTP, exposed, request=request))
            return answer
        except HttpError as error:
            return json_response({"message": str(error)}, error.status)
        except InvalidParams as error:
            facts = {"message": f"Invalid params: {error}", **({"path": error.path} if error.path else {})}
            return json_response(facts, 422 if error.path else 400)
        except web.HTTPException:
            raise  # a 404 or redirect of an aiohttp handler
        except RpcError as error:
            return json_response({"message": describe(error)}, 502)
        except Exception as error:  # noqa: BLE001 - the client gets a response in any case
            logger.exception("http_handler_failed", method=exposed.name, reason=describe(error))
            return json_response({"message": describe(error)}, 500)

    async def _health(self, _request: web.Request) -> web.Response:
        facts = await read_health(self._registry, self._link)
        return json_response(facts, http_status(facts))

    async def _status(self, _request: web.Request) -> web.StreamResponse:
        """Respond as to a call without parameters: those of the request are ignored."""
        return render(await resolve(self._registry.methods[REQUEST_STATUS].handler.call({})))

    async def _openapi(self, _request: web.Request) -> web.Response:
        return json_response(document(*self._title, self._registry, self._prefix))

    async def _metrics_page(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.render(), content_type="text/plain", charset="utf-8")


async def _respond(call: Call, following: Next) -> web.StreamResponse:
    """Read the parameters of a request, and write the result as a response."""
    request: web.Request = call.request
    call.params = await read_params(request, call.exposed.handler.lists if call.exposed else frozenset())
    result = await following(call)
    return await _stream(request, result) if isinstance(result, AsyncGenerator) else render(result)


async def _options(_request: web.Request) -> web.Response:
    return json_response({})


async def _stream(request: web.Request, items: AsyncGenerator[Any, None]) -> web.StreamResponse:
    stream = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
    async with aclosing(items):
        # The first item before the status: a generator that fails at once is an error response.
        first = await anext(items, _END)
        await stream.prepare(request)
        try:
            if first is not _END:
                await stream.write(_chunk(first))
            async for item in items:
                await stream.write(_chunk(item))
        except Exception as error:  # noqa: BLE001 - the status is sent: only an aborted stream shows that the rest is missing
            logger.exception("http_stream_failed", path=request.path, reason=describe(error))
            if request.transport is not None:
                request.transport.abort()
            return stream
    await stream.write_eof()
    return stream


_END: Final = object()


def _chunk(item: Any) -> bytes:
    if isinstance(item, bytes):
        return item
    return item.encode() if isinstance(item, str) else json_codec.encode(item) + b"\n"
