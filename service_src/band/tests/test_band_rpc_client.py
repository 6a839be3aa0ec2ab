"""The calling side of RPC, against raw peers that answer as the original's services do."""

from __future__ import annotations

import asyncio
import json

import pytest

from band.errors import RpcRemoteError, RpcTimeout, RpcUnavailable
from band.service.lifecycle import Service


@pytest.fixture
async def caller(run_service):
    return await run_service(Service(), name="caller")


async def answer(peer, message_or_fields):
    """Take the next request of a raw peer and answer it; returns the request."""
    request = await peer.next_json()
    to, _, sender = request["method"].split(":")
    reply = {"jsonrpc": "2.0", **message_or_fields, "id": request["id"], "from": to, "to": sender}
    await peer.publish(request.get("from") or sender, reply)
    return request


async def test_request_on_the_wire(caller, peer):
    """A request carries jsonrpc, the three-part method, params and an id in text form."""
    other = await peer("other")
    call = asyncio.create_task(caller.rpc.request("other", "meth", a=1, b=None))
    request = await answer(other, {"result": [1]})
    assert request["jsonrpc"] == "2.0"
    assert request["method"].startswith("other:meth:caller")
    assert request["params"] == {"a": 1, "b": None}
    assert isinstance(request["id"], str)
    assert await call == [1]


async def test_request_without_arguments_has_empty_params(caller, peer):
    """Without params both of the original's sides drop a message silently."""
    other = await peer("other")
    call = asyncio.create_task(caller.rpc.other("meth"))
    assert (await answer(other, {"result": None}))["params"] == {}
    assert await call is None


async def test_notification_has_no_id(caller, peer):
    """notify is a message without an id, and returns at once."""
    other = await peer("other")
    await caller.rpc.notify("other", "meth", x=1)
    message = await other.next_json()
    assert message["method"] == "other:meth:caller"
    assert message["params"] == {"x": 1}
    assert "id" not in message


async def test_typed_replies(caller, peer):
    """request unwraps typed data and returns error responses as objects; call returns the result as sent."""
    other = await peer("other")
    typed = {"type__": "data", "statusCode": 200, "data": {"a": 1}}
    error = {"type__": "error", "statusCode": 404, "errorMessage": "not here", "data": {}}
    for ask, sent, got in [
        (caller.rpc.request("other", "m"), typed, {"a": 1}),
        (caller.rpc.call("other", "m"), typed, typed),
        (caller.rpc.call("other", "m", {"x": 1}), "text", "text"),
    ]:
        task = asyncio.create_task(ask)
        await answer(other, {"result": sent})
        assert await task == got
    task = asyncio.create_task(caller.rpc.request("other", "m"))
    await answer(other, {"result": error})
    assert (await task).error_message == "not here"


async def test_error_reply_raises_with_code_message_and_data(caller, peer):
    """An error reply raises RpcRemoteError, which is what `jsonrpcclient.exceptions` calls ReceivedErrorResponse."""
    other = await peer("other")
    task = asyncio.create_task(caller.rpc.request("other", "m"))
    await answer(other, {"error": {"code": -32601, "message": "Method not found", "data": {"message": "no m"}}})
    with pytest.raises(RpcRemoteError) as caught:
        await task
    error = caught.value
    assert (error.code, error.message, error.data, error.to, error.method) == (
        -32601, "Method not found", {"message": "no m"}, "other", "m",
    )  # fmt: skip
    assert str(error) == "Method not found: no m"


@pytest.mark.parametrize(
    "error", ["text", 5, [], {}, {"code": "x"}, {"code": 0, "message": None, "data": "Error: at stack.js:1"}]
)
async def test_error_of_any_shape_raises(caller, peer, error):
    """front sends code 0 and a JS stack as data; nothing that a peer puts there breaks the caller."""
    other = await peer("other")
    task = asyncio.create_task(caller.rpc.call("other", "m"))
    await answer(other, {"error": error})
    with pytest.raises(RpcRemoteError) as caught:
        await task
    assert isinstance(caught.value.code, int)
    assert "stack.js" not in str(caught.value)


async def test_a_reply_that_is_no_utf8_is_an_error_of_that_call_alone(caller, peer):
    """The connection, the other calls and a fan-out request live on; who got the bad reply is told why."""
    other = await peer("other")
    good = asyncio.create_task(caller.rpc.call("other", "m", {"n": 1}))
    bad = asyncio.create_task(caller.rpc.call("other", "m", {"n": 2}))
    ids = {request["params"]["n"]: request["id"] for request in [await other.next_json(), await other.next_json()]}
    fan = await peer("enrich")
    scatter = asyncio.create_task(caller.rpc.scatter("enrich", "enrich", {}, expect={"a", "b"}, timeout=10))
    asked = (await fan.next_json())["id"]
    for sender, request_id, result in (("other", ids[2], b'"\xff"'), ("a", asked, b'{"x":"\xff"}'), ("b", asked, b"1")):
        head = f'{{"jsonrpc":"2.0","from":"{sender}","to":"caller","id":"{request_id}","result":'
        await other.publish("caller", head.encode() + result + b"}")
    with pytest.raises(RpcRemoteError, match="cannot be read") as caught:
        await bad
    assert caught.value.code == -32700
    found = await scatter
    assert (found.results, set(found.errors), found.missing) == ({"b": 1}, {"a"}, set())
    await other.publish("caller", json.dumps({"jsonrpc": "2.0", "id": ids[1], "result": "fine"}))
    assert await good == "fine"
    assert caller.link.reconnects == 0


async def test_one_bad_reply_of_a_batch_leaves_the_others_alone(caller, peer):
    """In a message with several replies the readable ones are taken, the other is counted."""
    other = await peer("other")
    tasks = [asyncio.create_task(caller.rpc.call("other", "m", {"n": n}, timeout=1)) for n in range(3)]
    ids = [(await other.next_json())["id"] for _ in tasks]
    replies = [b'{"jsonrpc":"2.0","id":"%b","result":%b}' % (one.encode(), b"[1]") for one in ids]
    replies[1] = b'{"jsonrpc":"2.0","id":"%b","error":{"message":"\xff"}}' % ids[1].encode()
    await other.publish("caller", b"[" + b",".join(replies) + b"]")
    for number in (0, 2):
        assert len(await tasks[number]) == 1
    with pytest.raises(RpcTimeout):
        await tasks[1]
    assert (caller.dispatcher.malformed, caller.link.reconnects) == (1, 0)


async def test_scatter_takes_an_answer_within_a_deadline_beyond_two_seconds(caller, peer):
    """The deadline is the caller's, not RPC's usual one: for services of ours as for others."""
    fan = await peer("enrich", "ours#1")
    await fan.command("ZADD", "band:instances:ours", 9_000_000_000, "1")
    caller.presence.knows("ours")
    await asyncio.sleep(0.2)
    assert caller.presence.knows("ours")
    task = asyncio.create_task(caller.rpc.scatter("enrich", "enrich", {}, expect={"ours"}, timeout=8))
    request = await fan.next_json()
    await asyncio.sleep(2.3)
    reply = {"jsonrpc": "2.0", "id": request["id"], "from": "ours", "result": {"results": [7], "errors": {}}}
    await fan.publish(request["from"], reply)
    found = await task
    assert (found.results, found.missing) == ({"ours": 7}, set())
    assert caller.rpc.waiting == 0


async def test_timeout_is_none_for_request_and_raised_by_call(caller, peer):
    """A silent peer: request gives None as in the original, call raises RpcTimeout that names the call."""
    await peer("other")
    loop = asyncio.get_running_loop()
    begun = loop.time()
    assert await caller.rpc.request("other", "m", timeout__=0.2) is None
    with pytest.raises(RpcTimeout, match=r"other\.m did not answer within 0\.2 s"):
        await caller.rpc.call("other", "m", timeout=0.2)
    assert 0.39 < loop.time() - begun < 5
    assert caller.rpc.waiting == 0


async def test_nobody_listening_is_told_at_once(caller):
    """Redis says that no one received the request: no need to wait for the deadline."""
    async with asyncio.timeout(5):
        with pytest.raises(RpcUnavailable, match="no service 'ghost' is connected to Redis"):
            await caller.rpc.call("ghost", "m", timeout=60)
        assert await caller.rpc.request("ghost", "m", timeout__=60) is None


async def test_late_and_foreign_answers_are_ignored(caller, peer, eventually):
    """An answer after the deadline, or to a question nobody asked, disturbs nothing."""
    other = await peer("other")
    assert await caller.rpc.request("other", "m", timeout__=0.1) is None
    await answer(other, {"result": 1})
    await other.publish("caller", '{"jsonrpc":"2.0","result":5,"id":"12345678901234567890","from":"x","to":"caller"}')
    await eventually(lambda: caller.rpc.late == 2)
    task = asyncio.create_task(caller.rpc.call("other", "m"))
    await answer(other, {"result": 2})
    assert await task == 2


async def test_answers_may_come_in_any_order(caller, peer):
    """Many calls at once; each gets its own answer."""
    other = await peer("other")
    tasks = [asyncio.create_task(caller.rpc.call("other", "m", {"n": n})) for n in range(50)]
    requests = []
    while len(requests) < 50:
        message = await other.next_json()
        requests += message if isinstance(message, list) else [message]
    for request in reversed(requests):
        await other.publish(
            request.get("from", "caller"),
            {
                "jsonrpc": "2.0",
                "result": request["params"]["n"] * 2,
                "id": request["id"],
                "from": "other",
                "to": "caller",
            },
        )
    assert await asyncio.gather(*tasks) == [n * 2 for n in range(50)]


async def test_what_has_no_json_form_is_refused_before_it_leaves(caller, peer):
    """A TypeError at the call, and nothing is left waiting."""
    await peer("other")
    with pytest.raises(TypeError):
        await caller.rpc.call("other", "m", {"x": object()})
    assert caller.rpc.waiting == 0


async def test_cancelled_call_leaves_nothing(caller, peer):
    """A caller that gives up frees its place."""
    await peer("other")
    task = asyncio.create_task(caller.rpc.call("other", "m", timeout=60))
    await asyncio.sleep(0.05)
    assert caller.rpc.waiting == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert caller.rpc.waiting == 0


async def test_two_lives_of_a_service_use_different_ids(run_service, peer):
    """The answer to a call of an earlier life must not be taken for the answer to a call of this one."""
    other = await peer("other")
    ids = []
    for _ in range(2):
        service = await run_service(Service(), name="caller")
        await service.rpc.request("other", "m", timeout__=0.05)
        ids.append((await other.next_json())["id"])
        await service.stop()
    assert ids[0] != ids[1]


async def test_stop_ends_waiting_calls_with_a_typed_error(run_service, peer):
    """A call that still waits when the service stops ends with RpcUnavailable."""
    await peer("other")
    service = await run_service(Service(), name="caller", stop_timeout=0.5)
    task = asyncio.create_task(service.rpc.call("other", "m", timeout=60))
    await asyncio.sleep(0.05)
    await service.stop()
    with pytest.raises(RpcUnavailable, match="stops"):
        await task


# --- scatter


async def test_scatter_gathers_results_and_errors_and_names_who_was_silent(caller, peer):
    """It ends at the deadline with what came; answers of the unexpected are ignored; elapsed is measured."""
    asked = await peer("enrich")
    task = asyncio.create_task(
        caller.rpc.scatter("enrich", "enrich", {"ip": "1.2.3.4"}, expect={"mmgeo", "uaparser", "dead"}, timeout=0.4)
    )
    request = await asked.next_json()
    assert request["method"].startswith("enrich:enrich:caller")
    assert request["params"] == {"ip": "1.2.3.4"}
    back = {"jsonrpc": "2.0", "id": request["id"], "to": "caller"}
    reply_to = request.get("from", "caller")
    await asked.publish(reply_to, {**back, "from": "mmgeo", "result": {"country": "GB"}})
    await asked.publish(reply_to, {**back, "from": "stranger", "result": 1})
    await asked.publish(reply_to, {**back, "from": "mmgeo", "result": "twice"})
    await asked.publish(reply_to, {**back, "from": "uaparser", "error": {"code": -32602, "message": "Invalid params"}})
    loop = asyncio.get_running_loop()
    begun = loop.time()
    found = await task
    assert loop.time() - begun > 0.15
    assert found.results == {"mmgeo": {"country": "GB"}}
    assert found.errors["uaparser"].code == -32602
    assert found.missing == {"dead"}
    assert set(found.elapsed_ms) == {"mmgeo", "uaparser"}
    assert all(0 < elapsed < 15_000 for elapsed in found.elapsed_ms.values())


async def test_scatter_ends_as_soon_as_everybody_answered(caller, peer):
    """An error counts as an answer: no waiting for the deadline (the original waited)."""
    asked = await peer("enrich")
    task = asyncio.create_task(caller.rpc.scatter("enrich", "enrich", {}, expect=["a", "b"], timeout=60))
    request = await asked.next_json()
    for sender, what in (("a", {"result": None}), ("b", {"error": {"code": 1, "message": "m"}})):
        reply = {"jsonrpc": "2.0", "id": request["id"], "from": sender, "to": "caller", **what}
        await asked.publish(request.get("from", "caller"), reply)
    async with asyncio.timeout(5):
        found = await task
    assert (found.results, found.missing) == ({"a": None}, set())
    assert caller.rpc.waiting == 0


async def test_scatter_to_nobody_ends_at_once(caller):
    """Nobody subscribed, or nobody expected: there is nothing to wait for."""
    async with asyncio.timeout(5):
        assert (await caller.rpc.scatter("enrich", "enrich", {}, expect={"a"}, timeout=60)).missing == {"a"}
        assert (await caller.rpc.scatter("enrich", "enrich", {}, expect=[], timeout=60)).results == {}


async def test_services_of_ours_call_each_other(run_service):
    """Two services, both ways, through every form of a call."""
    first, second = Service(), Service()

    @first.expose()
    async def double(x):
        return x * 2

    @second.expose()
    async def quadruple(x):
        return await second.rpc.first("double", x=await second.rpc.call("first", "double", {"x": x}))

    @second.expose.enricher(keys=["*"])
    async def enrich(**params):
        return {"from": "second"}

    await run_service(first, name="first")
    await run_service(second, name="second")
    assert await first.rpc.request("second", "quadruple", x=3) == 12
    found = await first.rpc.scatter("enrich", "enrich", {}, expect={"second"}, timeout=10)
    assert found.results == {"second": {"from": "second"}}
    results = await asyncio.gather(*(second.rpc.call("first", "double", {"x": n}, timeout=20) for n in range(500)))
    assert results == [n * 2 for n in range(500)]


async def test_payloads_of_a_megabyte_pass(run_service, peer):
    """Size alone breaks nothing, in either direction."""
    service = Service()

    @service.expose()
    async def echo(text):
        return text

    await run_service(service)
    asker = await peer("asker")
    text = "ж" * 500_000
    raw = await asker.ask(
        "labsvc", {"jsonrpc": "2.0", "method": "labsvc:echo:asker", "params": {"text": text}, "id": "1"}
    )
    assert json.loads(raw)["result"] == text
