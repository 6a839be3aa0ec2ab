"""The hook around every call: HTTP, RPC, batches of RPC, and the stream."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import msgspec
import pytest

from band import json_codec, testing
from band.background import run_forever
from band.calls.middleware import RPC, Call, Next
from band.errors import InvalidParams, RpcRemoteError
from band.jsonrpc import messages
from band.jsonrpc.batch import run_batch
from band.service.lifecycle import Service


class Own:
    """What a service of its own has."""

    def __init__(self, number: int) -> None:
        self.number = number


@pytest.fixture
async def lab():
    """A service with two middlewares that note the calls, and refuse those with ``forbidden``."""
    service, seen = Service(), []

    @service.middleware
    async def outer(call: Call, following: Next) -> Any:
        seen.append(("outer", call.transport, call.method))
        if call.params.get("forbidden"):
            raise InvalidParams("forbidden")
        return await following(call)

    @service.middleware
    async def inner(call: Call, following: Next) -> Any:
        seen.append(("inner", call.transport, call.method))
        call.params = {**call.params, "added": True}
        result = await following(call)
        return {"wrapped": result}

    @service.expose()
    async def echo(**params):
        return params

    @service.expose.listener()
    async def broadcast(**event):
        seen.append(event)

    async with testing.running(subject=service) as bench:
        bench.seen = seen
        yield bench


@pytest.mark.parametrize("page", ["/echo", "/health", "/metrics", "/__status", "/openapi.json", "/nowhere"])
async def test_the_guard_against_other_sites_comes_first(lab, page) -> None:
    """One guard for every page of the port: functions, those without a function, and those that are not there."""
    async with aiohttp.ClientSession(f"http://127.0.0.1:{lab.service.port}") as session:
        for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
            async with session.get(page, headers=headers) as answer:
                assert answer.status == 403
    assert lab.seen == []


async def test_every_transport_goes_through_in_order(lab) -> None:
    assert await lab.call("echo", a=1) == {"wrapped": {"a": 1, "added": True}}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{lab.service.port}") as session:
        async with session.get("/echo?a=1") as answer:
            assert await answer.json() == {"wrapped": {"a": "1", "added": True}}
        async with session.get("/health") as answer:
            assert answer.status == 200
    await lab.listen({"key": "in.gen.track"})
    steps = [(kind, name) for kind in ("rpc", "http", "stream") for name in ("outer", "inner")]
    assert [entry[:2] for entry in lab.seen if isinstance(entry, tuple)] == [(name, kind) for kind, name in steps]
    assert lab.seen[-1] == {"key": "in.gen.track", "added": True}


async def test_a_middleware_may_refuse(lab) -> None:
    """What it raises reaches the caller as if the function had raised it."""
    with pytest.raises(RpcRemoteError, match="forbidden"):
        await lab.call("echo", forbidden=1)
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{lab.service.port}") as session,
        session.get("/echo?forbidden=1") as answer,
    ):
        assert answer.status == 400
    assert not any(entry[0] == "inner" for entry in lab.seen)


async def test_each_item_of_a_batch_goes_through(lab) -> None:
    service = lab.service
    written = await run_batch(service.registry, service.metrics, Call(RPC, None), "echo", [{"a": 1}, {"forbidden": 1}])
    answer = json_codec.decode(bytes(written))
    assert answer["results"] == [{"wrapped": {"a": 1, "added": True}}, None]
    assert answer["errors"]["1"]["code"] == -32602


async def test_personal_listeners_are_guarded_however_they_are_called() -> None:
    """Over RPC, by hand and in batches: nothing of who objected, nothing personal."""
    service, seen = Service(), []

    @service.expose.listener(personal=True)
    async def broadcast(**event):
        seen.append(event["id"])

    async with testing.running(subject=service) as bench:
        await bench.call("broadcast", **testing.make_event(id="1", privacy=["gpc"]))
        await bench.call("broadcast", **testing.make_event(id="2"))
        await bench.listen(testing.make_event(id="3", privacy=["gpc"]), testing.make_event(id="4"))
        items = [testing.make_event(id="5", privacy=["gpc"]), testing.make_event(id="6")]
        await run_batch(service.registry, service.metrics, Call(RPC, None), "broadcast", items)
    assert seen == ["2", "4", "6"]


async def test_values_that_annotations_refuse_do_not_make_a_service_degraded() -> None:
    """They come from clients; a function that raises is another matter."""
    service = Service()

    @service.expose.handler(name="buy")
    async def buy(price: int) -> int:
        return 1 // price

    async with testing.running(subject=service) as bench:
        for value, degraded in (("much", False), (0, True)):
            await asyncio.gather(*(bench.call("buy", price=value) for _ in range(5)), return_exceptions=True)
            assert (service.metrics.failures.check() is not None) == degraded


async def test_values_of_a_batch_that_annotations_refuse_do_not_make_a_service_degraded() -> None:
    """Front sends what visitors sent to enrichers many at a time."""
    service = Service()

    @service.expose.enricher(keys=["*"], props={"price": "data.price"})
    async def enrich(price: int) -> int:
        return 1 // price

    async with testing.running(subject=service) as bench:
        for value, degraded in (("much", False), (0, True)):
            answer = await bench.call(messages.BATCH, method="enrich", items=[{"price": value}] * 5)
            assert len(answer["errors"]) == 5
            assert (service.metrics.failures.check() is not None) == degraded
    shown = service.metrics.render().decode()
    assert 'outcome="invalid_params"' in shown


async def test_calls_of_a_batch_know_who_called() -> None:
    """As single calls do; and a client cannot say otherwise."""
    service, seen = Service(), []

    @service.middleware
    async def who(call: Call, following: Next) -> Any:
        seen.append((call.method, call.sender != "", call.request_id is not msgspec.UNSET))
        return await following(call)

    @service.expose()
    async def echo(**params):
        return params

    async with testing.running(subject=service) as bench:
        await bench.call(messages.BATCH, method="echo", items=[{"a": 1}, {"a": 2}])
        with pytest.raises(RpcRemoteError, match="Invalid params"):
            await bench.call(messages.BATCH, method="echo", items=[], outer=None)
    assert seen == [("echo", True, True)] * 2


async def test_two_services_in_one_process_share_nothing(eventually) -> None:
    """Neither functions nor values, middlewares, figures, health."""
    one, two = Service(), Service()
    for number, service in enumerate((one, two)):

        @service.lifespan
        async def values(number: Any = number):
            yield Own(number)

        @service.middleware
        async def mark(call: Call, following: Next, number: int = number) -> Any:
            return [number, await following(call)]

        @service.expose(name="ask")
        async def ask(own: Own, number: Any = None) -> Any:
            return [own.number, number]

    @one.expose()
    async def only() -> str:
        return "one"

    async def step() -> None:
        raise ValueError("no")

    @one.worker
    async def broken() -> None:
        await run_forever("broken", step)

    @one.health
    def bad() -> dict[str, str]:
        return {"status": "failing"}

    async with testing.running(subject=one, name="one") as bench, testing.running(subject=two, name="two") as other:
        assert await bench.call("ask", number=7) == [0, [0, 7]]
        assert await other.call("ask", number=8) == [1, [1, 8]]
        assert await bench.call("only") == [0, "one"]
        with pytest.raises(RpcRemoteError, match="no method"):
            await other.call("only")
        assert b'method="only",outcome="ok"' in one.metrics.render()
        assert b"only" not in two.metrics.render()
        await eventually(one.loops.failing)
        assert two.loops.failing() == {}
        assert b'loop="broken"' in one.metrics.render()
        assert b'loop="broken"' not in two.metrics.render()
        async with aiohttp.ClientSession() as session:
            for service, status in ((one, 503), (two, 200)):
                async with session.get(f"http://127.0.0.1:{service.port}/health") as answer:
                    assert answer.status == status
