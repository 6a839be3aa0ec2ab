"""The bounds of a service's dead letters, and how they are told of."""

from __future__ import annotations

import json

import pytest

from band.service.health import read_health
from band.service.lifecycle import Service
from band.stream import dead_letter_limit


@pytest.fixture
def listening(run_service, monkeypatch):
    """Start a service that can take nothing, with the given bounds."""
    monkeypatch.setattr(dead_letter_limit, "MEASURE_SECONDS", 0.1)

    async def start(**bounds):
        service = Service()

        @service.expose.listener(batch=50, max_attempts=1)
        async def broadcast(events):
            raise ValueError("no")

        return await run_service(service, name="listen", events_from="0", **bounds)

    return start


async def add(raw, count, size=10, key="events"):
    for number in range(count):
        await raw.command("XADD", key, "*", "event", json.dumps({"n": number, "pad": "x" * size}))


async def letters_check(service):
    return (await read_health(service.registry, service.link))["checks"].get("dead_letters")


async def test_their_number_is_in_status_health_and_metrics(listening, raw, eventually):
    """`dead_letters` in the status; health stays ok and says how many; the gauge has the service's name."""
    service = await listening()
    assert service.status()["dead_letters"] == 0
    assert await letters_check(service) is None
    await add(raw, 3)
    await eventually(lambda: service.status()["dead_letters"] == 3)
    found = await letters_check(service)
    assert (found["status"], found["count"]) == ("ok", 3)
    assert b'band_dead_letters{service="listen"} 3.0' in service.metrics.render()
    await raw.command("DEL", "dead:listen")
    await eventually(lambda: service.status()["dead_letters"] == 0)
    assert await letters_check(service) is None


async def test_beyond_their_number_the_oldest_are_dropped_counted_and_told_of(listening, raw, eventually):
    """The newest stay; the health check is degraded near the bound and beyond it."""
    service = await listening(dead_letters_max=10)
    await add(raw, 8)
    await eventually(lambda: service.status()["dead_letters"] == 8)
    near = await letters_check(service)
    assert (near["status"], "beyond 10 letters" in near["reason"]) == ("degraded", True)
    await add(raw, 17)
    await eventually(lambda: b"band_dead_letters_dropped_total 15.0" in service.metrics.render())
    assert await raw.command("XLEN", "dead:listen") == 10
    left = [json.loads(fields[1])["n"] for _, fields in await raw.command("XRANGE", "dead:listen", "-", "+")]
    assert left == list(range(7, 17))
    assert "15 of the oldest were dropped" in (await letters_check(service))["reason"]
    assert (await read_health(service.registry, service.link))["status"] == "degraded"


async def test_beyond_their_weight_the_oldest_are_dropped(listening, raw, eventually):
    """Large letters fill no Redis, however few they are; also when they come faster than the measuring."""
    service = await listening(dead_letters_max_mb=1)
    await add(raw, 100, size=50_000)
    await eventually(lambda: service.metrics.failures.counts.get(("listener", "broadcast"), 0) > 100)
    await eventually(lambda: service._limit.dropped > 70)

    async def light():
        return await raw.command("MEMORY", "USAGE", "dead:listen", "SAMPLES", 0) <= 1_200_000

    await eventually(light)
    assert 10 <= await raw.command("XLEN", "dead:listen") <= 22


async def test_a_user_that_may_not_weigh_still_bounds_their_number(listening, raw, eventually, redis):
    """Without MEMORY USAGE the number alone is bounded; nothing fails."""
    await raw.command("ACL", "SETUSER", "poor", "on", ">pw", "+@all", "-memory", "~*", "&*")
    service = await listening(dead_letters_max=5, redis_dsn=f"redis://poor:pw@127.0.0.1:{redis.port}/0")
    await add(raw, 20)
    await eventually(lambda: service._limit.dropped == 15)
    assert await raw.command("XLEN", "dead:listen") == 5
    await raw.command("ACL", "DELUSER", "poor")
