"""What front counts, by name; shown among the metrics as `band_front_<name>_total`."""

from __future__ import annotations

import re
from typing import Protocol

_ODD = re.compile(r"[^a-zA-Z0-9_]")


class Metrics(Protocol):
    """The part of band's metrics that counts."""

    def add(self, name: str, value: float = 1) -> None:
        """Add to a counter."""


class Counters:
    """Counters that cost a dictionary look-up."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._names: dict[str, str] = {}

    def add(self, name: str) -> None:
        """Count one."""
        known = self._names.get(name)
        if known is None:
            known = self._names[name] = f"front_{_ODD.sub('_', name)}"
        self._metrics.add(known)
