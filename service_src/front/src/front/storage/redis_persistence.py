"""Health check of Redis as a store, from INFO: is it persistent, does it write to its file, how full is it?

Commands of Redis: INFO, XLEN.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, Protocol, cast

from band import RedisError, RedisReplyError, logger
from band.platform import EVENTS_STREAM, RedisLink, reply_error, run_forever, wait_until_set

LOOK_EVERY_SECONDS: Final = 0.5
LOOK_EVERY_BYTES: Final = 8 * 1024 * 1024
"""Bytes of events after which a worker checks at once: a flood is faster than half a second."""
ALARM_SHARE: Final = 0.8
"""Of `maxmemory`: from here on acknowledged events are trimmed (`front.storage.retention`)."""
FULL_SHARE: Final = 0.9
"""Of `maxmemory`: from here on new events go to the journal, so that there is room for everything but events."""
REDIS_ADMIN: Final = "docker exec redis redis-admin"
"""redis-cli as the administrator: on an installed host plain redis-cli gets NOAUTH."""
_DISK_HINT: Final = "free space on the disk of Redis' volume, or repair it: Redis recovers by itself"
_MEMORY_HINT: Final = (
    "the check `stream` names the listener that is behind; when none is, something else fills Redis "
    f"({REDIS_ADMIN} --bigkeys); or give Redis more (band_redis_maxmemory)"
)


class Watcher(Protocol):
    """Receives the progress of Redis' writes."""

    def redis_wrote(self, left: int) -> None:
        """All but the last `left` bytes that Redis received are in its file."""

    def redis_lost(self, reason: str) -> None:
        """Redis is unavailable or was started again: what it had not written may be lost."""


class RedisPersistence:
    """Checks at least twice a second how Redis keeps its data; each worker has one."""

    def __init__(self, link: RedisLink, max_length: int, workers: int = 1) -> None:
        """`max_length`: with so many events the stream is full; `workers`: how many share the room."""
        self.used_bytes = 0
        self.max_bytes = 0
        self.full = ""
        """Why no more events are sent to Redis; empty while it has room."""
        self._link = link
        self._max_length = max_length
        self._workers = workers
        self._room_bytes = 0
        self._facts: dict[str, Any] = {"status": "ok"}
        self._taken_bytes = 0
        self._soon = asyncio.Event()
        self._soon.set()
        self._run_id = ""
        self._watcher: Watcher | None = None

    def tell(self, watcher: Watcher) -> None:
        """Add a watcher of each check."""
        self._watcher = watcher

    async def run(self) -> None:
        """Check Redis, until cancelled."""
        await run_forever("redis_watch", self._look_when_due)

    async def look(self) -> None:
        """Ask Redis anew. RedisError when it is unavailable."""
        asked = self._ask_info(), self._link.ask("XLEN", EVENTS_STREAM)
        info, length = cast("list[Any]", await asyncio.gather(*asked, return_exceptions=True))
        if isinstance(info, BaseException):
            raise info  # RedisError, from the connection
        values = read_info(info)
        self.used_bytes, self.max_bytes = number(values, "used_memory"), number(values, "maxmemory")
        # Something else may stand under the stream's name: appending fails then, and says so.
        self.full = self._why_full(length if isinstance(length, int) else 0)
        self._room_bytes = (int(FULL_SHARE * self.max_bytes) - self.used_bytes) // self._workers
        self._note(facts_of(values))

    def take(self, size: int) -> None:
        """Count sent bytes: between two checks, a flood can fill the free memory."""
        self._room_bytes -= size
        self._taken_bytes += size
        if self._taken_bytes > LOOK_EVERY_BYTES:
            self._taken_bytes = 0
            self._soon.set()
        if self._room_bytes < 0 and self.max_bytes and not self.full:
            self.full = f"Redis is filling up: it last reported {_of(self.used_bytes, self.max_bytes)}"

    def health(self) -> dict[str, Any]:
        """`degraded` if Redis refuses events or may evict them; a warning if a crash of it would lose them."""
        return {name: value for name, value in self._facts.items() if name != "code"}

    def _ask_info(self) -> asyncio.Future[Any]:
        """Request INFO; its state of the file is passed on as it arrives, before later confirmations of Redis."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def heard(reply: Any) -> None:
            error = reply_error(reply)
            if error is None:
                self._tell_what_is_written(read_info(reply))
            if not answer.done():
                answer.set_result(reply) if error is None else answer.set_exception(error)

        self._link.send("INFO", "server", "memory", "persistence", on_reply=heard)
        return answer

    async def _look_when_due(self) -> None:
        await wait_until_set(self._soon, LOOK_EVERY_SECONDS)
        self._soon.clear()
        await self._look_if_connected()

    async def _look_if_connected(self) -> None:
        try:
            await self.look()
        except RedisReplyError as error:  # front's user may not ask: then nothing is known
            reason = f"Redis does not report how it persists events: {error}"
            self._note(
                {"status": "degraded", "code": "redis_not_watched", "reason": reason, "hint": remedy(str(error))}
            )
            self._tell_what_is_written({})
        except RedisError as error:
            if self._watcher is not None:
                self._watcher.redis_lost(str(error))

    def _note(self, facts: dict[str, Any]) -> None:
        known, self._facts = self._facts, facts
        code = facts.get("code")
        if code not in {None, known.get("code")}:
            logger.warning(str(code), reason=facts["reason"])

    def _tell_what_is_written(self, values: dict[str, str]) -> None:
        run_id = values.get("run_id", self._run_id)
        again = self._run_id not in {"", run_id}
        self._run_id = run_id
        if self._watcher is None:
            return
        if again:
            self._watcher.redis_lost("Redis was restarted")
        self._watcher.redis_wrote(number(values, "aof_buffer_length"))

    def _why_full(self, length: int) -> str:
        if self.max_bytes and self.used_bytes >= FULL_SHARE * self.max_bytes:
            return f"Redis has used {_of(self.used_bytes, self.max_bytes)}"
        if length >= self._max_length:
            return f"the stream has {length} events that listeners have not acknowledged (EVENTS_MAXLEN)"
        return ""


def read_info(info: Any) -> dict[str, str]:
    """Return the values in INFO's text."""
    text = info.decode("utf-8", "replace") if isinstance(info, bytes) else str(info)
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def number(values: dict[str, str], name: str) -> int:
    """Return a value of INFO as a number; 0 if it is missing."""
    text = values.get(name, "")
    return int(text) if text.isdecimal() else 0


def facts_of(values: dict[str, str]) -> dict[str, Any]:
    """Return the relevant facts of INFO; `code` is the log event of a problem."""
    policy = values.get("maxmemory_policy", "noeviction")
    facts: dict[str, Any] = {"status": "ok", "maxmemory_policy": policy, "aof": values.get("aof_enabled") == "1"}
    if found := _problem(values, policy):
        facts["status"] = "degraded"
        facts["code"], facts["reason"], facts["hint"] = found
    elif not facts["aof"]:
        facts["warning"] = "Redis has no append-only file: if it stops, its data is lost (set appendonly yes)"
    return facts


def _problem(values: dict[str, str], policy: str) -> tuple[str, str, str] | None:
    """Return the log event, the reason and the hint of the worst that is wrong."""
    used, most = number(values, "used_memory"), number(values, "maxmemory")
    if policy != "noeviction" and most:
        reason = f"a full Redis discards events (maxmemory-policy {policy})"
        hint = f"set it to noeviction: {REDIS_ADMIN} CONFIG SET maxmemory-policy noeviction"
        return "redis_may_lose_events", reason, hint
    if values.get("aof_last_write_status", "ok") != "ok":
        reason = "Redis cannot write its append-only file and refuses events (MISCONF); they go to the journal"
        return "redis_refuses_events", reason, _DISK_HINT
    if values.get("rdb_last_bgsave_status", "ok") != "ok":
        reason = "Redis could not save its snapshot; until it can, it may refuse events (MISCONF)"
        return (
            "redis_snapshot_failed",
            reason,
            "check Redis' log (docker logs redis): the disk or memory of its host may be full",
        )
    if most and used >= FULL_SHARE * most:
        reason = (
            f"Redis has used {_of(used, most)}; new events go to the journal, and when that is full, they are refused"
        )
        return "redis_full", reason, _MEMORY_HINT
    if most and used >= ALARM_SHARE * most:
        reason = (
            f"Redis has used {_of(used, most)}, although everything that all listeners have acknowledged was removed"
        )
        return "redis_nearly_full", reason, _MEMORY_HINT
    return None


def _of(used: int, most: int) -> str:
    return f"{used >> 20} of {most >> 20} MiB (maxmemory)"


_LOOK_AT_REDIS: Final = "check Redis: docker ps, docker logs redis; events go to it again as soon as it answers"
_REMEDIES: Final = {
    "left events": "nothing to do: they are replayed into the stream",
    "OOM": _MEMORY_HINT,
    "maxmemory": _MEMORY_HINT,
    "EVENTS_MAXLEN": "the check `stream` names the listener that is behind",
    "MISCONF": _DISK_HINT,
    "READONLY": f"this Redis is a replica: {REDIS_ADMIN} REPLICAOF NO ONE, or correct REDIS_DSN",
    "WRONGTYPE": f"the key `{EVENTS_STREAM}` is not a stream: {REDIS_ADMIN} RENAME {EVENTS_STREAM} something-else",
    "NOPERM": "front's Redis user lacks a permission: run bin/setup again",
}


def remedy(reason: str) -> str:
    """Return what to do if Redis refuses events for a reason."""
    return next((hint for word, hint in _REMEDIES.items() if word in reason), _LOOK_AT_REDIS)
