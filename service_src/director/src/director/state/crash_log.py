"""How services ended by themselves: one record a service, kept in Redis so that a restart of the director forgets none.

An end counts as a crash when nobody asked for it and its exit code is not 0 (or memory ran out). Stops, deploys, and
what somebody does with `docker stop` or `docker kill` are no crashes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from band import logger
from band.errors import RedisError
from director.state.desired import Store, documents

Kind = Literal["crash", "quit", "outside", "refused"]
"""`crash`: unclean; `quit`: by itself with exit code 0; `outside`: somebody told Docker; `refused`: a start failed."""


class CrashLimits(msgspec.Struct, frozen=True, kw_only=True):
    """`count` crashes within `window` seconds are too many; after `cooldown` seconds it is tried again (0: never)."""

    count: int = 5
    window: float = 300.0
    cooldown: float = 1800.0


class End(msgspec.Struct, frozen=True, omit_defaults=True):
    """One end of a container, or one start that failed. `at` is in seconds since 1970."""

    at: float
    kind: Kind = "crash"
    exit_code: int | None = None
    oom_killed: bool = False

    def words(self) -> str:
        """Return what happened, as people say it."""
        if self.oom_killed:
            return "was out of memory"
        return f"ended with exit code {self.exit_code}" if self.exit_code is not None else "could not be started"


class Crash(msgspec.Struct, frozen=True, kw_only=True):
    """Why a service is not started any more; `last_lines` of its output, secrets masked."""

    reason: str
    exit_code: int | None
    oom_killed: bool
    at: float
    last_lines: list[str]


class RolledBack(msgspec.Struct, frozen=True, kw_only=True, rename={"source": "from", "target": "to"}):
    """The last rollback that happened by itself: from which release to which, and why."""

    at: float
    source: str
    target: str
    reason: str


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is remembered of one service.

    Attributes:
        ends: how it ended of late, oldest first.
        crash: set while it has crashed too often, and is not started any more.
        tried_at: when it was started nevertheless (somebody did it by hand, or the cool-down was over); 0 if not.
        rolled_back: the last rollback that happened by itself, until the next run.
    """

    ends: tuple[End, ...] = ()
    crash: Crash | None = None
    tried_at: float = 0.0
    rolled_back: RolledBack | None = None

    def recent(self, now: float, window: float) -> tuple[float, ...]:
        """Return the times of all ends that still count, for the back-off."""
        return tuple(end.at for end in self.ends if now - end.at < window)

    def crashes(self, now: float, window: float) -> tuple[End, ...]:
        """Return the crashes that still count."""
        return tuple(end for end in self.ends if end.kind == "crash" and now - end.at < window)

    def since(self, moment: float) -> End | None:
        """Return how it ended by itself after a moment, if it did."""
        return next((end for end in self.ends if end.at > moment and end.kind in {"crash", "quit"}), None)


NO_RECORD = Record()


class Crashes:
    """The hash `<namespace>:director:crashes` with its copy in memory; a change is written with the next `save`."""

    def __init__(self, store: Store, namespace: str, limits: CrashLimits | None = None) -> None:
        self._store = store
        self._key = f"{namespace}:director:crashes"
        self._records: dict[str, Record] = {}
        self._unsaved: set[str] = set()
        self.limits = limits or CrashLimits()

    def of(self, service: str) -> Record:
        """Return the record of a service."""
        return self._records.get(service, NO_RECORD)

    def words(self, service: str) -> str:
        """Return how a service ended last, in words; nothing when that is not known."""
        ends = self.of(service).ends
        return ends[-1].words() if ends else ""

    def all(self) -> Mapping[str, Record]:
        """Return the records of all services that have one."""
        return dict(self._records)

    def note(self, service: str, end: End) -> None:
        """Remember an end; those out of the window are forgotten."""
        record = self.of(service)
        kept = tuple(item for item in record.ends if end.at - item.at < self.limits.window)
        self.put(service, msgspec.structs.replace(record, ends=(*kept, end)))

    def put(self, service: str, record: Record) -> None:
        """Set the record of a service."""
        if record != self.of(service):
            self._unsaved.add(service)
            if record == NO_RECORD:
                self._records.pop(service, None)
            else:
                self._records[service] = record

    async def load(self) -> None:
        """Read what Redis knows; what was noted since the start stands.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        reply = await self._store.command("HGETALL", self._key)
        for name, found in documents(reply, Record, self._key).items():
            mine = self.of(name)
            ends = tuple(sorted({*found.ends, *mine.ends}, key=lambda end: end.at))
            self._records[name] = msgspec.structs.replace(found, ends=ends, crash=mine.crash or found.crash)

    async def save(self) -> None:
        """Write what changed; without Redis it is written with a later call."""
        for service in list(self._unsaved):
            record = self._records.get(service)
            try:
                if record is None:
                    await self._store.command("HDEL", self._key, service)
                else:
                    await self._store.command("HSET", self._key, service, msgspec.json.encode(record))
            except RedisError as error:
                logger.debug("crashes_not_saved", reason=str(error))
                return
            if self._records.get(service) == record:
                self._unsaved.discard(service)
