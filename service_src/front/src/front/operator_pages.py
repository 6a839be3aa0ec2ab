"""Health and metrics on the event port, for operators and probes only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from band.jsonio import encode
from front.address import ClientAddresses
from front.answers import JSON, Rendered
from front.request import Request

_PROXIED = (b"x-real-ip", b"x-forwarded-for", b"forwarded")


class OperatorPages:
    """Answers under a prefix such as `/_band`, to near callers that come without a proxy.

    To a request that a proxy brought from outside there is nothing here.
    """

    def __init__(
        self,
        prefix: str,
        addresses: ClientAddresses,
        health: Callable[[], Awaitable[dict[str, Any]]],
        metrics: Callable[[], Awaitable[bytes]],
    ) -> None:
        self.prefix = f"{prefix.rstrip('/') or '/_band'}/"
        self._addresses = addresses
        self._health = health
        self._metrics = metrics

    async def page(self, path: str, request: Request) -> Rendered:
        """The page under the prefix; 404 for those whom it is not for."""
        name = path.removeprefix(self.prefix) if self._may_see(request) else ""
        if name == "health":
            facts = await self._health()
            return Rendered(503 if facts.get("status") == "failing" else 200, encode(facts), JSON)
        if name == "metrics":
            return Rendered(200, await self._metrics(), "text/plain; charset=utf-8")
        return Rendered(404, b'{"message":"Not Found"}', JSON)

    def _may_see(self, request: Request) -> bool:
        return self._addresses.trusts(request.peer) and not any(name in request.headers for name in _PROXIED)
