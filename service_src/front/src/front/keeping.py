"""Whether the Redis that front writes to keeps what it was given, and has room for more: it says so itself, in INFO."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from band.errors import RedisError
from band.logs import logger

_LOOK_EVERY_S = 10.0
_SOON_S = 2.0
ALARM_SHARE = 0.8
"""Of `maxmemory`: large events fill it long before the stream has its greatest number of them."""


class Commands(Protocol):
    """What is needed of band's connection to Redis."""

    async def command(self, *parts: Any, timeout: float = ...) -> Any:
        """Send one command and return its reply."""


class Keeping:
    """Looks every ten seconds at how Redis keeps its data, for front's health."""

    def __init__(self, link: Commands) -> None:
        self._link = link
        self._facts: dict[str, Any] = {}

    async def watch(self) -> None:
        """Look for ever; a background task."""
        while True:
            known = self._facts.get("code")
            try:
                self._facts = facts_of(await self._link.command("INFO", "memory", "persistence"))
            except RedisError:
                await asyncio.sleep(_SOON_S)
                continue
            if self._facts.get("code") not in (None, known):
                logger.warning(f"redis_{self._facts['code']}", reason=self._facts["reason"])
            await asyncio.sleep(_LOOK_EVERY_S)

    def health(self) -> dict[str, Any]:
        """`degraded` when Redis may throw accepted events away; a warning when a crash of it would cost them."""
        return {name: value for name, value in self._facts.items() if name != "code"} or {"status": "ok"}


def facts_of(info: Any) -> dict[str, Any]:
    """What of the text that INFO answered matters for keeping; `code` names what is amiss, for the log."""
    text = info.decode("utf-8", "replace") if isinstance(info, bytes) else str(info)
    values = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    policy = values.get("maxmemory_policy", "noeviction")
    facts: dict[str, Any] = {"status": "ok", "maxmemory_policy": policy, "aof": values.get("aof_enabled") == "1"}
    used, most = int(values.get("used_memory", "0")), int(values.get("maxmemory", "0"))
    if policy != "noeviction" and most:
        facts["code"] = "may_lose_events"
        facts["reason"] = f"a full Redis throws events away (maxmemory-policy {policy}): set it to noeviction"
    elif values.get("aof_last_write_status", "ok") != "ok":
        facts["code"] = "may_lose_events"
        facts["reason"] = "Redis cannot write its append-only file: look at its disk"
    elif most and used >= ALARM_SHARE * most:
        facts["code"] = "nearly_full"
        facts["reason"] = (
            f"Redis has used {used >> 20} of {most >> 20} MiB (maxmemory); when it is full, events go to the journal, "
            "and when that is full too they are refused"
        )
        facts["hint"] = "see in the check `stream` which listener is behind; or give Redis more (band_redis_maxmemory)"
    if "code" in facts:
        facts["status"] = "degraded"
    elif not facts["aof"]:
        facts["warning"] = "Redis has no append-only file: if it ends, what it holds is lost (appendonly yes)"
    return facts
