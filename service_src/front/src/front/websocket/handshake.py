"""The WebSocket handshake (RFC 6455, 4.2) with the compression that is agreed on (RFC 7692, 7.1)."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Final, NamedTuple

from front.http1.request import Request

PATH: Final = b"/wss"
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_VERSION: Final = b"13"
_KEY_BYTES: Final = 16
_BITS: Final = frozenset(str(bits) for bits in range(8, 16))


class Handshake(NamedTuple):
    """The response that completes a handshake; and whether messages may be compressed."""

    answer: bytes
    unpack: bool


def wants_websocket(request: Request) -> bool:
    """Return whether a request with `Upgrade` asks for a WebSocket at `PATH`."""
    return (
        request.headers[b"upgrade"].lower() == b"websocket"
        and request.method == "GET"
        and request.target.partition(b"?")[0] == PATH
    )


def shake_hands(request: Request) -> Handshake | None:
    """Return the response to a handshake; None when the request is not a valid one."""
    headers = request.headers
    key = headers.get(b"sec-websocket-key", b"")
    if headers.get(b"sec-websocket-version") != _VERSION or not _is_key(key) or not request.keep_alive:
        return None
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    extension = _agreed((request.header(b"sec-websocket-extensions") or "").split(","))
    lines = [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
        accept,
        b"\r\nSec-WebSocket-Extensions: " + extension.encode() if extension else b"",
        b"\r\n\r\n",
    ]
    return Handshake(b"".join(lines), bool(extension))


def _is_key(key: bytes) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == _KEY_BYTES
    except binascii.Error:
        return False


def _agreed(offers: list[str]) -> str:
    """Return the response to the first acceptable offer of `permessage-deflate`; empty when there is none.

    There is no context takeover: a window that is kept would cost 40 kB a connection. Our messages are not compressed.
    """
    for offer in offers:
        name, *given = [part.strip() for part in offer.split(";")]
        parameters = dict(part.replace(" ", "").replace('"', "").partition("=")[::2] for part in given)
        ours = parameters.pop("server_max_window_bits", None)
        theirs = parameters.pop("client_max_window_bits", "")
        flags = [parameters.pop(flag, "") for flag in ("server_no_context_takeover", "client_no_context_takeover")]
        if name != "permessage-deflate" or parameters or any(flags):
            continue
        if (ours is None or ours in _BITS) and (not theirs or theirs in _BITS):
            window = f"; server_max_window_bits={ours}" if ours is not None else ""
            return f"{name}; server_no_context_takeover; client_no_context_takeover{window}"
    return ""
