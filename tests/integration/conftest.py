"""For the tests of this folder: what modules of tests/ and benchmarks/support/ they import; a Redis and a director.

A module that uses those two has a NAMESPACE of its own, and PORTS.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1] / "benchmarks" / "support")]

from director_host import Director, EngineProxy, Redis, clean_up, start_redis  # noqa: E402


@pytest.fixture(scope="module")
def redis(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A Redis in the module's network, which in the end has refused nobody anything."""
    server = start_redis(request.module.NAMESPACE, tmp_path_factory.mktemp("redis"))
    yield server
    refused = server.refusals()
    server.stop()
    clean_up(request.module.NAMESPACE)
    assert refused == []


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    """More environment of the director, for a module to replace."""
    return {}


@pytest.fixture(scope="module")
def running(
    request: pytest.FixtureRequest, redis: Redis, settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Director]:
    """A director whose engine can be cut off."""
    folder, module = tmp_path_factory.mktemp("director"), request.module
    proxy = EngineProxy(folder / "docker.sock")
    proxy.open()
    found = Director(
        folder, redis, redis.gateway, namespace=module.NAMESPACE, ports=module.PORTS,
        DOCKER_HOST=f"unix://{proxy.path}", **settings,
    )  # fmt: skip
    found.engine = proxy
    yield found
    found.end()
    proxy.cut()


@pytest.fixture
def director(running: Director) -> Iterator[Director]:
    """The director, without services after each test."""
    yield running
    running.clear()
