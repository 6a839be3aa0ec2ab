"""HTTP in and out: reads parameters, asks the guard, calls a handler, writes its answer or its error."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import msgspec
from aiohttp import web

from band import logger
from band.errors import RedisError
from director.endpoints import Endpoint
from director.errors import BadParameter, DirectorError, RedisUnavailable
from director.guard import Guard
from director.params import read_params

Answer = Any
HandlerFunction = Callable[[Any, dict[str, Any]], Awaitable[Answer]]
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Text(msgspec.Struct, frozen=True):
    """A handler's answer that is text, whole or as it comes."""

    body: str | AsyncIterator[bytes]


class Json(msgspec.Struct, frozen=True):
    """A handler's answer with a status of its own."""

    value: Any
    status: int = 200


def routes(endpoints: Iterable[Endpoint], *handlers: object) -> list[web.RouteDef]:
    """Return the routes of the table, GET and POST, each with the method of that name of the first object that has it.

    Raises:
        LookupError: no object has a handler that the table names.
    """
    found: list[web.RouteDef] = []
    for endpoint in endpoints:
        function = _handle(endpoint, _handler(endpoint.handler, handlers))
        found += [web.get(endpoint.path, function), web.post(endpoint.path, function)]
    return found


def _handler(name: str, handlers: Iterable[object]) -> HandlerFunction:
    for candidate in handlers:
        function: HandlerFunction | None = getattr(candidate, name, None)
        if function is not None:
            return function
    raise LookupError(f"no handler is called {name!r}")


def error_middleware(guard: Callable[[], Guard]) -> Any:
    """Return the outermost middleware: the guard first, then every error as JSON. `guard` is asked at each request."""

    @web.middleware
    async def middleware(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            guard().check(request.path, request.headers)
            return await handler(request)
        except DirectorError as error:
            return _json(error.body(), error.status)
        except RedisError as error:
            away = RedisUnavailable(str(error), "is Redis up? GET /health tells")
            return _json(away.body(), away.status)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            body = {
                "error": {
                    "code": "http",
                    "message": f"{error.status} {error.reason}: {request.path[:200]}",
                    "hint": "GET /openapi.json",
                }
            }
            return _json(body, error.status)
        except Exception:  # noqa: BLE001 - the client gets an answer, the log the reason
            logger.exception("request_failed", path=request.path)
            return _json(
                {"error": {"code": "internal", "message": "the director failed", "hint": "its log says why"}}, 500
            )

    return middleware


def _handle(endpoint: Endpoint, function: HandlerFunction) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        params, rest = read_params(endpoint.params, request.match_info, request.query, await _body(request))
        return await _write(request, await function(params, rest))

    return handle


async def _body(request: web.Request) -> dict[str, Any]:
    """Return the JSON or form body as an object.

    Raises:
        BadParameter: it is neither.
    """
    if not request.can_read_body:
        return {}
    if "json" not in request.content_type:
        return {key: value for key, value in (await request.post()).items() if isinstance(value, str)}
    raw = await request.read()
    if not raw.strip():
        return {}
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BadParameter(f"the body is not JSON: {error}", 'send an object: {"env": {…}}') from error
    if not isinstance(value, dict):
        raise BadParameter("the body is not a JSON object", 'send an object: {"env": {…}}')
    return value


async def _write(request: web.Request, answer: Answer) -> web.StreamResponse:
    if isinstance(answer, Json):
        return _json(answer.value, answer.status)
    if not isinstance(answer, Text):
        return _json(answer)
    if isinstance(answer.body, str):
        return web.Response(text=answer.body, headers=_HEADERS)
    stream = web.StreamResponse(headers={**_HEADERS, "Content-Type": "text/plain; charset=utf-8"})
    await stream.prepare(request)
    async for chunk in answer.body:
        await stream.write(chunk)
    await stream.write_eof()
    return stream


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(value), status=status, content_type="application/json", headers=_HEADERS
    )
