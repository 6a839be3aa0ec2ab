"""Many calls of one function in one message: what makes enrichment cheap under load."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

from band import jsonio
from band.errors import RpcError
from band.jsonrpc import messages
from band.jsonrpc.calling import InvalidParams, describe, invoke
from band.logs import logger
from band.metrics import Metrics
from band.registry import Exposed, Registry


async def run_batch(registry: Registry, metrics: Metrics, method: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    """Call ``method`` once for each of ``items`` (its keyword arguments).

    Returns ``{"results": [one a call, None where it failed], "errors": {"<index>": {"code", "message", "data"}}}``, so
    that one bad item harms no other.

    Raises:
        InvalidParams: there is no such method.
    """
    exposed = registry.methods.get(method)
    if exposed is None or method.startswith("__"):
        raise InvalidParams(f"there is no method {method!r} to call for each item")
    begun = time.perf_counter()
    results, errors = await _call_each(exposed, items)
    if errors:
        metrics.called(method, "error", 0.0, len(errors))
    metrics.called(method, "ok", time.perf_counter() - begun, len(items) - len(errors))
    return {"results": results, "errors": errors}


async def _call_each(exposed: Exposed, items: list[dict[str, Any]]) -> tuple[list[Any], dict[str, Any]]:
    results: list[Any] = [None] * len(items)
    errors: dict[str, Any] = {}
    late: list[tuple[int, asyncio.Task[Any]]] = []
    loop = asyncio.get_running_loop()
    for number, params in enumerate(items):
        if sys.version_info >= (3, 12):
            task = asyncio.Task(invoke(exposed.func, params), loop=loop, eager_start=True)
        else:
            task = loop.create_task(invoke(exposed.func, params))
        if task.done():
            _keep(number, task, results, errors)
        else:
            late.append((number, task))
    if late:
        await asyncio.wait([task for _, task in late])
        for number, task in late:
            _keep(number, task, results, errors)
    try:
        jsonio.encode(results)
    except TypeError:
        _drop_unencodable(results, errors)
    if errors:
        logger.warning("rpc_batch_errors", method=exposed.name, count=len(errors), first=next(iter(errors.values())))
    return results, errors


def _keep(number: int, task: asyncio.Task[Any], results: list[Any], errors: dict[str, Any]) -> None:
    error = task.exception()
    if error is None:
        results[number] = task.result()
    else:
        errors[str(number)] = error_object(error)


def _drop_unencodable(results: list[Any], errors: dict[str, Any]) -> None:
    for number, value in enumerate(results):
        try:
            jsonio.encode(value)
        except TypeError as error:
            results[number] = None
            errors[str(number)] = error_object(error)


def error_object(error: BaseException) -> dict[str, Any]:
    """Return the JSON-RPC error object for an exception of a handler."""
    code = messages.INVALID_PARAMS if isinstance(error, InvalidParams) else messages.SERVER_ERROR
    detail = str(error) if isinstance(error, InvalidParams | RpcError) else describe(error)
    return {"code": code, "message": messages.MESSAGES[code], "data": {"message": detail}}
