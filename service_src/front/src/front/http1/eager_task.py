"""Eager tasks: what has nothing to wait for is done without a turn of the event loop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any

if sys.version_info >= (3, 12):

    def started(coroutine: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> asyncio.Task[None]:
        """Run a coroutine as a task, up to its first wait before this returns."""
        return asyncio.Task(coroutine, loop=loop, eager_start=True)

else:

    def started(coroutine: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> asyncio.Task[None]:
        """Run a coroutine as a task."""
        return loop.create_task(coroutine)
