"""Replies to events, before they are HTTP or WebSocket messages: the typed responses of the wire protocol."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from band.platform import PIXEL_GIF
from band.platform import encode as _encode

JSON: Final = "application/json"
HTML: Final = "text/html"
JAVASCRIPT: Final = "application/javascript; charset=utf-8"
GIF: Final = "image/gif"

_URL_SAFE = "!#$%&'()*+,/:;=?@[]~"
_NOT_OURS = frozenset(
    {"content-length", "transfer-encoding", "connection", "keep-alive", "set-cookie", "upgrade", "date"}
)
_BODYLESS = frozenset({204, 304})


@dataclass(slots=True)
class Reply:
    """A reply: its kind (`data`, `error`, `redirect`, `pixel` or another), and its parts."""

    kind: str
    status: int = 200
    data: Any = None
    message: str = ""
    location: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    wire: dict[str, Any] | None = None
    """A handler's typed response, for the native form; None for front's own responses."""


@dataclass(slots=True)
class HttpReply:
    """Status, headers and body of an HTTP response. `content_type` None: no such header."""

    status: int
    body: bytes
    content_type: str | None = JSON
    headers: list[tuple[str, str]] = field(default_factory=list)
    shared: bool = False
    """The same for everybody, so that browsers and proxies may keep it."""


def data(value: Any, status: int = 200) -> Reply:
    """Return a reply with any JSON value."""
    return Reply("data", status, value)


def error(message: str, status: int) -> Reply:
    """Return a reply with an error message for the client."""
    return Reply("error", status, message=message)


def redirect(location: str, status: int = 302) -> Reply:
    """Return a redirect."""
    return Reply("redirect", status, location=location)


def pixel() -> Reply:
    """Return the transparent GIF."""
    return Reply("pixel")


def from_handler(result: Any) -> Reply:
    """Read what a handler returned: a typed response, or any JSON value; empty values are {}."""
    if not isinstance(result, dict) or "type__" not in result:
        return data(result if result or isinstance(result, (list, dict)) else {})
    kind = str(result["type__"])
    status = result.get("statusCode")
    good = isinstance(status, int) and not isinstance(status, bool) and 200 <= status <= 599
    return Reply(
        kind,
        status if good and isinstance(status, int) else (302 if kind == "redirect" else 200),
        result.get("data"),
        str(result.get("errorMessage") or ""),
        str(result.get("location") or ""),
        list(_headers(result.get("headers"))),
        result,
    )


def render(answer: Reply, *, native: bool = False) -> HttpReply:
    """Return the HTTP form of a reply; `native` is the JSON of the typed response, as the browser SDK reads it."""
    if native:
        return HttpReply(answer.status, _encode(native_form(answer)), None, answer.headers)
    kind, status = answer.kind, answer.status
    if kind == "data":
        rendered = HttpReply(status, _text_or_json(answer.data), JSON, answer.headers)
    elif kind == "error":
        rendered = HttpReply(status, _encode({"message": answer.message}), JSON, answer.headers)
    elif kind == "redirect":
        rendered = HttpReply(status, b"", HTML, [*answer.headers, ("Location", safe_location(answer.location))])
    elif kind == "pixel":
        rendered = HttpReply(status, PIXEL_GIF, GIF, answer.headers)
    else:
        rendered = HttpReply(200, b"", JSON)
    if status in _BODYLESS:
        rendered.body = b""
    return rendered


def native_form(answer: Reply) -> dict[str, Any]:
    """Return the typed response itself, without its headers, marked as native."""
    if answer.wire is not None:
        form = {key: value for key, value in answer.wire.items() if key != "headers"}
        form.setdefault("statusCode", answer.status)
    elif answer.kind == "pixel":
        form = {"type__": "pixel", "statusCode": answer.status, "type": "pixel"}
    else:
        form = {"type__": answer.kind, "statusCode": answer.status, **_parts(answer)}
    form["native__"] = True
    return form


def ws_form(answer: Reply, request_id: Any = None) -> bytes:
    """Return the WebSocket form: the typed response with its headers, and the client's `id__` if it sent one."""
    if answer.wire is not None:
        form = {**answer.wire}
        form.setdefault("statusCode", answer.status)
        form.setdefault("headers", [])
    else:
        form = {"type__": answer.kind, "headers": [], "statusCode": answer.status, **_parts(answer)}
    if request_id is not None:
        form["id__"] = request_id
    return _encode(form)


def safe_location(location: str) -> str:
    """Return a URL for a header: invalid characters (line breaks, other alphabets) are percent-encoded."""
    return quote(location, safe=_URL_SAFE, errors="replace")


def _parts(answer: Reply) -> dict[str, Any]:
    if answer.kind == "error":
        return {"errorMessage": answer.message}
    if answer.kind == "redirect":
        return {"location": answer.location}
    return {} if answer.kind == "pixel" else {"data": answer.data}


def _text_or_json(value: Any) -> bytes:
    """Return text unchanged, everything else as JSON; an empty value (also 0 and false) as {}."""
    if isinstance(value, str) and value:
        return value.encode("utf-8", "replace")
    if not value and not isinstance(value, (list, dict)):
        return b"{}"
    return _encode(value)


def _headers(given: Any) -> list[tuple[str, str]]:
    """Return the headers that a handler set, without those that are malformed or that it may not set."""
    found: list[tuple[str, str]] = []
    for pair in given if isinstance(given, list) else ():
        if not isinstance(pair, list) or len(pair) != 2:
            continue
        name, value = str(pair[0]), str(pair[1])
        if _is_token(name) and name.lower() not in _NOT_OURS and value.isascii() and value.isprintable():
            found.append((name, value))
    return found


def _is_token(name: str) -> bool:
    letters = name.replace("-", "").replace("_", "")
    return letters.isascii() and letters.isalnum()
