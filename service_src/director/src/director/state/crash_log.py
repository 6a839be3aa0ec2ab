"""The exits of services: one record per service, kept in Redis so that they survive a restart of the director.

An unrequested exit counts as a crash if its exit code is not 0 (or memory ran out). Stops, deploys, `docker stop` and
`docker kill` are not crashes.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

import msgspec

from band import RedisError, logger
from director.state.store import RedisHash, Store

MAX_OUTPUTS = 100
"""Services whose last lines are remembered; each has at most 20 lines of 8 KiB."""
Kind = Literal["crash", "quit", "outside", "refused"]
"""`crash`: unclean; `quit`: exit code 0; `outside`: by `docker stop` or the like; `refused`: a start failed."""


class CrashLimits(msgspec.Struct, frozen=True, kw_only=True):
    """`count` crashes within `window` seconds are too many; after `cooldown` seconds it is tried again (0: never)."""

    count: int = 5
    window: float = 300.0
    cooldown: float = 1800.0


class ExitRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One end of a container, or one start that failed. `at` is in seconds since 1970."""

    at: float
    kind: Kind = "crash"
    exit_code: int | None = None
    oom_killed: bool = False

    def words(self) -> str:
        """Return what happened, as people say it."""
        if self.oom_killed:
            return "was OOM-killed"
        return f"exited with code {self.exit_code}" if self.exit_code is not None else "could not be started"


class CrashLoop(msgspec.Struct, frozen=True, kw_only=True):
    """Why a service is not started any more; `last_lines` of its output, secrets masked."""

    reason: str
    exit_code: int | None
    oom_killed: bool
    at: float
    last_lines: list[str]


class RollbackRecord(msgspec.Struct, frozen=True, kw_only=True, rename={"source": "from", "target": "to"}):
    """The last rollback that happened by itself: from which release to which, and why."""

    at: float
    source: str
    target: str
    reason: str


class CrashRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The record of one service.

    Attributes:
        ends: its recent exits, oldest first.
        crash: set while it has crashed too often and is not restarted.
        tried_at: when it was started nevertheless (by hand, or after the cooldown); 0 if not.
        rolled_back: the last automatic rollback, until the next run.
    """

    ends: tuple[ExitRecord, ...] = ()
    crash: CrashLoop | None = None
    tried_at: float = 0.0
    rolled_back: RollbackRecord | None = None

    def recent(self, now: float, window: float) -> tuple[float, ...]:
        """Return the times of all ends that still count, for the backoff."""
        return tuple(end.at for end in self.ends if now - end.at < window)

    def crashes(self, now: float, window: float) -> tuple[ExitRecord, ...]:
        return tuple(end for end in self.ends if end.kind == "crash" and now - end.at < window)

    def since(self, moment: float) -> ExitRecord | None:
        """Return the first exit after `moment` that nobody requested, None if there was none."""
        return next((end for end in self.ends if end.at > moment and end.kind in {"crash", "quit"}), None)


NO_RECORD = CrashRecord()


class CrashLog(RedisHash[CrashRecord]):
    """The hash `<namespace>:director:crashes` with its copy in memory; a change is written with the next `save`.

    The last output of services that failed is in memory only.
    """

    def __init__(self, store: Store, namespace: str, limits: CrashLimits | None = None) -> None:
        super().__init__(store, f"{namespace}:director:crashes", CrashRecord)
        self.limits = limits or CrashLimits()
        self._unsaved: set[str] = set()
        self._output: OrderedDict[str, list[str]] = OrderedDict()

    def of(self, service: str) -> CrashRecord:
        return self.get(service) or NO_RECORD

    def words(self, service: str) -> str:
        """Return how a service last exited, in words; empty if unknown."""
        ends = self.of(service).ends
        return ends[-1].words() if ends else ""

    def recent(self, service: str, now: float) -> int:
        """Return how often a service crashed within the window."""
        return len(self.of(service).crashes(now, self.limits.window))

    def note(self, service: str, end: ExitRecord) -> None:
        """Record an exit; those outside the window are dropped."""
        record = self.of(service)
        kept = tuple(item for item in record.ends if end.at - item.at < self.limits.window)
        self.put(service, msgspec.structs.replace(record, ends=(*kept, end)))

    def put(self, service: str, record: CrashRecord) -> None:
        if record != self.of(service):
            self._unsaved.add(service)
            if record == NO_RECORD:
                self._documents.pop(service, None)
            else:
                self._documents[service] = record

    def reset(self, service: str) -> CrashRecord:
        """Clear the record of a service that is run again; returns the old one, to `put` it back."""
        before = self.of(service)
        self.put(service, NO_RECORD)
        return before

    def keep_output(self, service: str, lines: list[str]) -> None:
        """Remember what a build, or a container that was removed, printed last (secrets masked)."""
        self.forget_output(service)
        if lines:
            self._output[service] = lines
        while len(self._output) > MAX_OUTPUTS:
            self._output.popitem(last=False)

    def forget_output(self, service: str) -> list[str]:
        """Forget what `keep_output` remembers, and return it."""
        return self._output.pop(service, [])

    def last_output(self, service: str) -> list[str]:
        """Return what `keep_output` remembers, or else what the service printed before it crashed."""
        crash = self.of(service).crash
        return self._output.get(service) or (crash.last_lines if crash else [])

    async def load(self) -> None:
        """Read the records from Redis; newer ones in memory win."""
        for name, found in (await self.read()).items():
            mine = self.of(name)
            ends = tuple(sorted({*found.ends, *mine.ends}, key=lambda end: end.at))
            self._documents[name] = msgspec.structs.replace(found, ends=ends, crash=mine.crash or found.crash)
        self.loaded = True

    async def save(self) -> None:
        """Write what changed; without Redis it is written with a later call."""
        for service in list(self._unsaved):
            record = self.get(service)
            try:
                if record is None:
                    await self._store.command("HDEL", self._key, service)
                else:
                    await self._store.command("HSET", self._key, service, msgspec.json.encode(record))
            except RedisError as error:
                logger.debug("crashes_not_saved", reason=str(error))
                return
            if self.get(service) == record:
                self._unsaved.discard(service)
