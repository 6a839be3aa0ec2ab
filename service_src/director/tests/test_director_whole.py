"""The whole director over a real Redis and an engine in memory: what an operator meets."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest


def until(check: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Return what `check` returns as soon as it is true; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := check():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come to be")


@pytest.fixture(scope="module")
def ran(director: Any) -> Any:
    """A director with the operator's services `one` and `two`, which run."""
    director.image("one", 'pos: "1x1"\nenv: {A: b}\nsecrets: [CODE]\n')
    director.image("two", 'pos: "2x1"\n')
    (director.images / "user" / "half").mkdir()
    for name in ("one", "two"):
        status, body = director.get(f"/run/{name}")
        assert status == 200, body
    return director


def test_a_run_answers_exactly_three_keys_and_the_row_shows_what_it_uses(ran: Any) -> None:
    """The contract's answer; then memory, limit, CPU and the age of its data stand in /list and /state."""
    status, body = ran.get("/run/one")
    assert (status, set(body), body["name"], body["state"]) == (200, {"name", "short_id", "state"}, "one", "running")
    row = until(lambda: next((row for row in ran.get("/list")[1] if row["name"] == "one" and row["memory"]), None))
    assert (row["memory_limit"], row["data"]["age_days"]) == (367_001_600, 23.5)
    assert set(row) == set(ran.get("/state?name=one")[1])
    assert 'band_service_memory_bytes{service="one"}' in ran.request("GET", "/metrics")[1]


def test_an_unknown_method_lists_those_there_are(ran: Any) -> None:
    """404 with the methods of the service and the one that was probably meant; an unknown service is 404 too."""
    status, body = ran.get("/call/one/eco")
    assert (status, "did you mean 'echo'?" in body["error"]["hint"]) == (404, True)
    assert "dead_letters" in body["error"]["methods"]
    assert ran.get("/call/nobody/echo")[0] == 404
    assert ran.post("/call/one/echo", {"a": [1, {"b": None}], "name": "x"}) == (
        200,
        {"a": [1, {"b": None}], "name": "x"},
    )
    assert ran.get("/call/one/fail")[0] == 502
    assert ran.get("/call/one/silent?timeout__=0.2")[0] == 504


def test_a_config_takes_only_keys_that_mean_something(ran: Any) -> None:
    """Unknown keys are 422 and named with those there are, unknown services 404; what is taken shapes the next run."""
    for key in ("foo", "limits.disk", "env.A-B", "pos.x", "auto_remove.x"):
        status, body = ran.get(f"/update_config/one?{key}=1")
        assert (status, "limits.memory" in body["error"]["hint"]) == (422, True), body
    assert ran.get("/update_config/nobody?pos=5x5")[0] == 404
    assert ran.get("/get_config/nobody")[0] == 404
    assert ran.get("/update_config/one?limits.memory=1m")[0] == 422
    assert ran.get("/update_config/one?env.TZ=UTC&limits.memory=64m") == (
        200, {"env": {"TZ": "UTC"}, "limits": {"memory": "64m"}},
    )  # fmt: skip
    assert ran.get("/run/one")[0] == 200
    assert ran.get("/show/one")[1]["env"]["TZ"] == "UTC"
    assert ran.get("/update_config/one?env=&limits=") == (200, {})
    assert ran.get("/get_config/two") == (200, {})


def test_a_wrong_value_of_a_config_is_the_parameters_fault(ran: Any) -> None:
    """What is refused was never stored, and the answer says so."""
    before = ran.get("/get_config/one")
    for change in ("limits.memory=abc", "limits.memory=1m", "env.PORT=1", "pos=00x1", "env.A=1&pos=far"):
        status, body = ran.get(f"/update_config/one?{change}")
        assert (status, body["error"]["message"].startswith("bad parameter: ")) == (422, True), body
        assert "nothing was changed" in body["error"]["hint"]
    assert ran.get("/get_config/one") == before


@pytest.mark.parametrize("verb", ["stop", "start", "restart", "rollback", "set_pos"])
def test_the_hint_for_what_was_never_run_fits(ran: Any, verb: str) -> None:
    """A folder can be run; what has none cannot; the platform's own containers are Ansible's."""
    ran.image("resting")
    query = "?pos=9x9" if verb == "set_pos" else ""
    for name, code, words in (("resting", 404, "/run/resting"), ("nope", 404, "/list"), ("redis", 409, "Ansible")):
        status, body = ran.get(f"/{verb}/{name}{query}")
        assert (status, words in body["error"]["hint"]) == (code, True), body
        assert ("/run/" in body["error"]["hint"]) == (name == "resting")
    assert ran.get("/rm/director")[0] == 409


def test_a_run_that_waits_answers_when_the_one_before_has_ended(ran: Any) -> None:
    """The same three keys, a second later when the old container takes a second: nothing is left to take an event."""
    assert ran.post("/run/two", {"env": {"SLOW": "1"}, "wait": True})[0] == 200
    begun = time.monotonic()
    status, body = ran.post("/run/two", {"env": {}, "wait": True})
    assert (status, set(body), time.monotonic() - begun > 1) == (200, {"name", "short_id", "state"}, True)


def test_two_services_do_not_get_one_place(ran: Any) -> None:
    """409 names who is there and a place that is free; staying where one is is no conflict."""
    for path in ("/set_pos/two?pos=1x1", "/run/two?pos=1x1", "/update_config/two?pos=1x1"):
        status, body = ran.get(path)
        assert (status, "'one'" in body["error"]["message"], "1x2" in body["error"]["hint"]) == (409, True, True), path
    for pos in ("01x1", "1x00", "-1x1", "100x1"):
        assert ran.get(f"/run/two?pos={pos}")[0] == 422
    assert ran.get("/set_pos/two?pos=0x0") == (200, {"name": "two", "pos": "0x0"})
    assert ran.get("/set_pos/one?pos=0x0")[0] == 409
    assert ran.get("/set_pos/two?pos=2x1")[0] == 200
    assert ran.get("/set_pos/two?pos=3x1") == (200, {"name": "two", "pos": "3x1"})
    assert ran.get("/set_pos/one?pos=2x1")[0] == 200


def test_what_cannot_be_run_is_listed_with_the_reason(ran: Any) -> None:
    """A folder without a Dockerfile does not vanish."""
    rows = {row["name"]: row for row in ran.get("/list_images")[1]}
    assert (rows["half"]["runnable"], rows["half"]["problem"]) == (False, "there is no Dockerfile in it")
    assert ran.get("/run/half")[0] == 422
    assert (rows["one"]["problem"], rows["director"]["runnable"]) == ("", False)


def test_the_metrics_of_a_service_are_its_own_words(ran: Any) -> None:
    """As text for Prometheus, secrets masked; who has none, and who is not there, is told so."""
    status, text = ran.request("GET", "/metrics/one")
    assert (status, text) == (200, "# TYPE band_calls_total counter\n")
    assert ran.get("/metrics/nobody")[0] == 404
    ran.image("odd")
    assert ran.post("/run/odd", {"env": {"NO_METRICS": "1"}})[0] == 200
    status, body = ran.get("/metrics/odd")
    assert (status, "returned no metrics" in body["error"]["message"]) == (502, True)
    ran.get("/rm/odd")


def test_logs_of_director_and_redis_say_where_they_are(ran: Any) -> None:
    """They run in no container here: 404 with the place to look, not a service that nobody knows."""
    for name in ("director", "redis"):
        status, body = ran.get(f"/logs/{name}")
        assert (status, "docker ps" in body["error"]["hint"]) == (404, True)


def test_a_failed_start_shows_its_last_lines_without_its_secrets(ran: Any) -> None:
    """502 with exit code and log; what ran before still runs."""
    before = ran.get("/state?name=one")[1]["short_id"]
    status, body = ran.post("/run/one", {"env": {"CRASH": "1", "API_TOKEN": "canary-7f3", "CODE": "canary-8a1"}})
    assert (status, body["error"]["exit_code"]) == (502, 3)
    assert "CRASH=1" in body["error"]["log"]
    assert "canary" not in str(body)
    assert ran.get("/state?name=one")[1]["short_id"] == before


def test_health_tells_why_a_service_is_not_well(ran: Any) -> None:
    """Everything is well here; the reasons are those of the troubled ones only."""
    status, body = ran.get("/health")
    assert (status, body["status"], body["services"]["reasons"]) == (200, "ok", {})
    assert body["services"]["troubled"] == []
