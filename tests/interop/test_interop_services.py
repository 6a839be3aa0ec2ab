"""Services written as for the original platform, in folders of the original's form, run here unchanged."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import pytest
from redis_with_users import SERVICE

from band.compat.requirements import adapt, explain

SERVICES = Path(__file__).parent / "services"
BAND_SRC = Path(__file__).parents[2] / "service_src/band/src"
NAMES = sorted(folder.name for folder in SERVICES.iterdir() if folder.is_dir())


@pytest.fixture
async def lab(peer, services):
    return await peer("lab")


async def poll(read, wanted, seconds=15):
    """Ask until the answer is as wanted."""
    deadline = time.monotonic() + seconds
    while not wanted(value := await read()):
        assert time.monotonic() < deadline, value
        await asyncio.sleep(0.1)
    return value


@pytest.mark.parametrize("name", NAMES)
def test_folder_has_the_originals_form(name):
    """Dockerfile in one of the original's two forms, requirements that install today, config through Jinja."""
    folder = SERVICES / name
    dockerfile = (folder / "Dockerfile").read_text()
    assert dockerfile.startswith(("FROM {band-base-py-image}\n", "ARG BASE_CONTAINER=rockstat/band-base-py:"))
    assert f'"{name}"]' in dockerfile
    assert "{{PORT" in (folder / "config.yaml").read_text()
    adapted = adapt((folder / "requirements.txt").read_text())
    assert adapted.refused == [], explain(adapted)
    left = [line for line in adapted.text.splitlines() if line and not line.startswith("#")]
    assert all("==" not in line for line in left), left


async def test_functions_of_every_shape(lab, services):
    """Plain functions returning an awaitable, async generators, renamed ones with a path, any JSON as data."""
    assert (await lab.call("talker", "awaitable", value=5))["result"] == {"later": 5}
    assert (await lab.call("talker", "renamed", number=1, b=2))["result"] == {"number": 1, "more": {"b": 2}}
    for value in ("text", [1, 2], None, 0, {"a": 1}):
        typed = (await lab.call("talker", "anything", value=value))["result"]
        assert typed == {"type__": "data", "statusCode": 200, "data": {} if value is None else value}
    error = (await lab.call("talker", "broken"))["error"]
    assert (error["code"], error["message"]) == (-32000, "Server error")
    assert "no such place" in error["data"]["message"]
    talker = services["talker"]
    assert await asyncio.to_thread(talker.get, "/lines?count=2") == b"line 0\nline 1\n"
    assert json.loads(await asyncio.to_thread(talker.get, "/by/42?x=1")) == {"number": "42", "more": {"x": "1"}}


async def test_enricher_answers_front_on_the_fan_out_channel(peer, services):
    """front's request with more properties than the function names, and one without the property it needs."""
    front = await peer("front")
    ask = '{{"jsonrpc":"2.0","from":"front","to":"enrich","id":"ci4","method":"enrich:enrich:front","params":{0}}}'
    await front.publish("enrich", ask.format('{"key":"in.gen.track.page","ip":"1.2.3.4","ua":"Googlebot/2.1"}'))
    assert json.loads(await front.next()) == {
        "jsonrpc": "2.0", "result": {"is_bot": 1, "length": 13, "url": "https://rock.st/docs/"}, "id": "ci4",
        "from": "uadetect", "to": "front",
    }  # fmt: skip
    await front.publish("enrich", ask.format('{"key":"in.gen.track.page","ip":"1.2.3.4"}'))
    assert (await front.next_json())["error"]["code"] == -32602


async def test_handler_with_alias_wildcard_timeout_and_typed_answers(lab, services):
    """What front gets of a handler service: its rows, and each type of response."""
    status = (await lab.call("wildlinks", "__status"))["result"]["data"]
    assert status["register"] == [
        {"method": "*", "role": "handler", "options": {"alias": "go"}},
        {"method": "slow", "role": "handler", "options": {"alias": "go", "timeout": 1500}},
        {"method": "missing", "role": "handler", "options": {"alias": "go"}},
        {"method": "pixel", "role": "handler", "options": {"alias": "go"}},
        {"method": "created", "role": "handler", "options": {"alias": "go"}},
    ]
    event = {"key": "in.gen.go.x", "service": "go", "name": "x", "uid": "6410748586712844288", "td": {}, "data": {}}
    assert (await lab.call("wildlinks", "*", **event))["result"] == {"wild": "x"}
    assert (await lab.call("wildlinks", "slow", **event))["result"] == {"slow": True}
    assert (await lab.call("wildlinks", "*", **{**event, "data": {"to": "https://a.b/?c=1"}}))["result"] == {
        "type__": "redirect", "location": "https://a.b/?c=1", "statusCode": 302, "data": {},
    }  # fmt: skip
    assert (await lab.call("wildlinks", "missing"))["result"] == {
        "type__": "error", "statusCode": 404, "errorMessage": "not here", "data": {},
    }  # fmt: skip
    assert (await lab.call("wildlinks", "pixel"))["result"] == {"type__": "pixel", "data": {}}
    assert (await lab.call("wildlinks", "created"))["result"] == {"type__": "data", "statusCode": 201, "data": {"a": 1}}


async def test_redis_of_its_own_in_aioredis_forms(lab, peer, services):
    """Pool, borrowed connections, raw replies, a subscription, and closing at the end."""
    assert (await lab.call("cookiejar", "save", uid="1", partner="p", value={"ж": 1}))["result"] == 1
    assert (await lab.call("cookiejar", "save", uid="1", partner="q", value=[2]))["result"] == 1
    assert (await lab.call("cookiejar", "load", uid="1"))["result"] == {"p": {"ж": 1}, "q": [2]}
    await lab.publish("jar-news", "fresh")

    async def heard():
        return (await lab.call("cookiejar", "heard"))["result"]

    assert await poll(heard, lambda found: found["heard"]) == {"heard": ["fresh"], "is_pool": True}


async def test_background_work(lab, services):
    """crontab ticks on the loop, blocking leaves it free, jobs are closed one by one."""
    begun = time.monotonic()
    thinking = asyncio.create_task(lab.call("ticker", "think"))
    assert (await thinking)["result"] == {"in_main": False, "same_loop": True}
    assert time.monotonic() - begun >= 0.2
    assert (await lab.call("ticker", "close_one"))["result"] == ["second"]

    async def ticks():
        return (await lab.call("ticker", "ticks"))["result"]

    await poll(ticks, lambda count: count >= 2)


async def test_calls_in_every_old_form(lab, peer, services):
    """request, rpc.anything, notify, typed answers, the error to catch, None on a timeout."""
    original = await peer("original")

    async def answer(**what):
        request = await original.next_json()
        reply = {"jsonrpc": "2.0", **what, "id": request["id"], "from": "original", "to": "asker"}
        await original.publish("asker", reply)
        return request

    async def during(coroutine, **what):
        task = asyncio.create_task(coroutine)
        request = await answer(**what)
        return request, (await task)["result"]

    request, result = await during(
        lab.call("asker", "relay", to="original", method="m", value=[1]),
        result={"type__": "data", "statusCode": 200, "data": {"x": 1}},
    )
    assert (request["method"], request["params"], result) == ("original:m:asker", {"value": [1]}, {"x": 1})
    request, result = await during(lab.call("asker", "by_name", method="meth"), result="text")
    assert (request["method"], request["params"], result) == ("original:meth:asker", {"n": 1}, "text")
    _, result = await during(
        lab.call("asker", "careful", to="original", method="no"), error={"code": -32601, "message": "Method not found"}
    )
    assert result == {"code": -32601, "message": "Method not found"}
    error = {"type__": "error", "statusCode": 404, "errorMessage": "nobody", "data": {}}
    _, result = await during(lab.call("asker", "typed", to="original"), result=error)
    assert result == {**error, "statusCode": 409}
    pixel = {"type__": "pixel", "data": {"a": 1}}
    _, result = await during(lab.call("asker", "typed", to="original"), result=pixel)
    assert result == pixel
    assert (await lab.call("asker", "tell", to="original"))["result"]["data"] == "told"
    told = await original.next_json()
    assert (told["method"], told["params"], "id" in told) == ("original:told:asker", {"a": 1}, False)
    begun = time.monotonic()
    assert (await lab.call("asker", "impatient", to="original"))["result"] == {"answer": None}
    assert time.monotonic() - begun >= 0.9


async def test_listener_on_the_channel_and_settings_of_every_source(lab, services):
    """Broadcast events reach the function `broadcast`; config.yaml, custom.yaml, .env and environment are read."""
    event = {
        "key": "in.gen.track.page", "channel": "http", "service": "track", "name": "page", "projectId": 5,
        "uid": "64107", "td": {}, "data": {"sess": {"num": 3}}, "id": "7530741854237622272", "time": 1795468772471,
    }  # fmt: skip
    message = {
        "jsonrpc": "2.0",
        "from": "front",
        "to": "broadcast",
        "method": "broadcast:broadcast:front",
        "params": event,
    }
    await lab.publish("broadcast", message)

    async def seen():
        return (await lab.call("eventsink", "seen"))["result"]

    assert await poll(seen, len) == [["in.gen.track.page", "64107", 3, None, 5]]
    assert (await lab.call("eventsink", "config"))["result"] == {
        "token": "canary-token-1", "url": "https://example.com/custom", "missing": None,
        "from_env_file": "from the file", "env": "development", "name": "eventsink",
    }  # fmt: skip
    assert "canary-token-1" not in services["eventsink"].output


async def test_director_of_the_originals_kind(peer, services):
    """Heartbeats make it ask `__status`; what it learns goes to front with a hash; its own routes are served."""
    overseer = services["overseer"]

    def show(name):
        return json.loads(overseer.get(f"/show/{name}"))

    found = await poll(lambda: asyncio.to_thread(show, "wildlinks"), lambda shown: shown["service"])
    assert found["service"]["app_state"] == "running"
    assert [row["method"] for row in found["service"]["register"]][:2] == ["*", "slow"]
    assert found["unknown"] is None
    front = await peer("front")
    pushing = asyncio.create_task(asyncio.to_thread(overseer.get, "/push?name=wildlinks"))
    while (request := await front.next_json())["method"] != "front:__status:director":
        pass
    assert request["params"]["state_hash"] == -8218291109963278300
    assert request["params"]["register"][0] == {
        "method": "*", "role": "handler", "options": {"alias": "go"}, "service": "wildlinks",
    }  # fmt: skip
    await front.publish(
        "director", {"jsonrpc": "2.0", "id": request["id"], "from": "front", "to": "director", "result": None}
    )
    assert json.loads(await pushing) == {"answer": None, "is_response": False, "me": True}
    assert json.loads(await asyncio.to_thread(overseer.get, "/hello")) == {"band": "band", "app": True}
    async with aiohttp.ClientSession() as session, session.ws_connect(f"http://127.0.0.1:{overseer.port}/ws") as ws:
        await ws.send_str("live")
        assert await ws.receive_str() == "LIVE"


async def test_an_operator_calls_from_within_a_services_container(services, redis):
    """`band call` signs in as the service does in whose container it is typed."""
    env = {**os.environ, "PYTHONPATH": str(BAND_SRC), "REDIS_DSN": redis.dsn("asker.0a1b2c3d", SERVICE)}
    command = [sys.executable, "-m", "band", "call", "talker", "awaitable", "value:=5"]
    done = await asyncio.to_thread(subprocess.run, command, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, json.loads(done.stdout)) == (0, {"later": 5}), done.stderr
    assert redis.refusals() == []


def test_they_all_stop_when_told(services):
    """Last: SIGTERM ends each with 0, clean-ups run, and no log holds a traceback that the service did not ask for."""
    for service in services.values():
        assert service.stop() == 0, service.output
    assert "jar closed" in services["cookiejar"].output
    assert "ticker stops" in services["ticker"].output
    for name in ("cookiejar", "eventsink", "overseer", "ticker", "uadetect", "wildlinks"):
        assert "Traceback" not in services[name].output, services[name].output
