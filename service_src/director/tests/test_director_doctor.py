"""`/doctor`: figures that tell what needs somebody; and `progress=1`, what is done while one waits."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from typing import Any

import pytest
import redis

from band import RedisReplyError
from director.engine.docker_json import observed
from director.supervise.figures import measure


def test_it_measures_the_host_and_redis(director: Any) -> None:
    """Namespace, disk, clock, Redis' policy and file; no port is open beyond loopback."""
    status, found = director.get("/doctor")
    assert status == 200
    assert found["namespace"] == "t-api"
    assert abs(found["time"] - time.time()) < 60
    assert 0 <= found["disk"]["used_percent"] <= 100
    assert found["redis"]["maxmemory_policy"] == "noeviction"
    assert not found["redis"]["append_only"]
    assert abs(found["redis"]["clock_ahead_seconds"]) < 60
    assert found["open_ports"] == []


def test_it_tells_how_far_each_listener_is(director: Any, redis_dsn: str) -> None:
    """Events that wait, those that are held, how old the oldest is, and whether anybody reads."""
    name = director.get("/list")[1][0]["name"]
    with contextlib.closing(redis.Redis.from_url(redis_dsn)) as server:
        server.delete("events")  # entries of other tests may be newer, and ids must grow
        began = int(time.time() - 100) * 1000
        for number in range(3):
            server.xadd("events", {"event": "{}"}, id=f"{began + number}-0")
        for group in (name, f"{name}.one", "gone", "done"):
            server.xgroup_create("events", group, "0")
        server.xreadgroup("gone", "one", {"events": ">"}, count=1)
        server.xreadgroup("done", "one", {"events": ">"})
        server.xack("events", "done", *[f"{began + number}-0" for number in range(3)])
        groups = {group["name"]: group for group in director.get("/doctor")[1]["groups"]}
        server.delete("events")
    assert (groups[name]["service"], groups[name]["waiting"], groups[name]["pending"]) == (True, 3, 0)
    assert groups[f"{name}.one"]["service"], "one of several groups of a service"
    assert (groups["gone"]["service"], groups["gone"]["waiting"], groups["gone"]["pending"]) == (False, 2, 1)
    assert 90 < groups["gone"]["oldest_seconds"] < 600
    assert (groups["done"]["waiting"], groups["done"]["oldest_seconds"]) == (0, 0)


class ScriptedStore:
    """Gives the reply of each command, or raises it."""

    def __init__(self, **replies: Any) -> None:
        self.replies = replies

    async def command(self, *args: Any) -> Any:
        reply = self.replies[args[0]]
        if isinstance(reply, Exception):
            raise reply
        return reply


MEMORY = b"maxmemory_policy:noeviction\r\nmaxmemory:0\r\nused_memory:1\r\naof_enabled:1\r\n"
GROUP = [b"name", b"g", b"pending", b"1", b"last-delivered-id", b"5-0", b"lag", b"0"]
REPLIES = {"INFO": MEMORY, "TIME": [b"0", b"0"], "XINFO": [GROUP], "XRANGE": []}


async def test_events_acknowledged_while_it_looks_have_no_age() -> None:
    """XINFO says that one is pending, and XPENDING a moment later that none is."""
    found = await measure(ScriptedStore(**REPLIES, XPENDING=[0, None, None, None]), [], [], "t")
    assert found.groups is not None
    assert found.groups[0].oldest_seconds == 0


@pytest.mark.parametrize(("refused", "left"), [("INFO", "groups"), ("XRANGE", "redis")])
async def test_what_redis_refuses_takes_no_other_figures_with_it(refused: str, left: str) -> None:
    """Figures that could not be read are null, not empty: empty would mean that all is well."""
    replies = {**REPLIES, "XPENDING": [1, b"5-0", b"5-0", []], refused: RedisReplyError("NOPERM no permissions")}
    found = await measure(ScriptedStore(**replies), [], [], "t")
    assert [part for part in ("redis", "groups") if getattr(found, part)] == [left]
    assert getattr(found, "redis" if left == "groups" else "groups") is None


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("127.0.0.1", {}), ("::1", {}), ("", {80: "0.0.0.0"}), ("10.1.2.3", {80: "10.1.2.3"}),
        ("odd%", {80: "odd%"}),
    ],
)  # fmt: skip
def test_a_port_beyond_loopback_is_open(address: str, found: dict[int, str]) -> None:
    """Docker publishes on all addresses where none is given."""
    ports = {"8080/tcp": [{"HostIp": address, "HostPort": "80"}]}
    details: dict[str, Any] = {
        "Id": "1" * 64, "Name": "/x", "State": {"Status": "running"}, "Config": {},
        "HostConfig": {"PortBindings": ports},
    }  # fmt: skip
    assert observed(details).open_ports == found


def test_a_run_tells_its_steps_and_then_its_result(director: Any) -> None:
    """With progress=1 the response is text whose last line is what `/run` answers."""
    director.image("told")
    status, text = director.request("GET", "/run/told?progress=1")
    lines = text.splitlines()
    assert status == 200
    assert set(json.loads(lines[-1])) == {"name", "short_id", "state"}
    assert any("building" in line for line in lines[:-1])
    again = director.request("GET", "/run/told?progress=1")[1]
    assert "building" not in again  # what was told to others before is not told again


def test_an_error_is_the_last_line_too(director: Any) -> None:
    """One that says what /run says without progress, and the status that it then has."""
    status, text = director.request("GET", "/run/nowhere?progress=1")
    assert status == 200
    without, body = director.get("/run/nowhere")
    assert without == 404
    assert json.loads(text.splitlines()[-1]) == {"error": {**body["error"], "status": 404}}


def test_a_run_goes_on_when_its_reader_left(director: Any) -> None:
    """Ctrl-C on a curl does not leave half of a deployment."""
    director.image("left", "env: {A: b}")
    connection = http.client.HTTPConnection("127.0.0.1", director.port, timeout=20)
    connection.request("GET", "/run/left?progress=1")
    connection.close()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        status, row = director.get("/state?name=left")
        if status == 200 and row["state"] == "running":
            return
        time.sleep(0.1)
    raise AssertionError("it never ran")
