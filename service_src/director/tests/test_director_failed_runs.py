"""What `/stop` and `/rm` do to a run of the same service that is under way."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from director.errors import Conflict
from director.locks import Locks

SLOW = "FROM scratch\n# SLOW BUILD\n"


async def test_who_holds_a_lock_and_who_waits_for_it_are_told_what_was_done() -> None:
    """Both are cancelled and get a conflict; the lock is free, and a task that was told can go on."""
    locks, told = Locks(), list[str]()

    async def work() -> None:
        try:
            async with locks.hold("one", interruptible=True):
                await asyncio.sleep(60)
        except Conflict as error:
            told.append(error.message)
        await asyncio.sleep(0)  # the cancellation is over

    tasks = [asyncio.create_task(work()) for _ in range(2)]
    await asyncio.sleep(0.01)
    assert locks.interrupt("two", "stopped") is False
    assert locks.interrupt("one", "stopped") is True
    async with locks.hold("one"):
        await asyncio.gather(*tasks)
    assert told == ["one was stopped while it was being built or started"] * 2
    assert (locks.busy, locks.interrupt("one", "stopped")) == (frozenset(), False)


async def test_a_cancellation_from_elsewhere_stays_one() -> None:
    """A director that ends cancels its work: that is no conflict."""
    locks = Locks()

    async def work() -> None:
        async with locks.hold("one", interruptible=True):
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await asyncio.sleep(0.01)
    locks.interrupt("one", "stopped")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def interrupted(director: Any, name: str, by: str, body: Any = None) -> tuple[tuple[int, Any], tuple[int, Any]]:
    """Run a service and call `/<by>/<name>` when it is under way; return both answers. It must not take long."""
    with ThreadPoolExecutor() as pool:
        running = pool.submit(director.post, f"/run/{name}", body or {})
        deadline = time.monotonic() + 10
        while f"building t-api/{name}" not in director.log.read_text() and not body and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.3)
        begun = time.monotonic()
        done = director.get(f"/{by}/{name}")
        answer = running.result()
        assert time.monotonic() - begun < 5
    return answer, done


@pytest.mark.parametrize(("by", "how"), [("stop", "stopped"), ("rm", "removed")])
def test_the_build_of_a_first_run_is_cancelled(director: Any, by: str, how: str) -> None:
    """Who waits for it is told why, and nothing of it is left."""
    director.image(f"first{by}", dockerfile=SLOW)
    (status, answer), done = interrupted(director, f"first{by}", by)
    assert (status, answer["error"]["code"]) == (409, "conflict")
    assert answer["error"]["message"] == f"first{by} was {how} while it was being built or started"
    assert (done[0], done[1]["state"]) == (200, "removed")
    assert f"first{by}" not in [row["name"] for row in director.get("/list")[1]]
    assert director.get(f"/{by}/first{by}")[0] == 404


def test_a_stop_cancels_a_build_and_stops_what_serves(director: Any) -> None:
    """It stays stopped, and starts again as the release that served."""
    director.image("built")
    assert director.get("/run/built")[0] == 200
    director.image("built", dockerfile=SLOW)
    (status, _answer), done = interrupted(director, "built", "stop")
    assert (status, done[0], done[1]["state"]) == (409, 200, "exited")
    assert [item["state"] for item in director.get("/releases/built")[1]["releases"]] == ["current"]
    assert director.get("/start/built")[0] == 200


@pytest.mark.parametrize("by", ["stop", "rm"])
def test_a_run_that_waits_for_the_first_answer_is_cancelled(director: Any, by: str) -> None:
    """The container that said nothing is removed."""
    director.image(f"mute{by}")
    (status, answer), done = interrupted(director, f"mute{by}", by, {"env": {"MUTE": "1"}})
    assert (status, done[0]) == (409, 200), answer
    assert f"mute{by}" not in [row["name"] for row in director.get("/list")[1]]


def test_what_is_left_of_a_first_run_that_failed_can_be_read(director: Any) -> None:
    """At once: no row, a release that failed, and the last lines of its log; `/rm` forgets it."""
    director.image("lost", "{}", "FROM scratch\n")
    status, body = director.post("/run/lost", {"env": {"CRASH": "1"}})
    assert status == 502
    assert "lost" not in [row["name"] for row in director.get("/list")[1]]
    assert director.get("/show/lost")[0] == 404
    assert [item["state"] for item in director.get("/releases/lost")[1]["releases"]] == ["failed"]
    status, text = director.request("GET", "/logs/lost")
    assert (status, text.splitlines()) == (200, body["error"]["log"])
    assert director.get("/rm/lost")[0] == 200
    assert (director.get("/logs/lost")[0], director.get("/releases/lost")[0]) == (404, 404)


def test_a_build_that_failed_leaves_its_last_lines(director: Any) -> None:
    """Until the service runs: then its log is its own."""
    director.image("unbuilt", dockerfile="FROM scratch\n# FAIL BUILD\n")
    assert director.get("/run/unbuilt")[0] == 502
    assert director.request("GET", "/logs/unbuilt") == (200, "no\n")
    director.image("unbuilt")
    assert director.get("/run/unbuilt")[0] == 200
    assert "NAME=unbuilt" in director.request("GET", "/logs/unbuilt")[1]


@pytest.mark.parametrize(
    ("path", "meant"),
    [("/run/vists", "visits"), ("/start/vists", "visits"), ("/logs/scv000", "svc000"), ("/rm/zzzzzz", "")],
)
def test_a_name_that_is_not_there_brings_the_nearest(director: Any, path: str, meant: str) -> None:
    """Of the image folders, and of the services; nothing is guessed where nothing is near."""
    director.image("visits")
    status, body = director.get(path)
    assert status == 404
    assert (f"did you mean '{meant}'?" in body["error"]["hint"]) is bool(meant)
    assert "GET /list" in body["error"]["hint"]


def test_what_was_done_is_no_error_because_the_engine_is_slow_afterwards(director: Any) -> None:
    """It switched, stopped and removed, and cannot be asked for a list then: the answers say what was done."""
    director.image("deaf")
    assert director.post("/run/deaf", {"env": {"DEAF": "1"}})[0] == 200
    director.image("deaf", dockerfile="FROM scratch\nLABEL release=2\n")
    status, answer = director.get("/run/deaf")
    assert (status, answer["state"]) == (200, "running")
    deadline = time.monotonic() + 10
    while director.get("/health")[0] != 200 and time.monotonic() < deadline:
        time.sleep(0.1)
    status, answer = director.get("/stop/deaf")
    assert (status, answer["state"]) == (200, "exited")
    while director.get("/health")[0] != 200 and time.monotonic() < deadline + 10:
        time.sleep(0.1)
    assert director.get("/rm/deaf") == (200, {"name": "deaf", "state": "removed"})
