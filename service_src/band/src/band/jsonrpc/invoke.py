"""Results of exposed functions as JSON values, and errors as text for callers."""

from __future__ import annotations

import inspect
from typing import Any, Final

import msgspec

from band.errors import RpcError
from band.responses import BaseBandResponse
from band.telemetry.logs import mask_text

PLAIN: Final = frozenset({dict, msgspec.Raw, list, str, int, float, bool, type(None)})
"""Types of results that are sent unchanged: a set lookup is cheaper than a coroutine that does nothing."""


async def finish(result: Any) -> Any:
    """Return the JSON value of an exposed function's result: awaited, a typed response in its wire form.

    Raises:
        Exception: whatever awaiting it raises.
    """
    if inspect.isawaitable(result):
        result = await result
    return result if type(result) in PLAIN else await wire_value(result)


async def wire_value(result: Any) -> Any:
    """Return the JSON value of a result: a typed response in its wire form, an async generator as a list."""
    if isinstance(result, BaseBandResponse):
        return result.to_wire()
    if inspect.isasyncgen(result):
        return [item async for item in result]
    return result


def describe(error: BaseException) -> str:
    """Return an error as text for the caller: type and message, secrets in URLs masked, never a traceback."""
    text = mask_text(str(error))[:500]
    if isinstance(error, RpcError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
