"""What a request brings: its query and its body as plain objects, or an error that says what is wrong with them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from director.errors import BadParameter, shown_key

BODY_SECONDS = 30.0
"""Seconds in which the whole body of a request has to come."""
DEPTH = 32
"""Levels of objects and lists in a body; nothing that the director knows has more than four."""
_FORMS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})
_EXAMPLE = 'send an object as application/json: {"env": {"KEY": "value"}}'


def read_query(request: web.Request) -> dict[str, Any]:
    """Return the query's parameters.

    Raises:
        BadParameter: one is given twice, or is no text.
    """
    return _once(request.query, "query")


async def read_body(request: web.Request) -> dict[str, Any]:
    """Return the JSON or form body as an object; no body is an empty one.

    Raises:
        BadParameter: it is neither, cannot be read, or did not come.
    """
    if not request.can_read_body:
        return {}
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _read_body(request)
    except TimeoutError:
        raise BadParameter(f"the body did not come within {BODY_SECONDS:g} s", "send it whole") from None


async def _read_body(request: web.Request) -> dict[str, Any]:
    try:
        if "json" in request.content_type:
            return _json_object(await request.read())
        if request.content_type in _FORMS:
            return _once(await request.post(), "form")
        raw = await request.read()
    except (ValueError, LookupError, AssertionError, HttpProcessingError, web.RequestPayloadError) as error:
        reason = str(error) or type(error).__name__
        raise BadParameter(f"the body cannot be read as {request.content_type}: {reason[:200]}", _EXAMPLE) from error
    if raw.strip():
        raise BadParameter(f"a body of type {request.content_type[:80]} is not supported", _EXAMPLE)
    return {}


def decode(raw: bytes | str) -> Any:
    """Return the value of a JSON text.

    Raises:
        BadParameter: it is none, or holds what could not be written again.
    """
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise BadParameter(f"the body is not JSON: {error}", _EXAMPLE) from error
    _check(value)
    return value


def _json_object(raw: bytes) -> dict[str, Any]:
    value = decode(raw) if raw.strip() else {}
    if not isinstance(value, dict):
        raise BadParameter("the body is not a JSON object", _EXAMPLE)
    return value


def _once(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in given.items():
        if key in found:
            raise BadParameter(f"parameter {shown_key(key)} stands twice in the {where}", "give each parameter once")
        if not isinstance(value, str):
            raise BadParameter(f"parameter {shown_key(key)} is a file", "files are not taken")
        found[key] = value
    _check(found)
    return found


def _check(value: Any) -> None:
    """Refuse what could not be written again: deep trees, and texts with half a character in them."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEPTH:
            raise BadParameter(f"the body has more than {DEPTH} levels", _EXAMPLE)
        below: list[Any] = []
        for item in level:
            if isinstance(item, str):
                _check_text(item)
            elif isinstance(item, dict):
                below += [*item.keys(), *item.values()]
            elif isinstance(item, list):
                below += item
        level = below


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadParameter("a parameter is not valid UTF-8", "send UTF-8") from error
