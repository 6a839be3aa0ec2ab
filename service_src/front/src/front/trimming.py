"""The stream `events` is trimmed behind all listeners, and nobody's events are lost without an alarm before.

Each listener service is a consumer group of the stream. What every group has been given and has acknowledged may go,
but for the newest events, which stay for those who look. A group that does not move holds everything behind it: the
stream grows, and at its hard bound Redis drops the oldest events, delivered or not. So the alarm comes before, and it
says who holds back.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final, NamedTuple, Protocol

from band.constants import EVENTS_STREAM
from band.errors import RedisError, RedisReplyError
from band.logs import logger

EVERY_S: Final = 2.0
ALARM_SHARE: Final = 0.8
"""Of the hard bound: a longer stream is an alarm."""
CALM_SHARE: Final = 0.7
"""The alarm ends below this, so that it does not flicker."""
SAMPLES: Final = 100
"""Marks along the events that are kept; so much finer than `events_keep` the trimming is."""

Id = tuple[int, int]


class Link(Protocol):
    """The part of band's `link` that trimming needs."""

    async def command(self, *parts: Any, timeout: float = ...) -> Any:
        """Send one command and return its reply."""


class Group(NamedTuple):
    """A consumer group: events that were given to nobody yet, those given and not acknowledged, and where it stands."""

    name: str
    lag: int
    pending: int
    needs: Id
    """The oldest id that it may still ask for."""


class Marks:
    """Remembers how many events had come when which id was the newest: so it is known where the newest N begin."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._marks: deque[tuple[int, Id]] = deque()

    def add(self, count: int, newest: Id) -> None:
        """Note that `count` events came so far, the last of them `newest`."""
        marks = self._marks
        if marks and count < marks[-1][0]:
            marks.clear()  # another stream: the one before was deleted
        if not marks or count - marks[-1][0] >= max(1, self._keep // SAMPLES):
            marks.append((count, newest))
        while len(marks) > 1 and marks[1][0] <= count - self._keep:
            marks.popleft()

    def begin(self, count: int) -> Id | None:
        """The id from which on there are at least as many events as are to be kept; None when it is not known yet."""
        if self._marks and self._marks[0][0] <= count - self._keep:
            return after(self._marks[0][1])
        return None


class Trimmer:
    """Looks at the stream every two seconds."""

    def __init__(self, link: Link, keep: int, most: int) -> None:
        """`keep` newest events stay for those who look; `most` is the hard bound, which the appends keep."""
        self._link = link
        self._most = most
        self._marks = Marks(min(keep, most // 2))
        self.length = 0
        self.trimmed = 0
        self.groups: list[Group] = []
        self.alarmed = False

    async def run(self) -> None:
        """Trim for ever; a background task. Redis being away is waited out."""
        while True:
            try:
                await self.trim()
            except RedisError as error:
                logger.debug("stream_not_trimmed", reason=str(error))
            await asyncio.sleep(EVERY_S)

    async def trim(self) -> int:
        """Trim once; returns how many events went. RedisError when Redis is away."""
        try:
            stream = _fields(await self._link.command("XINFO", "STREAM", EVENTS_STREAM))
        except RedisReplyError:  # no such key: no event yet
            self.length, self.groups = 0, []
            return 0
        self.length = int(stream["length"])
        self.groups = await self._read_groups()
        count = int(stream["entries-added"])
        self._marks.add(count, read_id(stream["last-generated-id"]))
        begin = self._marks.begin(count)
        gone = 0
        if begin is not None:
            gone = await self._trim_to(min([begin, *(group.needs for group in self.groups)]))
            self.length -= gone
            self.trimmed += gone
        self._watch()
        return gone

    def lag(self) -> dict[str, float]:
        """Group -> events that it has not acknowledged yet."""
        return {group.name: float(group.lag + group.pending) for group in self.groups}

    def health(self) -> dict[str, Any]:
        """Degraded while the stream is near its bound; it names the groups that hold back."""
        facts: dict[str, Any] = {"length": self.length, "most": self._most, "behind": self.lag()}
        if not self.alarmed:
            return {"status": "ok", **facts}
        return {
            "status": "degraded",
            "reason": f"the stream has {self.length} of at most {self._most} events; {self._who()}",
            "hint": "start or mend that service; if it is gone for good, remove its group: "
            f"redis-cli XGROUP DESTROY {EVENTS_STREAM} NAME",
            **facts,
        }

    async def _read_groups(self) -> list[Group]:
        groups = []
        for row in await self._link.command("XINFO", "GROUPS", EVENTS_STREAM):
            group = _fields(row)
            name, pending = group["name"].decode("utf-8", "replace"), int(group["pending"])
            needs = after(read_id(group["last-delivered-id"]))
            if pending:
                held = await self._link.command("XPENDING", EVENTS_STREAM, group["name"])
                needs = read_id(held[1]) if held[1] else needs
            groups.append(Group(name, int(group.get("lag") or 0), pending, needs))
        return groups

    async def _trim_to(self, begin: Id) -> int:
        """Drop what is older, in steps that leave Redis time for others."""
        gone = 0
        while True:
            step = int(await self._link.command("XTRIM", EVENTS_STREAM, "MINID", "~", f"{begin[0]}-{begin[1]}"))
            gone += step
            if not step:
                return gone

    def _watch(self) -> None:
        share = self.length / self._most
        if not self.alarmed and share >= ALARM_SHARE:
            self.alarmed = True
            logger.error("stream_nearly_full", length=self.length, most=self._most, reason=self._who(), **self.lag())
        elif self.alarmed and share < CALM_SHARE:
            self.alarmed = False
            logger.info("stream_has_room", length=self.length, most=self._most)

    def _who(self) -> str:
        """Who holds back, in words."""
        behind = [group for group in self.groups if group.lag + group.pending > self._most * (1 - ALARM_SHARE)]
        if not behind:
            return "no group holds it back: events come faster than they are trimmed, or events_maxlen is too small"
        names = ", ".join(f"{group.name} ({group.lag + group.pending} behind)" for group in behind)
        return f"held back by {names}"


def read_id(raw: bytes) -> Id:
    """`1700000000000-3` as two numbers."""
    first, _, second = raw.partition(b"-")
    return int(first), int(second or 0)


def after(entry: Id) -> Id:
    """The id that follows one."""
    return entry[0], entry[1] + 1


def _fields(reply: Any) -> dict[str, Any]:
    """The named fields of an XINFO reply: a map in RESP3."""
    return {name.decode(): value for name, value in reply.items()}
