"""Which of front's processes this one is."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CGROUP_LIMIT: Final = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True)
class Place:
    """A worker's number among `count`, and what its parent gave it; the one process of a small front has no parent."""

    number: int = 0
    count: int = 1
    family: str = ""
    """The name that all workers of one parent have in common."""
    listening: socket.socket | None = None
    """The event port: a socket of this worker's own, which outlives it in the parent."""
    parent: int | None = None
    """A pipe's end that is closed when the parent is gone."""


current = Place()
"""The place of this process; set by `front.parent` before anything else of front is made."""


def cores(limit: Path = CGROUP_LIMIT) -> int:
    """How many processes can run at once here: the cores, or what the container's limit leaves of them."""
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = limit.read_text().split()
        if quota != "max":
            allowed = min(allowed, -(-int(quota) // int(period)))
    except (OSError, ValueError):
        pass  # no cgroup, or an old one: then the cores are what there is
    return max(1, allowed)
