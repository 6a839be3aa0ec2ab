"""The event loop of this process."""

from __future__ import annotations

import asyncio

_loop: asyncio.AbstractEventLoop | None = None


def get_loop() -> asyncio.AbstractEventLoop:
    """Return the service's event loop, created at first use (uvloop if installed)."""
    global _loop
    if _loop is None or _loop.is_closed():
        try:
            import uvloop

            _loop = uvloop.new_event_loop()
        except ImportError:
            _loop = asyncio.new_event_loop()
        asyncio.set_event_loop(_loop)
    return _loop
