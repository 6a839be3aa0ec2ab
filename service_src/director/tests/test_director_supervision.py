"""The watch, the crash window and the webhook through the whole director, over an engine in memory."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import redis

SECRET = "canary-service-secret"


def until(check: Callable[[], Any], seconds: float = 15.0) -> Any:
    """Return what `check` returns as soon as it is true; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := check():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come to be")


class Heard(BaseHTTPRequestHandler):
    """Receives the webhook."""

    messages: list[dict[str, Any]]

    def do_POST(self) -> None:
        self.messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def hook() -> Iterator[Any]:
    """A receiver of the webhook: (address, messages)."""
    handler = type("Hook", (Heard,), {"messages": []})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/canary-webhook-token", handler.messages
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture(scope="module")
def watched(make_director: Any, hook: Any) -> Any:
    """A director with a watch of four seconds, three crashes within a minute, and a receiver of its webhook."""
    return make_director("t-watch", BAND_WATCH="4", BAND_CRASHES="3", BAND_CRASH_WINDOW="60", BAND_WEBHOOK_URL=hook[0])


def row(director: Any, name: str) -> Any:
    return director.get(f"/state?name={name}")[1]


def told(hook: Any, name: str) -> list[str]:
    return [message["event"] for message in hook[1] if message["service"] == name]


def states(director: Any, name: str) -> list[str]:
    return [item["state"] for item in director.get(f"/releases/{name}")[1]["releases"]]


def run(director: Any, name: str, title: str, **body: Any) -> Any:
    """Run the next release of a service."""
    director.image(name, "{}", f"FROM scratch\nLABEL release={title}\n")
    status, answer = director.post(f"/run/{name}", body)
    assert status == 200, answer
    return answer


def test_a_release_that_ends_in_its_watch_is_left_and_it_is_told(watched: Any, hook: Any) -> None:
    """In the rows, in the releases and by the webhook; dry_run does not want it back, a run brings it back."""
    run(watched, "one", "good")
    good = row(watched, "one")["release"]
    run(watched, "one", "bad")
    bad = row(watched, "one")
    assert bad["release"] != good
    assert bad["watch_until"] > time.time()
    watched.get("/call/one/die?code=9")
    back = until(lambda: row(watched, "one")["rolled_back"])
    assert (back["from"], back["to"]) == (bad["release"], good)
    assert "exited with code 9" in back["reason"]
    assert states(watched, "one") == ["rolled_back", "current"]
    until(lambda: row(watched, "one")["health"] == "ok")
    assert watched.get("/run/one?dry_run=1")[1]["would"] == "nothing"
    until(lambda: told(hook, "one") == ["service_rolled_back"])
    assert hook[1][-1].items() >= {"from": bad["release"], "to": good, "namespace": "t-watch"}.items()
    assert hook[1][-1]["text"].startswith(f"t-watch: one was rolled back from {bad['release']} to {good}: ")
    assert watched.get("/run/one")[0] == 200
    assert row(watched, "one")["rolled_back"] is None
    assert states(watched, "one") == ["current", "good"]


def test_a_release_that_stands_its_watch_is_proven(watched: Any) -> None:
    """Afterwards a crash is put right by a start of the same release."""
    run(watched, "two", "good")
    run(watched, "two", "better")
    better = row(watched, "two")["release"]
    until(lambda: row(watched, "two")["watch_until"] is None)
    watched.get("/call/two/die")
    until(lambda: row(watched, "two")["crashes"] == 1)
    until(lambda: row(watched, "two")["state"] == "running")
    assert row(watched, "two")["release"] == better


def test_the_first_release_has_nothing_to_go_back_to(watched: Any, hook: Any) -> None:
    """It goes the way of the crash window: three crashes, then it lies still until somebody starts it."""
    run(watched, "three", "only", env={"API_TOKEN": SECRET})
    for number in range(1, 4):
        until(lambda: watched.get("/call/three/echo")[0] == 200)
        watched.get("/call/three/die")
        until(lambda number=number: row(watched, "three")["crashes"] == number)
    found = until(lambda: row(watched, "three")["crash"])
    assert (found["exit_code"], found["oom_killed"]) == (3, False)
    assert "API_TOKEN=***" in found["last_lines"]
    assert (row(watched, "three")["health"], row(watched, "three")["state"]) == ("crashed", "exited")
    time.sleep(1.0)
    assert row(watched, "three")["state"] == "exited"
    assert watched.get("/show/three")[1]["crash"] == found
    assert watched.get("/start/three")[0] == 200
    assert (row(watched, "three")["crash"], row(watched, "three")["crashes"]) == (None, 0)
    until(lambda: told(hook, "three") == ["service_crashed", "service_recovered"])
    assert SECRET not in json.dumps(hook[1])
    assert "canary" not in watched.log.read_text()


def test_a_clean_end_is_put_right_and_is_no_crash(watched: Any) -> None:
    """A service that ends itself with exit code 0 is started again, however often, with backoff."""
    run(watched, "four", "only")
    for _ in range(3):
        until(lambda: watched.get("/call/four/echo")[0] == 200)
        watched.get("/call/four/die?code=0")
        until(lambda: row(watched, "four")["state"] == "running", 20)
    assert (row(watched, "four")["crashes"], row(watched, "four")["crash"]) == (0, None)


def test_a_crashed_service_is_there_again_after_a_run(watched: Any) -> None:
    """A failed run leaves it crashed; one that succeeds begins anew."""
    run(watched, "five", "only")
    for number in range(1, 4):
        until(lambda: watched.get("/call/five/echo")[0] == 200)
        watched.get("/call/five/die")
        until(lambda number=number: row(watched, "five")["crashes"] == number)
    until(lambda: row(watched, "five")["health"] == "crashed")
    assert watched.post("/run/five", {"env": {"CRASH": "1"}})[0] == 502
    assert row(watched, "five")["health"] == "crashed"
    assert states(watched, "five") == ["failed", "current"]
    run(watched, "five", "next")
    assert (row(watched, "five")["health"], row(watched, "five")["crash"]) == ("ok", None)


def test_dead_letters_show_and_are_told(watched: Any, hook: Any, redis_dsn: str) -> None:
    """They are counted where they lie, whether the service runs or not: in its row, in the metrics, by the webhook."""
    run(watched, "six", "only")
    with redis.Redis.from_url(redis_dsn) as store:
        for number in range(3):
            store.xadd("dead:six", {"event": "{}", "reason": f"no {number}"})
    until(lambda: row(watched, "six")["dead_letters"] == 3)
    until(lambda: "dead_letters" in told(hook, "six"))
    message = next(message for message in hook[1] if message["event"] == "dead_letters")
    assert (message["count"], message["service"]) == (3, "six")
    assert message["text"] == "t-watch: dead letters of six: 3, 3 of them new; GET /dead_letters/six shows them"
    assert 'band_service_dead_letters{service="six"} 3.0' in watched.request("GET", "/metrics")[1]
    assert "3 dead letters" in watched.request("GET", "/")[1]
