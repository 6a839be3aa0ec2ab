"""A second port that speaks WebSocket only, where clients of the original look for it."""

from __future__ import annotations

from typing import Final

from front.http1.request import Reply, Request
from front.http1.response_head import head
from front.pipeline.replies import JSON

_BODY: Final = b'{"message":"Bad Request"}'


async def refuse(_request: Request) -> Reply:
    """Answer what is no WebSocket on `/wss`: 400."""
    return Reply(head(400, len(_BODY), JSON, "*", "", 0, keep_alive=False) + _BODY, keep_alive=False)
