"""Bodies of requests: JSON, NDJSON or an urlencoded form, read into one object or several, or refused with a reason."""

from __future__ import annotations

from typing import Any

import msgspec

from front.errors import BadRequest
from front.event.unicode_repair import replace_broken
from front.intake.qs import parse_form

MAX_NESTING = 100
"""Deeper JSON is refused: it could not be read again by the services behind the stream."""

_decode = msgspec.json.Decoder().decode


def parse_body(raw: bytes, content_type: str) -> dict[str, Any] | list[dict[str, Any]]:
    """Read a POST body: an object, or the objects of an array or of NDJSON; BadRequest says what is malformed."""
    if "json" in content_type:
        if "ndjson" in content_type or "jsonl" in content_type:
            return _parse_lines(raw)
        return parse_json(raw)
    return parse_form(raw.decode("utf-8", "replace")) if raw else {}


def parse_json(raw: bytes | str) -> dict[str, Any] | list[dict[str, Any]]:
    """Read JSON text to an object or several; BadRequest when it is not JSON, nests too deeply or is another type.

    The original read `[1,2]`, `"text"`, `null` and `5` as `{}`: it responded with 200 and discarded the data. Here a
    200 means that the event is stored, so such a client gets an error.
    """
    value = decode_json(raw)
    if isinstance(value, dict) or (isinstance(value, list) and value and all(isinstance(one, dict) for one in value)):
        return value
    raise BadRequest("not_an_object", f'the body is JSON, but {_kind(value)}; send an object: {{"name": …}}')


def _parse_lines(raw: bytes) -> dict[str, Any] | list[dict[str, Any]]:
    """Read NDJSON; one line is one object."""
    lines = [line for line in raw.splitlines() if line.strip()]
    if len(lines) < 2:
        return parse_json(raw)
    return parse_json(b"[%b]" % b",".join(lines))


def decode_json(raw: bytes | str) -> Any:
    """Read JSON text to any value; BadRequest when it is not JSON or nests too deeply.

    Invalid Unicode, such as half a surrogate pair, becomes U+FFFD.
    """
    if not raw:
        raise BadRequest("empty_body", "the body is empty; send a JSON object")
    try:
        try:
            value = _decode(raw)
        except (msgspec.DecodeError, UnicodeError):
            raw = replace_broken(raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw)
            value = _decode(raw)
    except RecursionError:
        raise _too_deep() from None
    except msgspec.DecodeError as error:
        raise BadRequest("malformed_json", f"the body is not valid JSON: {str(error)[:120]}") from None
    if _openings(raw) > MAX_NESTING and _deeper_than(value, MAX_NESTING):
        raise _too_deep()
    return value


def _kind(value: Any) -> str:
    """Describe a JSON value that is not an object."""
    if isinstance(value, list):
        return "an array of something other than objects" if value else "an empty array"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return "a string" if isinstance(value, str) else "a number"


def _too_deep() -> BadRequest:
    return BadRequest("nested_json", f"the JSON is nested deeper than {MAX_NESTING} levels; flatten it")


def _openings(raw: bytes | str) -> int:
    if isinstance(raw, str):
        return raw.count("{") + raw.count("[")
    return raw.count(b"{") + raw.count(b"[")


def _deeper_than(value: Any, limit: int) -> bool:
    layer = [value] if isinstance(value, (dict, list)) else []
    for _ in range(limit):
        layer = [
            inner
            for outer in layer
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
        if not layer:
            return False
    return True
