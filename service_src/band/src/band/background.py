"""Background loops that survive unexpected exceptions: logged, counted, shown, and retried with back-off."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from band.backoff import Backoff
from band.telemetry.logs import logger
from band.telemetry.tracebacks import describe_raised

FIRST_PAUSE_SECONDS: Final = 0.5
MAX_PAUSE_SECONDS: Final = 30.0
RECOVERED_AFTER_SECONDS: Final = 30.0
"""A step that has run that long without an exception counts as a success: it may be one that never returns."""


class _Loop:
    """One loop that runs now, or that failed last time."""

    def __init__(self) -> None:
        self.backoff = Backoff(2 * FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS)  # it draws from the upper half
        self.reason = ""
        self.step_began = 0.0
        """When the step that runs now began, by the monotonic clock; 0 between steps."""

    def recovered(self) -> bool:
        return bool(self.step_began) and time.monotonic() - self.step_began >= RECOVERED_AFTER_SECONDS


_loops: dict[str, _Loop] = {}
_failures: dict[str, int] = {}


async def run_forever(
    name: str,
    step: Callable[[], Awaitable[object]],
    *,
    pause_seconds: float = 0.0,
    until: asyncio.Event | None = None,
) -> None:
    """Call ``await step()`` again and again, until the task is cancelled.

    An exception of a step is logged with its traceback (``background_loop_failed``) and counted, and ``failing_loops``
    tells of it until a later step succeeds. The loop goes on after a pause that grows from 0.5 to 30 seconds.

    Args:
        name: unique in the process; a label of ``band_background_loop_failures_total``, so no value of any event.
        step: one turn; it may also run for as long as all goes well, like the reading of a stream.
        pause_seconds: the pause after a step that succeeded.
        until: when this is set, the loop ends after the step that runs, and at once in a pause.

    Raises:
        asyncio.CancelledError: the task was cancelled. One that only leaks out of a step is a failure like any other.
    """
    loop = _loops[name] = _Loop()
    _failures.setdefault(name, 0)
    try:
        while until is None or not until.is_set():
            pause = await _turn(name, loop, step, pause_seconds)
            if until is None:
                await asyncio.sleep(pause)
            else:
                await _sleep_unless(until, pause)
    finally:
        if _loops.get(name) is loop:
            del _loops[name]


async def _turn(name: str, loop: _Loop, step: Callable[[], Awaitable[object]], pause_seconds: float) -> float:
    """Run one step; returns the seconds to wait until the next."""
    loop.step_began = time.monotonic()
    try:
        await step()
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return _failed(name, loop, error)
    except Exception as error:  # noqa: BLE001 - whatever it is, the loop must go on
        return _failed(name, loop, error)
    finally:
        loop.step_began = 0.0
    loop.backoff.reset()
    loop.reason = ""
    return pause_seconds


async def _sleep_unless(ended: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await ended.wait()


def _failed(name: str, loop: _Loop, error: BaseException) -> float:
    if loop.recovered():
        loop.backoff.reset()
    pause = loop.backoff.next()
    loop.reason = describe_raised(error)
    _failures[name] += 1
    logger.error(
        "background_loop_failed", loop=name, reason=loop.reason, retry_in_seconds=round(pause, 2), exc_info=error
    )
    return pause


def failing_loops() -> dict[str, str]:
    """Return the loops of this process that fail now: name → the last exception, with the place it was raised at."""
    return {name: loop.reason for name, loop in sorted(_loops.items()) if loop.reason and not loop.recovered()}


def check_loops() -> dict[str, Any] | None:
    """Return the health check of this process's loops: degraded while one fails; None while none does."""
    found = [f"loop failing: {name}: {reason}" for name, reason in failing_loops().items()]
    return {"status": "degraded", "reason": "; ".join(found)} if found else None


def loop_failures() -> dict[str, int]:
    """Return how often a step of each loop has failed since the process began: name → number."""
    return dict(_failures)
