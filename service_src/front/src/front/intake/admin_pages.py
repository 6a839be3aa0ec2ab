"""Health, metrics and the newest event of a page on the event port, for operators and probes only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from band import RedisError
from band.platform import SitePolicy, encode, http_status
from front.event.client_address import ClientAddresses
from front.http1.request import Request
from front.intake.context import came_by_proxy
from front.pipeline.replies import JSON, HttpReply

_READ = ("GET", "HEAD")


class AdminPages:
    """Serves the pages under a prefix such as `/_band`, to near callers that come without a proxy.

    A request from elsewhere, or through a proxy, gets 404. A cross-site request of a browser is refused.
    """

    def __init__(
        self,
        prefix: str,
        near: ClientAddresses,
        policy: SitePolicy,
        health: Callable[[], Awaitable[dict[str, Any]]],
        metrics: Callable[[], Awaitable[bytes]],
        newest: Callable[[], Awaitable[dict[str, Any]]],
    ) -> None:
        self.prefix = f"{prefix.rstrip('/') or '/_band'}/"
        self._near = near
        self._policy = policy
        self._health = health
        self._metrics = metrics
        self._newest = newest

    async def page(self, path: str, request: Request) -> HttpReply:
        """Return the page under the prefix; 404 for callers that may not see it."""
        if request.method not in _READ or not self.is_near(request):
            return _NOT_FOUND
        refusal = self._policy.refusal(lambda name: request.header(name.lower().encode()), reads=True)
        if refusal is not None:
            return HttpReply(403, encode({"message": f"{refusal.reason}; {refusal.hint}"}), JSON)
        name = path.removeprefix(self.prefix)
        if name == "health":
            facts = await self._health()
            return HttpReply(http_status(facts), encode(facts), JSON)
        if name == "metrics":
            return HttpReply(200, await self._metrics(), "text/plain; charset=utf-8")
        if name == "pages":
            return await self._pages()
        return _NOT_FOUND

    async def _pages(self) -> HttpReply:
        try:
            return HttpReply(200, encode(await self._newest()), JSON)
        except RedisError as error:
            return HttpReply(503, encode({"message": f"Redis does not answer: {error}"}), JSON)

    def is_near(self, request: Request) -> bool:
        """Return whether a request comes from this host or one of its containers, and through no proxy."""
        return self._near.trusts(request.peer) and not came_by_proxy(request)


_NOT_FOUND = HttpReply(404, b'{"message":"Not Found"}', JSON)
