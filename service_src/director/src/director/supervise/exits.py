"""Reads out of the engine's events how a container ended: by itself, well or badly, or because somebody wanted it."""

from __future__ import annotations

from director.engine.interface import Event
from director.state.crash_log import ExitRecord, Kind

RECENT = 30.0
"""Seconds between a signal and the end that it is taken to be the cause of."""
GRACEFUL = 630.0
"""As many seconds after a signal that lets a service end by itself: its stop timeout may be 600 s."""
_DEADLY = {None: RECENT, 2: GRACEFUL, 3: GRACEFUL, 9: RECENT, 15: GRACEFUL}


class ExitReader:
    """Remembers what was heard of containers that have not ended yet."""

    def __init__(self) -> None:
        self._explained: dict[str, float] = {}
        """Until when an end of a container is explained by a signal."""
        self._out_of_memory: set[str] = set()

    def read(self, event: Event, now: float) -> ExitRecord | None:
        """Return how a container ended, if it did and this director had not asked for it."""
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
