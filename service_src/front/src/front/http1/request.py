"""One HTTP request as its connection read it, and the response that goes back."""

from __future__ import annotations

from typing import Final, NamedTuple

Headers = dict[bytes, bytes]
"""Header name in lower case -> value; the values of a name that came several times are joined by a comma (cookies by
a semicolon)."""

TOO_LARGE: Final = "too_large"
BROKEN: Final = "broken_http"
OVERLOADED: Final = "overloaded"
BAD_HANDSHAKE: Final = "websocket"
NOT_ADMITTED: Final = "not_admitted"


class Request:
    """A complete request, or one that has a fault and is refused for it."""

    __slots__ = ("body", "fault", "headers", "keep_alive", "method", "peer", "target", "upgrade")

    def __init__(self, method: str, target: bytes, headers: Headers, peer: str) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.peer = peer
        """The address of the socket's other end; empty when it is not known."""
        self.body = b""
        self.fault = ""
        """Why it is refused, one of the above: then the body is not here, and the connection ends afterwards."""
        self.keep_alive = True
        self.upgrade = False
        """Whether it asks for another protocol on its connection."""

    def header(self, name: bytes) -> str | None:
        """Return the value of a header as valid text; None when the client did not send it. `name` is in lower case."""
        value = self.headers.get(name)
        return None if value is None else text_of(value)


class Response(NamedTuple):
    """A response as bytes, head and body; and whether the connection stays open after it."""

    payload: bytes
    keep_alive: bool


def text_of(raw: bytes) -> str:
    """Return bytes of a head as text: UTF-8 where it is, else Latin-1."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
