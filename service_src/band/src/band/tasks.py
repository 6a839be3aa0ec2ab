"""Small tools for asyncio: one call per turn of the loop, eager tasks, and an event awaited for a limited time."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class PerTurn:
    """Calls a function once at the end of the turn of the loop in which it was planned, however often that was.

    Hot paths check ``planned`` first, which saves a call.
    """

    __slots__ = ("_function", "planned")

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self.planned = False

    def plan(self) -> None:
        """Have it called at the end of this turn."""
        if not self.planned:
            self.planned = True
            asyncio.get_running_loop().call_soon(self.run)

    def run(self) -> None:
        """Call it now."""
        self.planned = False
        self._function()


def eager_task(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Run a coroutine as a task, up to its first wait before this returns (from Python 3.12 on)."""
    loop = asyncio.get_running_loop()
    if sys.version_info >= (3, 12):
        return asyncio.Task(coroutine, loop=loop, eager_start=True)
    return loop.create_task(coroutine)


async def wait_until_set(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait until ``event`` is set, for at most ``seconds`` (None: no limit); returns whether it is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
