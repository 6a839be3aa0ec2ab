"""JSON in and out: msgspec, and the standard library for what msgspec refuses but peers send.

Invalid data of any kind raises :class:`band.errors.DecodingError`.
"""

from __future__ import annotations

import functools
import json
from typing import Any, TypeVar, overload

import msgspec

from band.errors import DecodingError

T = TypeVar("T")
_encoder = msgspec.json.Encoder()
_UNREADABLE = (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError)
"""msgspec's errors; invalid UTF-8 is a ValueError, deep nesting a RecursionError."""


@overload
def decode(data: object) -> Any: ...
@overload
def decode(data: object, type: type[T]) -> T: ...
@overload
def decode(data: object, type: Any) -> Any: ...
def decode(data: object, type: Any = Any) -> Any:  # noqa: A002 - as msgspec calls it
    """Return the JSON in ``data`` as a value of ``type`` (any type that msgspec knows).

    Args:
        data: bytes or text from a reply of Redis; anything else is an error like invalid JSON.
        type: the expected type.

    Raises:
        DecodingError: it is not JSON, not UTF-8, or not a ``type``.
    """
    decoder = _decoder(type)
    try:
        return decoder.decode(data)  # type: ignore[arg-type]  # other types are an error like the others
    except _UNREADABLE as error:
        raise DecodingError(f"the data is not the expected JSON: {error}") from error


def decode_loosely(data: bytes | str | msgspec.Raw) -> Any:
    """Return the JSON in ``data``, including what only the standard library accepts: NaN, half a surrogate pair.

    For events and messages, which peers of the original platform write as they like.

    Raises:
        DecodingError: it is not JSON or not UTF-8.
    """
    try:
        try:
            return msgspec.json.decode(data)
        except msgspec.DecodeError:
            return json.loads(bytes(data) if isinstance(data, msgspec.Raw) else data)
    except _UNREADABLE as error:
        raise DecodingError(f"not JSON: {error}") from error


@functools.lru_cache(maxsize=256)
def _decoder(type: Any) -> msgspec.json.Decoder[Any]:  # noqa: A002
    return msgspec.json.Decoder(type)


def encode(value: Any) -> bytes:
    """Return ``value`` as JSON without spaces.

    Raises:
        TypeError: something in it has no JSON form.
    """
    try:
        return _encoder.encode(value)
    except (OverflowError, TypeError, ValueError, UnicodeEncodeError):
        return json.dumps(value, separators=(",", ":"), ensure_ascii=True, default=_from_raw).encode()


def encode_strictly(value: Any) -> bytes:
    """Return ``value`` as strictly valid JSON: half a surrogate pair becomes U+FFFD, NaN and infinity null.

    Raises:
        TypeError: something in it has no JSON form.
    """
    try:
        return _encoder.encode(value)
    except (OverflowError, TypeError, ValueError):
        finite = json.loads(json.dumps(value, default=_from_raw), parse_constant=lambda _name: None)
        text = json.dumps(finite, separators=(",", ":"), ensure_ascii=False)
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _from_raw(value: Any) -> Any:
    """Return the plain value of raw JSON, or of a type that msgspec knows (a Struct, a date); raises TypeError."""
    if isinstance(value, msgspec.Raw):
        return decode_loosely(bytes(value))
    plain = msgspec.to_builtins(value)
    if plain is value:
        raise TypeError(f"{type(value).__name__} cannot be written as JSON")
    return plain
