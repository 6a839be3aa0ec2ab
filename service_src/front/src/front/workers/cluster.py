"""All workers of this front as one: what operators and the director see of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from front.process import Place
from front.routing.registrations import Push
from front.workers.ipc import Siblings
from front.workers.merge import merge_health, merge_metrics


class Family:
    """Asks the other workers where one's own word is not enough, and tells them what only one was told."""

    def __init__(
        self, place: Place, health: Callable[[], Awaitable[dict[str, Any]]], metrics: Callable[[], bytes]
    ) -> None:
        """`health` and `metrics` are this worker's own."""
        self._place = place
        self._health = health
        self._metrics = metrics
        self._hear: Callable[[Push], None] | None = None
        answerers = {"health": self._tell_health, "metrics": self._tell_metrics, "push": self._take_push}
        self._siblings = Siblings(place, answerers)

    def on_push(self, hear: Callable[[Push], None]) -> None:
        """Have `hear` called with the registrations that the director told another worker."""
        self._hear = hear

    async def open(self) -> None:
        """Listen to the others."""
        await self._siblings.open()

    async def close(self) -> None:
        """Listen no more."""
        await self._siblings.close()

    async def health(self) -> dict[str, Any]:
        """The health of all; see `merge`."""
        if self._place.count == 1:
            return await self._health()
        own, others = await asyncio.gather(self._health(), self._siblings.ask("health"))
        silent = set(self._siblings.numbers) - set(others)
        return merge_health({self._place.number: own, **others}, silent)

    async def metrics(self) -> bytes:
        """The metrics of all, added up."""
        if self._place.count == 1:
            return self._metrics()
        others = await self._siblings.ask("metrics")
        return merge_metrics([self._metrics().decode(), *(others[number] for number in sorted(others))]).encode()

    def tell(self, push: Push) -> None:
        """Tell the others of new registrations; one that is being started reads them in Redis."""
        self._siblings.tell("push", push._asdict())

    async def _tell_health(self, _word: Any) -> dict[str, Any]:
        return await self._health()

    async def _tell_metrics(self, _word: Any) -> str:
        return self._metrics().decode()

    async def _take_push(self, word: Any) -> None:
        if self._hear is not None:
            self._hear(Push(**word))
