"""Calling an exposed function with what came over the wire."""

from __future__ import annotations

import inspect
from typing import Any, Final

import msgspec

from band.errors import RpcError
from band.responses import BaseBandResponse
from band.telemetry.logs import mask_text

PLAIN: Final = frozenset({dict, msgspec.Raw, list, str, int, float, bool, type(None)})
"""Types of results that are sent as they are: to ask a set costs less than a coroutine that finds nothing to do."""


async def finish(result: Any) -> Any:
    """Return the JSON value of what an exposed function returned: awaited, a typed response written out.

    Raises:
        Exception: whatever awaiting it raises.
    """
    if inspect.isawaitable(result):
        result = await result
    return result if type(result) in PLAIN else await wire_value(result)


async def wire_value(result: Any) -> Any:
    """Return the JSON value of a result: a typed response written out, the items of an async generator as a list."""
    if isinstance(result, BaseBandResponse):
        return result.to_wire()
    if inspect.isasyncgen(result):
        return [item async for item in result]
    return result


def describe(error: BaseException) -> str:
    """Return an error in words for the other side: its type and text, secrets in URLs masked, never a stack."""
    text = mask_text(str(error))[:500]
    if isinstance(error, RpcError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
