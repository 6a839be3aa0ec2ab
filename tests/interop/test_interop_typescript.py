"""A service on the TypeScript framework and the same one in Python: interchangeable, on one Redis with users."""

# ruff: noqa: ASYNC110 - waits poll what has no event

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis_with_users import free_port

from band import Event
from band.errors import Retry, RpcRemoteError
from band.jsonrpc.instances import instance_channel
from band.responses import response
from band.service.lifecycle import Service
from director.api import service_schemas

ROCKME = Path(__file__).parents[2] / "service_src/rock_me_ts"
TWIN = Path(__file__).parent / "typescript/twin.cjs"

pytestmark = pytest.mark.skipif(
    not os.environ.get("BAND_TEST_NODE"),  # a dist/ that is there may be older than its sources
    reason="bin/test node builds the TypeScript framework, and runs these",
)


def python_twin() -> Service:
    """The same service as typescript/twin.cjs."""
    twin = Service()

    @twin.expose.enricher(keys=["in.gen.track"], props={"ua": "td.ua"})
    def enrich(ua, **_params):
        return {"length": len(ua), "text": "Боxфорд"}

    @twin.expose.handler(name="go", alias="away", timeout=500)
    def go(name, **_event):
        return response.data({"name": name}, statusCode=201)

    @twin.expose()
    def echo(**params):
        return params

    @twin.expose()
    async def late(n):
        await asyncio.sleep(0.005)
        return n

    @twin.expose()
    def fails(**_params):
        raise ValueError("no such place")

    @twin.expose()
    def replicas():
        return twin.presence.replicas()

    @twin.expose()
    async def tell(to, params):
        await twin.rpc.notify(to, "heard", **params)

    @twin.expose()
    async def relay(to, method):
        return await twin.rpc.call(to, method, {"n": 7})

    return twin


class Process:
    """A TypeScript service as a process."""

    def __init__(self, dsn: str, name: str, folder: Path, **env: str) -> None:
        self.log = folder / f"{name}-{free_port()}.log"
        given = {
            "PATH": os.environ["PATH"], "ROCKME": str(ROCKME), "HOST": "127.0.0.1", "PORT": "0", "REDIS_DSN": dsn,
            "NAME": name, **env,
        }  # fmt: skip
        with self.log.open("wb") as log:
            node = shutil.which("node") or "node"
            self.process = subprocess.Popen([node, str(TWIN)], cwd=folder, env=given, stdout=log, stderr=log)

    def stop(self) -> int:
        """End it as Docker does."""
        self.process.terminate()
        return self.process.wait(15)


@pytest.fixture
def typescript(redis, tmp_path):
    """Start services on the TypeScript framework; each must end with 0."""
    started: list[Process] = []

    def start(name: str, **env: str) -> Process:
        started.append(Process(redis.admit(name), name, tmp_path, **env))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            assert one.stop() == 0, one.log.read_text()


async def listening(lab: Any, channel: str, count: int = 1) -> None:
    """Wait until so many listen on a channel."""
    deadline = time.monotonic() + 20
    while (await lab.command("PUBSUB", "NUMSUB", channel))[1] < count:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


@pytest.fixture
async def both(run_service, typescript, peer):
    """A raw peer, and the names of the two."""
    await run_service(python_twin(), "twinpy")
    typescript("twints")
    lab = await peer("lab")
    await listening(lab, "twints")
    return lab, ("twinpy", "twints")


async def test_they_answer_alike(both):
    """Results, errors, refusals and statuses are the same but for names, ids and the words of an exception."""
    lab, names = both
    answers = []
    for name in names:
        found = [await lab.call(name, "echo", a=[1, "ж", None, {"b": 1.5}]), await lab.call(name, "echo")]
        found += [await lab.call(name, "go", name="x"), await lab.call(name, "late", n=5)]
        found += [await lab.call(name, "nothing"), await lab.call(name, "enrich")]
        batch = {"method": "echo", "items": [{"n": 1}, {"n": 2}]}
        found += [await lab.call(name, "__batch", **batch)]
        for message in (
            {"jsonrpc": "1.0", "method": f"{name}:echo:lab", "params": {}, "id": 1},
            {"jsonrpc": "2.0", "method": f"{name}:echo:lab", "params": [1], "id": 2},
            {"jsonrpc": "2.0", "method": f"{name}:echo:lab", "id": 3},
            {"jsonrpc": "2.0", "method": "echo", "from": "lab", "to": name, "params": {}, "id": 4},
        ):
            found.append(json.loads(await lab.ask(name, message)))
        status = (await lab.call(name, "__status"))["result"]["data"]
        # Only Python's annotations give JSON schemas of the methods.
        found.append({key: type(value).__name__ for key, value in status.items() if key != "schemas"})
        found += [status["register"], status["methods"], status["health"]["status"]]
        error = (await lab.call(name, "fails"))["error"]
        assert "no such place" in error["data"].pop("message")
        answers.append([json.dumps(one, ensure_ascii=False).replace(name, "NAME") for one in [*found, error]])
    assert answers[1] == answers[0]


NO_METHOD = '"error":{"code":-32601,"message":"Method not found","data":{"message":"NAME has no method \'%s\'"}}'
NO_OBJECT = (
    '"error":{"code":-32602,"message":"Invalid params",'
    '"data":{"message":"params must be an object of named arguments"}}'
)
NO_JSONRPC = '"error":{"code":-32600,"message":"Invalid Request","data":{"message":"jsonrpc must be \\"2.0\\""}}'
RECORDED = {
    "a request of the original's front": (
        '{"jsonrpc":"2.0","from":"lab","to":"NAME","id":"ci4","method":"NAME:echo:lab","params":{"key":"in.gen.x","c":"Ж"}}',
        '{"jsonrpc":"2.0","result":{"key":"in.gen.x","c":"Ж"},"id":"ci4","from":"NAME","to":"lab"}',
    ),
    "a request of the original's director": (
        '{"jsonrpc": "2.0", "method": "NAME:echo:lab", "params": {"a": "\\u0416 \\/"}, "id": "41"}',
        '{"jsonrpc":"2.0","result":{"a":"Ж /"},"id":"41","from":"NAME","to":"lab"}',
    ),
    "no params": (
        '{"jsonrpc":"2.0","from":"lab","to":"NAME","id":"1","method":"NAME:echo:lab"}',
        '{"jsonrpc":"2.0","result":{},"id":"1","from":"NAME","to":"lab"}',
    ),
    "params are null, the id is a number": (
        '{"jsonrpc":"2.0","params":null,"from":"lab","to":"NAME","id":99999,"method":"NAME:echo:lab"}',
        '{"jsonrpc":"2.0","result":{},"id":99999,"from":"NAME","to":"lab"}',
    ),
    "a method of one part, the id is null": (
        '{"jsonrpc":"2.0","method":"echo","params":{"n":1},"from":"lab","to":"NAME","id":null}',
        '{"jsonrpc":"2.0","result":{"n":1},"id":null,"from":"NAME","to":"lab"}',
    ),
    "the method's parts win over the fields": (
        '{"jsonrpc":"2.0","method":"NAME:echo:lab","params":{},"from":"nobody","to":"nowhere","id":"2"}',
        '{"jsonrpc":"2.0","result":{},"id":"2","from":"NAME","to":"lab"}',
    ),
    "a typed reply": (
        '{"jsonrpc":"2.0","from":"lab","to":"NAME","id":"3","method":"NAME:go:lab","params":{"name":"x"}}',
        (
            '{"jsonrpc":"2.0","result":{"type__":"data","statusCode":201,"data":{"name":"x"}},'
            '"id":"3","from":"NAME","to":"lab"}'
        ),
    ),
    "params are a list": (
        '{"jsonrpc":"2.0","method":"NAME:echo:lab","params":[1],"id":"4"}',
        f'{{"jsonrpc":"2.0",{NO_OBJECT},"id":"4","from":"NAME","to":"lab"}}',
    ),
    "another version": (
        '{"jsonrpc":"1.0","method":"NAME:echo:lab","params":{},"id":"5"}',
        f'{{"jsonrpc":"2.0",{NO_JSONRPC},"id":null,"from":"NAME","to":"lab"}}',
    ),
} | {
    f"the method {name}": (
        f'{{"jsonrpc":"2.0","method":"NAME:{name}:lab","params":{{}},"id":"6"}}',
        f'{{"jsonrpc":"2.0",{NO_METHOD % name},"id":"6","from":"NAME","to":"lab"}}',
    )
    for name in ("nothing", "constructor", "__proto__", "toString", "hasOwnProperty")
}
UNANSWERED = [
    '{"jsonrpc":"2.0","from":"lab","to":"NAME","method":"NAME:echo:lab","params":{}}',  # a notification
    '{"jsonrpc":"2.0","to":"NAME","id":"1","method":"echo","params":{}}',  # nobody to answer to
    '{"jsonrpc":"2.0","method":"other:echo:lab","params":{},"id":"1"}',
    '{"jsonrpc":"2.0","result":1,"id":"never-asked","from":"lab","to":"NAME"}',
    "{", "[1", "null", "7", '"text"', "[null, 3]", "\u0000", "", '{"jsonrpc":"2.0","method":"NAME:echo:lab","params":{',
]  # fmt: skip


async def test_recorded_requests_get_the_same_bytes_from_both(both):
    """Every form of a request, and what is no request; of either language the same answer, byte for byte."""
    lab, names = both
    for name in names:
        for what, (request, reply) in RECORDED.items():
            got = await lab.ask(name, request.replace("NAME", name))
            assert got.decode() == reply.replace("NAME", name), f"{name}: {what}"
        for bad in UNANSWERED:
            await lab.publish(name, bad.replace("NAME", name))
        assert (await lab.call(name, "echo", n=1))["result"] == {"n": 1}
        assert lab.messages.empty(), name


async def test_both_send_the_same_bytes_and_understand_the_same_replies(both, peer):
    """A request and a notification to an original peer differ by name and id only; so does what its replies become."""
    lab, names = both
    original = await peer("original")
    replies = [
        '"result":{"u":"https:\\/\\/a.b\\/c","c":"\\u0416","n":NaN}',
        '"result":{"type__":"data","headers":[],"statusCode":200,"data":{"a":1}}',
        '"result":null', '"result":false', '"result":""', '"result":0',
        '"error":{"code":-32601,"message":"Method not found"}',
        '"error":{"code":0,"message":"x is not defined","data":"ReferenceError: at \\/app\\/x.js:1"}',
        '"error":{"code":0,"data":{}}',
    ]  # fmt: skip
    seen = []
    for name in names:
        said: list[str] = []
        for reply in replies:
            ask = {
                "jsonrpc": "2.0",
                "method": f"{name}:relay:lab",
                "params": {"to": "original", "method": "m"},
                "id": "7",
            }
            await lab.publish(name, ask)
            raw = (await original.next()).decode()
            number = json.loads(raw)["id"]
            said.append(raw.replace(json.dumps(number), "ID"))
            await original.publish(
                name, f'{{"id":{json.dumps(number)},"jsonrpc":"2.0","from":"original","to":"{name}",{reply}}}'
            )
            answer = json.loads(await lab.next())
            said.append(json.dumps(answer.get("error", answer.get("result"))).replace("NaN", "null"))
        for params in ({}, {"a": [1.5, "Ж", None, True]}):
            await lab.call(name, "tell", to="original", params=params)
            said.append((await original.next()).decode())
        seen.append([one.replace(name, "NAME") for one in said])
    assert seen[1] == seen[0]


async def test_they_call_each_other(both):
    """Each gets the other's answer, through instance channels and batches."""
    lab, names = both
    for caller, called in (names, names[::-1]):
        assert (await lab.call(caller, "relay", to=called, method="echo"))["result"] == {"n": 7}
        error = (await lab.call(caller, "relay", to=called, method="fails"))["error"]
        assert "no such place" in error["data"]["message"]


async def test_a_python_caller_batches_to_typescript(both, run_service):
    """Hundreds of calls and gatherings of one turn, as front makes them."""
    caller = await run_service(Service(), "caller")
    async with asyncio.timeout(15):
        while not (caller.presence.knows("twints") and caller.presence.knows("twinpy")):
            await asyncio.sleep(0.02)
    results = await asyncio.gather(*(caller.rpc.call("twints", "late", {"n": n}, 15) for n in range(700)))
    assert results == list(range(700))
    many = await caller.rpc.call_many("twints", "enrich", [{"ua": "abc"}, {}], 15)
    assert many[0] == {"length": 3, "text": "Боxфорд"}
    assert isinstance(many[1], RpcRemoteError)
    assert many[1].code == -32602
    expect = {"twinpy", "twints"}
    found = await asyncio.gather(
        *(caller.rpc.scatter("enrich", "enrich", {"ua": "x" * n}, expect=expect, timeout=15) for n in range(50))
    )
    for n, one in enumerate(found):
        assert one.missing == set()
        assert one.results["twints"] == one.results["twinpy"] == {"length": n, "text": "Боxфорд"}


async def test_replicas_of_both_kinds_share_the_work(run_service, typescript, peer):
    """Of a Python and a TypeScript replica under one name exactly one answers each request on the shared channel."""
    python = await run_service(python_twin(), "mixed")
    typescript("mixed")
    lab = await peer("lab")
    await listening(lab, "mixed", 2)
    async with asyncio.timeout(15):
        while len(python.presence.replicas()) < 2:
            await asyncio.sleep(0.02)
    (other,) = set(python.presence.replicas()) - {python.presence.instance}
    ask = {"jsonrpc": "2.0", "method": "mixed:replicas:lab", "params": {}, "id": "7"}
    async with asyncio.timeout(15):
        while len(json.loads(await lab.ask(instance_channel("mixed", other), ask))["result"]) < 2:
            await asyncio.sleep(0.02)
    for number in range(100):
        await lab.publish("mixed", {"jsonrpc": "2.0", "method": "mixed:echo:lab", "params": {}, "id": number})
    got = sorted([(await lab.next_json())["id"] for _ in range(100)])
    assert got == list(range(100))
    assert python.metrics._calls["echo", "ok"] not in (0, 100)
    assert lab.messages.empty()


async def test_a_listener_of_either_kind_goes_on_where_the_other_ended(run_service, typescript, peer):
    """One consumer group: what Python took is not given again, what it left is; dead letters are of one form."""
    lab = await peer("lab")
    heard: list[int] = []
    python = python_twin()

    @python.expose.listener(batch=10, max_attempts=1)
    async def sink(events):
        heard.extend(event["n"] for event in events)

    async def add(*numbers: int) -> None:
        for n in numbers:
            await lab.command("XADD", "events", "*", "event", json.dumps({"n": n}))

    await run_service(python, "relaysink", events_from="0")
    await add(1, 2, 3)
    async with asyncio.timeout(15):
        while len(heard) < 3:
            await asyncio.sleep(0.02)
    await python.stop()
    await add(4, 13, 5)
    typescript("relaysink", LISTEN="1")
    got = set()
    while got != {4, 5}:
        message = await lab.next_json()
        assert message["method"] == "lab:heard:relaysink"
        got.add(message["params"]["n"])
    await listening(lab, "relaysink")
    letters: list[dict[str, Any]] = []
    async with asyncio.timeout(15):
        while not letters:
            letters = (await lab.call("relaysink", "dead_letters"))["result"]["letters"]
    assert letters[0]["event"] == {"n": 13}
    assert set(letters[0]) == {"reason", "stream_id", "event_stream_id", "event"}
    assert heard == [1, 2, 3]


async def test_a_replay_of_either_kind_is_continued_by_the_other(run_service, typescript, peer):
    """What Python did not finish TypeScript goes on with, and a replay that TypeScript stopped is resumed by Python."""
    lab = await peer("lab")
    heard: list[int] = []

    def python(stalls: bool) -> Service:
        twin = python_twin()

        @twin.expose.listener(max_attempts=5)
        async def sink(n, **_event):
            heard.append(n)
            if stalls and heard.count(n) == 2 and n == 2:
                raise Retry(after=60)

        return twin

    async def replay(**params: Any) -> dict[str, Any]:
        found: dict[str, Any] = (await lab.call("again", "replay_events", **params))["result"]
        return found

    async def ended() -> dict[str, Any]:
        async with asyncio.timeout(30):
            while (found := await replay())["state"] == "running":
                await asyncio.sleep(0.05)
        return found

    async def add(n: int) -> None:
        await lab.command("XADD", "events", f"{n}000-0", "event", json.dumps({"key": "in.gen.track", "n": n}))

    await lab.command("DEL", "events")  # what another test left
    for n in (1, 2, 3):
        await add(n)
    first = python(stalls=True)
    await run_service(first, "again", events_from="0")
    async with asyncio.timeout(15):
        while len(heard) < 3:
            await asyncio.sleep(0.02)
    assert (await replay(start="beginning"))["state"] == "running"
    assert heard == [1, 2, 3, 1, 2]
    await first.stop()
    other = typescript("again", LISTEN="1")
    assert [(await lab.next_json())["params"]["n"] for _ in range(2)] == [2, 3]
    await listening(lab, "again")
    done = await ended()
    assert (done["state"], done["replayed"], done["position"]) == ("done", 3, "3000-0")
    await add(13)
    async with asyncio.timeout(15):
        while (await lab.call("again", "dead_letters"))["result"]["count"] == 0:
            await asyncio.sleep(0.05)
    await replay(start="13000-0")
    stopped = await ended()
    assert (stopped["state"], stopped["stopped_at"], stopped["replayed"]) == ("stopped", "13000-0", 0)
    assert stopped["reason"].startswith("failed after 1 attempts: Error: unlucky")
    assert other.stop() == 0
    await run_service(python(stalls=False), "again")
    await replay(resume=True)
    again = await ended()
    assert heard[5:] == [13]
    assert (again["replayed"], again["position"]) == (1, "13000-0")
    assert set(again) == set(done) == set(stopped) - {"reason", "stopped_at"}


class Visit(msgspec.Struct):
    """The data of an event, as typescript/twin.cjs has it."""

    pages: int


async def test_listeners_of_either_kind_are_in_one_description_of_the_events(run_service, typescript, peer):
    """AsyncAPI has the types of both alike."""
    lab = await peer("lab")
    python = python_twin()

    @python.expose.listener()
    async def sink(event: Event[Visit]) -> None:
        """Stores visits."""

    await run_service(python, "typedpy")
    typescript("typedts", TYPED="1")
    await listening(lab, "typedts")
    said = {}
    for name in ("typedpy", "typedts"):
        status = (await lab.call(name, "__status"))["result"]["data"]
        said[name] = service_schemas.read(name, status, status["methods"])
    document = service_schemas.asyncapi(said)
    schemas = document["components"]["schemas"]

    def resolved(schema: dict[str, Any]) -> dict[str, Any]:
        return resolved(schemas[schema["$ref"].rpartition("/")[2]]) if "$ref" in schema else schema

    seen = []
    for name in said:
        operation = document["operations"][f"{name}.sink"]
        event = resolved(document["components"]["messages"][f"{name}.sink"]["payload"])
        fields = event["properties"]
        data = resolved(fields.pop("data"))
        seen.append((operation["summary"], fields, set(event["required"]), data["properties"]["pages"]["type"]))
    assert seen[0] == seen[1]
    assert seen[0][3] == "integer"
