"""When a release on trial has failed, and when a service has crashed too often: pure, for `reconcile` to decide by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from director.engine.interface import Container, Event
from director.state.crash_log import CrashLimits, CrashRecord, ExitRecord, Kind

SILENT_ASKS = 4
"""Missed status checks in a row that count as silence. With 5 s per check and 2 s in between that takes half a minute:
on a busy host, a wrong rollback would be worse than a late one."""
STEADY = 60.0
"""Seconds that a crashed service has to run, after it was tried again, to count as recovered."""


FIRST_DELAY = 1.0
LONGEST_DELAY = 60.0


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """A release under watch, times in seconds since 1970.

    `unanswered` is the number of questions in a row. `redis_away`: Redis is unavailable, or was until now, and a
    service that cannot do its work without it is right to say so.
    """

    since: float
    until: float
    unanswered: int = 0
    out_of_memory: bool = False
    redis_away: bool = False


def restart_delay(ends: Sequence[float]) -> float:
    """Return the seconds to wait after the newest of several ends: none for the first, then 1, 2, 4 … 60."""
    return 0.0 if len(ends) <= 1 else min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(len(ends) - 2, 16))


def misbehaviour(trial: Trial, record: CrashRecord, seen: Container | None, now: float) -> str:
    """Return why a watched release fails its watch, in words; empty if it does not.

    Args:
        trial: its watch.
        record: the service's recent exits.
        seen: its container, None if this release has none.
        now: the current time.
    """
    end = record.since(trial.since)
    if end is not None and end.at <= trial.until:
        return f"{end.words()}, {_seconds(end.at - trial.since)} after the switch"
    if now >= trial.until:
        return ""
    after = f"within {_seconds(now - trial.since)} after the switch"
    if trial.out_of_memory:
        return f"was OOM-killed {after}"
    if seen is not None and seen.restarts:
        return f"was restarted by the engine {after}"
    if seen is not None and seen.alive and seen.health == "unhealthy" and not trial.redis_away:
        return f"became unhealthy {after}"
    if seen is not None and seen.alive and trial.unanswered >= SILENT_ASKS:
        return f"missed {trial.unanswered} status checks in a row {after}"
    return ""


Standing = Literal["fine", "too_many", "trying", "again", "recovered", "still"]


def standing(record: CrashRecord, limits: CrashLimits, now: float) -> Standing:
    """Return where a service stands with its crashes.

    `fine`: not too many; `too_many`: it is to be called crashed now; `still`: it is, and is left alone; `trying`: it
    was started nevertheless; `again`: and crashed again; `recovered`: and has been steady since.
    """
    if record.crash is None:
        return "too_many" if len(record.crashes(now, limits.window)) >= limits.count else "fine"
    if record.tried_at <= record.crash.at:
        return "still"
    if any(end.kind == "crash" and end.at > record.tried_at for end in record.ends):
        return "again"
    return "recovered" if now - record.tried_at >= STEADY else "trying"


def too_many(record: CrashRecord, limits: CrashLimits, now: float) -> str:
    """Return the sentence that a service crashed too often."""
    crashes = record.crashes(now, limits.window)
    last = f", the last time it {crashes[-1].words()}" if crashes else ""
    return f"crashed {len(crashes)} times within {_seconds(limits.window)}{last}"


def _seconds(value: float) -> str:
    return f"{max(0.0, value):.0f} s"


RECENT = 30.0
"""Seconds between a signal and an exit that it can have caused."""
GRACEFUL = 630.0
"""As many seconds after a signal that lets a service end by itself: its stop timeout may be 600 s."""
_DEADLY = {None: RECENT, 2: GRACEFUL, 3: GRACEFUL, 9: RECENT, 15: GRACEFUL}


class ExitReader:
    """Remembers signals and memory kills of containers that have not exited yet."""

    def __init__(self) -> None:
        self._explained: dict[str, float] = {}
        """Until when an end of a container is explained by a signal."""
        self._out_of_memory: set[str] = set()

    def read(self, event: Event, now: float) -> ExitRecord | None:
        """Return how a container exited, unless it runs or this director requested the exit."""
        container = event.container
        if event.action == "kill" and event.signal in _DEADLY:
            self._explained[container] = now + _DEADLY[event.signal]
        elif event.action == "oom":
            self._out_of_memory.add(container)
        elif event.action in {"start", "destroy"}:
            self._explained.pop(container, None)
            self._out_of_memory.discard(container)
        elif event.action == "die":
            return self._died(event, now)
        return None

    def _died(self, event: Event, now: float) -> ExitRecord | None:
        oom = event.container in self._out_of_memory
        outside = now < self._explained.pop(event.container, 0.0)
        self._out_of_memory.discard(event.container)
        if event.asked:
            return None
        kind: Kind = "crash" if oom else "outside" if outside else "crash" if event.exit_code else "quit"
        return ExitRecord(now, kind, event.exit_code, oom_killed=oom)
