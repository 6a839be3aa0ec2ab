"""`band check`: the health check of images."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from band.cli import run_check
from band.service.lifecycle import Service


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("degraded", 0), ("failing", 1)])
async def test_check_asks_the_service(run_service, capsys, status, code):
    """Exit status 0 while the service can work, 1 when it says that it cannot; the facts are printed."""
    service = Service()
    service.health("own")(lambda: {"status": status})
    await run_service(service, http_prefix="/_band")
    assert await asyncio.to_thread(run_check, service.port, "/_band") == code
    assert f'"{status}"' in capsys.readouterr().out


def test_check_without_a_service_is_1_and_says_so():
    """`python -m band check` is what a container runs; PORT comes from the environment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    done = subprocess.run(
        [sys.executable, "-m", "band", "check"],
        env={"PYTHONPATH": str(Path(__file__).parents[1] / "src"), "PORT": str(port)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1
    assert f"no answer on port {port}" in done.stdout
