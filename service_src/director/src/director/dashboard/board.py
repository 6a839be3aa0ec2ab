"""What the page shows, gathered from the director's own endpoints: for a whole page, and for the parts kept fresh."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Collection, Iterator

import msgspec

from band import RedisError
from band.platform import EVENTS_STREAM
from director.api.handlers import (
    EventHandlers,
    ProjectHandlers,
    ReleaseHandlers,
    ServiceHandlers,
    SettingsHandlers,
    SystemHandlers,
)
from director.api.params import EventsParams, LettersParams, Nothing, checked
from director.api.schemas import HealthFacts, ImageRow
from director.dashboard.cards import Card, Cell, Reason, card, place
from director.dashboard.lists import EventItem, Queue, item, may_have_letters, queue
from director.errors import DirectorError
from director.images.buildkit import BuildLog, Progress
from director.locks import Locks
from director.state.store import Store, pairs
from director.supervise.status import Part

EVENTS = 50
FOLDERS_AGE = 5.0
"""Seconds for which the list of folders is good: it reads the disk and asks Docker."""
DEAD_AGE = 5.0


class Facts(msgspec.Struct, frozen=True):
    """The line at the top of the page; `worst` is the tone of the unhealthy services.

    `alarms` are problems of Docker, Redis and the director.
    """

    running: int
    stopped: int
    troubled: list[str]
    worst: str
    dead_letters: int
    alarms: list[Reason]


class Api(msgspec.Struct, frozen=True):
    """The director's own endpoints: the page shows what they return, and nothing else."""

    services: ServiceHandlers
    settings: SettingsHandlers
    releases: ReleaseHandlers
    projects: ProjectHandlers
    events: EventHandlers
    system: SystemHandlers


class Board:
    """Asks the endpoints; nothing it returns is HTML."""

    def __init__(self, api: Api, progress: Progress, locks: Locks, store: Store) -> None:
        self._api = api
        self._store = store
        self._progress = progress
        self._locks = locks
        self._folders: list[ImageRow] = []
        self._folders_at = float("-inf")
        self._queues: list[Queue] = []
        self._dead_at = float("-inf")
        self._asking = asyncio.Lock()
        self._refreshing: asyncio.Task[list[Queue]] | None = None

    async def cards(self) -> list[tuple[Card, Cell]]:
        """Return the services, column by column as events pass them."""
        rows = await self._api.services.list_services(Nothing())
        cells = place({row.name: row.pos for row in rows})
        busy = self._locks.busy
        made = [
            (card(row, time.time(), building=self._progress.of(row.name), busy=row.name in busy), cells[row.name])
            for row in rows
        ]
        return sorted(made, key=lambda pair: (*pair[1], pair[0].name))

    async def facts(self, cards: Collection[tuple[Card, Cell]]) -> Facts:
        """Return the head line."""
        health = await self._api.system.health(Nothing())
        return Facts(
            running=sum(one.look.tone in {"ok", "info"} for one, _ in cards),
            stopped=sum(one.look.tone == "idle" for one, _ in cards),
            troubled=[one.name for one, _ in cards if one.look.trouble],
            worst="bad" if any(one.look.tone == "bad" for one, _ in cards) else "warn",
            dead_letters=sum(one.dead_letters for one, _ in cards),
            alarms=list(_alarms(health)),
        )

    async def folders(
        self, running: Collection[str], *, fresh: bool = False
    ) -> list[tuple[ImageRow, BuildLog | None, bool]]:
        """Return the image folders that are not services yet, each with its build and whether it is busy."""
        if fresh or time.monotonic() - self._folders_at > FOLDERS_AGE:
            with contextlib.suppress(
                DirectorError
            ):  # Docker is unavailable: show the last known state; the head line says so
                self._folders = await self._api.services.list_images(Nothing())
            self._folders_at = time.monotonic()
        busy = self._locks.busy
        return [
            (folder, self._progress.of(folder.name), folder.name in busy)
            for folder in self._folders
            if folder.name not in running and (folder.runnable or folder.problem)
        ]

    async def events(self) -> list[EventItem]:
        """Return the newest events, newest first; none while Redis is unavailable."""
        try:
            found = (await self._api.events.events(EventsParams(limit=EVENTS))).events
        except (DirectorError, RedisError):
            return []
        return [item(stored) for stored in found]

    async def events_added(self) -> int | None:
        """Return how many events came in since the stream began; None when it is not there or Redis is unavailable."""
        try:
            answer = await self._store.command("XINFO", "STREAM", EVENTS_STREAM)
        except RedisError:
            return None
        found = dict(pairs(answer)).get("entries-added")
        return int(found) if found is not None else None

    async def known_queues(self, patience: float = 0.0) -> list[Queue]:
        """Return the last known dead letters, and refresh them in the background if they are old.

        A listener that hangs costs seconds, for which the rest of the page must not wait. `patience` is the number of
        seconds to wait for newer ones.
        """
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self.queues(), name="dead-letters")
        await asyncio.wait({self._refreshing}, timeout=patience)
        return self._queues

    async def queues(self, *, fresh: bool = False) -> list[Queue]:
        """Return the services that hold dead letters, with the newest of them."""
        async with self._asking:
            if fresh or time.monotonic() - self._dead_at > DEAD_AGE:
                rows = await self._api.services.list_services(Nothing())
                names = [row.name for row in rows if row.state in {"running", "external"} and may_have_letters(row)]
                found = await asyncio.gather(*(self.queue(name) for name in names))
                self._queues = [queue for queue in found if queue is not None and queue.total]
                self._dead_at = time.monotonic()
            return self._queues

    async def queue(self, name: str, patience: float | None = None) -> Queue | None:
        """Return the dead letters of a service; None if it does not report any within `patience` seconds."""
        try:
            async with asyncio.timeout(patience):
                return queue(name, await self._api.events.dead_letters(checked(LettersParams, name=name)))
        except (DirectorError, RedisError, KeyError, TimeoutError):
            return None


def _alarms(health: HealthFacts) -> Iterator[Reason]:
    """Yield what `/health` says of the parts of the platform that are not well."""
    parts: dict[str, Part] = {"Docker": health.docker, "Redis": health.redis, "The director": health.director}
    for name, part in parts.items():
        if part.status != "ok":
            what = f"{name} does not answer" if part.status == "unavailable" else name
            yield Reason(f"{what}: {part.reason or part.status}", "warn" if part.status == "degraded" else "bad")
