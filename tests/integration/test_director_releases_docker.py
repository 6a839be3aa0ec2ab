"""Releases against a real engine: rollback, the watch after a switch, the crash window, webhook, prune."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from director_host import Director, containers, docker, until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]

NAMESPACE = "t-rel"
PORTS = "8650-8699"
SECRET = "canary-service-secret"
WATCH = 40
LATER = """
from band import worker
import asyncio, time
@worker()
async def later():
    await asyncio.sleep(2)
    {what}
"""
SLOW_TO_STOP = """
from band import cleanup
import asyncio
@cleanup()
async def linger():
    await asyncio.sleep(4)
    os._exit(7)
"""
MORTAL = """
@expose()
async def die(code=3, **more):
    print("the last words, with", os.environ.get("API_TOKEN"), flush=True)
    os._exit(int(code))
"""


class Heard:
    """A receiver of the webhook, on the host's loopback; it refuses the first message it gets."""

    def __init__(self) -> None:
        heard = self.messages = []  # type: list[dict[str, Any]]
        refused: list[bytes] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(200 if refused else 503)
                self.end_headers()
                (heard.append(json.loads(body)) if refused else refused.append(body))

            def log_message(self, *_: Any) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook/canary-webhook-token"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def events(self, service: str) -> list[str]:
        return [message["event"] for message in self.messages if message["service"] == service]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def heard() -> Iterator[Heard]:
    found = Heard()
    yield found
    found.close()


@pytest.fixture(scope="module")
def settings(heard: Heard) -> dict[str, str]:
    more = {"BAND_CRASHES": "3", "BAND_CRASH_WINDOW": "60", "BAND_WEBHOOK_URL": heard.url}
    return {"BAND_WATCH": str(WATCH), **more}


def states(director: Director, name: str) -> list[str]:
    found = director.ok(f"/releases/{name}")["releases"]
    return [item["state"] for item in found]


def greeted(director: Director, name: str = "hello") -> Any:
    """Return what a service answers; None when it does not: where it is busy, a call may time out."""
    status, answer = director.ask(f"/call/{name}/greet?timeout__=5")
    return answer if status == 200 else None


def release(director: Director, name: str = "hello") -> Any:
    return until(lambda: greeted(director, name))["release"]


def test_going_back_and_what_dry_run_says_then(director: Director) -> None:
    """`/rollback` brings the image and env of before; dry_run holds the folder's contents back; `/run` deploys them."""
    director.write("hello", release="a")
    director.ok("/run/hello", {"env": {"GREETING": "one", "API_TOKEN": SECRET}})
    assert director.ask("/rollback/hello")[0] == 409
    director.write("hello", release="b")
    director.ok("/run/hello", {"env": {"GREETING": "two", "API_TOKEN": SECRET}})
    assert states(director, "hello") == ["current", "good"]
    back = director.ok("/rollback/hello")
    # The one before drains while the new one serves already: for a moment both answer.
    assert until(lambda: greeted(director) == {"hello": "world", "greeting": "one", "release": "a"})
    assert states(director, "hello") == ["rolled_back", "current"]
    assert back["release"] == director.ok("/releases/hello")["releases"][1]["id"] == director.row("hello")["release"]
    told = director.ok("/run/hello?dry_run=1")
    assert (told["would"], told["held"]["reason"]) == ("nothing", "rolled back by request")
    assert director.ok("/rebuild_all") == [{"name": "hello", "result": "held"}]
    assert director.ask("/rollback/hello")[0] == 409
    assert director.ask("/rollback/hello?to=nosuchthing")[0] == 404
    assert director.ask("/rollback/nobody")[0] == 404
    director.ok("/run/hello")
    assert until(lambda: release(director) == "b")
    assert states(director, "hello") == ["current", "good"]
    assert SECRET not in json.dumps(director.ok("/releases/hello")) + director.log.read_text()


def test_a_failed_release_is_remembered_with_its_exit_code(director: Director) -> None:
    """What never served stands among the releases as failed; rolling back to it is a conflict."""
    director.write("hello", release="c")
    director.ok("/run/hello")
    director.write("hello", release="d", extra="print('no luck'); sys.exit(7)")
    status, answer = director.ask("/run/hello")
    assert (status, answer["error"]["exit_code"], len(answer["error"]["log"]) <= 20) == (502, 7, True)
    bad = director.ok("/releases/hello")["releases"][0]
    assert (bad["state"], bad["exit_code"], bad["images_present"]) == ("failed", 7, True)
    assert director.ask(f"/rollback/hello?to={bad['id']}")[0] == 409
    assert until(lambda: release(director) == "c")


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("os._exit(5)", "exited with code 5"),
        ("hog = [bytearray(2**20) for _ in range(2000)]", "OOM-killed"),
        ("time.sleep(1000)", "status checks in a row"),
    ],
)
def test_a_release_that_fails_in_its_watch_is_left(director: Director, heard: Heard, what: str, why: str) -> None:
    """One that crashes, outgrows its memory or falls silent after the switch makes room for the one before, told."""
    director.write("hello", release=f"good-{len(what)}")
    director.ok("/run/hello")
    director.write("hello", release="bad", extra=LATER.format(what=what))
    bad = director.ok("/run/hello")
    assert director.row("hello")["watch_until"] > time.time()
    until(lambda: director.row("hello")["rolled_back"], 90)
    row = director.row("hello")
    assert why in row["rolled_back"]["reason"]
    assert row["rolled_back"]["to"] == row["release"] != row["rolled_back"]["from"]
    # The engine may have started the bad one once more; it answers its share until it is stopped.
    until(lambda: release(director) == f"good-{len(what)}", 30)
    assert row["short_id"] != bad["short_id"]
    assert states(director, "hello") == ["rolled_back", "current"]
    assert director.ok("/run/hello?dry_run=1")["would"] == "nothing"
    until(lambda: "service_rolled_back" in heard.events("hello"))
    heard.messages.clear()


def test_a_release_that_stands_its_watch_is_proven_and_stays(director: Director) -> None:
    """After the watch a crash is put right by a start, not by going back."""
    director.write("hello", release="e", extra=MORTAL)
    director.ok("/run/hello")
    director.write("hello", release="f", extra=MORTAL)
    director.ok("/run/hello")
    until(lambda: director.row("hello")["watch_until"] is None, WATCH + 10)
    director.ask("/call/hello/die")
    until(lambda: director.row("hello")["crashes"] == 1)
    until(lambda: release(director) == "f")


def test_too_many_crashes_end_in_a_verdict_that_survives_the_director(director: Director, heard: Heard) -> None:
    """After three crashes it is not started any more, told with reason and last lines; a start makes it well again."""
    director.write("hello", extra=MORTAL)
    director.ok("/run/hello", {"env": {"API_TOKEN": SECRET}})
    for number in range(1, 4):
        until(lambda: director.ask("/call/hello/greet")[0] == 200)
        director.ask("/call/hello/die?timeout__=0.2&code=3")
        until(lambda number=number: director.row("hello")["crashes"] == number)
    until(lambda: director.row("hello")["health"] == "crashed")
    crash = director.row("hello")["crash"]
    assert (crash["exit_code"], crash["oom_killed"]) == (3, False)
    assert "crashed 3 times within 60 s" in crash["reason"]
    assert "the last words, with ***" in crash["last_lines"]
    until(lambda: heard.events("hello") == ["service_crashed"])
    director.end(signal.SIGKILL)
    director.start()
    time.sleep(3)
    assert director.row("hello")["health"] == "crashed"
    assert director.row("hello")["state"] == "exited"
    assert "hello" in director.ok("/health")["services"]["troubled"]
    director.ok("/start/hello")
    assert director.row("hello")["crash"] is None
    until(lambda: heard.events("hello") == ["service_crashed", "service_recovered"])
    everything = director.log.read_text() + json.dumps(heard.messages)
    assert "canary" not in everything
    heard.messages.clear()


def test_what_others_do_with_docker_is_no_crash(director: Director) -> None:
    """`docker kill` and `docker restart`, however often, are put right and never end in a verdict."""
    director.write("hello", release="k")
    director.ok("/run/hello")
    for verb in ("kill", "restart", "kill", "restart"):
        docker(verb, *(["-t", "1"] if verb == "restart" else []), f"{NAMESPACE}-hello")
        until(lambda: director.ask("/call/hello/greet")[0] == 200, 30)
    assert director.row("hello")["crashes"] == 0
    assert director.row("hello")["crash"] is None


def test_a_director_killed_between_start_and_switch_tidies_up(director: Director) -> None:
    """Killed while the new release comes up, the next director goes on with the old one and forgets the rest."""
    director.write("hello", release="old")
    director.ok("/run/hello")
    director.write("hello", release="new", extra="import time; time.sleep(3)")
    with ThreadPoolExecutor() as pool:
        asking = pool.submit(director.ask, "/run/hello")
        until(lambda: any(".next" in item for item in containers(NAMESPACE, "hello")))
        director.end(signal.SIGKILL)
        assert asking.result()[0] == 0
    director.start()
    until(lambda: containers(NAMESPACE, "hello") == [f"{NAMESPACE}-hello running"])
    assert release(director) == "old"
    assert states(director, "hello")[0] == "current"


@pytest.mark.parametrize("what", ["director", "events"])
def test_the_end_of_the_release_before_rolls_nothing_back(director: Director, what: str) -> None:
    """It takes its time to stop, and meanwhile the director is killed, or loses the engine for a moment."""
    assert director.engine is not None
    director.write("hello", release="old", extra=SLOW_TO_STOP, band_yml="stop_timeout: 20\n")
    director.ok("/run/hello")
    director.write("hello", release="new", band_yml="stop_timeout: 20\n")
    director.ok("/run/hello")
    assert any(".old-" in item for item in containers(NAMESPACE, "hello"))
    if what == "director":
        director.end(signal.SIGKILL)
        director.start()
    else:
        director.engine.cut()
        director.engine.open()
    until(lambda: containers(NAMESPACE, "hello") == [f"{NAMESPACE}-hello running"], 40)
    time.sleep(1.0)
    assert release(director) == "new"
    assert (states(director, "hello"), director.row("hello")["crashes"]) == (["current", "good"], 0)


def test_an_engine_that_goes_away_during_a_deploy(director: Director) -> None:
    """The deploy fails with 502, the engine's return finds the old one serving, and nothing is left over."""
    assert director.engine is not None
    director.write("hello", release="old")
    director.ok("/run/hello")
    director.write("hello", release="new", extra="import time; time.sleep(3)")
    with ThreadPoolExecutor() as pool:
        asking = pool.submit(director.ask, "/run/hello")
        until(lambda: any(".next" in item for item in containers(NAMESPACE, "hello")))
        director.engine.cut()
        try:
            status, answer = asking.result()
        finally:
            director.engine.open()
    assert (status, answer["error"]["code"]) == (502, "docker_unavailable")
    until(lambda: containers(NAMESPACE, "hello") == [f"{NAMESPACE}-hello running"], 30)
    assert release(director) == "old"
    assert states(director, "hello") == ["current"]
    assert director.ok("/run/hello")["state"] == "running"


def test_prune_takes_what_no_release_needs(director: Director) -> None:
    """Dry run first; then the images of removed services go, those of releases and in use stay, volumes stay."""
    director.write("keeper", release="p1")
    director.ok("/run/keeper")
    director.write("keeper", release="p2")
    director.ok("/run/keeper")
    director.write("goner", release="p3", band_yml="volumes: {data: /data}\n")
    director.ok("/run/goner")
    image = director.row("goner")["image"]
    director.ok("/rm/goner")
    told = director.ok("/prune")
    assert told["applied"] is False
    assert image in [item["image"] for item in told["images"]]
    assert not any("/keeper:" in item["image"] for item in told["images"])
    assert docker("images", "-q", image)
    done = director.ok("/prune?apply=1")
    assert (done["applied"], done["failed"]) == (True, [])
    assert not docker("images", "-q", image)
    assert director.ok("/prune")["images"] == []
    assert f"{NAMESPACE}-goner-data" in docker("volume", "ls", "-q")
    docker("volume", "rm", f"{NAMESPACE}-goner-data")
    assert [item["images_present"] for item in director.ok("/releases/keeper")["releases"]] == [True, True]
    director.ok("/rollback/keeper")


@pytest.mark.timeout(300)
def test_twenty_at_once_of_a_few_services(director: Director) -> None:
    """Twenty runs at once over four services: each answers, one container each, no port twice, no history lost."""
    names = [f"many{number}" for number in range(4)]
    for name in names:
        director.write(name, release="m")
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda name: director.ask(f"/run/{name}"), names * 5))
    assert {status for status, _ in answers} == {200}, answers
    until(lambda: all(containers(NAMESPACE, name) == [f"{NAMESPACE}-{name} running"] for name in names), 40)
    ports = [port["host"] for name in names for port in director.row(name)["ports"]]
    assert len(set(ports)) == len(names)
    assert all(states(director, name) == ["current"] for name in names)
