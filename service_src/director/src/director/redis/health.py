"""The director's own check of Redis: does it respond, does it accept writes, what is in its streams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from band import RedisError, RedisReplyError, logger
from band.platform import DEAD_LETTERS, EVENTS_STREAM, RedisLink, run_forever
from director.redact import mask_url
from director.state.store import pairs, text

EVERY_SECONDS = 5.0
WRITTEN_SECONDS = 60
MANY_CONNECTIONS = 0.8
"""Share of `maxclients`: beyond it Redis accepts no connection, not even an administrator's."""
_ADVICE = {
    "MISCONF": "it cannot write its append-only file: free disk space; GET /logs/redis shows its log",
    "OOM": "its memory is full: check which listener is behind (front's check `stream`), or raise band_redis_maxmemory",
    "READONLY": "it is a replica: REDIS_DSN has to name the primary",
    "BUSY": "it is running a script that does not end; the director will end it",
    "NOPERM": "the director's Redis user may not write its own keys: run bin/setup again",
}


class RedisHealth:
    """Checks every five seconds.

    `dead_letters`: their number by service, for those that were counted. `last_event_at`: when the newest event was
    stored (seconds since 1970, 0.0 if there is none). `crowded`: a sentence about too many connections, empty if they
    are few.
    """

    def __init__(self, link: RedisLink, namespace: str, services: Callable[[], Iterable[str]]) -> None:
        self._link = link
        self._key = f"{namespace}:director:writable"
        self._services = services
        self._refusal = ""
        self.dead_letters: Mapping[str, int] = {}
        self.last_event_at = 0.0
        self.crowded = ""

    @property
    def status(self) -> Literal["ok", "unavailable", "failing"]:
        """`ok`, `unavailable`, or `failing` if it refuses writes."""
        return "unavailable" if not self._link.connected else "failing" if self._refusal else "ok"

    @property
    def reason(self) -> str:
        """Why it is not ok, and what to do; empty when it is."""
        return self._refusal if self._link.connected else mask_url(self._link.last_error)

    async def run(self) -> None:
        await run_forever("redis_health", self.look, pause_seconds=EVERY_SECONDS)

    async def look(self) -> None:
        """Check once; wait for an unavailable Redis."""
        try:
            await self._write()
            self.crowded = await self._crowd()
            names = sorted(self._services())
            counts = await asyncio.gather(*(self._letters(name) for name in names))
            self.dead_letters = dict(zip(names, counts, strict=True))
            self.last_event_at = await self._last_event()
        except RedisError as error:
            logger.debug("redis_not_looked_at", reason=str(error))

    async def _write(self) -> None:
        before, self._refusal = self._refusal, await self._refused()
        if self._refusal and self._refusal != before:
            logger.error("redis_refuses_writes", reason=self._refusal)
        elif before and not self._refusal:
            logger.info("redis_takes_writes")

    async def _refused(self) -> str:
        try:
            await self._link.command("SET", self._key, "1", "EX", WRITTEN_SECONDS)
        except RedisReplyError as error:
            said = mask_url(str(error))
            return f"it refuses writes ({said}); {_ADVICE.get(said.partition(' ')[0], 'GET /logs/redis shows its log')}"
        return ""

    async def _crowd(self) -> str:
        try:
            told = text(await self._link.command("INFO", "clients"))
        except RedisReplyError:  # a Redis of somebody's own, whose user may not ask
            return ""
        facts = dict(line.split(":", 1) for line in told.splitlines() if ":" in line)
        count, most = int(facts.get("connected_clients", 0)), int(facts.get("maxclients", 0))
        if not most or count < most * MANY_CONNECTIONS:
            return ""
        return (
            f"Redis has {count} of {most} connections (maxclients) and will refuse new ones: `docker exec redis "
            "redis-admin CLIENT LIST` shows the addresses that hold them; stop that container"
        )

    async def _letters(self, service: str) -> int:
        try:
            return int(await self._link.command("XLEN", DEAD_LETTERS.format(name=service)))
        except RedisReplyError:  # something else stands under that name
            return 0

    async def _last_event(self) -> float:
        try:
            facts = dict(pairs(await self._link.command("XINFO", "STREAM", EVENTS_STREAM)))
        except RedisReplyError:  # there is no stream yet
            return 0.0
        newest = facts.get("last-generated-id", b"0-0")
        return int(newest.partition(b"-")[0]) / 1000
