"""Background work: the ``scheduler``, ``blocking`` and ``crontab`` that services import."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from band.registry import resolve
from band.telemetry.logs import logger

P = ParamSpec("P")
T = TypeVar("T")

JOBS_LIMIT = 200


class Threads(ThreadPoolExecutor):
    """The threads of ``blocking``; running calls are counted, because a thread cannot be stopped."""

    def __init__(self) -> None:
        super().__init__(max_workers=32, thread_name_prefix="blocking")
        self._running: set[Any] = set()

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run ``function`` in a thread; returns its concurrent future."""
        future = super().submit(function, *args, **kwargs)
        self._running.add(future)
        future.add_done_callback(self._running.discard)
        return future

    @property
    def busy(self) -> int:
        """Number of waiting and running calls."""
        return len(self._running)


threads = Threads()


class Scheduler:
    """Runs coroutines as jobs, at most ``limit`` at once; a failure is logged and does not affect other jobs."""

    def __init__(self, limit: int = JOBS_LIMIT) -> None:
        self.limit = limit
        self._inner: Any = None

    async def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Start a job and return it; ``await job.close()`` ends it, ``await job.wait()`` waits for it."""
        return await self._scheduler().spawn(coroutine)

    async def spawn_tasks(self, tasks: Iterable[Callable[[], Any] | Coroutine[Any, Any, Any]]) -> list[Any]:
        """Start a job for each function or coroutine."""
        return [await self.spawn(task if asyncio.iscoroutine(task) else _run(task)) for task in tasks]

    @property
    def active_count(self) -> int:
        """Number of jobs that run."""
        return 0 if self._inner is None else int(self._inner.active_count)

    async def close(self) -> None:
        """Cancel every job and wait for its end."""
        if self._inner is not None:
            inner, self._inner = self._inner, None
            await inner.close()

    def _scheduler(self) -> Any:
        if self._inner is None:
            from aiojobs import Scheduler as AiojobsScheduler

            self._inner = AiojobsScheduler(limit=self.limit, exception_handler=_log_failure)
        return self._inner


async def _run(function: Callable[[], Any]) -> None:
    await resolve(function())


def _log_failure(_scheduler: Any, context: dict[str, Any]) -> None:
    error = context.get("exception")
    logger.error("job_failed", job=str(context.get("job")), reason=repr(error), exc_info=error)


def blocking() -> Callable[[Callable[P, T]], Callable[P, Awaitable[T]]]:
    """Run a plain function in a thread, so that it does not block the event loop; await the decorated function."""

    def decorate(function: Callable[P, T]) -> Callable[P, Awaitable[T]]:
        @functools.wraps(function)
        async def in_thread(*args: P.args, **kwargs: P.kwargs) -> T:
            context = contextvars.copy_context()
            call = functools.partial(context.run, function, *args, **kwargs)
            return await asyncio.get_running_loop().run_in_executor(threads, call)

        return in_thread

    return decorate
