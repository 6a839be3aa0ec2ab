"""The identity of a worker process, and how many of them fit."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CGROUP: Final = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class WorkerProcess:
    """A worker's number among `count`, and its link to the supervisor. A front of one process has none."""

    number: int = 0
    count: int = 1
    group: str = ""
    """The name that all workers of one supervisor have in common."""
    listening: socket.socket | None = None
    """The event port: a socket of this worker's own, which outlives it in the supervisor."""
    supervisor: int | None = None
    """A pipe's end that is closed when the supervisor is gone."""


def cores(cgroup: Path = CGROUP) -> int:
    """Return how many processes can run at once: the cores, or fewer where the container's CPU limit says so."""
    allowed = len(os.sched_getaffinity(0))
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):  # cgroup v2, v1
        try:
            quota, period = [int(word) for file in files for word in (cgroup / file).read_text().split()]
        except (OSError, ValueError):
            continue  # no such cgroup, or no limit (`max`): use the cores
        if quota > 0 and period > 0:
            allowed = min(allowed, -(-quota // period))
    return max(1, allowed)
