"""Many calls of one function in one message: what makes enrichment cheap under load."""

from __future__ import annotations

import asyncio
import inspect
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec

from band import json_codec
from band.calls.middleware import Call, chain, deliver, is_own_mistake, own
from band.errors import InvalidParams, RpcError
from band.jsonrpc import messages
from band.jsonrpc.invoke import PLAIN, describe, finish
from band.registry import Exposed, Registry
from band.responses import BaseBandResponse
from band.telemetry.logs import logger
from band.telemetry.metrics import Metrics
from band.telemetry.tracebacks import describe_raised


async def run_batch(
    registry: Registry, metrics: Metrics, outer: Call, method: str, items: list[dict[str, Any]]
) -> msgspec.Raw:
    """Call ``method`` once for each of ``items`` (its keyword arguments), as who made the call ``outer``.

    A plain function is called, no more; a coroutine gets a task of its own, so that all of them wait at once.

    Returns ``{"results": [one a call, None where it failed], "errors": {"<index>": {"code", "message", "data"}}}``, so
    that one bad item harms no other; it is JSON already, because only writing it tells whether all of it can be.

    Raises:
        InvalidParams: there is no such method.
    """
    exposed = registry.methods.get(method)
    if exposed is None or method.startswith("__"):
        raise InvalidParams(f"there is no method {method!r} to call for each item")
    begun = time.perf_counter()
    results, raised = await _call_each(_caller(registry, exposed, outer), items)
    try:
        written = json_codec.encode(results)
    except TypeError:
        _drop_unencodable(results, raised)
        written = json_codec.encode(results)
    if raised:
        _note_errors(_of_item(outer, exposed, {}), list(raised.values()), metrics)
    metrics.called(method, "ok", time.perf_counter() - begun, len(items) - len(raised))
    metrics.failures.succeeded(exposed.kind, exposed.name, len(items) - len(raised))
    errors = {str(number): error_object(error) for number, error in raised.items()}
    return msgspec.Raw(b'{"results":%b,"errors":%b}' % (written, json_codec.encode(errors)))


def _caller(registry: Registry, exposed: Exposed, outer: Call) -> Callable[[dict[str, Any]], Any]:
    """Return how to call a function with one item: through the middlewares, where the service has any."""
    middlewares = own(registry)
    if not middlewares:
        return exposed.handler.call
    through = chain(middlewares, deliver)
    return lambda params: through(_of_item(outer, exposed, params))


def _of_item(outer: Call, exposed: Exposed, params: dict[str, Any]) -> Call:
    return Call(outer.transport, exposed, params, sender=outer.sender, request_id=outer.request_id)


def _note_errors(call: Call, raised: list[BaseException], metrics: Metrics) -> None:
    """Count the errors as ``counted`` does for single calls."""
    exposed = call.exposed
    assert exposed is not None  # noqa: S101 - a batch calls a function
    logger.warning("rpc_batch_errors", method=exposed.name, count=len(raised), last=describe_raised(raised[-1]))
    refused = [error for error in raised if isinstance(error, InvalidParams)]
    failed = [error for error in raised if not isinstance(error, InvalidParams) or is_own_mistake(call, error)]
    for outcome, count in (("invalid_params", len(refused)), ("error", len(raised) - len(refused))):
        if count:
            metrics.called(exposed.name, outcome, 0.0, count)
    if failed:
        metrics.failures.failed(exposed.kind, exposed.name, failed[-1], len(failed))


async def _call_each(
    call: Callable[[dict[str, Any]], Any], items: list[dict[str, Any]]
) -> tuple[list[Any], dict[int, BaseException]]:
    """Return the result of each call, None where it failed, and what those raised by their place."""
    results: list[Any] = []
    raised: dict[int, BaseException] = {}
    late: list[tuple[int, asyncio.Task[Any]]] = []
    for number, params in enumerate(items):
        try:
            result = call(params)
        except Exception as error:  # noqa: BLE001 - whatever one call does, the others are answered
            raised[number] = error
            result = None
        if type(result) not in PLAIN and (task := _begin(result)) is not None:
            if task.done():
                result = _outcome(number, task, raised)
            else:
                late.append((number, task))
                result = None
        results.append(result)
    if late:
        await asyncio.wait([task for _, task in late])
        for number, task in late:
            results[number] = _outcome(number, task, raised)
    return results, raised


def _begin(result: Any) -> asyncio.Task[Any] | None:
    """Start what is still to be done for a result; None when it is a value that can be sent."""
    if not (inspect.isawaitable(result) or inspect.isasyncgen(result) or isinstance(result, BaseBandResponse)):
        return None
    loop = asyncio.get_running_loop()
    # Started at once: what has nothing to wait for is done without a turn of the loop.
    if sys.version_info >= (3, 12):
        return asyncio.Task(finish(result), loop=loop, eager_start=True)
    return loop.create_task(finish(result))


def _outcome(number: int, task: asyncio.Task[Any], raised: dict[int, BaseException]) -> Any:
    error = task.exception()
    if error is None:
        return task.result()
    raised[number] = error
    return None


def _drop_unencodable(results: list[Any], raised: dict[int, BaseException]) -> None:
    for number, value in enumerate(results):
        try:
            json_codec.encode(value)
        except TypeError as error:
            results[number] = None
            raised[number] = error


def error_object(error: BaseException) -> dict[str, Any]:
    """Return the JSON-RPC error object for an exception of a handler."""
    code = messages.INVALID_PARAMS if isinstance(error, InvalidParams) else messages.SERVER_ERROR
    detail = str(error) if isinstance(error, InvalidParams | RpcError) else describe(error)
    data = {"message": detail}
    if isinstance(error, InvalidParams) and error.path:
        data["path"] = error.path
    return {"code": code, "message": messages.MESSAGES[code], "data": data}
