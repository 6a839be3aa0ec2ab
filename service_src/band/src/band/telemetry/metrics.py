"""A service's metrics, in the text format of Prometheus.

The counters are plain numbers, converted to metrics only for a scrape: a call costs a dictionary lookup.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from band.telemetry.failures import Failures

LATENCY_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper bounds in seconds."""

Read = Callable[[], float | Mapping[Any, float]]


class _Latency(msgspec.Struct):
    total: float = 0.0
    count: int = 0
    buckets: list[int] = msgspec.field(default_factory=lambda: [0] * len(LATENCY_BUCKETS))

    def add(self, seconds: float, count: int) -> None:
        """Count ``count`` equal durations, ``seconds`` in total."""
        self.total += seconds
        self.count += count
        place = bisect.bisect_left(LATENCY_BUCKETS, seconds / count)
        if place < len(self.buckets):
            self.buckets[place] += count

    def cumulative(self) -> list[tuple[str, float]]:
        """Return (upper bound, number of durations up to it), as in Prometheus."""
        below = itertools.accumulate(self.buckets)
        bounds = [(f"{bound:g}", float(count)) for bound, count in zip(LATENCY_BUCKETS, below, strict=True)]
        return [*bounds, ("+Inf", float(self.count))]


class Metrics:
    """Counters of calls by method and outcome, counters and gauges by name, and which functions keep failing."""

    def __init__(self) -> None:
        self._calls: dict[tuple[str, str], int] = {}
        self._latency: dict[str, _Latency] = {}
        self._counters: dict[str, float] = {}
        self._texts: dict[str, str] = {}
        self._read: dict[tuple[str, str], tuple[str, Read, tuple[str, ...]]] = {}
        self.failures = Failures()
        self.counter("calls", lambda: self._calls, "Calls by method and outcome.", label=("method", "outcome"))
        self.counter(
            "handler_errors", lambda: self.failures.counts, "Exceptions of the service's own functions.",
            label=("kind", "name"),
        )  # fmt: skip

    def called(self, method: str, outcome: str, seconds: float, count: int = 1) -> None:
        """Count ``count`` calls of ``method`` that ended as ``outcome`` and took ``seconds`` together."""
        if count < 1:
            return
        key = (method, outcome)
        self._calls[key] = self._calls.get(key, 0) + count
        latency = self._latency.get(method)
        if latency is None:
            latency = self._latency[method] = _Latency()
        latency.add(seconds, count)

    def declare(self, name: str, text: str) -> None:
        """Create the counter ``band_<name>_total`` at 0, so that its first increase shows; ``text`` is its help."""
        self._counters.setdefault(name, 0)
        self._texts[name] = text

    def add(self, name: str, value: float = 1) -> None:
        """Add to the counter ``band_<name>_total``."""
        self._counters[name] = self._counters.get(name, 0) + value

    def gauge(self, name: str, read: Read, text: str, *, label: str = "method") -> None:
        """Show ``read()`` as the gauge ``band_<name>`` at every scrape; a mapping has keys for ``label``."""
        self._read["gauge", name] = (text, read, (label,))

    def counter(self, name: str, read: Read, text: str, *, label: str | tuple[str, ...] = ()) -> None:
        """Show ``read()`` as the counter ``band_<name>_total`` at every scrape; a mapping has keys for ``label``.

        With several labels each key is a tuple.
        """
        self._read["counter", name] = (text, read, (label,) if isinstance(label, str) else label)

    def render(self) -> bytes:
        """Return everything in the text format of Prometheus."""
        from prometheus_client import CollectorRegistry, generate_latest  # at a scrape only: it costs 20 ms to import

        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry)

    def collect(self) -> Iterator[Any]:
        """Yield the metric families, as prometheus_client asks a collector for them."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        seconds = HistogramMetricFamily("band_call_seconds", "Duration of calls by method.", labels=["method"])
        for method, latency in sorted(self._latency.items()):
            seconds.add_metric([method], latency.cumulative(), latency.total)
        yield seconds
        for name, value in sorted(self._counters.items()):
            text = self._texts.get(name) or f"How often: {name.replace('_', ' ')}."
            yield CounterMetricFamily(f"band_{name}", text, value=value)
        for (kind, name), (text, read, labels) in sorted(self._read.items()):
            family = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
            found = read()
            if isinstance(found, Mapping):
                yield _filled(family(f"band_{name}", text, labels=labels), found)
            else:
                yield family(f"band_{name}", text, value=found)


def _filled(family: Any, values: Mapping[Any, float]) -> Any:
    """Return a metric family with its values, by one label or a tuple of them."""
    for key, number in sorted(values.items()):
        family.add_metric([key] if isinstance(key, str) else list(key), number)
    return family
