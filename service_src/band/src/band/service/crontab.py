"""``crontab``: scheduled functions; failures are counted and reported in the service's health."""

from __future__ import annotations

import functools
from typing import Any

from band.service.loop import get_loop
from band.telemetry.failures import CRONTAB, Failures
from band.telemetry.logs import logger
from band.telemetry.metrics import Metrics
from band.telemetry.tracebacks import describe_raised


class Crontab:
    """The ``crontab`` decorator."""

    def __init__(self, metrics: Metrics) -> None:
        self._failures = metrics.failures

    def __call__(
        self,
        spec: str,
        func: Any = None,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        **more: Any,
    ) -> Any:
        """Run a function at the times of a crontab expression; aiocron's ``crontab`` on the service's event loop."""
        more.setdefault("loop", get_loop())
        more.setdefault("start", True)
        return _cron_class()(self._failures, spec, func=func, args=args, kwargs=kwargs, **more)


@functools.cache
def _cron_class() -> Any:
    import aiocron  # at first use only: most services have no crontab

    class ServiceCron(aiocron.Cron):  # type: ignore[misc]
        """A crontab whose failures are logged with their function, counted, and reported in the service's health."""

        def __init__(self, failures: Failures, spec: str, **more: Any) -> None:
            self._failures = failures
            super().__init__(spec, **more)

        def set_result(self, result: Any) -> None:
            name = str(getattr(self.func, "__qualname__", self.func))
            outcome = result.result()[0]
            if not isinstance(outcome, Exception):
                self._failures.succeeded(CRONTAB, name)
            else:
                self._failures.failed(CRONTAB, name, outcome)
                if self.future is None:  # nobody waits for it with `await cron.next()`
                    logger.error("crontab_failed", function=name, reason=describe_raised(outcome), exc_info=outcome)
                    return
            super().set_result(result)

    return ServiceCron
