"""The newest events as front stored them, read from the Redis stream."""

from __future__ import annotations

from typing import Any

from band.errors import DecodingError
from band.json_codec import decode
from director.state.desired import Store

STREAM = "events"


async def newest(store: Store, limit: int) -> list[dict[str, Any]]:
    """Return up to `limit` events, newest first: `{"stream_id", "event"}`; one that is no JSON stands there as text."""
    rows = await store.command("XREVRANGE", STREAM, "+", "-", "COUNT", str(limit))
    return [{"stream_id": row[0].decode(), "event": _event(row[1])} for row in rows or [] if row[1]]


def _event(fields: Any) -> Any:
    flat = fields if isinstance(fields, list) else [part for pair in fields.items() for part in pair]
    raw = dict(zip(flat[::2], flat[1::2], strict=False)).get(b"event", b"null")
    try:
        return decode(raw)
    except DecodingError:
        return raw.decode("utf-8", "replace")
