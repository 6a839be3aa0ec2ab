"""A worker's current projects: read from Redis at the start, and whenever they were written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from band import RedisError, logger
from band.platform import PROJECTS_KEY, RedisLink, run_forever, wait_until_set
from front.projects.saved import SavedProjects
from front.projects.table import NO_PROJECTS, ProjectTable

READ_WITHIN_SECONDS: Final = 2.0
LOOK_EVERY_SECONDS: Final = 60.0
"""How often they are read although Redis has not said that they were written."""
UNTOLD_LOOK_EVERY_SECONDS: Final = 1.0
"""The same where Redis does not report writes."""


class CurrentProjects:
    """Replaces the compiled table as a whole whenever the projects change."""

    def __init__(self, link: RedisLink, saved: SavedProjects, on_change: Callable[[ProjectTable], None]) -> None:
        """`on_change` gets each new table."""
        self._saved = saved
        self.table = NO_PROJECTS
        self._link = link
        self._on_change = on_change
        self._documents: Mapping[str, bytes] = {}
        self._changed = asyncio.Event()
        self._reason = ""
        self.reads = 0
        """How often they were read."""
        link.keys.add(PROJECTS_KEY, lambda _keys: self._changed.set())

    async def recall(self, within: float) -> None:
        """Read them before the first event: as last saved, if Redis does not respond within so many seconds."""
        try:
            await self._link.ready(within)
            await self._read()
        except RedisError as error:
            self._log(str(error))
            saved = await asyncio.to_thread(self._saved.read)
            if saved is not None and not self.reads:
                self.take(saved)

    async def run(self) -> None:
        """Read them whenever they were written, or the connection is a new one."""
        await run_forever("projects", self._turn)

    async def _turn(self) -> None:
        told = self._link.keys.active
        await wait_until_set(self._changed, LOOK_EVERY_SECONDS if told else UNTOLD_LOOK_EVERY_SECONDS)
        self._changed.clear()
        try:
            await self._link.ready(LOOK_EVERY_SECONDS)
            await self._read()
        except RedisError as error:
            self._changed.set()
            self._log(str(error))
            await asyncio.sleep(UNTOLD_LOOK_EVERY_SECONDS)

    def _log(self, reason: str) -> None:
        """Log why they were not read, once."""
        if reason != self._reason:
            logger.warning("projects_not_read", reason=reason, hint="events are accepted by the last known projects")
        self._reason = reason

    async def _read(self) -> None:
        found: dict[bytes, bytes] = await self._link.command("HGETALL", PROJECTS_KEY, timeout=READ_WITHIN_SECONDS)
        self._reason = ""
        documents = {name.decode("utf-8", "replace"): document for name, document in found.items()}
        self.reads += 1
        if self.take(documents) or self.reads == 1:
            await asyncio.to_thread(self._saved.write, documents)

    def take(self, documents: Mapping[str, bytes]) -> bool:
        """Compile projects, unless they are the same; returns whether they have changed."""
        if documents == self._documents:
            return False
        self._documents = documents
        table = self.table = ProjectTable(documents)
        logger.info("projects_changed", projects=len(table.projects), keyed=table.keyed)
        self._on_change(table)
        return True
