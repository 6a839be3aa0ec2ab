"""What keeps raising makes its service degraded, with the last error; what works again makes it well."""

from __future__ import annotations

import asyncio
import re

import pytest

from band.service.health import read_health
from band.service.lifecycle import Service
from band.telemetry import failures as failures_module
from band.telemetry.failures import Failures


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved."""

    class Clock:
        now = 1000.0

    monkeypatch.setattr(failures_module.time, "monotonic", lambda: Clock.now)
    return Clock


def boom(text="no"):
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


def test_three_failures_in_a_row_are_told_until_a_success(clock):
    """Once or twice is an odd event; the third says kind, name, error, file and line."""
    seen = Failures()
    for expected in (None, None, "enricher enrich raises: ValueError: no (tests/test_band_failures.py:"):
        seen.failed("enricher", "enrich", boom())
        check = seen.check()
        assert (check is None) if expected is None else check["reason"].startswith(expected)
    assert check["status"] == "degraded"
    seen.succeeded("enricher", "enrich")
    clock.now += 2 * failures_module.WINDOW_SECONDS
    assert seen.check() is None
    assert seen.counts == {("enricher", "enrich"): 3}


def test_a_share_of_failures_among_successes_is_told_while_it_lasts(clock):
    """One of ten raises: degraded, whatever the order; all is well 20 seconds after the last one."""
    seen = Failures()
    for number in range(100):
        clock.now += 0.1
        if number % 10:
            seen.succeeded("handler", "page")
        else:
            seen.failed("handler", "page", boom())
    assert seen.check() is not None
    clock.now += 2 * failures_module.WINDOW_SECONDS
    seen.succeeded("handler", "page")
    assert seen.check() is None
    assert seen._records == {}


def test_an_odd_event_now_and_then_is_no_failure_of_the_function(clock):
    """One in a hundred raises: counted, and health stays ok."""
    seen = Failures()
    seen.failed("listener", "broadcast", boom())
    for _ in range(300):
        seen.succeeded("listener", "broadcast", 99)
        seen.failed("listener", "broadcast", boom())
        clock.now += 0.05
    assert seen.check() is None


def test_what_runs_once_stays_told_and_what_is_called_by_hand_is_not(clock):
    """A worker or setup that ended by an exception is gone; a method's caller sees the error himself."""
    seen = Failures()
    seen.failed("worker", "pump", boom())
    seen.failed("setup", "load", boom())
    for _ in range(5):
        seen.failed("method", "by_hand", boom())
    clock.now += 10_000
    assert set(seen.now()) == {("worker", "pump"), ("setup", "load")}
    seen.begin()
    assert seen.check() is None


def test_the_reason_is_short_however_many_fail(clock):
    """Three are named, the others counted."""
    seen = Failures()
    for number in range(5):
        seen.failed("worker", f"w{number}", boom())
    assert seen.check()["reason"].endswith("(and 2 more)")


async def state_of(service):
    health = await read_health(service.registry, service.link)
    return health["status"], health["checks"].get("handlers", {}).get("reason", "")


async def test_enrichers_and_handlers_that_raise_make_the_service_degraded(run_service, peer, capsys, monkeypatch):
    """One by one and in batches; the log of a batch names file and line; a success and some seconds make it well."""
    monkeypatch.setattr(failures_module, "WINDOW_SECONDS", 0.1)
    service = Service()
    broken = True

    @service.expose.enricher(keys=["*"])
    def enrich(n=0, **params):
        if broken:
            raise TypeError("'>=' not supported")
        return n

    @service.expose.handler(name="go")
    async def go(url, **params):
        return url

    await run_service(service, name="labsvc")
    lab = await peer("lab")

    async def ask(method, params):
        message = {"jsonrpc": "2.0", "method": f"labsvc:{method}:lab", "params": params, "id": "1"}
        return await lab.ask_json("labsvc", message)

    assert await state_of(service) == ("ok", "")
    await ask("__batch", {"method": "enrich", "items": [{"n": 1}, {"n": 2}, {"n": 3}]})
    status, reason = await state_of(service)
    assert status == "degraded"
    place = r"TypeError: '>=' not supported \(tests/test_band_failures\.py:\d+\)"
    assert re.fullmatch(rf"enricher enrich raises: {place}", reason)
    assert re.search(rf"rpc_batch_errors.*{place}", capsys.readouterr().out)
    assert b'band_handler_errors_total{kind="enricher",name="enrich"} 3.0' in service.metrics.render()
    for _ in range(3):
        await ask("enrich", {})
        await ask("go", {"uri": "x"})
    assert "handler go raises: InvalidParams: missing a required argument: 'url'" in (await state_of(service))[1]
    broken = False
    await ask("__batch", {"method": "enrich", "items": [{"n": 1}]})
    await asyncio.sleep(0.2)
    assert "enrich raises" not in (await state_of(service))[1]


async def test_a_listener_that_raises_makes_the_service_degraded_before_its_dead_letters(run_service, peer, eventually):
    """It shows after the third try, two seconds after the first, and ends when the function takes its events again."""
    raw = await peer()
    service = Service()
    closed = True

    @service.expose.listener()
    async def broadcast(n, **event):
        if closed:
            raise RuntimeError("the shop is closed")

    await run_service(service, name="listen", events_from="0")
    await raw.command("XADD", "events", "*", "event", '{"n": 1}')

    async def told():
        return "listener broadcast raises: RuntimeError: the shop is closed" in (await state_of(service))[1]

    await eventually(told)
    closed = False
    await eventually(lambda: service.metrics.failures._records["listener", "broadcast"].in_a_row == 0)


async def test_a_worker_or_setup_that_ended_by_an_exception_is_told(run_service, eventually):
    """It does not run again, so the service stays degraded and says which one."""
    service = Service()

    @service.setup()
    def load():
        raise OSError("no such file")

    @service.worker()
    async def pump():
        raise KeyError("x")

    await run_service(service)
    await eventually(lambda: len(service.metrics.failures.now()) == 2)
    status, reason = await state_of(service)
    assert status == "degraded"
    assert "load raises: OSError: no such file" in reason
    assert "pump raises: KeyError" in reason


async def test_a_function_that_hangs_over_its_events_is_told(run_service, peer, eventually, monkeypatch):
    """A listener that neither returns nor raises is not well, however alive its event loop is."""
    monkeypatch.setattr("band.stream.listener.STUCK_SECONDS", 0.2)
    raw = await peer()
    service = Service()
    go_on = asyncio.Event()

    @service.expose.listener()
    async def broadcast(n, **event):
        await go_on.wait()

    await run_service(service, name="listen", events_from="0")
    await raw.command("XADD", "events", "*", "event", '{"n": 1}')

    async def events_check():
        return (await read_health(service.registry, service.link))["checks"].get("events")

    found = await eventually(events_check)
    assert found["status"] == "degraded"
    assert "broadcast has been busy with the same events for" in found["reason"]
    go_on.set()

    async def well():
        return await events_check() is None

    await eventually(well)


async def test_a_redis_that_answers_no_more_is_told_within_seconds(run_service, own_redis, eventually, monkeypatch):
    """Packets that vanish (a half-open connection): neither connection goes on saying ok."""
    monkeypatch.setattr("band.redis.link.COMMAND_TIMEOUT", 0.5)
    monkeypatch.setattr("band.redis.link.WATCH_INTERVAL", 0.1)
    server = own_redis()
    service = Service()

    @service.expose.listener()
    async def broadcast(**event):
        return None

    await run_service(service, name="listen", redis_dsn=server.dsn)
    await eventually(lambda: service._listener._link.connected)
    assert (await state_of(service))[0] == "ok"
    server.freeze()

    async def both_told():
        checks = (await read_health(service.registry, service.link))["checks"]
        return checks["redis"]["status"] == "degraded" and "events are not read" in checks.get("events", {}).get(
            "reason", ""
        )

    await eventually(both_told)
    server.thaw()

    async def well():
        return (await read_health(service.registry, service.link))["status"] == "ok"

    await eventually(well)
