"""The HTTP port of a service: every exposed function, its health and its metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from aiohttp import web

from band import jsonio
from band.checks import FAILING, read_health
from band.errors import RpcError
from band.jsonrpc.server import InvalidParams, describe, invoke
from band.logs import logger
from band.metrics import Metrics
from band.redis.link import RedisLink
from band.registry import Exposed, Registry
from band.responses import PIXEL_GIF, TYPE_KEY

BODY_LIMIT: Final = 2 * 1024 * 1024
CORS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "Content-Type, Authorization, Accept",
}


class HttpError(Exception):
    """The request cannot be read; ``status`` and text go to the client."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def json_response(value: Any, status: int = 200) -> web.Response:
    """Return any JSON value as a response."""
    return web.Response(body=jsonio.encode(value), status=status, content_type="application/json", headers=CORS)


async def read_params(request: web.Request) -> dict[str, Any]:
    """Return the parameters of a request: query, then JSON or form body, then path variables; later ones win.

    Raises:
        HttpError: the body is no JSON object.
    """
    params: dict[str, Any] = dict(request.query)
    if request.can_read_body:
        if "json" in request.content_type:
            params.update(_read_json(await request.read()))
        else:
            params.update(await request.post())
    params.update(request.match_info)
    return params


def _read_json(body: bytes) -> dict[str, Any]:
    if not body.strip():
        return {}
    try:
        value = jsonio.decode(body)
    except (ValueError, RecursionError) as error:
        raise HttpError(400, f"The body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise HttpError(400, f"The body must be a JSON object of named arguments, not a {type(value).__name__}")
    return value


def render(result: Any) -> web.StreamResponse:
    """Return the HTTP response for what a handler returned, typed responses included."""
    if not isinstance(result, dict) or TYPE_KEY not in result:
        return json_response(result)
    kind, status = result[TYPE_KEY], result.get("statusCode")
    if kind == "error":
        return json_response({"message": result.get("errorMessage") or "", "data": result.get("data")}, status or 500)
    if kind == "redirect":
        return web.Response(status=status or 302, headers={**CORS, "Location": _header(result.get("location"))})
    if kind == "pixel":
        return web.Response(body=PIXEL_GIF, content_type="image/gif", headers=CORS)
    return json_response(result.get("data"), status or 200)


def _header(value: Any) -> str:
    """Return a text that can stand in a header: no line ends."""
    return "".join(char for char in str(value or "/") if char.isprintable())


class HttpFace:
    """Builds the aiohttp application of a service."""

    def __init__(self, registry: Registry, link: RedisLink, metrics: Metrics, prefix: str = "") -> None:
        self._registry = registry
        self._link = link
        self._metrics = metrics
        self._prefix = prefix.rstrip("/")

    def add_routes(self, app: web.Application, own: list[web.RouteDef]) -> None:
        """Add the built-in routes, the service's own, and one for each exposed function whose path is still free."""
        app.router.add_get(f"{self._prefix}/health", self._health)
        app.router.add_get(f"{self._prefix}/metrics", self._metrics_page)
        taken = {f"{self._prefix}/health", f"{self._prefix}/metrics"}
        app.router.add_routes(own)
        taken.update(route.path for route in own)
        for exposed in self._registry.methods.values():
            if exposed.path not in taken and not exposed.name.startswith("__") and "*" not in exposed.path:
                self._add_method(app, exposed)

    def _add_method(self, app: web.Application, exposed: Exposed) -> None:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._call(exposed, request)

        for verb in ("GET", "POST"):
            app.router.add_route(verb, exposed.path, handle)
        app.router.add_route("OPTIONS", exposed.path, _options)

    async def _call(self, exposed: Exposed, request: web.Request) -> web.StreamResponse:
        try:
            params = await read_params(request)
            if _streams(exposed):
                return await _stream(request, exposed.func(**params))
            return render(await invoke(exposed.func, params))
        except HttpError as error:
            return json_response({"message": str(error)}, error.status)
        except InvalidParams as error:
            return json_response({"message": f"Invalid params: {error}"}, 400)
        except web.HTTPException:
            raise
        except RpcError as error:
            return json_response({"message": str(error)}, 502)
        except Exception as error:  # noqa: BLE001 - whatever a handler does, the client gets an answer
            logger.exception("http_handler_failed", method=exposed.name, reason=describe(error))
            return json_response({"message": describe(error)}, 500)

    async def _health(self, _request: web.Request) -> web.Response:
        facts = await read_health(self._registry, self._link)
        return json_response(facts, 503 if facts["status"] == FAILING else 200)

    async def _metrics_page(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.render(), content_type="text/plain", charset="utf-8")


async def _options(_request: web.Request) -> web.Response:
    return json_response({})


def _streams(exposed: Exposed) -> bool:
    import inspect

    return inspect.isasyncgenfunction(exposed.func)


async def _stream(request: web.Request, items: AsyncIterator[Any]) -> web.StreamResponse:
    stream = web.StreamResponse(headers={**CORS, "Content-Type": "application/octet-stream"})
    await stream.prepare(request)
    async for item in items:
        await stream.write(_chunk(item))
    await stream.write_eof()
    return stream


def _chunk(item: Any) -> bytes:
    if isinstance(item, bytes):
        return item
    return item.encode() if isinstance(item, str) else jsonio.encode(item) + b"\n"
