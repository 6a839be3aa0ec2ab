"""Run the service of this process: read its settings, start it, exit."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from pathlib import Path
from typing import Any, Final

from band import config
from band.config import Settings
from band.errors import RegistrationError, SettingsError
from band.service.config import ServiceConfig
from band.service.jobs import threads
from band.service.lifecycle import Service, service
from band.service.loop import get_loop
from band.telemetry.logs import configure_logs, know_secrets, logger

CLOSE_SECONDS: Final = 1.0
"""Seconds that closing the loop may take after all work before the process exits anyway."""


def start_server(subject: Service | None = None, /, **settings: Any) -> None:
    """Run a service until SIGTERM or SIGINT; the last line of its ``__main__.py``.

    Args:
        subject: the service, as in ``start_server(service, **settings)``. Default: the process's own service, to which
            the names of ``band`` belong (``from band import expose``).
        settings: the contents of ``config.yaml``.

    Raises:
        SystemExit: with status 1 if the settings or a function cannot be used, or if a part of the service failed;
            the reason is printed.
    """
    loop = get_loop()
    subject = subject or service
    try:
        know_secrets(config.environ)
        service_config = ServiceConfig.read(settings, config.environ)
        configure_logs(service_config.log_level, as_json=service_config.json_logs)
        loop.run_until_complete(subject.run(service_config))
    except (SettingsError, RegistrationError) as error:
        raise SystemExit(f"{settings.get('name') or Path.cwd().name}: {error}") from None
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        _close(loop, subject)
        _leave_threads(subject)
    if subject.failed:
        raise SystemExit(1)


def _close(loop: asyncio.AbstractEventLoop, subject: Service) -> None:
    """Close the loop. uvloop waits for DNS lookups, which take 10 s if DNS does not respond."""
    late = threading.Timer(CLOSE_SECONDS, _exit_now, [subject])
    late.daemon = True
    late.start()
    loop.close()
    late.cancel()


def _leave_threads(subject: Service) -> None:
    """Exit although a ``blocking`` function still runs: its thread cannot be stopped."""
    threads.shutdown(wait=False, cancel_futures=True)
    if threads.busy:
        logger.warning("threads_abandoned", formerly="threads_cut_off", count=threads.busy)
        _exit_now(subject)


def _exit_now(subject: Service) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1 if subject.failed else 0)


def read_own_settings() -> Settings:
    """Return the settings of the working directory.

    Raises:
        SystemExit: a file cannot be read as settings; the reason is printed.
    """
    try:
        folder = Path(os.getcwd())  # noqa: PTH109 - as the original: at call time
        return config.with_defaults(config.read_settings(folder, config.environ), config.environ)
    except SettingsError as error:
        raise SystemExit(str(error)) from None
