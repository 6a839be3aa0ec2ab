"""Background work: the ``scheduler``, ``blocking`` and ``crontab`` that services import."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, ParamSpec, TypeVar

from band.logs import logger

P = ParamSpec("P")
T = TypeVar("T")

JOBS_LIMIT = 200


class Scheduler:
    """Runs coroutines as jobs, at most ``limit`` at once; a failure is logged and harms no other job."""

    def __init__(self, limit: int = JOBS_LIMIT) -> None:
        self.limit = limit
        self._inner: Any = None

    async def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Start a job and return it; ``await job.close()`` ends it, ``await job.wait()`` waits for it."""
        return await self._scheduler().spawn(coroutine)

    async def spawn_tasks(self, functions: Iterable[Callable[[], Any]]) -> list[Any]:
        """Start a job for each function."""
        return [await self.spawn(_run(function)) for function in functions]

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
    result = function()
    if hasattr(result, "__await__"):
        await result


def _log_failure(_scheduler: Any, context: dict[str, Any]) -> None:
    error = context.get("exception")
    logger.error("job_failed", job=str(context.get("job")), reason=repr(error), exc_info=error)


def blocking() -> Callable[[Callable[P, T]], Callable[P, Awaitable[T]]]:
    """Run a plain function in a thread, so that it does not hold up the loop; the decorated one is awaited."""

    def decorate(function: Callable[P, T]) -> Callable[P, Awaitable[T]]:
        @functools.wraps(function)
        async def call(*args: P.args, **kwargs: P.kwargs) -> T:
            return await asyncio.to_thread(function, *args, **kwargs)

        return call

    return decorate


def crontab(
    spec: str, func: Any = None, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None, **more: Any
) -> Any:
    """Run a function at the times of a crontab line; aiocron's ``crontab``, on the service's loop."""
    import aiocron

    from band.service import get_loop

    more.setdefault("loop", get_loop())
    return aiocron.crontab(spec, func=func, args=args, kwargs=kwargs, **more)
