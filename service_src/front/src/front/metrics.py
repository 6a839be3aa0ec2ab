"""Front's counters by name; shown as the metrics `band_front_<name>_total`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from band.telemetry.metrics import Metrics

COUNTED: Final[Mapping[str, str]] = {
    "accepted": "Events that were promised: each is in the stream, or in the journal.",
    "not_accepted": "Events that neither Redis nor the journal took; the client was told 503.",
    "overloaded": "Requests and messages that there was no room for; the client was told 503.",
    "failed": "Requests that an unexpected error ended; the client was told 500.",
    "reserved_fields_dropped": "Events that brought fields along which only enrichers may write.",
    "forged": "Now band_front_reserved_fields_dropped_total; goes with the next release.",
    "protocol_errors": "Requests that were no HTTP, or broke off.",
}
"""What each counter counts; they begin at 0."""
_BEGINNINGS: Final[Mapping[str, str]] = {
    "rejected_": "Requests refused as: {}.",
    "enricher_silent_": "Events that the enricher {} missed its deadline for.",
}
MAX_COUNTERS: Final = 1000
"""Beyond it, services that come and go are counted as `other`."""
_ODD = re.compile(r"[^a-zA-Z0-9_]")


class Counters:
    """Counters that cost a dictionary look-up."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._names: dict[str, str] = {}
        for name, text in COUNTED.items():
            self._declare(name, text)

    def add(self, name: str) -> None:
        """Count one."""
        known = self._names.get(name)
        if known is None:
            begin = next((begin for begin in _BEGINNINGS if name.startswith(begin)), "")
            if len(self._names) >= MAX_COUNTERS:
                name = f"{begin}other"
            known = self._declare(name, _BEGINNINGS.get(begin, "{}").format(name.removeprefix(begin)))
        self._metrics.add(known)

    def _declare(self, name: str, text: str) -> str:
        known = self._names[name] = f"front_{_ODD.sub('_', name)}"
        self._metrics.declare(known, text)
        return known
