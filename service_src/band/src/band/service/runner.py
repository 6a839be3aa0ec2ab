"""Run the service of this process: read its settings, start it, end the process."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from pathlib import Path
from typing import Any, Final

from band import config
from band.config import Settings
from band.errors import SettingsError
from band.service.config import ServiceConfig
from band.service.jobs import threads
from band.service.lifecycle import service
from band.service.loop import get_loop
from band.telemetry.logs import configure_logs, know_secrets, logger

CLOSE_SECONDS: Final = 1.0
"""Seconds after the end of all work in which the loop may be closed before the process ends all the same."""


def start_server(**settings: Any) -> None:
    """Run the service of this process until SIGTERM or SIGINT; the last line of its ``__main__.py``.

    Args:
        settings: what ``config.yaml`` says: ``start_server(**settings)``.

    Raises:
        SystemExit: with status 1 when the settings cannot be used, or when a part of the service broke; the reason is
            printed.
    """
    loop = get_loop()
    try:
        know_secrets(config.environ)
        service_config = ServiceConfig.read(settings, config.environ)
        configure_logs(service_config.log_level, as_json=service_config.json_logs)
        loop.run_until_complete(service.run(service_config))
    except SettingsError as error:
        raise SystemExit(f"{settings.get('name') or Path.cwd().name}: {error}") from None
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        _close(loop)
        _leave_threads()
    if service.failed:
        raise SystemExit(1)


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """Close the loop. uvloop waits there for a look-up of a name, which takes 10 s where DNS does not answer."""
    late = threading.Timer(CLOSE_SECONDS, _exit_now)
    late.daemon = True
    late.start()
    loop.close()
    late.cancel()


def _leave_threads() -> None:
    """Let the process end although a ``blocking`` function still runs: its thread cannot be told to stop."""
    threads.shutdown(wait=False, cancel_futures=True)
    if threads.busy:
        logger.warning("threads_abandoned", formerly="threads_cut_off", count=threads.busy)
        _exit_now()


def _exit_now() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1 if service.failed else 0)


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
