"""JSON in and out: msgspec, and the standard library for what it refuses but peers send."""

from __future__ import annotations

import json
from typing import Any

import msgspec

_encoder = msgspec.json.Encoder()


def decode(data: bytes | str | msgspec.Raw) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError:
        return json.loads(
            bytes(data) if isinstance(data, msgspec.Raw) else data
        )  # NaN and lone surrogates: Python peers send them


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
    """Return ``value`` as JSON that every reader takes: half a surrogate pair becomes U+FFFD, NaN and infinity null.

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
    """Return the value of what is JSON already; all else has no JSON form."""
    if isinstance(value, msgspec.Raw):
        return decode(bytes(value))
    raise TypeError(f"{type(value).__name__} has no JSON form")
