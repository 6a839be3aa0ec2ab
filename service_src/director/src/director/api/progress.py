"""`progress=1`: the steps of a request as lines of text, and its response as the last line."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import msgspec

from band import logger
from director.engine.log_feed import LogFeed, Reader, make_line, printable

_TOLD = frozenset({"build", "director"})
_LOOK_SECONDS = 1.0
_under_way: set[asyncio.Future[Any]] = set()
"""Work whose client may have disconnected: it continues, as without progress."""


async def narrate(
    feed: LogFeed, name: str, work: Awaitable[Any], body_of: Callable[[Exception], Any]
) -> AsyncGenerator[bytes, None]:
    """Yield the build's and the director's lines about a service while `work` runs, then its result as JSON.

    Args:
        feed: where the lines come from.
        name: the service.
        work: the operation.
        body_of: returns the response to an error.
    """
    begun = int(make_line("director", name, "").id)
    task = asyncio.ensure_future(work)
    _under_way.add(task)
    task.add_done_callback(functools.partial(_done, name))
    async with feed.reading(name) as reader:
        while not task.done():
            yield await _lines(reader, task, begun)
        yield await _lines(reader, task, begun)
    try:
        result = await task
    except Exception as error:  # noqa: BLE001 - every error is a response
        result = body_of(error)
    yield msgspec.json.encode(result) + b"\n"


def _done(name: str, task: asyncio.Future[Any]) -> None:
    _under_way.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:  # its reader may have gone
        logger.warning("run_failed", service=name, reason=str(error))


async def _lines(reader: Reader, task: asyncio.Future[Any], begun: int) -> bytes:
    """Return new lines; after a second without any, nothing, so that a lost client is noticed."""
    taking = asyncio.ensure_future(reader.take())
    await asyncio.wait({taking, task}, timeout=0.0 if task.done() else _LOOK_SECONDS, return_when="FIRST_COMPLETED")
    if not taking.done():
        taking.cancel()
        return b""
    told = (line for line in taking.result() if line.source in _TOLD and int(line.id) > begun)
    return "".join(f"{printable(line.data)}\n" for line in told).encode()
