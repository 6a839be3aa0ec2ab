"""The HTTP face: parameters, errors and the OpenAPI document, all from the one table of endpoints."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st

from band.errors import RedisUnavailable, RpcRemoteError, RpcTimeout, RpcUnavailable
from director.api import params
from director.api.handlers import ENDPOINTS
from director.api.params import read_params
from director.api.routes import Text, document
from director.api.security import Guard
from director.api.server import error_middleware, routes
from director.deploy import spec_builder as config
from director.discovery.rpc import Rpc
from director.errors import (
    BadParameter,
    Conflict,
    DirectorError,
    InvalidValue,
    NotFound,
    ServiceFailed,
    TimedOut,
)
from director.errors import RedisUnavailable as RedisAway
from director.state.desired import Configs, Desired, DesiredService, Spec, check_env, memory_bytes

RunParams = params.RunParams


class FakeHandlers:
    """Every handler of the table: notes what it got, and answers or raises what a test says."""

    def __init__(self) -> None:
        self.got: list[tuple[str, Any, dict[str, Any]]] = []
        self.answer: Any = {"fine": True}

    def __getattr__(self, name: str) -> Any:
        async def handle(given_params: Any, rest: Any = None) -> Any:
            self.got.append((name, given_params, rest))
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

        return handle


@pytest.fixture
def handlers() -> FakeHandlers:
    return FakeHandlers()


@pytest.fixture
async def client(handlers: FakeHandlers) -> AsyncIterator[TestClient[Any, Any]]:
    guard = Guard(frozenset({"127.0.0.1"}))
    app = web.Application(middlewares=[error_middleware(guard)])
    app.add_routes(routes((endpoint, getattr(handlers, endpoint.name)) for endpoint in ENDPOINTS))
    async with TestClient(TestServer(app)) as found:
        yield found


def test_every_endpoint_has_a_handler_and_the_contracts_paths_are_there() -> None:
    """Each response has a type, each path's variables are typed, and nothing of the contract is missing."""
    for endpoint in ENDPOINTS:
        assert endpoint.answer is not None, endpoint.path
        names = {field.encode_name for field in endpoint.params.__struct_fields__ and _fields(endpoint.params)}
        assert set(re.findall(r"{(\w+)}", endpoint.path)) <= names
    paths = {endpoint.path.split("/")[1] for endpoint in ENDPOINTS}
    assert paths >= {
        "run", "list", "list_images", "state", "show", "registrations", "ask_state", "call", "stop", "start", "restart",
        "rm", "rebuild_all", "set_pos", "configs_list", "get_config", "update_config", "logs", "events", "health",
        "openapi.json", "releases", "rollback", "prune", "projects",
    }  # fmt: skip


def _fields(kind: Any) -> Any:
    return msgspec.structs.fields(kind)


async def test_get_and_post_give_the_same_typed_parameters(
    client: TestClient[Any, Any], handlers: FakeHandlers
) -> None:
    """Query, JSON body and form all become the same struct."""
    await client.get("/run/one", params={"pos": "2x3", "nocache": "1", "env": '{"A": "b"}'})
    await client.post("/run/one", json={"pos": "2x3", "nocache": True, "env": {"A": "b"}})
    await client.post("/run/one", data={"pos": "2x3", "nocache": "true", "env": '{"A": "b"}'})
    found = [given_params for _, given_params, _ in handlers.got]
    assert found == [RunParams(name="one", pos="2x3", nocache=True, env={"A": "b"})] * 3


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/run/one?typo=1", 400),
        ("/run/one?nocache=perhaps", 400),
        ("/run/one?env=x", 400),
        ("/run/one?env=[]", 400),
        ('/run/one?env={"A":"\\ud800"}', 400),
        ('/run/one?env={"A":NaN}', 400),
        ('/run/one?limits={"cpus":Infinity}', 400),
        ("/run/one?limits=" + "9" * 5000, 400),
        ("/run/one?pos=far", 422),
        ("/run/One", 422),
        ("/run/..%2Fetc", 422),
        ("/run/a%0a", 422),
        ("/run/one?pos=1x1%0a", 422),
        ("/set_pos/one", 400),
        ("/logs/one?tail=many", 400),
        ("/logs/one?tail=-1", 422),
        ("/events?limit=0", 422),
        ("/call/one/me%20thod", 422),
        ("/call/one/m?timeout__=1000", 422),
        ("/list?x=1", 400),
        ("/nowhere", 404),
    ],
)
async def test_bad_requests_are_told_apart(client: TestClient[Any, Any], path: str, status: int) -> None:
    """Unknown or mistyped parameters are 400, impossible values 422; the body says what and where to look."""
    for verb in ("GET", "POST"):
        answer = await client.request(verb, path)
        body = await answer.json()
        assert (answer.status, set(body["error"]) >= {"code", "message", "hint"}) == (status, True), body


@pytest.mark.parametrize("body", [b"{", b"[1]", b'"x"', b"\xff", b"[" * 100_000, b'{"env": {"A": }}'])
async def test_a_body_that_is_no_json_object_is_a_bad_parameter(client: TestClient[Any, Any], body: bytes) -> None:
    """Broken, deep or otherwise wrong bodies are 400."""
    answer = await client.post("/run/one", data=body, headers={"Content-Type": "application/json"})
    assert answer.status == 400
    assert (await answer.json())["error"]["code"] == "bad_parameter"


@pytest.mark.parametrize(
    "text",
    ["[" * 20_000, '{"a":' * 20_000, '{"A": "\\ud800"}', "[" * 40 + "]" * 40],
    ids=["lists", "objects", "half a character", "deep"],
)
@pytest.mark.parametrize("key", ["env", "limits"])
async def test_an_object_in_a_form_is_read_as_carefully_as_a_body(
    client: TestClient[Any, Any], key: str, text: str
) -> None:
    """Deep trees and half characters are 400 there too, and never a fault of the director's."""
    answer = await client.post("/run/one", data={key: text})
    assert answer.status == 400
    assert (await answer.json())["error"]["code"] == "bad_parameter"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFound("x"), 404), (Conflict("x"), 409), (InvalidValue("x"), 422), (TimedOut("x"), 504),
        (ServiceFailed("x", log=["line"], exit_code=3), 502), (RedisUnavailable("x"), 502), (KeyError("secret"), 500),
    ],
)  # fmt: skip
async def test_each_error_has_its_status(
    client: TestClient[Any, Any], handlers: FakeHandlers, error: Exception, status: int
) -> None:
    """What a handler raises becomes the contract's status and body; an unforeseen error tells nothing of itself."""
    handlers.answer = error
    answer = await client.get("/list")
    body = await answer.text()
    assert answer.status == status
    assert "secret" not in body
    if isinstance(error, ServiceFailed):
        assert json.loads(body)["error"]["log"] == ["line"]


async def test_the_guard_stands_before_everything(client: TestClient[Any, Any], handlers: FakeHandlers) -> None:
    """A refused request reaches no handler, nor does it learn which paths there are."""
    for path in ("/run/one", "/nowhere"):
        answer = await client.get(path, headers={"Host": "evil.com"})
        assert answer.status == 403
    assert handlers.got == []


class Failing(msgspec.Struct):
    """A response with a status of its own."""

    status: str
    http_status: ClassVar[int] = 503


async def test_answers_are_json_or_text(client: TestClient[Any, Any], handlers: FakeHandlers) -> None:
    """A plain value is JSON; Text is text, whole or in pieces; a response may carry a status."""
    handlers.answer = Text("a\nb\n")
    assert await (await client.get("/logs/one")).text() == "a\nb\n"

    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b"a\n", b"b\n"):
            yield piece

    handlers.answer = Text(pieces())
    assert await (await client.get("/logs/one?follow=1")).text() == "a\nb\n"
    handlers.answer = Failing("failing")
    assert (await client.get("/health")).status == 503


async def test_arguments_of_a_call_are_its_own(client: TestClient[Any, Any], handlers: FakeHandlers) -> None:
    """All other parameters go to the method, also those named as the path's own, with the types of a JSON body."""
    await client.post("/call/one/greet?name=ann&a=1", json={"b": [2], "method": "x", "timeout__": 5})
    _, found, rest = handlers.got[0]
    assert (found.name, found.method, found.timeout__) == ("one", "greet", 5.0)
    assert rest == {"name": "ann", "a": "1", "b": [2], "method": "x"}


@given(st.dictionaries(st.text(max_size=8), st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8))))
def test_any_body_is_parameters_or_a_clear_error(body: dict[str, Any]) -> None:
    """Whatever is sent, the outcome is typed parameters or one of the two errors."""
    try:
        found, rest = read_params(RunParams, {"name": "one"}, {}, body)
    except (BadParameter, InvalidValue):
        return
    assert isinstance(found, RunParams)
    assert "name" not in rest or rest["name"] == body["name"]


@pytest.mark.parametrize(
    "env",
    [
        {"A B": "1"}, {"": "1"}, {"A": None}, {"A": ["x"]}, {"A": "x\0"}, {"PORT": "1"},
        {"REDIS_DSN": "redis://elsewhere"}, {"BAND_URL": "http://elsewhere"},
    ],
)  # fmt: skip
def test_impossible_env_is_refused(env: dict[str, Any]) -> None:
    """Bad names, the director's own variables and values that are no scalars are invalid values."""
    with pytest.raises(InvalidValue):
        check_env(env)


def test_env_values_become_text() -> None:
    """Numbers and booleans are taken as a person means them."""
    assert check_env({"LOG_LEVEL": "DEBUG", "JSON_LOGS": True}) == {"LOG_LEVEL": "DEBUG", "JSON_LOGS": "true"}
    assert check_env({"A": 1, "B": True, "C": 1.5, "D": "x"}) == {"A": "1", "B": "true", "C": "1.5", "D": "x"}
    assert [memory_bytes(text) for text in ("350m", "1.5g", "1024", "2K")] == [367001600, 1610612736, 1024, 2048]


def test_openapi_describes_every_endpoint_and_parameter() -> None:
    """Each row of the table is there for GET and POST, its references resolve, and the name's pattern is in it."""
    found = document(ENDPOINTS)
    text = json.dumps(found)
    assert set(found["paths"]) == {endpoint.path for endpoint in ENDPOINTS}
    for reference in set(re.findall(r'"#/components/schemas/(\w+)"', text)):
        assert reference in found["components"]["schemas"]
    run = found["paths"]["/run/{name}"]
    assert run["get"]["parameters"][0]["schema"]["pattern"].startswith("^[a-z]")
    assert set(run["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]) >= {"env", "pos"}
    assert {"400", "403", "404", "409", "422", "502", "504"} <= set(run["get"]["responses"])
    ids = [operation["operationId"] for path in found["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids))


class FakeRpc:
    """An RPC client with one answer."""

    connected = True

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def values(self, _service: str) -> tuple[str, ...]:
        return ()

    def methods(self, _service: str) -> None:
        return None

    async def call(self, *_words: Any, request_id: str) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def rpc_of(answer: Any) -> Rpc:
    fake: Any = FakeRpc(answer)
    return Rpc(client=fake, link=fake, registrations=fake, secrets=fake)


@pytest.mark.parametrize(
    ("answer", "known", "expected"),
    [
        (RpcUnavailable("nobody"), False, NotFound),
        (RpcUnavailable("nobody"), True, Conflict),
        (RpcTimeout("late"), True, TimedOut),
        (RpcTimeout("late"), False, NotFound),
        (RpcRemoteError(-32601, "Method not found"), True, NotFound),
        (RpcRemoteError(-32602, "Invalid params"), True, BadParameter),
        (RpcRemoteError(-32602, "Invalid params", {"message": "no", "path": "$.limit"}), True, InvalidValue),
        (RpcRemoteError(-32000, "Server error", {"message": "bang"}), True, ServiceFailed),
        ({"type__": "error", "errorMessage": "no such user", "statusCode": 404}, True, ServiceFailed),
    ],
)
async def test_each_way_a_call_fails_is_told_apart(answer: Any, known: bool, expected: type[DirectorError]) -> None:
    """Unknown service and method are 404, silence 504, a bad argument 400, the handler's own error 502."""
    with pytest.raises(expected) as caught:
        await rpc_of(answer).call("one", "m", {}, timeout=1, known=known)
    if expected is ServiceFailed:
        assert "bang" in caught.value.message or "no such user" in caught.value.message


async def test_a_call_returns_what_the_method_returned() -> None:
    """Typed data is unwrapped, a redirect stands as on the wire, plain JSON as it is; without Redis it says so."""
    for answer, shown in (
        ({"type__": "data", "statusCode": 200, "data": {"a": 1}}, {"a": 1}),
        ([1, None], [1, None]),
        (None, None),
    ):
        assert await rpc_of(answer).call("one", "m", {}, timeout=1, known=True) == shown
    found = rpc_of({"type__": "redirect", "location": "/x", "statusCode": 302, "data": {}})
    assert (await found.call("one", "m", {}, timeout=1, known=True))["location"] == "/x"
    found.link.connected = False  # type: ignore[misc]
    with pytest.raises(RedisAway):
        await found.call("one", "m", {}, timeout=1, known=True)


class FakeStore:
    """Hashes in memory, in the form of Redis replies; `broken` makes it unreachable."""

    def __init__(self) -> None:
        self.hashes: dict[str, dict[str, bytes]] = {}
        self.broken = False

    async def command(self, *words: Any) -> Any:
        if self.broken:
            raise RedisUnavailable("away")
        verb, key, *rest = words
        fields = self.hashes.setdefault(key, {})
        match verb:
            case "HGETALL":
                return {name.encode(): value for name, value in fields.items()}
            case "HGET":
                return fields.get(rest[0])
            case "HSET":
                fields[rest[0]] = rest[1]
            case "HDEL":
                fields.pop(rest[0], None)
        return 1


async def test_desired_state_survives_and_is_never_half_changed() -> None:
    """What was put is there after a restart; when Redis does not take it, memory does not change either."""
    store = FakeStore()
    wanted = DesiredService(spec=Spec(name="one", image="i", network="n", env={"A": "b"}), pos="1x1")
    first = Desired(store, "ns")
    with pytest.raises(RedisAway):
        await first.put(wanted)
    await first.load()
    await first.put(wanted)
    store.hashes["ns:director:desired"]["broken"] = b"{"
    second = Desired(store, "ns")
    await second.load()
    assert second.all() == {"one": wanted}
    store.broken = True
    with pytest.raises(RedisUnavailable):
        await second.forget("one")
    assert second.get("one") == wanted


async def test_configs_take_dotted_keys_and_drop_empty_values() -> None:
    """`env.TZ=UTC` sets, an empty value removes, and an emptied object goes with its last key."""
    document_ = config.update({"env": {"A": "1"}}, {"env.TZ": "UTC", "deep.er.key": 5, "env.A": ""})
    assert document_ == {"env": {"TZ": "UTC"}, "deep": {"er": {"key": 5}}}
    assert config.update(document_, {"deep.er.key": None, "env": ""}) == {}
    for bad in ({"env.TZ.x": 1}, {"a..b": 1}, {".": 1}, {"": 1}):
        with pytest.raises(InvalidValue):
            config.update({"env": {"TZ": "UTC"}}, bad)
    with pytest.raises(InvalidValue):
        config.shaping({"limits": {"memory": "lots"}})
    store = FakeStore()
    kept = Configs(store, "ns")
    await kept.put("one", {"pos": "0x0"})
    assert await kept.get("one") == {"pos": "0x0"}
    await kept.put("one", {"pos": "1x1"})
    assert (await kept.names(), await kept.get("one")) == (["one"], {"pos": "1x1"})
    await kept.put("one", {})
    assert await kept.names() == []
