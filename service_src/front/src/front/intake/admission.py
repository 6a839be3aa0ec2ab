"""A limit on the bytes of large events in progress: decoded, they may take fifty times as much memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from front.errors import Overloaded

T = TypeVar("T")

SMALL_BYTES: Final = 2048
"""Events up to this size, body and query together, are let in at once and are not counted."""
MAX_AT_ONCE_BYTES: Final = 1 << 20
MAX_A_TURN_BYTES: Final = 64 << 10
"""Bytes admitted per turn of the loop: decoding 100 kB may take 10 ms, during which everybody else waits."""
MAX_WAITING_BYTES: Final = 8 << 20
MAX_WAIT_SECONDS: Final = 5.0


class Admission:
    """Admits large events in order, as far as there is room, and only some in each turn of the event loop."""

    def __init__(self, at_once: int = MAX_AT_ONCE_BYTES, waiting: int = MAX_WAITING_BYTES) -> None:
        self._at_once = at_once
        self._most_waiting = waiting
        self._inside = 0
        self._this_turn = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self.waiting_bytes = 0

    async def run(self, size: int, event: Coroutine[Any, Any, T]) -> T:
        """Wait until there is room for an event of `size` bytes, and work on it.

        Raises:
            Overloaded: too much waits already, or it took too long.
        """
        try:
            if self._waiting or not self._fits(size):
                await self._wait(size)
            else:
                self._enter(size)
        except BaseException:
            event.close()
            raise
        try:
            return await event
        finally:
            self._inside -= size
            self._let_in()

    def _fits(self, size: int) -> bool:
        return (not self._inside or self._inside + size <= self._at_once) and (
            not self._this_turn or self._this_turn + size <= MAX_A_TURN_BYTES
        )

    def _enter(self, size: int) -> None:
        self._inside += size
        if not self._this_turn:
            asyncio.get_running_loop().call_soon(self._begin_turn)
        self._this_turn += size

    def _begin_turn(self) -> None:
        self._this_turn = 0
        self._let_in()

    async def _wait(self, size: int) -> None:
        if self.waiting_bytes + size > self._most_waiting:
            raise Overloaded("too many large events at once")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (size, turn)
        self._waiting.append(entry)
        self.waiting_bytes += size
        try:
            async with asyncio.timeout(MAX_WAIT_SECONDS):
                await turn
        except TimeoutError:
            self._give_up(entry)
            raise Overloaded("too many large events at once") from None
        except BaseException:
            self._give_up(entry)
            raise

    def _give_up(self, entry: tuple[int, asyncio.Future[None]]) -> None:
        if entry in self._waiting:
            self._waiting.remove(entry)
            self.waiting_bytes -= entry[0]
        else:  # let in already
            self._inside -= entry[0]
            self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            size, turn = self._waiting.popleft()
            self.waiting_bytes -= size
            self._enter(size)
            if not turn.done():
                turn.set_result(None)
