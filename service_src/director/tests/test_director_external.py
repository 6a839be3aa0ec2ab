"""Services that run in no container of ours: on the original's framework, on a developer's host, an original front."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis


class Original:
    """A service of the original platform, on the bus only: heartbeats, `__status`, a method `alias`."""

    def __init__(self, dsn: str, name: str, **status: Any) -> None:
        self._redis = redis.Redis.from_url(dsn)
        self._pubsub = self._redis.pubsub(ignore_subscribe_messages=True)
        self._pubsub.subscribe(name)
        self._ended = threading.Event()
        self.name = name
        self._status = {"name": name, "app_started": 1, "app_uptime": 25_322, "app_state": "running", **status}
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._ended.is_set():
            alive = {"jsonrpc": "2.0", "method": f"director:__iamalive:{self.name}", "params": {"name": self.name}}
            self._redis.publish("director", json.dumps(alive))
            until_next = time.monotonic() + 0.2
            while time.monotonic() < until_next:
                message = self._pubsub.get_message(timeout=0.05)
                if message is not None:
                    self._answer(json.loads(message["data"]))

    def _answer(self, request: dict[str, Any]) -> None:
        to, method, sender = request["method"].split(":")
        if "id" in request and method in {"__status", "alias"}:
            typed = {"type__": "data", "statusCode": 200, "data": self._status}
            result = typed if method == "__status" else {"alias": "b"}
            reply = {"jsonrpc": "2.0", "id": request["id"], "from": to, "to": sender, "result": result}
            self._redis.publish(sender, json.dumps(reply))

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()
        self._pubsub.close()
        self._redis.close()


@pytest.fixture
def original(redis_dsn: str) -> Iterator[Callable[..., Original]]:
    """Starts services of the original."""
    running: list[Original] = []

    def start(name: str, **status: Any) -> Original:
        running.append(Original(redis_dsn, name, **status))
        return running[-1]

    yield start
    for service in running:
        service.stop()


def row_of(director: Any, name: str) -> dict[str, Any]:
    """Return a service's row of `/list`; nothing where it has none."""
    return next((row for row in director.get("/list")[1] if row["name"] == name), {})


def wait_for(check: Callable[[], Any]) -> Any:
    """Return what `check` returns as soon as it is true."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if found := check():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come to be")


ROW = {"method": "alias", "role": "handler", "options": {"alias": "b"}}


def test_who_announces_itself_is_listed(director: Any, original: Callable[..., Original]) -> None:
    """In /list, /state, /show and /ask_state, marked; what it says of itself is its health."""
    original("debug_test", register=[ROW])
    row = wait_for(lambda: row_of(director, "debug_test"))
    assert (row["state"], row["health"], row["wanted"]) == ("external", "ok", "unknown")
    assert (row["app_state"], row["register"], row["uptime"]) == ("running", [ROW], 25.3)
    assert director.get("/state?name=debug_test")[1]["state"] == "external"
    assert director.get("/show/debug_test")[1]["status"]["app_uptime"] == 25_322
    status, told = director.get("/ask_state/debug_test")
    assert (status, told["name"]) == (200, "debug_test")
    assert director.get("/call/debug_test/alias") == (200, {"alias": "b"})
    assert 'band_service_state{service="debug_test",state="external"} 1.0' in director.request("GET", "/metrics")[1]
    assert set(row) == set(row_of(director, "svc000"))
    assert "debug_test" not in director.get("/health")[1]["services"]["troubled"]


def test_one_that_says_it_is_not_well_is_shown_so(director: Any, original: Callable[..., Original]) -> None:
    """With its own reason."""
    health = {"status": "degraded", "checks": {"feed": {"status": "degraded", "reason": "no feed since noon"}}}
    original("poorly", register=[], health=health)
    row = wait_for(lambda: row_of(director, "poorly"))
    assert (row["health"], "no feed since noon" in row["health_reason"]) == ("degraded", True)


@pytest.mark.parametrize("verb", ["stop", "start", "restart", "rm", "rollback", "logs"])
def test_it_is_not_the_directors_to_stop_or_to_start(
    director: Any, original: Callable[..., Original], verb: str
) -> None:
    """409 says that it runs outside, and where it must be stopped."""
    original("debug_test", register=[])
    wait_for(lambda: row_of(director, "debug_test"))
    status, body = director.get(f"/{verb}/debug_test")
    assert status == 409, body
    assert "does not run in a container of this director" in body["error"]["message"]
    assert "where it was started" in body["error"]["hint"]


def test_a_stopped_service_that_somebody_else_stands_in_for_is_not_called_stopped(
    director: Any, original: Callable[..., Original]
) -> None:
    """As an original front does for ours: it is listed as external, its registrations count, ours can be started."""
    director.image("front")
    assert director.get("/run/front")[0] == 200
    assert director.get("/stop/front")[0] == 200
    row = row_of(director, "front")
    assert (row["state"], row["health"]) == ("exited", "stopped")
    time.sleep(2.5)
    assert row_of(director, "front")["state"] == "exited", "what was stopped does not speak any more"
    original("front", methods=[])
    row = wait_for(lambda: (found := row_of(director, "front"))["state"] == "external" and found)
    assert (row["health"], row["wanted"]) == ("ok", "stopped")
    original("svc001", register=[ROW])
    assert row_of(director, "svc001")["state"] == "running"


def test_health_says_that_an_original_front_stores_nothing(director: Any, original: Callable[..., Original]) -> None:
    """Nothing that it publishes reaches a durable listener: /health is degraded and says so, until it is gone."""
    ours = original("front", methods=[], instance="0a1b2c3d")
    wait_for(lambda: director.get("/health")[1]["director"]["status"] == "ok")
    ours.stop()
    theirs = original("front", methods=[])
    found = wait_for(lambda: (told := director.get("/health")[1])["director"]["status"] == "degraded" and told)
    assert found["status"] == "degraded"
    assert "it stores none" in found["director"]["reason"] and "GET /run/front" in found["director"]["reason"]
    theirs.stop()
    original("front", methods=[], instance="0a1b2c3d")
    wait_for(lambda: director.get("/health")[1]["director"]["status"] == "ok")


def test_names_that_are_no_services_are_not_listed(director: Any, original: Callable[..., Original]) -> None:
    """The platform's own channels, and what could not be a name."""
    for name in ("director", "redis", "enrich", "Odd Name", "x" * 80):
        original(name, register=[])
    original("proper", register=[])
    wait_for(lambda: row_of(director, "proper"))
    time.sleep(1)
    names = {row["name"] for row in director.get("/list")[1]}
    assert not names & {"director", "redis", "enrich", "Odd Name", "x" * 80}
