"""Metrics for Prometheus: of services, requests and the director itself. Labels are names, never values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from director import __version__
from director.api.schemas import ServiceRow
from director.api.service_table import ServiceTable
from director.discovery.health import HealthWord
from director.images.planning import BuildCounts
from director.supervise.status import State

STATES = tuple(word for word in get_args(State) if word != "removed")
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_DAY = 86_400
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds in seconds: a response from memory takes a millisecond, a build up to a minute or more."""

_GAUGES: tuple[tuple[str, str, Callable[[ServiceRow], float | None]], ...] = (
    ("up", "1 while the service's container runs.", lambda row: row.state == "running"),
    ("wanted", "1 if the service should run.", lambda row: row.wanted == "running"),
    ("restarts", "Deprecated, use band_service_restarts_total; the next release removes it.", lambda row: row.restarts),
    ("crashes", "Crashes of the service within the crash window.", lambda row: row.crashes),
    (
        "crashed",
        "1 once the crash window is full and the service is no longer restarted.",
        lambda row: row.health == "crashed",
    ),
    ("dead_letters", "Dead letters: events that the service could not process.", lambda row: row.dead_letters),
    ("uptime_seconds", "Seconds since the container started.", lambda row: row.uptime),
    ("memory_bytes", "Memory in use, without the page cache.", lambda row: row.memory),
    ("memory_limit_bytes", "The container's memory limit.", lambda row: row.memory_limit),
    ("cpu_percent", "Recent CPU usage, in percent of one CPU.", lambda row: row.cpu_percent),
    (
        "data_age_seconds",
        "Age of the service's data (its geo database).",
        lambda row: row.data.age_days * _DAY if row.data else None,
    ),
)
"""Gauges `band_service_<name>`; a service for which there is no value is left out."""


class RequestCounts:
    """Requests by endpoint (the path's template) and status, and how long each endpoint took."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._counts = Counter(
            "band_director_requests",
            "Responses of the director by endpoint and status.",
            ["endpoint", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "band_director_request_seconds",
            "Duration of the director's responses, by endpoint.",
            ["endpoint"],
            registry=self.registry,
            buckets=BUCKETS,
        )

    def answered(self, endpoint: str, status: int, seconds: float | None) -> None:
        """Count a response; `seconds` is None for a stream that lasts until the client disconnects."""
        self._counts.labels(endpoint, str(status)).inc()
        if seconds is not None:
            self._seconds.labels(endpoint).observe(seconds)


@dataclass(eq=False)
class Metrics:
    """A collector for prometheus_client."""

    table: ServiceTable
    requests: RequestCounts
    builds: BuildCounts

    def __post_init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]

    def render(self) -> str:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry).decode()

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families, as prometheus_client asks a collector for them."""
        rows = self.table.all()
        yield from self._of_director()
        yield from self.requests.registry.collect()
        yield from self.builds.registry.collect()
        for name, text, read in _GAUGES:
            values = {row.name: read(row) for row in rows}
            yield _family(GaugeMetricFamily, f"service_{name}", text, values)
        yield _words(rows, "state", STATES, "1 for the state of the service's container, otherwise 0.")
        yield _words(rows, "health", get_args(HealthWord), "1 for the service's health, otherwise 0.")
        yield from self._of_services(rows)

    def _of_director(self) -> Iterator[Metric]:
        board = self.table.board
        info = GaugeMetricFamily("band_director_info", "1; the version is a label.", labels=["version"])
        info.add_metric([__version__], 1)
        yield info
        for name, up in {"docker": not board.snapshot.error, "redis": board.redis.status == "ok"}.items():
            yield GaugeMetricFamily(f"band_{name}_up", f"1 while the director can reach {name}.", value=float(up))
        killed = "Scripts that kept Redis busy and were killed by the director."
        yield CounterMetricFamily("band_redis_scripts_killed", killed, value=board.scripts.killed)

    def _of_services(self, rows: Iterable[ServiceRow]) -> Iterator[Metric]:
        restarts, used = self.table.board.ports.restarts, self.table.cpu_seconds()
        text = "How often Docker restarted the container."
        yield _family(CounterMetricFamily, "service_restarts", text, {row.name: row.restarts for row in rows})
        text = "Restarts because a published port was dead."
        yield _family(CounterMetricFamily, "service_port_restarts", text, restarts)
        text = "CPU seconds that the container used since it started."
        yield _family(CounterMetricFamily, "service_cpu_seconds", text, used)


def _family(
    kind: type[GaugeMetricFamily | CounterMetricFamily], name: str, text: str, values: Mapping[str, float | None]
) -> Metric:
    family = kind(f"band_{name}", text, labels=["service"])
    for service, value in sorted(values.items()):
        if value is not None:
            family.add_metric([service], float(value))
    return family


def _words(rows: Iterable[ServiceRow], key: str, words: Iterable[str], text: str) -> Metric:
    """Return the gauge `band_service_<key>` with one sample a word, 1 for the present one."""
    family = GaugeMetricFamily(f"band_service_{key}", text, labels=["service", key])
    for row in rows:
        now = getattr(row, key)
        for word in sorted({*words, now}):
            family.add_metric([row.name, word], float(word == now))
    return family
