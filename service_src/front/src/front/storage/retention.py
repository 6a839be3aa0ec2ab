"""Retention of the stream `events`: events that every listener has acknowledged are trimmed, others stay.

Each listener service is a consumer group of the stream. Events that every group has received and acknowledged are
trimmed, oldest first, except the newest ones, which stay for inspection: a number of events or bytes, whichever is
less. If Redis' memory runs short they are trimmed as well. An event that a group has not acknowledged is never trimmed:
a group that is stuck retains all later events, so the stream grows, the alarm names the group, and at the limit new
events go to the journal (`redis_persistence`).

There is no state between two checks, so a new process continues where the previous one was.

Commands of Redis: XINFO STREAM, XINFO GROUPS, XPENDING, XTRIM, MEMORY USAGE, and those of `redis_persistence`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

from band import RedisError, RedisReplyError, logger
from band.platform import EVENTS_STREAM, RedisLink, run_forever
from front.storage.redis_persistence import REDIS_ADMIN, RedisPersistence, remedy

EVERY_SECONDS: Final = 1.0
ALARM_SHARE: Final = 0.8
"""Of the bound in events, and of Redis' memory: from here on there is an alarm, and acknowledged events are trimmed."""
CALM_SHARE: Final = 0.7
"""The alarm ends below this, so that it does not flicker; trimming for memory ends here too."""
KEPT_SHARE_OF_MEMORY: Final = 0.25
"""Of `maxmemory`: bytes of acknowledged events that stay, unless a setting says otherwise."""
_LASTING: Final = 3
"""Consecutive refusals of Redis after which health and log report it."""
_MAX_STEP: Final = 10_000
"""Entries that one XTRIM removes at most: Redis does nothing else meanwhile."""
_NODE_ENTRIES: Final = 100
"""Entries of a full node of the stream (`stream-node-max-entries`): XTRIM with a smaller limit may remove none."""
_SAMPLES: Final = 20_000
"""Nodes that MEMORY USAGE samples, in half a millisecond: all of a stream of the default `events_keep`."""

Id = tuple[int, int]


class Group(NamedTuple):
    """A consumer group: undelivered events, delivered but unacknowledged events, and its position."""

    name: str
    lag: int
    pending: int
    needs: Id
    """The oldest id that it may still ask for."""

    @property
    def behind(self) -> int:
        """Events that it has not acknowledged."""
        return self.lag + self.pending


class Trimmer:
    """Trims the stream once a second."""

    def __init__(self, link: RedisLink, redis: RedisPersistence, keep: int, keep_bytes: int, most: int) -> None:
        """The `keep` newest events stay for inspection, or `keep_bytes` of them (0: a quarter of Redis' memory).

        `most` is the number of events at which new ones go to the journal.
        """
        self._link = link
        self._redis = redis
        self._keep = min(keep, most // 2)
        self._keep_bytes = keep_bytes
        self._most = most
        self.length = 0
        self.bytes = 0
        self.trimmed = 0
        self.groups: list[Group] = []
        self.alarmed = False
        self._refusal = ""
        self._refused = 0

    async def run(self) -> None:
        """Trim once a second, forever, except while Redis is unavailable."""
        await run_forever("stream_trimming", self._trim_if_connected, pause_seconds=EVERY_SECONDS)

    async def trim(self) -> int:
        """Trim once; returns how many events went. RedisError when Redis is unavailable."""
        try:
            stream = _fields(await self._link.command("XINFO", "STREAM", EVENTS_STREAM))
        except RedisReplyError as error:
            if "no such key" not in str(error):
                raise
            self.length, self.bytes, self.groups = 0, 0, []
            return 0
        self.length = int(stream["length"])
        newest = read_id(stream["last-generated-id"])
        self.groups = await self._read_groups(newest)
        needed = min([after(newest), *(group.needs for group in self.groups)])
        gone = await self._repeat(self._trim_by_number, needed)
        gone += await self._repeat(self._trim_by_bytes, needed)
        if self._redis.max_bytes and self._redis.used_bytes >= ALARM_SHARE * self._redis.max_bytes:
            gone += await self._repeat(self._trim_for_memory, needed)
        self.trimmed += gone
        self._watch()
        return gone

    def lag(self) -> dict[str, float]:
        """Group -> events that it has not acknowledged yet."""
        return {group.name: float(group.behind) for group in self.groups}

    def health(self) -> dict[str, Any]:
        """Degraded while the stream is near its bound or fills Redis; it names the groups that hold back."""
        facts: dict[str, Any] = {"length": self.length, "most": self._most, "bytes": self.bytes, "behind": self.lag()}
        if self._refused >= _LASTING:
            reason = f"the stream is not being trimmed and grows: {self._refusal}"
            return {"status": "degraded", "reason": reason, "hint": remedy(self._refusal), **facts}
        if not self.alarmed:
            return {"status": "ok", **facts}
        return {"status": "degraded", "reason": self._reason(), "hint": self._hint(), **facts}

    async def _trim_if_connected(self) -> None:
        try:
            await self.trim()
            self._refused = 0
        except RedisReplyError as error:
            self._refusal = str(error)
            self._refused += 1
            if self._refused == _LASTING:
                logger.warning("stream_trimming_refused", reason=self._refusal, hint=remedy(self._refusal))
        except RedisError as error:
            logger.debug("stream_not_trimmed", reason=str(error))

    async def _read_groups(self, newest: Id) -> list[Group]:
        groups = []
        for row in await self._link.command("XINFO", "GROUPS", EVENTS_STREAM):
            group = _fields(row)
            name, pending = group["name"].decode("utf-8", "replace"), int(group["pending"])
            delivered = read_id(group["last-delivered-id"])
            lag = group.get("lag")
            if lag is None:  # Redis does not know this for a group that began in the middle
                lag = 0 if delivered >= newest else self.length
            needs = after(delivered)
            if pending:
                held = await self._link.command("XPENDING", EVENTS_STREAM, group["name"])
                needs = read_id(held[1]) if held[1] else needs
            groups.append(Group(name, int(lag), pending, needs))
        return groups

    # --- trimming

    async def _repeat(self, step: Callable[[Id], Awaitable[int]], needed: Id) -> int:
        """Repeat a step until it removes nothing; returns how many events went."""
        gone = 0
        while removed := await step(needed):
            gone += removed
        return gone

    async def _trim_by_number(self, needed: Id) -> int:
        return await self._trim(needed, self.length - self._keep) if self.length > self._keep else 0

    async def _trim_by_bytes(self, needed: Id) -> int:
        await self._measure()
        bound = self._keep_bytes or int(self._redis.max_bytes * KEPT_SHARE_OF_MEMORY)
        return await self._trim_bytes(needed, self.bytes - bound) if 0 < bound < self.bytes else 0

    async def _trim_for_memory(self, needed: Id) -> int:
        excess = self._redis.used_bytes - int(CALM_SHARE * self._redis.max_bytes)
        removed = await self._trim_bytes(needed, excess) if excess > 0 else 0
        if removed:
            await self._measure()
            await self._redis.look()
        return removed

    async def _trim(self, needed: Id, most: int) -> int:
        """Remove at most `most` of the oldest entries, whole nodes of them, none that is `needed` or newer."""
        gone = int(
            await self._link.command(
                "XTRIM", EVENTS_STREAM, "MINID", "~", f"{needed[0]}-{needed[1]}", "LIMIT", min(most, _MAX_STEP)
            )
        )
        self.length -= gone
        return gone

    async def _trim_bytes(self, needed: Id, excess: int) -> int:
        """Remove about half of so many bytes: the oldest entries may be larger than the others."""
        most = 1 + self.length * excess // (2 * max(1, self.bytes))
        return await self._trim(needed, most) or await self._trim(needed, max(most, _NODE_ENTRIES))

    async def _measure(self) -> None:
        self.bytes = int(await self._link.command("MEMORY", "USAGE", EVENTS_STREAM, "SAMPLES", _SAMPLES) or 0)

    # --- the alarm

    def _watch(self) -> None:
        memory = self._redis
        share = self.length / self._most
        if memory.max_bytes and self.bytes > memory.max_bytes / 2:
            share = max(share, memory.used_bytes / memory.max_bytes)
        if not self.alarmed and share >= ALARM_SHARE:
            self.alarmed = True
            logger.error(
                "stream_nearly_full", reason=self._reason(), length=self.length, bytes=self.bytes, behind=self.lag()
            )
        elif self.alarmed and share < CALM_SHARE:
            self.alarmed = False
            logger.info("stream_has_room", length=self.length, bytes=self.bytes)

    def _reason(self) -> str:
        size = f"{self.length} of at most {self._most} events, {self.bytes >> 20} MiB"
        return f"the stream has {size}; {self._who()}"

    def _who(self) -> str:
        """Name the groups that retain events: their oldest event is at least half as old as the oldest of all."""
        now_ms = time.time() * 1000
        waiting = [(group, now_ms - group.needs[0]) for group in self.groups if group.behind]
        if not waiting:
            return (
                "no listener holds it back: events arrive faster than they are trimmed, or EVENTS_MAXLEN is too small"
            )
        longest = max(age for _, age in waiting)
        return "held back by " + ", ".join(
            f"{group.name} ({group.behind} behind)" for group, age in waiting if age >= longest / 2
        )

    def _hint(self) -> str:
        if not any(group.behind for group in self.groups):
            return "raise front's EVENTS_MAXLEN"
        return (
            "start or fix that service; at the limit, new events go to the journal and are then refused; if it is gone "
            f"for good, remove its group: {REDIS_ADMIN} XGROUP DESTROY {EVENTS_STREAM} NAME"
        )


def read_id(raw: bytes) -> Id:
    """`1700000000000-3` as two numbers."""
    first, _, second = raw.partition(b"-")
    return int(first), int(second or 0)


def after(entry: Id) -> Id:
    """Return the id that follows one."""
    return entry[0], entry[1] + 1


def _fields(reply: Any) -> dict[str, Any]:
    """Return the named fields of an XINFO reply: a map in RESP3."""
    return {name.decode(): value for name, value in reply.items()}
