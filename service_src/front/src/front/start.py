"""How front starts: as one process, or as a parent with workers."""

from __future__ import annotations

from typing import Any

from band import config, logger, settings, start_server
from band.service.config import ServiceConfig
from band.telemetry.logs import configure_logs, know_secrets
from front import process
from front.errors import BadSettings
from front.settings import FrontSettings
from front.workers.supervisor import Parent

_AFTER_STOP_S = 1.0
"""What a worker gets beyond its own stop time before it is killed."""


def start() -> None:
    """Run front until SIGTERM. SystemExit says why when it cannot."""
    try:
        own = FrontSettings.read(settings)
    except BadSettings as error:
        raise SystemExit(str(error)) from None
    if own.workers == 1:
        work()
        return
    service = ServiceConfig.read(settings, config.environ)
    know_secrets(config.environ)
    configure_logs(service.log_level, as_json=service.json_logs)
    _import_all()
    try:
        parent = Parent(work, own.workers, own.event_host, own.event_port, service.stop_timeout + _AFTER_STOP_S)
    except OSError as error:
        logger.error("event_port_failed", host=own.event_host, port=own.event_port, reason=str(error))
        raise SystemExit(1) from None
    logger.info("workers_start", workers=own.workers)
    raise SystemExit(parent.run())


def work() -> None:
    """Be one process that takes events."""
    import front.service  # noqa: F401 - records what front offers, for the place that this process has by now

    given: dict[str, Any] = {**settings}
    if process.current.number:
        given["listen"] = "127.0.0.1:0"  # the pages of the framework's own port: the first worker has the known one
    start_server(**given)


def _import_all() -> None:
    """Import what workers need, so that all of them share its memory."""
    import uvloop  # noqa: F401

    import front.app  # noqa: F401
