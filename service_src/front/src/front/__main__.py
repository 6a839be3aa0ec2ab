"""Run front: `python -m front`, in the folder of its `config.yaml`. As one process, or as a supervisor with workers."""

from __future__ import annotations

from typing import Any, Final

import band
from band import Service, SettingsError, environ, logger
from band.platform import ServiceConfig, configure_logs, know_secrets
from front.app import Front
from front.event.daily_visitor import DailyVisitors
from front.process import WorkerProcess
from front.service import FrontService
from front.settings import FrontSettings
from front.workers.supervisor import Supervisor

_AFTER_STOP_SECONDS: Final = 1.0
"""What a worker gets beyond its own stop time before it is killed."""


def main() -> None:
    """Run front until SIGTERM. SystemExit says why when it cannot."""
    try:
        settings = FrontSettings.read(band.settings)
        own = ServiceConfig.read(band.settings, environ)
    except SettingsError as error:
        raise SystemExit(str(error)) from None
    if settings.workers == 1:
        work(settings, WorkerProcess(), DailyVisitors())
        return
    know_secrets(environ)
    configure_logs(own.log_level, as_json=own.json_logs)
    import uvloop  # noqa: F401 - so that all workers share its memory

    visitors = DailyVisitors()
    try:
        supervisor = Supervisor(
            lambda process: work(settings, process, visitors), settings.workers, settings.event_host,
            settings.event_port, own.stop_timeout + _AFTER_STOP_SECONDS, visitors.forget,
        )  # fmt: skip
    except OSError as error:
        logger.error("event_port_failed", host=settings.event_host, port=settings.event_port, reason=str(error))
        raise SystemExit(1) from None
    logger.info("workers_start", workers=settings.workers)
    raise SystemExit(supervisor.run())


def work(settings: FrontSettings, process: WorkerProcess, visitors: DailyVisitors) -> None:
    """Run one process that accepts events."""
    service = Service()  # made here and not at import: each worker is a fork, and has one of its own
    FrontService(service, Front(settings, process, service, visitors)).register()
    given: dict[str, Any] = {**band.settings}
    if process.number:
        given["listen"] = "127.0.0.1:0"  # the pages of the framework's own port: the first worker has the known one
    band.start_server(service, **given)


if __name__ == "__main__":
    main()
