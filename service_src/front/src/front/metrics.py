"""Front's counters by name; shown as the metrics `band_front_<name>_total`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Final

from band.platform import Metrics

COUNTED: Final[Mapping[str, str]] = {
    "accepted": "Accepted events: each is in the stream or in the journal.",
    "not_accepted": "Events that neither Redis nor the journal could store; the client got 503.",
    "overloaded": "Requests and messages beyond a limit; the client got 503.",
    "failed": "Requests that failed with an unexpected error; the client got 500.",
    "reserved_fields_dropped": "Events that contained fields which only enrichers may write.",
    "forged": "Deprecated, use band_front_reserved_fields_dropped_total; the next release removes it.",
    "protocol_errors": "Requests that were not valid HTTP, or incomplete.",
}
"""What each counter counts; they begin at 0."""
LABELLED: Final[Mapping[str, tuple[str, str, str]]] = {
    "rejected": ("code", "Refused requests, by the code in the response.", "rejected_"),
    "enricher_timeouts": ("service", "Events for which an enricher missed its deadline.", "enricher_silent_"),
    "left_out": ("reason", "Events that the rules of their project did not store: ignored_address, bot.", ""),
    "project_events": ("project", "Accepted events by project, where there are projects.", ""),
}
"""Counters with a label: the label, the help, and the beginning of the former names of each value's counter, which the
next release removes; empty if there is none."""
MAX_VALUES: Final = 1000
"""Values of one label; beyond it, services that come and go are counted as `other`."""
_ODD = re.compile(r"[^a-zA-Z0-9_]")


class Counters:
    """Counters that cost a dictionary lookup."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._counts: dict[str, dict[str, float]] = {name: {} for name in LABELLED}
        for name, text in COUNTED.items():
            metrics.declare(f"front_{name}", text)
        for name, (label, text, _) in LABELLED.items():
            metrics.counter(f"front_{name}", partial(self._counts.__getitem__, name), text, label=label)

    def add(self, name: str, of: str = "", *, count: int = 1) -> None:
        """Count; `of` is the value of the counter's label."""
        if of:
            counts = self._counts[name]
            of = of if of in counts or len(counts) < MAX_VALUES else "other"
            counts[of] = counts.get(of, 0) + count
            if prefix := LABELLED[name][2]:
                former = f"front_{prefix}{_ODD.sub('_', of)}"
                if counts[of] == count:
                    self._metrics.declare(former, f"Deprecated, use band_front_{name}_total.")
                self._metrics.add(former, count)
        else:
            self._metrics.add(f"front_{name}", count)
