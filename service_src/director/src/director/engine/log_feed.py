"""The live feed: output of services and builds, and the director's own lines, for any number of readers.

Containers are followed only while somebody reads, once for all readers. Everything is limited: the backlog for new
readers, and the lines that wait for a slow reader, who is disconnected.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection
from datetime import UTC, datetime
from typing import Literal

import msgspec

from band import logger
from band.platform import run_forever, wait_until_set
from director.engine.interface import Container, Printed
from director.engine.snapshot import Snapshot, between
from director.errors import DockerUnavailable
from director.redact import mask_url, scrub, secret_values

Source = Literal["stdout", "stderr", "build", "director"]

LONGEST = 8192
"""Characters of one line; a longer one is cut, with a note."""
# C0 and DEL have symbols of their own in Unicode; C1, which begins escape sequences too, has none.
_SYMBOLS = {
    **{code: 0x2400 + code for code in range(0x20) if code != ord("\t")}, 0x7F: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), 0xFFFD),
}  # fmt: skip
_numbers = itertools.count(time.time_ns() // 1_000_000 << 20)


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A line in the original's form: `cname` is the service, `cid` its container (empty when there is none).

    `ts` is milliseconds since 1970, `time` the same for people (UTC), `id` grows with every line.
    """

    id: str
    cid: str
    cname: str
    time: str
    ts: int
    source: Source
    data: str


def make_line(source: Source, name: str, text: str, *, container: str = "", at: float | None = None) -> Line:
    """Return a line of `source` about service `name`; `at` is seconds since 1970 (default: now)."""
    moment = time.time() if at is None else at
    return Line(
        id=str(next(_numbers)),
        cid=container[:12],
        cname=name,
        time=datetime.fromtimestamp(moment, UTC).strftime("%m%d %H:%M:%S.%f")[:-3],
        ts=int(moment * 1000),
        source=source,
        data=cut(text),
    )


def printable(text: str) -> str:
    """Return a line in which control characters show as symbols (`␛`), so that no terminal obeys them; tabs stay."""
    return text.translate(_SYMBOLS)


def cut(text: str) -> str:
    """Return a line cut to a readable length, with a note about the rest."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text) - LONGEST} more characters)"


KEPT = 300
"""Lines of each service that a new reader gets."""
OWN_KEPT = 500
"""Lines of builds and of the director that a new reader gets, over all services."""
WAITING = 4000
"""Lines that may wait for one reader."""
LINGER = 10.0
"""Seconds for which containers are followed after the last reader left: a reloaded page reconnects."""
LOOK = 1.0
RETRY = 2.0


Output = Callable[..., AsyncGenerator[Printed, None]]
"""How the output of a container is followed; see `Engine.output`."""


class Reader:
    """A reader of the lines of one service, or of all (`name` None)."""

    def __init__(self, name: str | None) -> None:
        self.name = name
        self.lost = False
        self._waiting: deque[Line] = deque()
        self._come = asyncio.Event()

    def wants(self, name: str) -> bool:
        return self.name is None or self.name == name

    def put(self, line: Line) -> None:
        """Queue a line; a reader with too many waiting lines is marked as lost, and keeps none."""
        if self.lost:
            return
        if len(self._waiting) >= WAITING:
            self.lost = True
            self._waiting.clear()
        else:
            self._waiting.append(line)
        self._come.set()

    async def take(self) -> list[Line]:
        """Wait for lines and return all that wait; an empty list when the reader is lost."""
        await self._come.wait()
        self._come.clear()
        lines = list(self._waiting)
        self._waiting.clear()
        return lines


class LogFeed:
    """All lines of one director. `run` follows the containers; `note` adds the director's own lines."""

    def __init__(
        self, output: Output, snapshot: Snapshot, declared: Callable[[str], Awaitable[Collection[str]]]
    ) -> None:
        """Create a feed; `declared` returns which env keys of a service are secret."""
        self._output = output
        self._snapshot = snapshot
        self._declared = declared
        self._readers: set[Reader] = set()
        self._kept: dict[str, deque[Line]] = {}
        self._own: deque[Line] = deque(maxlen=OWN_KEPT)
        self._following: dict[str, asyncio.Task[None]] = {}
        self._reached: dict[str, float] = {}
        self._left_at = float("-inf")
        self._seen: dict[str, Container] | None = None
        self._wake = asyncio.Event()

    @property
    def readers(self) -> int:
        return len(self._readers)

    def note(self, source: Source, name: str, text: str, container: str = "") -> None:
        """Add a line of a build, or of the director, about a service."""
        line = make_line(source, name, mask_url(text), container=container)
        self._own.append(line)
        self._give(line)

    def note_changes(self, how: Callable[[str], str] = lambda _: "") -> None:
        """Add lines about changes since the last snapshot of the containers; the first one is only stored.

        `how` returns how a service last exited, in words.
        """
        now = {item.id: item for item in self._snapshot.containers}
        if self._seen is not None:
            for happening in between(self._seen, now.values(), how):
                self.note("director", happening.service, happening.text, happening.container)
        self._seen = now

    def recent(self, name: str | None = None) -> list[Line]:
        """Return the lines that are kept, oldest first."""
        kept = [line for lines in self._kept.values() for line in lines]
        found = [line for line in [*kept, *self._own] if name is None or line.cname == name]
        return sorted(found, key=lambda line: (line.ts, int(line.id)))

    @contextlib.asynccontextmanager
    async def reading(self, name: str | None = None) -> AsyncIterator[Reader]:
        """Be a reader within the block; it begins with the lines that are kept."""
        reader = Reader(name)
        for line in self.recent(name)[-WAITING:]:
            reader.put(line)
        self._readers.add(reader)
        self._wake.set()
        try:
            yield reader
        finally:
            self._readers.discard(reader)
            if not self._readers:
                self._left_at = asyncio.get_running_loop().time()

    async def run(self) -> None:
        try:
            await run_forever("feed", self._round)
        finally:
            for task in self._following.values():
                task.cancel()
            await asyncio.gather(*self._following.values(), return_exceptions=True)

    async def _round(self) -> None:
        self._wake.clear()
        self._look()
        busy = bool(self._readers or self._following)
        await wait_until_set(self._wake, LOOK if busy else None)

    def _look(self) -> None:
        """Follow exactly the running containers that somebody reads."""
        lingering = asyncio.get_running_loop().time() - self._left_at < LINGER
        containers = {item.id: item for item in self._snapshot.containers if item.kind == "service"}
        there = {key: item for key, item in containers.items() if item.alive}
        self._reached = {key: at for key, at in self._reached.items() if key in containers}
        wanted = {
            key: item
            for key, item in there.items()
            if any(reader.wants(item.service) for reader in self._readers) or (lingering and key in self._following)
        }
        for key in [key for key in self._following if key not in wanted and key in there]:
            self._following.pop(key).cancel()
        for key in [key for key, task in self._following.items() if task.done()]:
            del self._following[key]
        for key, item in wanted.items():
            if key not in self._following:
                self._following[key] = asyncio.create_task(self._follow(item), name=f"output-{item.service}")
        if not self._following and not self._readers and self._kept:
            self._kept.clear()
            self._reached.clear()

    async def _follow(self, item: Container) -> None:
        secrets = secret_values(item.env, await self._declared(item.service))
        since = self._reached.get(item.id, 0.0)
        try:
            lines = self._output(item.id, tail=KEPT, since=since)
            async with contextlib.aclosing(lines):
                async for printed in lines:
                    if printed.at and printed.at <= since:
                        continue
                    self._reached[item.id] = max(printed.at, self._reached.get(item.id, 0.0))
                    text = scrub(printed.text, secrets)
                    at = printed.at or None
                    self._keep(make_line(printed.stream, item.service, text, container=item.id, at=at))
        except DockerUnavailable as error:
            logger.debug("output_lost", service=item.service, reason=error.message)
        except Exception:  # noqa: BLE001 - the output of one container must not end that of the others
            logger.exception("output_failed", service=item.service)
        await asyncio.sleep(RETRY)  # a container that restarts over and over is not followed in a hot loop

    def _keep(self, line: Line) -> None:
        self._kept.setdefault(line.cname, deque(maxlen=KEPT)).append(line)
        self._give(line)

    def _give(self, line: Line) -> None:
        for reader in self._readers:
            if reader.wants(line.cname):
                reader.put(line)
