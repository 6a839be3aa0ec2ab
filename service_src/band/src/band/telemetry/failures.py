"""Failures of a service's own functions: counted, and reported with the last error in its health."""

from __future__ import annotations

import time
from typing import Any, Final

import msgspec

from band.constants import ROLE_ENRICHER, ROLE_HANDLER, ROLE_LISTENER
from band.telemetry.tracebacks import describe_raised

FAILURES_IN_A_ROW: Final = 3
"""Consecutive failures from which the service is degraded."""
WINDOW_SECONDS: Final = 10.0
FAILED_SHARE: Final = 0.05
"""Failed share of the calls of the last 10 to 20 seconds from which the function counts as failing."""
MAX_SHOWN: Final = 3
METHOD: Final = "method"
WORKER: Final = "worker"
SETUP: Final = "setup"
CRONTAB: Final = "crontab"
_IN_HEALTH: Final = frozenset({ROLE_ENRICHER, ROLE_HANDLER, ROLE_LISTENER, CRONTAB})
"""Functions whose errors no caller sees."""
_RUN_ONCE: Final = frozenset({WORKER, SETUP})
"""Functions that do not run again after an exception."""

Key = tuple[str, str]


class _Record(msgspec.Struct):
    """Recent calls of a failing function; dropped after a window without failures."""

    in_a_row: int = 0
    reason: str = ""
    window: int = 0
    calls: int = 0
    failed: int = 0
    calls_before: int = 0
    failed_before: int = 0

    def turn_to(self, window: int) -> None:
        if window == self.window:
            return
        begun = window == self.window + 1
        self.calls_before, self.failed_before = (self.calls, self.failed) if begun else (0, 0)
        self.window, self.calls, self.failed = window, 0, 0

    def keeps_failing(self) -> bool:
        failed, calls = self.failed + self.failed_before, self.calls + self.calls_before
        return self.in_a_row >= FAILURES_IN_A_ROW or (failed >= FAILURES_IN_A_ROW and failed >= FAILED_SHARE * calls)

    def is_over(self) -> bool:
        return not (self.in_a_row or self.failed or self.failed_before)


class Failures:
    """Failures by name and kind: handler, enricher, listener, method, worker, setup or crontab."""

    def __init__(self) -> None:
        self.counts: dict[Key, int] = {}
        """(kind, name) → errors since the start."""
        self._records: dict[Key, _Record] = {}

    def begin(self) -> None:
        """Clear the failures of an earlier run of the service; the counters stay."""
        self._records.clear()

    def failed(self, kind: str, name: str, error: BaseException, count: int = 1) -> None:
        """Count ``count`` calls of a function that raised; ``error`` is the last of them."""
        key = (kind, name)
        self.counts[key] = self.counts.get(key, 0) + count
        record = self._records.setdefault(key, _Record())
        record.turn_to(_window())
        record.in_a_row += count
        record.calls += count
        record.failed += count
        record.reason = describe_raised(error)

    def succeeded(self, kind: str, name: str, count: int = 1) -> None:
        """Note ``count`` calls that did not raise."""
        record = self._records.get((kind, name))  # usually none: a successful call costs one lookup
        if record is None or not count:
            return
        record.turn_to(_window())
        record.in_a_row = 0
        record.calls += count
        if record.is_over():
            del self._records[kind, name]

    def now(self) -> dict[Key, str]:
        """Return the functions that keep failing: (kind, name) → the last error, with file and line."""
        for record in self._records.values():
            record.turn_to(_window())
        return {
            key: record.reason
            for key, record in sorted(self._records.items())
            if key[0] in _RUN_ONCE or (key[0] in _IN_HEALTH and record.keeps_failing())
        }

    def check(self) -> dict[str, Any] | None:
        """Return the health check: degraded while a function keeps failing; None while none does."""
        found = [f"{kind} {name} raises: {reason}" for (kind, name), reason in self.now().items()]
        if not found:
            return None
        more = f" (and {len(found) - MAX_SHOWN} more)" if len(found) > MAX_SHOWN else ""
        return {
            "status": "degraded",
            "reason": "; ".join(found[:MAX_SHOWN]) + more,
            "hint": "the service's log has the traceback",
        }


def _window() -> int:
    return int(time.monotonic() / WINDOW_SECONDS)
