"""Whether the Redis that front writes to keeps what it was given: it says so itself, in INFO."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from band.errors import RedisError
from band.logs import logger

_LOOK_EVERY_S = 60.0
_SOON_S = 2.0


class Commands(Protocol):
    """What is needed of band's connection to Redis."""

    async def command(self, *parts: Any, timeout: float = ...) -> Any:
        """Send one command and return its reply."""


class Keeping:
    """Looks once a minute at how Redis keeps its data, for front's health."""

    def __init__(self, link: Commands) -> None:
        self._link = link
        self._facts: dict[str, Any] = {}

    async def watch(self) -> None:
        """Look for ever; a background task."""
        while True:
            known = dict(self._facts)
            try:
                self._facts = facts_of(await self._link.command("INFO", "memory", "persistence"))
            except RedisError:
                await asyncio.sleep(_SOON_S)
                continue
            if self._facts.get("reason") and self._facts != known:
                logger.warning("redis_may_lose_events", reason=self._facts["reason"])
            await asyncio.sleep(_LOOK_EVERY_S)

    def health(self) -> dict[str, Any]:
        """`degraded` when Redis may throw accepted events away; a warning when a crash of it would cost them."""
        return dict(self._facts) or {"status": "ok"}


def facts_of(info: Any) -> dict[str, Any]:
    """What of the text that INFO answered matters for keeping."""
    text = info.decode("utf-8", "replace") if isinstance(info, bytes) else str(info)
    values = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    policy = values.get("maxmemory_policy", "noeviction")
    facts: dict[str, Any] = {"status": "ok", "maxmemory_policy": policy, "aof": values.get("aof_enabled") == "1"}
    if policy != "noeviction" and values.get("maxmemory", "0") != "0":
        facts["status"] = "degraded"
        facts["reason"] = f"a full Redis throws events away (maxmemory-policy {policy}): set it to noeviction"
    elif values.get("aof_last_write_status", "ok") != "ok":
        facts["status"] = "degraded"
        facts["reason"] = "Redis cannot write its append-only file: look at its disk"
    elif not facts["aof"]:
        facts["warning"] = "Redis has no append-only file: if it ends, what it holds is lost (appendonly yes)"
    return facts
