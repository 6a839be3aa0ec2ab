"""What Prometheus gets: of the services, of requests and builds; names as labels, never values."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.parser import text_string_to_metric_families

from director.api.handlers import ENDPOINTS
from director.api.metrics import Metrics, RequestCounts
from director.api.routes import Text
from director.api.schemas import DataFacts, ServiceRow
from director.api.security import Guard
from director.api.server import error_middleware, routes
from director.images.planning import BuildCounts

SECRET = "canary-9f3b"


class FakeTable:
    """Two services, one of them with figures; no engine behind them. Docker is there, Redis is not."""

    board = SimpleNamespace(
        snapshot=SimpleNamespace(error=""), redis=SimpleNamespace(status="unavailable"),
        scripts=SimpleNamespace(killed=0), ports=SimpleNamespace(restarts={}),
    )  # fmt: skip

    def all(self) -> list[ServiceRow]:
        data = DataFacts(None, None, 2.0, None)
        runs = ServiceRow(
            name="one", state="running", health="ok", wanted="running", memory=1000, memory_limit=2000,
            cpu_percent=12.5, data=data,
        )  # fmt: skip
        return [
            runs,
            ServiceRow(name="two", state="missing", health="crashed", crashes=5, register=[{"options": SECRET}]),
        ]

    def cpu_seconds(self) -> dict[str, float]:
        return {"one": 7.5}


def scraped(text: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Return the samples of a scrape by name and labels; fails on what Prometheus could not read."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, f"{family.name} has no HELP text"
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def render(requests: RequestCounts | None = None, builds: BuildCounts | None = None) -> str:
    table: Any = FakeTable()
    return Metrics(table, requests or RequestCounts(), builds or BuildCounts()).render()


def test_services_are_told_by_name_with_what_they_use() -> None:
    """Up, verdicts, memory, CPU and age of data; a service without a figure has no sample, and nothing leaks."""
    text = render()
    found = scraped(text)
    one, two = (("service", "one"),), (("service", "two"),)
    assert found["band_service_up"] == {one: 1.0, two: 0.0}
    assert found["band_service_crashed"] == {one: 0.0, two: 1.0}
    assert found["band_service_crashes"][two] == 5.0
    assert found["band_service_memory_bytes"] == {one: 1000.0}
    assert found["band_service_memory_limit_bytes"] == {one: 2000.0}
    assert found["band_service_cpu_seconds_total"] == {one: 7.5}
    assert found["band_service_data_age_seconds"] == {one: 172800.0}
    assert found["band_service_state"][("service", "one"), ("state", "running")] == 1.0
    assert found["band_service_state"][("service", "one"), ("state", "exited")] == 0.0
    assert found["band_service_health"][("health", "crashed"), ("service", "two")] == 1.0
    assert (found["band_docker_up"][()], found["band_redis_up"][()]) == (1.0, 0.0)
    assert SECRET not in text


def test_builds_and_durations_add_up() -> None:
    """Outcomes and seconds of builds are summed; buckets of durations are cumulative."""
    requests, builds = RequestCounts(), BuildCounts()
    builds.ended("ok", 4.0)
    builds.ended("failed", 2.0)
    for seconds in (0.001, 0.2, 500.0):
        requests.answered("/list", 200, seconds)
    requests.answered("/logs/{name}", 200, None)
    found = scraped(render(requests, builds))
    assert found["band_builds_total"] == {(("outcome", "ok"),): 1.0, (("outcome", "failed"),): 1.0}
    assert found["band_build_seconds_total"][()] == 6.0
    buckets = {dict(labels)["le"]: value for labels, value in found["band_director_request_seconds_bucket"].items()}
    assert (buckets["0.005"], buckets["0.25"], buckets["60.0"], buckets["+Inf"]) == (1.0, 2.0, 2.0, 3.0)
    assert set(found["band_director_request_seconds_count"]) == {(("endpoint", "/list"),)}


@pytest.fixture
async def counted() -> AsyncIterator[tuple[TestClient[Any, Any], RequestCounts]]:
    class Fine:
        def __getattr__(self, _name: str) -> Any:
            async def handle(*_given: Any) -> Any:
                return Text("fine")

            return handle

    requests = RequestCounts()
    guard = Guard(frozenset({"127.0.0.1"}))
    app = web.Application(middlewares=[error_middleware(guard, requests)])
    app.add_routes(routes((endpoint, getattr(Fine(), endpoint.name)) for endpoint in ENDPOINTS))
    async with TestClient(TestServer(app)) as client:
        yield client, requests


async def test_requests_are_counted_by_template_and_status(
    counted: tuple[TestClient[Any, Any], RequestCounts],
) -> None:
    """Whatever paths are asked for, the labels stay few: templates, and one word for paths that there are not."""
    client, requests = counted
    for path in ("/show/one", "/show/two", "/show/ONE", "/nowhere", "/elsewhere/x"):
        await client.get(path)
    await client.get("/list", headers={"Host": "evil.example"})
    await client.request("DELETE", "/list")
    samples = [sample for family in requests.registry.collect() for sample in family.samples]
    counts = {tuple(item.labels.values()): item.value for item in samples if item.name.endswith("requests_total")}
    assert counts == {
        ("/show/{name}", "200"): 2, ("/show/{name}", "422"): 1, ("unknown", "404"): 2, ("/list", "403"): 1,
        ("unknown", "405"): 1,
    }  # fmt: skip


async def test_a_wrong_method_is_told_which_are_right(
    counted: tuple[TestClient[Any, Any], RequestCounts],
) -> None:
    """405 names GET and POST in Allow; a HEAD, which could change state as GET does, is one of the wrong ones."""
    client, _ = counted
    for verb in ("DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"):
        answer = await client.request(verb, "/run/one")
        assert (answer.status, set(answer.headers["Allow"].split(","))) == (405, {"GET", "POST"}), verb
