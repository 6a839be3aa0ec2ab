"""Decompression of bodies: `Content-Encoding: gzip` or `deflate`."""

from __future__ import annotations

import zlib
from typing import Final

from front.errors import BadRequest

_GZIP: Final = 16 + zlib.MAX_WBITS
_WINDOWS: Final = {"gzip": (_GZIP,), "x-gzip": (_GZIP,), "deflate": (zlib.MAX_WBITS, -zlib.MAX_WBITS)}
"""zlib's parameters for each format; `deflate` exists in two forms."""
_MAX_MEMBERS: Final = 16


def unpacked(body: bytes, encoding: str, limit: int) -> bytes:
    """Return the decompressed body, of at most `limit` bytes.

    BadRequest when it is larger (413), broken, or in an unknown encoding.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    if name not in _WINDOWS:
        raise BadRequest(
            "content_encoding", f"Content-Encoding {name[:20]} is not supported; use gzip, deflate or none"
        )
    for window in _WINDOWS[name]:
        plain = _inflate(body, window, limit)
        if plain is not None:
            return plain
    raise BadRequest("broken_body", f"the body does not match its Content-Encoding ({name})")


def _inflate(body: bytes, window: int, limit: int) -> bytes | None:
    """Unpack, all members of a gzip file one after the other; None when it is not this format, or ends too early."""
    plain = b""
    for _ in range(_MAX_MEMBERS):
        unpacking = zlib.decompressobj(window)
        try:
            plain += unpacking.decompress(body, limit + 1 - len(plain))
        except zlib.error:
            return None
        if len(plain) > limit:
            raise BadRequest("too_large", f"the unpacked body is larger than {limit} bytes; send smaller events", 413)
        if not unpacking.eof:
            return None
        body = unpacking.unused_data
        if not body:
            return plain
    return None
