"""What is asked for many times in one turn of the loop, and done once at its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class PerTurn:
    """Calls a function once at the end of the turn of the loop in which it was planned, however often that was.

    Hot paths ask ``planned`` first, which spares them a call.
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
