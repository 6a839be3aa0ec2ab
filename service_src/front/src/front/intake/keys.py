"""Where clients put their write key: headers and queries, or the top of a JSON body."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from front.http1.request import Headers, text_of

QUERY_NAME: Final = "writeKey"
_MAX_HEADER_BYTES: Final = 1024


def key_in_head(headers: Headers, query: Mapping[str, Any], *names: str) -> str:
    """Return the key of a request: `X-Write-Key`, `Authorization` (Bearer, or the user of Basic), or of the query.

    `names` are further names in the query, besides `writeKey`. Empty when there is none.
    """
    if key := headers.get(b"x-write-key"):
        return text_of(key)
    if (key := headers.get(b"authorization")) and (found := _authorized(key)):
        return found
    for name in (QUERY_NAME, *names):
        if (value := query.get(name)) and isinstance(value, str):
            return value
    return ""


def key_in_json(body: bytes, names: Sequence[str]) -> str:
    """Return the first text of these names at the top of a JSON object; empty when there is none, or no JSON object."""
    try:
        found = _decoder(tuple(names)).decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return ""
    return next((value for name in names if (value := getattr(found, name)) and isinstance(value, str)), "")


@lru_cache(maxsize=64)
def _decoder(names: tuple[str, ...]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(msgspec.defstruct("Keys", [(name, Any, None) for name in names]))


def _authorized(value: bytes) -> str:
    """Return the token of Bearer, or the user of Basic; whoever sends a key in it sends no password with it."""
    scheme, _, given = value[:_MAX_HEADER_BYTES].partition(b" ")
    scheme = scheme.lower()
    if scheme == b"bearer":
        return text_of(given.strip())
    if scheme != b"basic":
        return ""
    try:
        return text_of(base64.b64decode(given.strip()).partition(b":")[0])
    except ValueError:
        return ""
