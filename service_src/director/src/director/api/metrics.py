"""What the director tells Prometheus: of the services, of itself, of its requests. Labels are names, never values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from types import MappingProxyType
from typing import Any, get_args

from director import __version__
from director.api.counts import BuildCounts, RequestCounts
from director.api.service_table import Row, Rows
from director.engine.interface import ContainerState

HEALTH = ("ok", "starting", "degraded", "failing", "crashing", "crashed", "stopped")
STATES = (*get_args(ContainerState), "missing", "external")
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Facts = Callable[[], Mapping[str, float]]


class Metrics:
    """A collector for prometheus_client; `facts` are gauges by name without labels."""

    def __init__(
        self,
        rows: Rows,
        requests: RequestCounts,
        builds: BuildCounts,
        facts: Facts,
        port_restarts: Mapping[str, int] = MappingProxyType({}),
        scripts_killed: Callable[[], int] = int,
    ) -> None:
        self._rows = rows
        self._requests = requests
        self._builds = builds
        self._facts = facts
        self._port_restarts = port_restarts
        self._scripts_killed = scripts_killed

    def render(self) -> str:
        """Return everything in the text format of Prometheus."""
        from prometheus_client import CollectorRegistry, generate_latest  # at a scrape only: it costs 20 ms to import

        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry).decode()

    def collect(self) -> Iterator[Any]:
        """Yield the metric families, as prometheus_client asks a collector for them."""
        yield from self._of_director()
        yield from self._of_services(self._rows.all())
        yield from self._of_usage()

    def _of_director(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        info = GaugeMetricFamily("band_director_info", "1; the version is a label.", labels=["version"])
        info.add_metric([__version__], 1)
        yield info
        for name, value in self._facts().items():
            yield GaugeMetricFamily(f"band_{name}_up", f"1 while the director reaches {name}.", value=value)
        requests = CounterMetricFamily(
            "band_director_requests", "Answers of the director by endpoint and status.", labels=["endpoint", "status"]
        )
        for (endpoint, status), count in sorted(self._requests.counts.items()):
            requests.add_metric([endpoint, str(status)], count)
        yield requests
        seconds = HistogramMetricFamily(
            "band_director_request_seconds", "How long the director took to answer, by endpoint.", labels=["endpoint"]
        )
        for endpoint, durations in sorted(self._requests.durations.items()):
            seconds.add_metric([endpoint], durations.cumulative(), durations.total)
        yield seconds
        yield CounterMetricFamily(
            "band_redis_scripts_killed",
            "Scripts that kept Redis busy and that the director ended.",
            value=self._scripts_killed(),
        )
        builds = CounterMetricFamily("band_builds", "Image builds by outcome.", labels=["outcome"])
        for outcome, count in sorted(self._builds.outcomes.items()):
            builds.add_metric([outcome], count)
        yield builds
        yield CounterMetricFamily(
            "band_build_seconds", "Seconds that all image builds took together.", value=self._builds.seconds
        )

    def _of_services(self, rows: list[Row]) -> Iterator[Any]:
        yield _gauge(rows, "up", "1 while the service's container runs.", lambda row: row["state"] == "running")
        yield _gauge(rows, "wanted", "1 if the service is to run.", lambda row: row["wanted"] == "running")
        yield _states(rows, "state", STATES, "1 for the state of the service's container, else 0.")
        yield _states(rows, "health", HEALTH, "1 for the director's word of the service's health, else 0.")
        yield _gauge(rows, "restarts", "How often Docker restarted the container.", lambda row: row["restarts"])
        yield _gauge(
            rows, "crashes", "Unclean ends of the service within the crash window.", lambda row: row["crashes"]
        )
        yield _gauge(
            rows,
            "crashed",
            "1 once the crash window is full: it needs somebody.",
            lambda row: row["health"] == "crashed",
        )
        yield _gauge(
            rows, "dead_letters", "Events that the service could not deliver.", lambda row: row["dead_letters"]
        )
        yield _gauge(rows, "uptime_seconds", "Seconds since the container started.", lambda row: row["uptime"])
        yield _gauge(rows, "memory_bytes", "Memory in use, page cache left out.", lambda row: row["memory"])
        yield _gauge(rows, "memory_limit_bytes", "The container's limit of memory.", lambda row: row["memory_limit"])
        yield _gauge(rows, "cpu_percent", "CPU of late, in percent of one CPU.", lambda row: row["cpu_percent"])
        yield _gauge(
            rows,
            "data_age_seconds",
            "Age of the service's data (its geo database).",
            lambda row: row["data"] and row["data"]["age_days"] * 86_400,
        )

    def _of_usage(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily

        restarts = CounterMetricFamily(
            "band_service_port_restarts", "Restarts because a published port had gone dead.", labels=["service"]
        )
        for name, count in sorted(self._port_restarts.items()):
            restarts.add_metric([name], count)
        yield restarts
        cpu = CounterMetricFamily(
            "band_service_cpu_seconds", "CPU seconds that the container used since it started.", labels=["service"]
        )
        for name, usage in self._rows.usage().items():
            cpu.add_metric([name], usage.cpu_seconds)
        yield cpu


def _gauge(rows: list[Row], name: str, text: str, read: Callable[[Row], float | None]) -> Any:
    """Return the gauge `band_service_<name>`; a service for which there is no value is left out."""
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(f"band_service_{name}", text, labels=["service"])
    for row in rows:
        value = read(row)
        if value is not None:
            family.add_metric([row["name"]], float(value))
    return family


def _states(rows: list[Row], key: str, words: Collection[str], text: str) -> Any:
    """Return the gauge `band_service_<key>` with one sample a word, 1 for the present one."""
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(f"band_service_{key}", text, labels=["service", key])
    for row in rows:
        for word in sorted({*words, row[key]}):
            family.add_metric([row["name"], word], float(word == row[key]))
    return family
