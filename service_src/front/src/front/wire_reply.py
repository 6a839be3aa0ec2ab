"""An HTTP answer that is written as bytes.

aiohttp's own `Response` builds a multidict and serializes it for every answer; with the dozen headers that each of ours
has, that was more than half of the time of a request.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

_HIGH_WATER = 256 * 1024


class WireReply(web.StreamResponse):
    """A response of which head and body are bytes already."""

    def __init__(self, payload: bytes, *, keep_alive: bool) -> None:
        # The parent's constructor is left out on purpose: it makes the multidict that this class is there to avoid.
        self._payload_bytes = payload
        self._keep = keep_alive

    @property
    def prepared(self) -> bool:
        """Whether writing has begun; the server does not need to know."""
        return True

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays open."""
        return self._keep

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Write everything at once."""
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client has gone")
        if self._payload_bytes:
            transport.write(self._payload_bytes)
            if transport.get_write_buffer_size() > _HIGH_WATER:
                await request.writer.drain()
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to write."""
