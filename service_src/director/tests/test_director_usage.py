"""Memory and CPU of containers: reading what the engine says, keeping it fresh, showing it without waiting."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from director.api.schemas import DataFacts
from director.api.service_table import data_facts, row
from director.discovery.health import Health
from director.engine.docker_json import usage_sample
from director.engine.interface import Container, Sample
from director.engine.stats import IDLE_INTERVAL, LOOKED_FOR, UsageMeter, cpu_percent
from director.errors import DockerAway
from director.supervise.status import ServiceStatus

READ = "2026-11-24T02:35:34.403026178Z"
V1 = {
    "read": READ,
    "cpu_stats": {"cpu_usage": {"total_usage": 47501938}, "online_cpus": 2},
    "memory_stats": {
        "usage": 2727936, "limit": 52428800, "stats": {"inactive_file": 1, "total_inactive_file": 1863680},
    },
}  # fmt: skip
V2 = {
    "read": READ,
    "cpu_stats": {"cpu_usage": {"total_usage": 47501938}, "online_cpus": 2},
    "memory_stats": {"usage": 2727936, "limit": 52428800, "stats": {"inactive_file": 1863680, "anon": 102400}},
}


@pytest.mark.parametrize("details", [V1, V2], ids=["cgroup v1", "cgroup v2"])
def test_both_generations_of_cgroups_are_read(details: dict[str, Any]) -> None:
    """Memory is what the container holds without cache, CPU is in seconds, whichever names the kernel uses."""
    found = usage_sample(details)
    assert found is not None
    assert (found.memory, found.memory_limit, found.cpu_seconds) == (864256, 52428800, 0.047501938)
    assert found.at == pytest.approx(1795487734.403026)


@pytest.mark.parametrize("details", [{}, {"memory_stats": {}, "cpu_stats": {}}, {"memory_stats": {"usage": 5}}])
def test_a_container_that_does_not_run_has_no_figures(details: dict[str, Any]) -> None:
    """The engine answers an empty frame for a stopped container; that is not 0 bytes."""
    assert usage_sample(details) is None


def test_cpu_is_the_share_of_one_cpu_between_two_samples() -> None:
    """Half a second of CPU in a second is 50 %; two CPUs make 200 %; a restart or the first sample tells nothing."""

    def sample(at: float, cpu: float) -> Sample:
        return Sample(at=at, cpu_seconds=cpu, memory=1)

    assert cpu_percent(sample(10, 1.0), sample(11, 1.5)) == 50.0
    assert cpu_percent(sample(10, 1.0), sample(15, 11.0)) == 200.0
    assert cpu_percent(None, sample(11, 1.5)) is None
    assert cpu_percent(sample(10, 9.0), sample(15, 1.0)) is None
    assert cpu_percent(sample(10, 1.0), sample(10, 2.0)) is None


class Engine:
    """Containers that use one second of CPU in each round; remembers how many were asked at once."""

    def __init__(self, *containers: str) -> None:
        self.names = list(containers)
        self.rounds = 0
        self.now = 0
        self.most = 0
        self.away = False
        self.clock = 0.0

    @property
    def containers(self) -> list[Container]:
        return [Container(id=name, name=name, service=name) for name in self.names]

    async def sample(self, container: str) -> Sample | None:
        if self.away:
            raise DockerAway("away")
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        self.rounds += 1
        return Sample(at=self.rounds * 2.0, cpu_seconds=float(self.rounds), memory=self.rounds, memory_limit=100)


def meter(engine: Engine) -> UsageMeter:
    runtime: Any = engine
    return UsageMeter(runtime, runtime, lambda: engine.clock)


async def test_figures_are_those_of_what_runs() -> None:
    """Each round renews them, a container that is gone loses its own, and few are asked at once."""
    engine = Engine(*(f"c{number}" for number in range(20)))
    found = meter(engine)
    await found.sample()
    first = found.of("c0")
    assert first is not None
    assert (first.cpu_percent, first.memory_limit) == (None, 100)
    await found.sample()
    second = found.of("c0")
    assert second is not None
    assert second.cpu_percent == 50.0
    assert engine.most <= 4
    engine.names = ["c1"]
    await found.sample()
    assert found.of("c0") is None
    assert found.of("c1") is not None


async def test_an_engine_that_is_away_leaves_the_figures_as_they_were() -> None:
    """The last figures stay, and the caller learns why there are no newer ones."""
    engine = Engine("c0")
    found = meter(engine)
    await found.sample()
    engine.away = True
    with pytest.raises(DockerAway):
        await found.sample()
    assert found.of("c0") is not None


async def test_it_samples_often_only_while_somebody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A first look after a silence starts a round at once; without looks the rounds are far apart."""
    monkeypatch.setattr("director.engine.stats.SHORTEST_SPAN", 0.0)
    monkeypatch.setattr("director.engine.stats.INTERVAL", 0.01)
    engine = Engine("c0")
    found = meter(engine)
    task = asyncio.create_task(found.run())
    await asyncio.sleep(0.05)
    assert engine.rounds == 1, f"nobody looks: the next round is {IDLE_INTERVAL} s away"
    found.looked()
    await asyncio.sleep(0.1)
    assert engine.rounds > 3
    engine.clock += LOOKED_FOR + 1
    await asyncio.sleep(0.05)
    before = engine.rounds
    await asyncio.sleep(0.1)
    assert engine.rounds == before
    task.cancel()


def test_a_row_shows_what_runs_uses_and_the_age_of_its_data() -> None:
    """Memory, limit, CPU and the geo database's facts stand in the row; what does not run uses nothing."""
    engine = Engine("one")
    status: dict[str, Any] = {
        "app_state": "running",
        "health": {
            "status": "ok",
            "checks": {
                "redis": {"status": "ok"},
                "database": {
                    "status": "ok",
                    "source": "x.mmdb",
                    "build_date": "2026-11-01",
                    "age_days": 23.1,
                    "more": 1,
                },
            },
        },
    }
    (seen,) = engine.containers
    runs = ServiceStatus(name="one", state="running", health=Health("ok"), container=seen, told=status)
    found = row(runs, 1.0)
    assert found.data == DataFacts("x.mmdb", "2026-11-01", 23.1, None)
    assert (found.memory, found.memory_limit, found.cpu_percent) == (None, None, None)
    two = {"asn": {"age_days": 99, "source": "asn.mmdb"}, **status["health"]["checks"]}
    first = data_facts({"health": {"checks": two}})
    assert first is not None and first.source == "x.mmdb"
    assert data_facts({"health": "odd"}) is None
    assert data_facts(None) is None
    assert row(ServiceStatus(name="one", state="missing", health=Health("stopped")), 1.0).data is None
