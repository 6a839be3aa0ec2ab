"""The monitoring page's files ask for nothing that is not there: held against a real front and a real director."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from .conftest import ROOT
from .test_interop_health import Platform

FILES = ROOT / "docs/monitoring"
PAGE = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8")
# What a PromQL expression may say beside names of metrics.
FUNCTIONS = {"rate", "increase", "sum", "by", "on", "and", "le", "histogram_quantile", "label_values"}
LABELS = {"reason", "instance", "job", "service", "health", "group", "endpoint", "loop"}


def rules() -> list[dict[str, Any]]:
    """Return the alert rules."""
    groups = yaml.safe_load((FILES / "rules.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """Return the panels of the dashboard."""
    return list(json.loads((FILES / "grafana.json").read_text(encoding="utf-8"))["panels"])


def metrics_in(expression: str) -> set[str]:
    """Return the names of metrics in a PromQL expression: words that are no function, no label and in no string."""
    plain = re.sub(r'"[^"]*"', '""', expression)
    plain = re.sub(r"\[[0-9a-z]+\]", "", plain)
    return set(re.findall(r"[a-z_:][a-z0-9_:]*", plain)) - FUNCTIONS - LABELS - {"up"}


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, set[str]]]:
    """The names of all samples, by the job of the scrape configuration that brings them."""
    platform = Platform(tmp_path_factory.mktemp("monitoring"))
    try:
        platform.until(lambda: "band_service_memory_bytes{" in platform.text("/metrics"))
        yield {job["job_name"]: names(platform.text(job.get("metrics_path", "/metrics"))) for job in jobs()}
    finally:
        platform.stop()


def jobs() -> list[dict[str, Any]]:
    """Return the jobs of the scrape configuration."""
    return list(yaml.safe_load((FILES / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"])


def names(text: str) -> set[str]:
    """Return the names of samples in the text of a scrape; of a family without samples those that it could have."""
    found: set[str] = set()
    for family in text_string_to_metric_families(text):
        ends = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
        found |= {family.name + end for end in ends} | {sample.name for sample in family.samples}
    return found


def test_the_scrape_configuration_brings_director_and_front(scraped: dict[str, set[str]]) -> None:
    """Both jobs answer with metrics of their own, at the director's port."""
    assert set(scraped) == {"rockstat", "rockstat_front"}
    assert {"band_service_up", "band_redis_up", "band_director_info"} <= scraped["rockstat"]
    assert {"band_front_accepted_total", "band_front_stream_lag"} <= scraped["rockstat_front"]
    assert {target for job in jobs() for static in job["static_configs"] for target in static["targets"]} == {
        "127.0.0.1:10000"
    }


def test_every_rule_asks_for_metrics_that_are_there(scraped: dict[str, set[str]]) -> None:
    """There are at least eight, each with a name, a severity and a summary, and each stands on the page."""
    there = set().union(*scraped.values())
    assert len(rules()) >= 8
    for rule in rules():
        asked = metrics_in(rule["expr"])
        assert asked <= there, rule["alert"]
        assert asked or "up{" in rule["expr"], rule["alert"]
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"]["summary"]
        assert re.search(rf"^\| .*\b{rule['alert']}\b.* \| {rule['labels']['severity']} \|", PAGE, re.MULTILINE)
    assert set(re.findall(r"\bRockstat[A-Z]\w+", PAGE)) == {rule["alert"] for rule in rules()}


def test_every_panel_asks_for_metrics_that_are_there(scraped: dict[str, set[str]]) -> None:
    """Each has a title and at least one query; the choice of hosts does, too."""
    there = set().union(*scraped.values())
    board = json.loads((FILES / "grafana.json").read_text(encoding="utf-8"))
    choices = [item["query"] for item in board["templating"]["list"] if item["type"] == "query"]
    queries = [(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]
    assert {title for title, _ in queries} == {panel["title"] for panel in panels()}
    for title, query in [*queries, *(("choice", query) for query in choices)]:
        asked = metrics_in(query)
        assert asked and asked <= there, title
    assert len({panel["id"] for panel in panels()}) == len(panels())


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ('sum by (health) (band_a{instance=~"$instance", job="band_x"}) > 0', {"band_a"}),
        ("band_a == 1 and on (instance, service) band_b == 0", {"band_a", "band_b"}),
        ("histogram_quantile(0.95, sum by (le) (rate(band_a_bucket[5m])))", {"band_a_bucket"}),
    ],
)
def test_names_are_found_in_expressions(expression: str, names: set[str]) -> None:
    """Strings, ranges, functions and labels are no metrics."""
    assert metrics_in(expression) == names
