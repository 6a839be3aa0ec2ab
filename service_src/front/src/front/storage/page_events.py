"""The newest event that came from a web page, for operators who ask whether their snippet works.

It is looked for in the stream when somebody asks, so events cost nothing more for it.
"""

from __future__ import annotations

from typing import Any, Final

from band.platform import EVENTS_STREAM, RedisLink, decode

_PAGE: Final = 20
"""Entries that are read at a time."""
_MOST: Final = 200
"""Entries that are looked at, newest first."""


async def newest_page_event(link: RedisLink, now: int) -> dict[str, Any]:
    """Return `event` (its id, name, page's URL and age in seconds, or None) and `looked_at`, a number of events.

    `now` is in milliseconds since 1970. Raises RedisError.
    """
    last, looked_at = "+", 0
    while looked_at < _MOST:
        entries = await link.command("XREVRANGE", EVENTS_STREAM, last, "-", "COUNT", _PAGE)
        for entry, fields in entries:
            looked_at += 1
            last = f"({entry.decode()}"
            if (found := _of_page(fields)) is not None:
                found["seconds"] = max(0, (now - int(entry.partition(b"-")[0])) // 1000)
                return {"event": found, "looked_at": looked_at}
        if len(entries) < _PAGE:
            break
    return {"event": None, "looked_at": looked_at}


def _of_page(fields: list[bytes]) -> dict[str, Any] | None:
    """Return what is shown of an event; None if it did not come from a page."""
    try:
        event = decode(dict(zip(fields[::2], fields[1::2], strict=True))[b"event"])
        url = event["data"]["page"]["url"]
    except (KeyError, TypeError, ValueError):
        return None
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        return None
    return {"id": event.get("id"), "name": event.get("name"), "url": url}
