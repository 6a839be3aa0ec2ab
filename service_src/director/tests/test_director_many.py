"""Many requests at once, over an engine in memory: no lost update, no port twice, and one container a service."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

SERVICES = 100


def until(check: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Return what `check` returns as soon as it is true; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := check():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come to be")


@pytest.fixture(scope="module")
def many(make_director: Any) -> Any:
    """A director with a hundred image folders and hardly more ports."""
    crowded = make_director("t-many", BAND_PORTS="30000-30103", BAND_CRASHES="50")
    for number in range(SERVICES):
        crowded.image(f"many{number:03}")
    return crowded


def rows(director: Any, prefix: str = "many") -> list[Any]:
    return [row for row in director.get("/list")[1] if row["name"].startswith(prefix)]


def states(director: Any, name: str) -> Counter[str]:
    return Counter(item["state"] for item in director.get(f"/releases/{name}")[1]["releases"])


@pytest.mark.timeout(180)
def test_a_hundred_services_run_by_twenty_at_once(many: Any) -> None:
    """Each is there once, with a port of its own; and the table of them is answered quickly."""
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda number: many.get(f"/run/many{number:03}"), range(SERVICES)))
    assert {status for status, _ in answers} == {200}, [body for status, body in answers if status != 200][:2]
    found = rows(many)
    assert len(found) == SERVICES
    assert {row["state"] for row in found} == {"running"}
    ports = [port["host"] for row in found for port in row["ports"]]
    assert len(ports) == len(set(ports)) == SERVICES
    took = []
    for _ in range(20):
        begun = time.monotonic()
        many.get("/list")
        took.append(time.monotonic() - begun)
    assert min(took) < 0.1, took


def test_twenty_runs_of_one_service_at_once_end_in_one_container(many: Any) -> None:
    """All are answered one after another, each with a fresh container; the last one is what is there."""
    before = {row["name"]: row["short_id"] for row in rows(many)}
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: many.get("/run/many000"), range(20)))
    assert {status for status, _ in answers} == {200}
    assert len({body["short_id"] for _, body in answers} - {before["many000"]}) == 20
    row = until(lambda: next((row for row in rows(many) if row["name"] == "many000" and len(row["ports"]) == 1), None))
    assert row["short_id"] in {body["short_id"] for _, body in answers}
    assert states(many, "many000") == {"current": 1}
    assert {row["name"]: row["short_id"] for row in rows(many) if row["name"] != "many000"} == {
        name: short for name, short in before.items() if name != "many000"
    }


def test_no_update_of_a_config_is_lost(many: Any) -> None:
    """Fifty changes of different keys at once, while it is run: all of them are there in the end."""
    keys = [f"env.KEY{number}" for number in range(50)]
    with ThreadPoolExecutor(20) as pool:
        running = [pool.submit(many.get, "/run/many001") for _ in range(3)]
        changes = list(pool.map(lambda key: many.post("/update_config/many001", {key: "x"}), keys))
        assert {future.result()[0] for future in running} == {200}
    assert {status for status, _ in changes} == {200}
    assert set(many.get("/get_config/many001")[1]["env"]) == {f"KEY{number}" for number in range(50)}


def test_run_stop_rollback_and_remove_at_once_leave_a_state_that_was_asked_for(many: Any) -> None:
    """Whatever order they came in, there is one current release and one container, and no request ended in a 500."""
    many.image("many002", "title: second\nenv: {A: b}\n")
    assert many.get("/run/many002")[0] == 200
    verbs = ["run", "stop", "start", "restart", "rollback", "run", "stop", "run", "releases", "show"]
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda verb: many.get(f"/{verb}/many002"), verbs * 3))
    assert {status for status, _ in answers} <= {200, 409}, answers
    assert many.get("/run/many002")[0] == 200
    row = until(lambda: next(row for row in rows(many) if row["name"] == "many002"))
    assert (row["state"], len(row["ports"])) == ("running", 1)
    assert states(many, "many002")["current"] == 1


def test_a_crash_in_the_middle_of_all_that_is_told_with_its_exit_code(many: Any) -> None:
    """A release that ends at once is a 502, the one before serves on, and its port is given back."""
    before = next(row for row in rows(many) if row["name"] == "many003")
    for _ in range(3):
        status, body = many.post("/run/many003", {"env": {"CRASH": "1", "API_TOKEN": "canary-service-secret"}})
        assert (status, body["error"]["exit_code"]) == (502, 3)
        assert 0 < len(body["error"]["log"]) <= 20
        assert "canary" not in str(body)
    after = next(row for row in rows(many) if row["name"] == "many003")
    assert (after["short_id"], after["ports"]) == (before["short_id"], before["ports"])
    assert states(many, "many003") == {"failed": 1, "current": 1}
    assert many.get("/run/many003")[0] == 200
    for number in range(100, 103):  # of 104 ports 100 are taken, and none was lost on the way
        many.image(f"many{number}")
        assert many.get(f"/run/many{number}")[0] == 200


def test_a_place_that_two_ask_for_at_once_is_given_to_one(many: Any) -> None:
    """The other one is refused with a hint, whichever way they ask."""
    ways = [f"/{way}/many{number:03}?pos=77x7" for number in range(8) for way in ("set_pos", "run", "update_config")]
    with ThreadPoolExecutor(len(ways)) as pool:
        answers = list(pool.map(many.get, ways))
    assert {status for status, _ in answers} <= {200, 409}
    assert len({row["name"] for row in rows(many) if row["pos"] == "77x7"}) <= 1
    assert all(body["error"]["hint"] for status, body in answers if status == 409)
