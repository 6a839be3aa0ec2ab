"""The answering side of RPC, seen from a raw peer: what goes over the wire, byte for byte where it matters."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from band import config
from band.jsonrpc import server as server_module
from band.service.lifecycle import Service


def request(method: str, params=None, request_id="7", **more):
    return {"jsonrpc": "2.0", "method": f"labsvc:{method}:asker", "params": params or {}, "id": request_id, **more}


@pytest.fixture
async def lab(run_service):
    """A service with a method of each kind."""
    service = Service()
    seen: list = []
    service.seen = seen  # type: ignore[attr-defined]

    @service.expose()
    async def echo(**params):
        seen.append(params)
        return params

    @service.expose()
    async def add(a, b=1):
        return a + b

    @service.expose()
    def awaitable(x):
        async def later():
            return {"later": x}

        return later()

    @service.expose()
    def plain(x):
        return x

    @service.expose()
    async def generate(n):
        for i in range(int(n)):
            yield {"i": i}

    @service.expose()
    async def fail():
        raise ValueError("no such partner; see redis://user:hunter2@db:6379/0 and https://x.y/z?token=hunter2abc")

    @service.expose()
    async def inner_type_error():
        return len(5)

    @service.expose()
    async def nonsense(kind):
        return {"object": object(), "keys": {(1, 2): 3}, "nan": float("nan"), "set": {1}}[kind]

    @service.expose()
    async def hang():
        await asyncio.sleep(3600)

    @service.expose.handler(name="*", alias="wild")
    async def wildcard(name=None, **params):
        return {"wild": name}

    return await run_service(service)


@pytest.fixture
async def asker(peer, lab):
    return await peer("asker")


async def test_success_is_the_originals_reply_with_the_id_echoed(asker):
    """A result comes as jsonrpc, result, id, from, to: the original's order, no spaces, id as it was sent."""
    assert await asker.ask("labsvc", request("add", {"a": 1, "b": 2}, "ci4")) == (
        b'{"jsonrpc":"2.0","result":3,"id":"ci4","from":"labsvc","to":"asker"}'
    )


@pytest.mark.parametrize("request_id", [7, "7", "1aph", 2**53, -1, 0, "", "ид", 1.5])
async def test_id_of_any_kind_is_echoed_verbatim(asker, request_id):
    """Numbers stay numbers and texts stay texts: both are in use on the platform."""
    reply = await asker.ask_json("labsvc", request("add", {"a": 1}, request_id))
    assert reply["id"] == request_id
    assert type(reply["id"]) is type(request_id)


async def test_addressing_by_fields_works_when_the_method_has_no_three_parts(asker):
    """`to` and `from` fields are used when the method is not TO:METHOD:FROM."""
    message = {"jsonrpc": "2.0", "method": "add", "to": "labsvc", "from": "asker", "params": {"a": 5}, "id": 1}
    assert (await asker.ask_json("labsvc", message))["result"] == 6


async def test_three_part_method_wins_over_the_fields(asker, peer):
    """With TO:METHOD:FROM the redundant fields are not looked at."""
    liar = await peer("liar")
    message = request("add", {"a": 1}, **{"from": "liar", "to": "elsewhere", "trace": {"unknown": 1}})
    assert (await asker.ask_json("labsvc", message))["result"] == 2
    assert await liar.silent(0.1)


async def test_wildcard_method_is_called_by_its_star(asker):
    """front calls a `*` handler as `labsvc:*:front`."""
    reply = await asker.ask_json("labsvc", request("*", {"name": "anything", "service": "wild"}))
    assert reply["result"] == {"wild": "anything"}


@pytest.mark.parametrize(
    ("method", "params", "result"),
    [
        ("awaitable", {"x": 1}, {"later": 1}),
        ("plain", {"x": [1, None]}, [1, None]),
        ("generate", {"n": 3}, [{"i": 0}, {"i": 1}, {"i": 2}]),
    ],
)
async def test_functions_of_every_shape_are_answered(asker, method, params, result):
    """Plain functions that return an awaitable or a value, and async generators, all answer."""
    assert (await asker.ask_json("labsvc", request(method, params)))["result"] == result


@pytest.mark.parametrize("absent", ["missing", "null"])
async def test_missing_or_null_params_mean_no_arguments(asker, absent):
    """The original drops or refuses such a message; here it is a call without arguments."""
    message = request("echo")
    if absent == "missing":
        del message["params"]
    else:
        message["params"] = None
    assert (await asker.ask_json("labsvc", message))["result"] == {}


async def test_unknown_method_is_32601(asker):
    """An unknown method gets -32601 with the id, and words that name it."""
    reply = await asker.ask_json("labsvc", request("nope"))
    assert reply["error"]["code"] == -32601
    assert reply["error"]["message"] == "Method not found"
    assert "nope" in reply["error"]["data"]["message"]
    assert (reply["id"], reply["from"], reply["to"]) == ("7", "labsvc", "asker")


@pytest.mark.parametrize("params", [{}, {"a": 1, "c": 2}, [1, 2], "text", 5])
async def test_arguments_that_do_not_fit_are_32602(asker, params):
    """Missing and unexpected arguments, and params that are no object, get -32602."""
    message = {**request("add"), "params": params}
    reply = await asker.ask_json("labsvc", message)
    assert (reply["error"]["code"], reply["error"]["message"], reply["id"]) == (-32602, "Invalid params", "7")


async def test_type_error_inside_a_handler_is_not_taken_for_wrong_arguments(asker):
    """A TypeError that the function itself raises is a server error."""
    reply = await asker.ask_json("labsvc", request("inner_type_error"))
    assert reply["error"]["code"] == -32000
    assert "TypeError" in reply["error"]["data"]["message"]


async def test_wrong_version_is_32600_with_a_null_id(asker):
    """Anything but jsonrpc "2.0" is answered -32600 with a null id, as by the original."""
    reply = await asker.ask_json("labsvc", {**request("add"), "jsonrpc": "1.0"})
    assert reply["error"]["code"] == -32600
    assert reply["error"]["message"] == "Invalid Request"
    assert reply["id"] is None


async def test_method_that_is_no_text_is_32600(asker):
    """A number as the method is refused, to who says in `from` that it asked."""
    reply = await asker.ask_json("labsvc", {"jsonrpc": "2.0", "method": 5, "id": 1, "from": "asker", "params": {}})
    assert (reply["error"]["code"], reply["id"]) == (-32600, None)


async def test_exception_comes_back_as_32000_with_its_text_without_secret_or_stack(asker):
    """The caller learns what went wrong; passwords in addresses, tokens in queries and stacks stay inside."""
    raw = await asker.ask("labsvc", request("fail"))
    error = json.loads(raw)["error"]
    assert (error["code"], error["message"]) == (-32000, "Server error")
    assert "ValueError: no such partner" in error["data"]["message"]
    assert b"hunter2" not in raw
    assert b"Traceback" not in raw
    assert b".py" not in raw


@pytest.mark.parametrize("kind", ["object", "keys"])
async def test_result_without_json_form_is_an_error_reply(asker, kind):
    """A handler that returns nonsense harms only its own call."""
    reply = await asker.ask_json("labsvc", request("nonsense", {"kind": kind}))
    assert reply["error"]["code"] == -32000
    assert (await asker.ask_json("labsvc", request("add", {"a": 1})))["result"] == 2


async def test_nan_in_a_result_is_valid_json_on_the_wire(asker):
    """NaN has no JSON form and TS peers refuse it: it travels as null."""
    raw = await asker.ask("labsvc", request("nonsense", {"kind": "nan"}))
    assert json.loads(raw, parse_constant=lambda name: pytest.fail(name))["result"] is None


async def test_nan_and_lone_surrogates_of_python_peers_are_understood(asker):
    """Python peers send NaN and lone surrogates, which strict JSON readers refuse."""
    raw = '{"jsonrpc": "2.0", "method": "labsvc:echo:asker", "params": {"v": NaN, "s": "\\ud83d"}, "id": "1"}'
    reply = await asker.ask_json("labsvc", raw)
    assert reply["result"]["v"] is None or reply["result"]["v"] != reply["result"]["v"]
    assert reply["result"]["s"] == "\ud83d"


async def test_notification_is_never_answered(asker, lab, eventually):
    """Without an id there is no answer: not for a result, not for an error, not for an unknown method."""
    for method, params in [("echo", {"n": 1}), ("fail", {}), ("nope", {}), ("add", {})]:
        message = request(method, params)
        del message["id"]
        assert await asker.publish("labsvc", message) == 1
    await eventually(lambda: lab.seen == [{"n": 1}])
    assert await asker.silent()


async def test_message_to_somebody_else_is_dropped(asker, lab):
    """A request whose `to` is none of our channels is not answered, as in the original."""
    await asker.publish("labsvc", {**request("echo"), "method": "other:echo:asker"})
    assert await asker.silent()
    assert lab.seen == []


@pytest.mark.parametrize(
    "garbage",
    [
        b"", b"{", b"null", b"5", b'"text"', b"[1, 2]", b"[[]]", b"[]", b"\xff\xfe\x00{", b"{}", b'{"method": null}',
        b"[" * 5000, b'{"a":' * 5000, b"\x00" * 100,
        b'{"jsonrpc":"2.0","id":{"a":1},"result":1}', b'{"id":null,"error":null}',
        b'{"jsonrpc":"2.0","method":"labsvc:echo:asker","params":{}', b"NaN",
    ],
    ids=range(18),
)  # fmt: skip
async def test_garbage_makes_nobody_deaf(asker, garbage):
    """After any malformed message the next request is answered at once (the original was deaf for a second)."""
    await asker.publish("labsvc", garbage)
    async with asyncio.timeout(2):
        assert (await asker.ask_json("labsvc", request("add", {"a": 1})))["result"] == 2


async def test_malformed_messages_are_counted(asker, lab, eventually):
    """The metric shows how many messages were no JSON-RPC."""
    await asker.publish("labsvc", b"{oops")
    await eventually(lambda: lab.dispatcher.malformed == 1)


async def test_batch_of_requests_is_answered_one_by_one_or_together(asker):
    """Every request of a JSON-RPC batch is answered, in one array or in messages of their own."""
    batch = [request("add", {"a": n}, f"b{n}") for n in range(5)] + [{**request("add", {"a": 9}), "id": 77}]
    await asker.publish("labsvc", json.dumps(batch))
    answers = {}
    while len(answers) < 6:
        reply = await asker.next_json()
        for answer in reply if isinstance(reply, list) else [reply]:
            answers[answer["id"]] = answer["result"]
    assert answers == {"b0": 1, "b1": 2, "b2": 3, "b3": 4, "b4": 5, 77: 10}


async def test_unknown_method_on_a_fan_out_channel_is_left_to_others(run_service, peer):
    """On `enrich` and `broadcast` a service that lacks the method keeps silent, so that it cannot spoil the others."""
    service = Service()

    @service.expose()
    async def other():
        return 1

    await run_service(service, listen_enrich=True, listen_all=True)
    asker = await peer("front")
    message = {"jsonrpc": "2.0", "method": "enrich:enrich:front", "params": {}, "id": "1"}
    assert await asker.publish("enrich", message) == 1
    assert await asker.publish("broadcast", {**message, "method": "broadcast:broadcast:front"}) == 1
    assert await asker.silent()


async def test_fan_out_methods_answer_with_the_services_own_name(run_service, peer):
    """An enricher answers on the asker's channel, from its own name, whatever the channel it was asked on."""
    service = Service()

    @service.expose.enricher(keys=["in.gen.track"], props={"ip": "td.ip"})
    async def enrich(ip=None, **params):
        return {"ip": ip}

    await run_service(service, name="mmgeo")
    front = await peer("front")
    reply = await front.ask(
        "enrich",
        '{"jsonrpc":"2.0","from":"front","to":"enrich","id":"ci4","method":"enrich:enrich:front","params":{"key":"in.gen.track.page","ip":"2.125.160.216"}}',
    )
    assert reply == b'{"jsonrpc":"2.0","result":{"ip":"2.125.160.216"},"id":"ci4","from":"mmgeo","to":"front"}'


async def test_a_hanging_method_leaves_room_for_the_others(asker, lab, monkeypatch):
    """Calls of one method beyond its share are refused with -32005; the other methods go on."""
    monkeypatch.setattr(server_module, "MAX_PER_METHOD", 3)
    for n in range(3):
        await asker.publish("labsvc", request("hang", request_id=f"h{n}"))
    refused = await asker.ask_json("labsvc", request("hang", request_id="h3"))
    assert (refused["id"], refused["error"]["code"]) == ("h3", -32005)
    assert (await asker.ask_json("labsvc", request("add", {"a": 1})))["result"] == 2
    assert lab.server.in_flight == 3


async def test_flood_is_refused_beyond_the_limit_and_then_forgotten(asker, lab, monkeypatch, eventually):
    """All calls together are bounded; when they end there is room again."""
    monkeypatch.setattr(server_module, "MAX_IN_FLIGHT", 2)
    release = asyncio.Event()

    @lab.expose()
    async def wait():
        await release.wait()
        return "done"

    for n in range(3):
        await asker.publish("labsvc", request("wait", request_id=str(n)))
    refused = await asker.next_json()
    assert (refused["id"], refused["error"]["code"]) == ("2", -32005)
    release.set()
    assert {(await asker.next_json())["result"] for _ in range(2)} == {"done"}
    await eventually(lambda: lab.server.in_flight == 0)
    assert (await asker.ask_json("labsvc", request("wait")))["result"] == "done"


async def test_calls_cut_off_by_the_stop_are_told_so(asker, lab):
    """Who waits for a call that the stop cut off gets an error, not silence; new calls are refused meanwhile."""
    await asker.publish("labsvc", request("hang", request_id="cut"))
    assert (await asker.ask_json("labsvc", request("add", {"a": 1})))["result"] == 2
    stopping = asyncio.create_task(lab.stop())
    await asyncio.sleep(0.05)
    refused = await asker.ask_json("labsvc", request("add", {"a": 1}, "late"))
    assert refused["id"] == "late"
    assert "stopping" in refused["error"]["data"]["message"]
    cut = await asker.next_json()
    assert (cut["id"], cut["error"]["code"]) == ("cut", -32000)
    assert "cancelled" in cut["error"]["data"]["message"]
    await stopping
    assert lab.state == "stopping"


async def test_calls_in_progress_end_before_the_stop_does(asker, lab):
    """A call that ends within the stop time is answered, not cut off."""

    @lab.expose()
    async def slow():
        await asyncio.sleep(0.2)
        return "finished"

    await asker.publish("labsvc", request("slow"))
    assert (await asker.ask_json("labsvc", request("add", {"a": 1})))["result"] == 2
    await lab.stop()
    assert (await asker.next_json())["result"] == "finished"


async def test_status_is_the_originals_typed_answer(asker, lab, monkeypatch):
    """`__status` has the original's fields in the original's envelope, and our own beside them."""
    monkeypatch.setitem(config.environ, "BAND_CONTAINER", "c1")
    raw = await asker.ask("labsvc", request("__status", request_id="41"))
    assert raw.startswith(
        b'{"jsonrpc":"2.0","result":{"type__":"data","statusCode":200,"data":{"name":"labsvc","app_started":'
    )
    data = json.loads(raw)["result"]["data"]
    assert list(data)[:5] == ["name", "app_started", "app_uptime", "app_state", "register"]
    assert data["app_state"] == "running"
    assert data["register"] == [{"method": "*", "role": "handler", "options": {"alias": "wild"}}]
    assert data["health"]["status"] == "ok"
    assert data["container"] == "c1"


async def test_metrics_are_told_over_rpc_alone(asker, lab):
    """The director asks for them where no port of a service can be reached; they are not listed, and not on HTTP."""
    text = (await asker.ask_json("labsvc", request("__metrics")))["result"]
    assert 'band_calls_total{method="add"' in text or "# TYPE band_calls_total counter" in text
    assert lab.registry.methods["__metrics"].path == ""
    assert "__metrics" not in [row["method"] for row in lab.registry.rows()]


async def test_status_can_be_overridden(run_service, peer):
    """A service's own `__status` replaces the built-in one, and is still not listed."""
    service = Service()

    @service.expose(name="__status")
    async def own(**params):
        return {**service.status(), "own": True}

    await run_service(service)
    asker = await peer("asker")
    assert (await asker.ask_json("labsvc", request("__status")))["result"]["own"] is True
    assert service.registry.rows() == []


async def test_service_announces_itself_as_the_original_does(run_service, peer):
    """Within about a second the director hears `director:__iamalive:<name>`, without an id."""
    director = await peer("director")
    await run_service(Service())
    message = await director.next_json()
    assert message["method"] == "director:__iamalive:labsvc"
    assert message["params"]["name"] == "labsvc"
    assert message["jsonrpc"] == "2.0"
    assert "id" not in message


async def test_calls_in_progress_are_shown_by_method(run_service, peer):
    """A method that waits is seen in the metrics while it does, and no longer afterwards."""
    service = Service()
    begun, go_on = asyncio.Event(), asyncio.Event()

    @service.expose()
    async def wait():
        asyncio.get_running_loop().call_soon(begun.set)  # once it waits, it is in progress
        await go_on.wait()

    await run_service(service)
    asker = await peer("asker")
    await asker.publish("labsvc", {"jsonrpc": "2.0", "method": "labsvc:wait:asker", "params": {}, "id": "1"})
    await begun.wait()
    assert b'band_calls_in_progress{method="wait"} 1.0' in service.metrics.render()
    go_on.set()
    await asker.next()
    assert b'band_calls_in_progress{method="wait"} 0.0' in service.metrics.render()


async def test_a_setup_ends_before_anybody_can_call(run_service):
    """Until its setups ended nobody reaches a service; one that fails does not keep it from starting."""
    service = Service()
    seen = []

    @service.setup()
    async def load():
        seen.append((service.port, service.link.connected))

    @service.setup()
    def broken():
        raise OSError("no such file")

    await run_service(service)
    assert seen == [(0, False)]
    assert service.state == "running"


TEXTS = st.sampled_from(["2.0", "labsvc:x:y", "labsvc:add:\ud800", "\ud800", "labsvc", "add"])
MESSAGES = st.dictionaries(
    st.sampled_from(["jsonrpc", "method", "params", "id", "from", "to", "result", "error"]),
    st.recursive(
        st.none() | st.integers() | st.floats() | TEXTS,
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
        max_leaves=5,
    ),
)


@given(data=st.binary(max_size=60) | st.builds(json.dumps, MESSAGES | st.lists(MESSAGES)).map(str.encode))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
async def test_nothing_that_a_message_holds_raises_to_its_reader(data):
    """Whatever bytes or fields: it is answered, refused or counted, and the reader goes on."""
    service = Service()

    @service.expose()
    async def add(**params):
        return params

    service.server.listen("labsvc", {"labsvc"})
    service.dispatcher.on_message("labsvc", data)
    await service.server.drain(1.0)
