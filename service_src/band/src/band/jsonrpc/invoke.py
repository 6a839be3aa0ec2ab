"""Calling an exposed function with what came over the wire."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from band.errors import RpcError
from band.responses import BaseBandResponse
from band.telemetry.logs import mask_text


class InvalidParams(Exception):
    """The call's parameters do not fit the function."""


async def invoke(func: Callable[..., Any], params: dict[str, Any]) -> Any:
    """Call an exposed function with keyword arguments and return a JSON value.

    The function may be async, return an awaitable, a plain value, a typed response, or be an async generator (whose
    items become a list).

    Raises:
        InvalidParams: the arguments do not fit its signature; the text says which.
        Exception: whatever the function raises.
    """
    return await finish(await call_function(func, params))


async def finish(result: Any) -> Any:
    """Return the JSON value of what an exposed function returned: awaited, a typed response written out.

    Raises:
        Exception: whatever awaiting it raises.
    """
    if inspect.isawaitable(result):
        result = await result
    if isinstance(result, BaseBandResponse):
        return result.to_wire()
    if inspect.isasyncgen(result):
        return [item async for item in result]
    return result


async def call_function(func: Callable[..., Any], params: dict[str, Any]) -> Any:
    """Call an exposed function with keyword arguments and return its result as it is, awaited where it must be.

    Raises:
        InvalidParams: the arguments do not fit its signature; the text says which.
        Exception: whatever the function raises.
    """
    try:
        result = func(**params)
    except TypeError as error:
        raise misfit(func, params, error) from None
    return await result if inspect.isawaitable(result) else result


def misfit(func: Callable[..., Any], params: dict[str, Any], error: TypeError) -> Exception:
    """Return the error of a call: InvalidParams when its parameters did not fit, else the TypeError from inside."""
    try:
        inspect.signature(func).bind(**params)
    except TypeError as unfit:
        return InvalidParams(str(unfit))
    except ValueError:
        return InvalidParams(str(error))
    return error


def describe(error: BaseException) -> str:
    """Return an error in words for the other side: its type and text, secrets in URLs masked, never a stack."""
    text = mask_text(str(error))[:500]
    if isinstance(error, RpcError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
