"""The head of an HTTP response as bytes: the constant part is made once, the rest is a few joined strings."""

from __future__ import annotations

import time
from email.utils import formatdate
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

_ALWAYS: Final = (
    "X-Frame-Options: SAMEORIGIN\r\n"
    "X-XSS-Protection: 1\r\n"
    "Pragma: no-cache\r\n"
    "Cache-Control: no-cache, no-store, must-revalidate\r\n"
    "Expires: Mon, 01 Jan 1990 21:00:12 GMT\r\n"
    "Last-Modified: Sun, 17 May 1998 03:44:30 GMT\r\n"
)
_CORS: Final = (
    "Access-Control-Allow-Credentials: true\r\n"
    "Access-Control-Expose-Headers: Content-Length,Content-Type,Retry-After\r\n"
)

PREFLIGHT: Final = [
    ("Access-Control-Allow-Methods", "POST,GET"),
    (
        "Access-Control-Allow-Headers",
        "X-Requested-With,Access-Control-Allow-Origin,Content-Type,Authorization,Accept,X-Write-Key,X-Retry-Count,traceparent",
    ),
    ("Access-Control-Max-Age", "86400"),
    ("Access-Control-Max-Age-Scope", "domain"),
    ("Vary", "Origin"),
]
"""Further headers of a response to OPTIONS."""

_LINES: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n{_ALWAYS}" for status in HTTPStatus}
_CORS_LINES: Final = {status: f"{lines}{_CORS}" for status, lines in _LINES.items()}


_OVERLOADED: Final = b'{"message":"Service Unavailable","reason":"too many connections; try again later"}'


class _Clock:
    """The `Date` header, made once a second."""

    __slots__ = ("_second", "_text")

    def __init__(self) -> None:
        self._second = 0
        self._text = ""

    def text(self) -> str:
        now = int(time.time())
        if now != self._second:
            self._second = now
            self._text = formatdate(now, usegmt=True)
        return self._text


_date = _Clock().text


def allowed_origin(origin: str | None, referer: str | None) -> str:
    """Return the value of `Access-Control-Allow-Origin`: Origin, else scheme and host of the Referer, else `*`."""
    if origin:
        return origin if origin.isascii() and origin.isprintable() else "*"
    if referer and referer.isascii() and referer.isprintable():
        try:
            parts = urlsplit(referer)
        except ValueError:
            return "*"
        if parts.scheme and parts.netloc:
            return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return "*"


def head(
    status: int,
    length: int,
    content_type: str | None,
    origin: str,
    cookie: str,
    elapsed_ms: int,
    *,
    keep_alive: bool,
    extra: list[tuple[str, str]] | None = None,
    shared: bool = False,
) -> bytes:
    """Return status line and headers, with the empty line at the end.

    An empty `cookie` sets none; with an empty `origin` no page of another site may read the response. A
    `shared` response is the same for everybody: caches may keep it, as its `extra` headers say.
    """
    if shared:
        reason = HTTPStatus(status).phrase
        lines = [f"HTTP/1.1 {status} {reason}\r\nAccess-Control-Allow-Origin: {origin}\r\n"]
    elif origin:
        first = _CORS_LINES.get(status) or f"HTTP/1.1 {status} Unknown\r\n{_ALWAYS}{_CORS}"
        lines = [first, f"Access-Control-Allow-Origin: {origin}\r\n"]
    else:
        lines = [_LINES.get(status) or f"HTTP/1.1 {status} Unknown\r\n{_ALWAYS}"]
    lines.append(f"X-Response-Time: {elapsed_ms}\r\nDate: {_date()}\r\n")
    if cookie:
        lines.append(f"Set-Cookie: {cookie}\r\n")
    own = {name.lower() for name, _ in extra} if extra else ()
    if content_type is not None and "content-type" not in own:
        lines.append(f"Content-Type: {content_type}\r\n")
    if extra:
        lines.extend(f"{name}: {value}\r\n" for name, value in extra)
    connection = "keep-alive" if keep_alive else "close"
    lines.append(f"Content-Length: {length}\r\nConnection: {connection}\r\n\r\n")
    return "".join(lines).encode("ascii", "replace")


def overloaded() -> bytes:
    """Return the whole response to a client beyond a limit."""
    again = [("Retry-After", "1")]
    return head(503, len(_OVERLOADED), "application/json", "*", "", 0, keep_alive=False, extra=again) + _OVERLOADED
