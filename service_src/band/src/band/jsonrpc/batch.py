"""Many calls of one function in one message, which makes enrichment cheap under load."""

from __future__ import annotations

import asyncio
import inspect
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
from band.tasks import eager_task
from band.telemetry.logs import logger
from band.telemetry.metrics import Metrics
from band.telemetry.tracebacks import describe_raised


async def run_batch(
    registry: Registry, metrics: Metrics, outer: Call, method: str, items: list[dict[str, Any]]
) -> msgspec.Raw:
    """Call ``method`` once for each of ``items`` (keyword arguments), on behalf of the sender of ``outer``.

    A plain function is just called; each coroutine gets its own task, so that all of them wait concurrently.

    Returns ``{"results": [one per call, None if it failed], "errors": {"<index>": {"code", "message", "data"}}}``, so
    that one bad item affects no other. It is JSON already, because only encoding shows whether all of it can be.

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
    errors = {str(number): _error_object(error) for number, error in raised.items()}
    return msgspec.Raw(b'{"results":%b,"errors":%b}' % (written, json_codec.encode(errors)))


def _caller(registry: Registry, exposed: Exposed, outer: Call) -> Callable[[dict[str, Any]], Any]:
    """Return the call of a function with one item: through the middlewares, if the service has any."""
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
    """Return the result of each call, None if it failed, and the exceptions by index."""
    results: list[Any] = []
    raised: dict[int, BaseException] = {}
    late: list[tuple[int, asyncio.Task[Any]]] = []
    for number, params in enumerate(items):
        try:
            result = call(params)
        except Exception as error:  # noqa: BLE001 - one failed call must not affect the others
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
    """Start the task that finishes a result; None if it is a value that can be sent."""
    if not (inspect.isawaitable(result) or inspect.isasyncgen(result) or isinstance(result, BaseBandResponse)):
        return None
    return eager_task(finish(result))  # what waits for nothing is done without a turn of the loop


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


def _error_object(error: BaseException) -> dict[str, Any]:
    if isinstance(error, InvalidParams):
        return messages.error_object(messages.INVALID_PARAMS, str(error), error.path)
    return messages.error_object(messages.SERVER_ERROR, str(error) if isinstance(error, RpcError) else describe(error))
