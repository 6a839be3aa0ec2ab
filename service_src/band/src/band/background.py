"""Background loops that survive unexpected exceptions: logged, counted, shown, and retried with backoff."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

from band.backoff import Backoff
from band.tasks import wait_until_set
from band.telemetry.logs import logger
from band.telemetry.tracebacks import describe_raised

FIRST_PAUSE_SECONDS: Final = 0.5
MAX_PAUSE_SECONDS: Final = 30.0
RECOVERED_AFTER_SECONDS: Final = 30.0
"""A step that has run for so long without an exception counts as a success: it may never return."""


class _Loop:
    """The state of one running loop."""

    def __init__(self) -> None:
        self.backoff = Backoff(2 * FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS)  # it draws from the upper half
        self.reason = ""
        self.step_began = 0.0
        """When the current step began, by the monotonic clock; 0 between steps."""

    def recovered(self) -> bool:
        return bool(self.step_began) and time.monotonic() - self.step_began >= RECOVERED_AFTER_SECONDS


class Loops:
    """The background loops of one service: those that run, and how often a step of each has failed."""

    def __init__(self) -> None:
        self._running: dict[str, _Loop] = {}
        self._failures: dict[str, int] = {}

    @contextlib.contextmanager
    def here(self) -> Iterator[None]:
        """Assign the loops that begin in this block, and in tasks created in it, to this object."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    @contextlib.contextmanager
    def begin(self, name: str) -> Iterator[_Loop]:
        """Register a loop while the block runs."""
        loop = self._running[name] = _Loop()
        self._failures.setdefault(name, 0)
        try:
            yield loop
        finally:
            if self._running.get(name) is loop:
                del self._running[name]

    def failed(self, name: str) -> None:
        """Count a failed step."""
        self._failures[name] += 1

    def failing(self) -> dict[str, str]:
        """Return the failing loops: name → the last exception, with file and line."""
        running = sorted(self._running.items())
        return {name: loop.reason for name, loop in running if loop.reason and not loop.recovered()}

    def check(self) -> dict[str, Any] | None:
        """Return the health check: degraded while a loop fails; None while none does."""
        found = [f"loop failing: {name}: {reason}" for name, reason in self.failing().items()]
        return {"status": "degraded", "reason": "; ".join(found)} if found else None

    def failures(self) -> dict[str, int]:
        """Return how often a step of each loop has failed since the process began: name → number."""
        return dict(self._failures)


process_loops = Loops()
"""The loops of the process's own service, and of code without a service."""
_current: contextvars.ContextVar[Loops] = contextvars.ContextVar("band_loops", default=process_loops)


async def run_forever(
    name: str,
    step: Callable[[], Awaitable[object]],
    *,
    pause_seconds: float = 0.0,
    until: asyncio.Event | None = None,
) -> None:
    """Call ``await step()`` again and again, until the task is cancelled.

    An exception of a step is logged with its traceback (``background_loop_failed``) and counted, and ``failing_loops``
    reports it until a later step succeeds. The loop continues after a pause that grows from 0.5 to 30 seconds.

    Args:
        name: unique in the service; a label of ``band_background_loop_failures_total``, so never a value of an event.
        step: one turn; it may also run as long as there is no error, like the reading of a stream.
        pause_seconds: the pause after a successful step.
        until: when it is set, the loop ends after the current step, and at once in a pause.

    Raises:
        asyncio.CancelledError: the task was cancelled. One that leaks out of a step is a failure like any other.
    """
    loops = _current.get()
    with loops.begin(name) as loop:
        while until is None or not until.is_set():
            pause = await _turn(name, loops, loop, step, pause_seconds)
            if until is None:
                await asyncio.sleep(pause)
            else:
                await wait_until_set(until, pause)


async def _turn(
    name: str, loops: Loops, loop: _Loop, step: Callable[[], Awaitable[object]], pause_seconds: float
) -> float:
    """Run one step; returns the seconds to wait until the next."""
    loop.step_began = time.monotonic()
    try:
        await step()
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return _failed(name, loops, loop, error)
    except Exception as error:  # noqa: BLE001 - whatever it is, the loop must continue
        return _failed(name, loops, loop, error)
    finally:
        loop.step_began = 0.0
    loop.backoff.reset()
    loop.reason = ""
    return pause_seconds


def _failed(name: str, loops: Loops, loop: _Loop, error: BaseException) -> float:
    if loop.recovered():
        loop.backoff.reset()
    pause = loop.backoff.next()
    loop.reason = describe_raised(error)
    loops.failed(name)
    logger.error(
        "background_loop_failed", loop=name, reason=loop.reason, retry_in_seconds=round(pause, 2), exc_info=error
    )
    return pause


def failing_loops() -> dict[str, str]:
    """Return the failing loops of the calling service: name → the last exception, with file and line."""
    return _current.get().failing()
