"""HTTP in and out: read parameters, check access, call a handler, write its response or its error."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Any
from urllib.parse import quote

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from band import RedisError, logger
from director.api.metrics import RequestCounts
from director.api.params import EXAMPLE, RunParams, check_once, check_tree, decode, read_params
from director.api.progress import narrate
from director.api.routes import Endpoint, Text
from director.api.security import Guard
from director.api.throttle import TokenThrottle
from director.engine.log_feed import LogFeed
from director.errors import (
    BadParameter,
    DirectorError,
    RedisUnavailable,
    TokenMissing,
    TooManyGuesses,
    WrongToken,
    shown_key,
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
LOGIN = "/dashboard/login"
BODY_SECONDS = 30.0
"""Seconds in which the whole body of a request must arrive."""
_FORMS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})
CLIENT_GONE = 499
"""The status under which a request is counted if its client disconnected before the response."""
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def routes(
    endpoints: Iterable[tuple[Endpoint, Callable[..., Awaitable[Any]]]], feed: LogFeed | None = None
) -> list[web.RouteDef]:
    """Return the routes of endpoints; `feed` provides the lines of `progress`."""
    found: list[web.RouteDef] = []
    for endpoint, function in endpoints:
        handle = _handle(endpoint, function, feed)
        # A HEAD would do what GET does, and that changes state here.
        both = {"get": web.get(endpoint.path, handle, allow_head=False), "post": web.post(endpoint.path, handle)}
        found += [both[verb] for verb in endpoint.verbs]
    return found


def error_middleware(guard: Guard, requests: RequestCounts | None = None, guesses: TokenThrottle | None = None) -> Any:
    """Return the outermost middleware: it checks access, writes every error as JSON, and counts responses.

    Args:
        guard: decides who may call.
        requests: counts responses by the path's template.
        guesses: counts wrong tokens.
    """
    guesses = guesses or TokenThrottle()

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        begun = time.perf_counter()
        answer: web.StreamResponse | None = None
        try:
            answer = await _answer(guard, guesses, request, handler)
            return answer
        finally:
            if requests is not None:
                whole = answer is None or isinstance(answer, web.Response)
                seconds = time.perf_counter() - begun if whole else None
                requests.answered(_endpoint(request), answer.status if answer else CLIENT_GONE, seconds)

    return middleware


async def _answer(guard: Guard, guesses: TokenThrottle, request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        try:
            guard.check(request.path, request.headers, request.remote)
        except WrongToken:
            await guesses.wrong(request.remote)
            raise
        return await handler(request)
    except TokenMissing as error:
        return _to_login(request) or _json(error.body(), error.status)
    except TooManyGuesses as error:
        answer = _json(error.body(), error.status)
        answer.headers["Retry-After"] = str(error.retry_after)
        answer.force_close()
        return answer
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return _http_error(request, error)
    except Exception as error:  # noqa: BLE001 - the client gets a response, the log the reason
        found = _explain(error, request.path)
        return _json(found.body(), found.status)


def _explain(error: Exception, path: str) -> DirectorError:
    """Return the error for the client; the reason of an unexpected one is only logged."""
    if isinstance(error, DirectorError):
        return error
    if isinstance(error, RedisError):
        return RedisUnavailable(str(error), "check Redis: GET /health")
    logger.error("request_failed", path=path, exc_info=error)
    return DirectorError("the director failed", "its log says why")


def _last_line(error: DirectorError) -> dict[str, Any]:
    """Return the body of an error with its status, which the response itself can no longer have."""
    body = error.body()
    return {"error": {**body["error"], "status": error.status}}


def _to_login(request: web.Request) -> web.Response | None:
    """Return a redirect to the login page for a browser; None for a program."""
    if request.method != "GET" or "text/html" not in request.headers.get("Accept", ""):
        return None
    return web.Response(status=303, headers={**_HEADERS, "Location": f"{LOGIN}?next={quote(request.path)}"})


def _http_error(request: web.Request, error: web.HTTPException) -> web.Response:
    """Return an error of aiohttp in the director's form; 405 keeps its Allow header."""
    message = f"{error.status} {error.reason}: {request.path[:200]}"
    answer = _json(
        {"error": {"code": "http", "message": message, "hint": "GET /openapi.json lists the API"}}, error.status
    )
    if "Allow" in error.headers:
        answer.headers["Allow"] = error.headers["Allow"]
    return answer


def _endpoint(request: web.Request) -> str:
    """Return the template of the requested path; `unknown` for all paths that do not exist."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"


def _handle(endpoint: Endpoint, function: Callable[..., Awaitable[Any]], feed: LogFeed | None) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        params, rest = read_params(endpoint.params, request.match_info, read_query(request), await read_body(request))
        work = function(params, rest) if endpoint.free else function(params)
        if feed is not None and isinstance(params, RunParams) and params.progress:
            told = narrate(feed, params.name, work, lambda error: _last_line(_explain(error, request.path)))
            return await _write(request, Text(told))
        return await _write(request, await work)

    return handle


def read_query(request: web.Request) -> dict[str, Any]:
    """Return the query's parameters; raises BadParameter for a repeated one."""
    return _once(request.query)


async def read_body(request: web.Request) -> dict[str, Any]:
    """Return the JSON or form body as an object; no body is an empty one.

    Raises:
        BadParameter: it is neither, cannot be read, or did not arrive in time.
    """
    if not request.can_read_body:
        return {}
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _read_body(request)
    except TimeoutError:
        raise BadParameter(f"request body timed out after {BODY_SECONDS:g} s", "send the complete body") from None


async def _read_body(request: web.Request) -> dict[str, Any]:
    try:
        if "json" in request.content_type:
            return _json_object(await request.read())
        if request.content_type in _FORMS:
            return _once(await request.post())
        raw = await request.read()
    except (HttpProcessingError, web.RequestPayloadError):  # its text quotes the body, and so perhaps a secret
        raise BadParameter("the body is not valid HTTP/1.1", EXAMPLE) from None
    except (ValueError, LookupError, AssertionError) as error:
        reason = str(error) or type(error).__name__
        raise BadParameter(f"the body cannot be read as {request.content_type}: {reason[:200]}", EXAMPLE) from error
    if raw.strip():
        raise BadParameter(f"a body of type {request.content_type[:80]} is not supported", EXAMPLE)
    return {}


def _json_object(raw: bytes) -> dict[str, Any]:
    value = decode(raw) if raw.strip() else {}
    if not isinstance(value, dict):
        raise BadParameter("the body is not a JSON object", EXAMPLE)
    return value


def _once(given: Mapping[str, Any]) -> dict[str, Any]:
    check_once(key for key, _ in given.items())
    found: dict[str, Any] = {}
    for key, value in given.items():
        if not isinstance(value, str):
            raise BadParameter(f"parameter {shown_key(key)} is a file", "file uploads are not supported")
        found[key] = value
    check_tree(found)
    return found


async def _write(request: web.Request, answer: Any) -> web.StreamResponse:
    if not isinstance(answer, Text):
        return _json(answer, getattr(answer, "http_status", 200))
    if isinstance(answer.body, str):
        return web.Response(body=answer.body.encode(), headers={**_HEADERS, "Content-Type": answer.content_type})
    stream = web.StreamResponse(headers={**_HEADERS, "Content-Type": answer.content_type})
    await stream.prepare(request)
    async with aclosing(answer.body):
        async for chunk in answer.body:
            if request.transport is None or request.transport.is_closing():
                return stream  # the client is gone; a silent source yields empty chunks so that this is noticed
            if chunk:
                await stream.write(chunk)
    await stream.write_eof()
    return stream


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(value), status=status, content_type="application/json", headers=_HEADERS
    )
