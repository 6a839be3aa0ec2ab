"""What Prometheus is told of managed data files."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

build_time = Gauge("band_dataset_build_timestamp_seconds", "When the data in use was built, Unix time", ["dataset"])
fetches = Counter(
    "band_dataset_fetches", "Questions to sources by result: new, unchanged, failed", ["dataset", "source", "result"]
)
