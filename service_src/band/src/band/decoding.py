"""Reading JSON that came out of Redis: whatever stands there, one bad document spoils only itself."""

from __future__ import annotations

import functools
from typing import Any, TypeVar, overload

import msgspec

from band import json_codec
from band.errors import DecodingError

T = TypeVar("T")
_UNREADABLE = (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError)
"""What msgspec raises over data; invalid UTF-8 is a ValueError, deep nesting a RecursionError."""


@overload
def decode(data: object) -> Any: ...
@overload
def decode(data: object, type: type[T]) -> T: ...
@overload
def decode(data: object, type: Any) -> Any: ...
def decode(data: object, type: Any = Any) -> Any:  # noqa: A002 - as msgspec calls it
    """Return the JSON in ``data`` as a value of ``type`` (any type that msgspec knows).

    Args:
        data: bytes or text, as a reply of Redis holds them; anything else is an error like broken JSON.
        type: what is expected.

    Raises:
        DecodingError: it is no JSON, no UTF-8, or something else than ``type``.
    """
    decoder = _decoder(type)
    try:
        return decoder.decode(data)  # type: ignore[arg-type]  # what else it may be is an error like the others
    except _UNREADABLE as error:
        raise DecodingError(f"the data is not the expected JSON: {error}") from error


def decode_loosely(data: bytes) -> Any:
    """Return the JSON in ``data``, also what only Python's own reader takes: NaN, half a surrogate pair.

    For events and messages, which peers of the original platform write as they like.

    Raises:
        DecodingError: it is no JSON or no UTF-8.
    """
    try:
        return json_codec.decode(data)
    except _UNREADABLE as error:
        raise DecodingError(f"the data is not JSON: {error}") from error


@functools.lru_cache(maxsize=256)
def _decoder(type: Any) -> msgspec.json.Decoder[Any]:  # noqa: A002
    return msgspec.json.Decoder(type)
