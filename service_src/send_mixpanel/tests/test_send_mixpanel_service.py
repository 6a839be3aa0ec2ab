"""The whole service on the bench, with the double as Mixpanel; what needs a real process is in its own file."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import aiohttp
import pytest
from service_src.send_mixpanel.tests.mixpanel_stage import CANARY, IMAGE, QUICK, event, until

from band import Service, testing
from band.config import read_settings
from band.testing import Bench
from mixpanel_double import Double
from send_mixpanel.main import make_service
from send_mixpanel.options import read_options

Start = Callable[..., AbstractAsyncContextManager[Bench]]


@pytest.fixture
async def bus() -> AsyncIterator[Bench]:
    """A service that does nothing: its bus is there before and after send_mixpanel."""
    async with testing.running(subject=Service(), name="keeper") as bench:
        yield bench


@pytest.fixture
def sender(bus: Bench, double_url: str) -> Start:
    """Starts the service with its image's settings and the given environment; it gets all events of the stream."""

    @asynccontextmanager
    async def run(**env: str) -> AsyncIterator[Bench]:
        given = {"MIXPANEL_URL": double_url, "MIXPANEL_TOKEN": CANARY, **QUICK, **env}
        service = make_service(read_options(read_settings(IMAGE, given)))
        config = {"events_from": "0", "stop_timeout": 1.0}
        async with testing.running(subject=service, name="send_mixpanel", beside=bus, **config) as bench:
            yield bench

    return run


async def redis(bus: Bench, *parts: Any) -> Any:
    """The reply to a command."""
    return await bus.service.link.command(*parts)


async def accept(bus: Bench, events: list[dict[str, Any]]) -> list[str]:
    """Append events as front does; returns their ids."""
    await bus.append(*events)
    return [str(one.get("id")) for one in events]


async def bury(bus: Bench, one: dict[str, Any], reason: str = "x") -> str:
    """Make an event a dead letter; returns the letter's id."""
    added = await redis(bus, "XADD", "dead:send_mixpanel", "*", "event", json.dumps(one), "reason", reason)
    return str(added.decode())


async def waiting(bus: Bench) -> bool:
    """Whether an event waits or is pending."""
    (group,) = await redis(bus, "XINFO", "GROUPS", "events")
    return bool(group[b"pending"] or group[b"lag"])


async def mixpanel_health(running: Bench) -> dict[str, Any]:
    """The check called mixpanel."""
    return dict((await running.call("__status"))["health"]["checks"]["mixpanel"])


def told(logs: Sequence[Any]) -> list[str]:
    """The names of log events."""
    return [line["event"] for line in logs]


async def test_send_mixpanel_delivers_each_event_once(sender: Start, bus: Bench, double: Double) -> None:
    """5,000 accepted events arrive, each once, in batches within the limits, and are acknowledged."""
    ids = await accept(bus, [event(number) for number in range(5000)])
    # Sender and double share this process: on a busy machine a request of 2,000 events takes over a second here.
    async with sender(MIXPANEL_TIMEOUT="30"):
        await until(lambda: len(double.store.ids()) == 5000)
        await bus.settled()
    assert sorted(double.store.ids()) == sorted(ids)
    stats = double.store.stats()
    assert (stats["duplicates"], stats["refused"]) == (0, 0)
    assert stats["biggest_batch"] <= 2000
    assert stats["biggest_body"] <= 2_000_000


@pytest.mark.parametrize(
    "order",
    [
        {"status": 429, "times": 3},
        {"status": 500, "times": 2},
        {"hang": 3},
        {"half_body": True},
        {"cut": True},
        {"status_after_store": 503},
    ],
)
async def test_send_mixpanel_outlives_trouble(sender: Start, bus: Bench, double: Double, order: dict[str, Any]) -> None:
    """Whatever passes at Mixpanel, the events arrive afterwards and count once."""
    double.faults.order(order)
    ids = await accept(bus, [event(number) for number in range(50)])
    async with sender():
        await bus.settled()
    assert sorted(double.store.ids()) == sorted(ids)
    assert double.store.stats()["unique"] == 50


async def test_send_mixpanel_halves_on_413(sender: Start, bus: Bench, double: Double) -> None:
    """A Mixpanel that takes less than its documents say gets smaller batches, and everything."""
    double.max_body = 20_000
    ids = await accept(bus, [event(number) for number in range(400)])
    async with sender():
        await bus.settled()
    assert sorted(double.store.ids()) == sorted(ids)
    assert double.store.requests[413] > 0
    assert double.store.stats()["biggest_body"] <= 20_000


async def test_send_mixpanel_dead_letters(sender: Start, bus: Bench, double: Double) -> None:
    """The bad ones of a batch become dead letters with Mixpanel's reason; they can be seen, sent again, deleted."""
    future = int(time.time() * 1000) + 7_200_000
    good = [event(number) for number in range(20)]
    bad = [event(100 + number, time=future, data={"half": "a\ud800"}) for number in range(3)]
    await accept(bus, [*good[:10], *bad, *good[10:], {"key": "in.gen.x", "data": {}}])
    async with sender() as running:
        await bus.settled()
        assert sorted(double.store.ids()) == sorted(one["id"] for one in good)
        letters = await running.call("dead_letters", limit=10)
        assert letters["count"] == 4
        reasons = [letter["reason"] for letter in letters["letters"]]
        assert sum("1 hour in the future" in reason for reason in reasons) == 3
        assert sum("neither a time" in reason for reason in reasons) == 1
        shown = next(letter for letter in letters["letters"] if letter["event"].get("id") == bad[0]["id"])
        assert (shown["field"], shown["status"], shown["event"]) == ("properties.time", "400", bad[0])
        assert (await running.call("trace", id=bad[0]["id"]))["outcome"] == "dead letter"
        assert (await running.call("trace", id=good[0]["id"]))["outcome"] == "taken"

        assert (await running.call("replay_dead_letters"))["letters"] == 4
        await until(lambda: _replayed(running))
        stats = await running.call("stats")
        assert (stats["replay"]["refused"], stats["dead_letters"]) == (4, 4)
        assert await running.call("delete_dead_letters", ids=shown["stream_id"]) == {"deleted": 0}
        assert await running.call("delete_dead_letters") == {"deleted": 4}


async def test_send_mixpanel_shows_dead_letters_to_the_director_only(sender: Start, bus: Bench, double: Double) -> None:
    """No page in a browser and no program on the host reads or deletes them by the service's port."""
    await bury(bus, event(1), "was too old")
    async with sender() as running:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{running.service.port}") as session:
            for method in ("dead_letters", "delete_dead_letters", "replay_dead_letters", "trace"):
                async with session.get(f"/{method}") as answer:
                    assert answer.status == 404, method
            async with session.get("/stats", headers={"Sec-Fetch-Site": "cross-site"}) as answer:
                assert answer.status == 403
        assert (await running.call("dead_letters"))["count"] == 1


async def test_send_mixpanel_traces_a_dead_letter_of_an_earlier_life(sender: Start, bus: Bench, double: Double) -> None:
    """After a restart a trace still says what Mixpanel said of it; of others, that nothing is known."""
    bad = event(1, time=int(time.time() * 1000) + 7_200_000)
    await accept(bus, [bad, event(2)])
    async with sender():
        await bus.settled()
    async with sender() as running:
        told = await running.call("trace", id=bad["id"])
        assert told["outcome"] == "dead letter"
        assert "1 hour in the future" in told["answer"]
        assert abs(told["at"] - time.time() * 1000) < 60_000
        for unknown in (event(2)["id"], "x" * 50, "", "9" * 30):
            assert (await running.call("trace", id=unknown))["outcome"] == "unknown"


async def _replayed(running: Bench) -> bool:
    replay = (await running.call("stats"))["replay"]
    return bool(replay) and replay["running"] is False


async def test_send_mixpanel_replay_takes_what_was_mended(sender: Start, bus: Bench, double: Double) -> None:
    """Dead letters whose reason is gone are taken by a replay and leave the dead letters."""
    await bury(bus, event(1), "was too old")
    async with sender() as running:
        await running.call("replay_dead_letters")
        await until(lambda: len(double.store.ids()) == 1)
        await until(lambda: _replayed(running))
        assert (await running.call("stats"))["dead_letters"] == 0


async def test_send_mixpanel_replays_nothing_that_is_left_out_now(sender: Start, bus: Bench, double: Double) -> None:
    """A dead letter whose key is no longer wanted stays a dead letter; `ids=,` deletes none, not all."""
    for number, key in enumerate(["in.gen.track.page", "in.gen.hook.x"]):
        await bury(bus, event(number, key=key))
    async with sender(MIXPANEL_KEYS="in.gen.track") as running:
        await running.call("replay_dead_letters")
        await until(lambda: _replayed(running))
        stats = await running.call("stats")
        assert (stats["replay"]["taken"], stats["replay"]["left_out"], stats["dead_letters"]) == (1, 1, 1)
        assert await running.call("delete_dead_letters", ids=",") == {"deleted": 0}
        assert await running.call("delete_dead_letters") == {"deleted": 1}


async def test_send_mixpanel_one_odd_event_holds_nobody_back(sender: Start, bus: Bench, double: Double) -> None:
    """An event that no record can be made of is a dead letter with the reason; its neighbours are sent."""
    await accept(bus, [event(1), {"id": "9" * 5000, "key": "in.gen.x"}, event(2)])
    async with sender() as running:
        await bus.settled()
        letters = (await running.call("dead_letters"))["letters"]
    assert len(double.store.ids()) == 2
    assert [letter["reason"] for letter in letters] == ["the event has neither a time nor an id that contains one"]


async def test_send_mixpanel_bad_credentials(sender: Start, bus: Bench, double: Double) -> None:
    """A refused token stops sending, not accepting: events stay in the stream, health says so, a cure is noticed."""
    double.access.set(["another"], {})
    ids = await accept(bus, [event(number) for number in range(10)])
    async with sender() as running:
        await until(lambda: double.store.requests.get(401, 0) >= 2)
        health = await mixpanel_health(running)
        assert health["status"] == "failing"
        assert "401: Invalid credentials" in health["reason"]
        assert await waiting(bus)
        double.access.set([CANARY], {})
        await bus.settled()
        assert (await mixpanel_health(running))["status"] == "ok"
    assert sorted(double.store.ids()) == sorted(ids)


async def test_send_mixpanel_without_token(sender: Start, bus: Bench, double: Double) -> None:
    """Without credentials it runs, says what to set, and every event waits for the day it has them."""
    ids = await accept(bus, [event(number) for number in range(10)])
    async with sender(MIXPANEL_TOKEN="") as running:
        health = await mixpanel_health(running)
        assert health["status"] == "failing"
        assert "MIXPANEL_TOKEN" in health["hint"]
        await asyncio.sleep(0.3)
        assert double.store.requests == {}
    assert await waiting(bus)
    async with sender():
        await bus.settled()
    assert sorted(double.store.ids()) == sorted(ids)


async def test_send_mixpanel_several_projects(sender: Start, bus: Bench, double: Double) -> None:
    """Each event goes to the project of its projectId; one project in trouble does not hold up the other."""
    double.access.set(["tok17"], {})
    events = [event(number, projectId=17 + number % 3) for number in range(30)]
    await accept(bus, events)
    table = json.dumps({"17": "tok17", "18": {"token": "tok18"}})
    async with sender(MIXPANEL_TOKEN="", MIXPANEL_PROJECTS=table, PATIENCE="0.4") as running:
        await bus.settled()
        assert sorted(double.store.ids()) == sorted(one["id"] for one in events if one["projectId"] == 17)
        stats = await running.call("stats")
        assert (stats["held"], stats["left_out"]) == (10, 10)
        health = await mixpanel_health(running)
        assert (health["status"], health["projects"]["17"]["status"]) == ("failing", "ok")
        double.access.set(["tok17", "tok18"], {})
        await until(lambda: len(double.store.ids()) == 20)
        await until(lambda: _held_nothing(running))
    assert {one["project"] for one in double.store.newest(50)} == {"tok17", "tok18"}


async def test_send_mixpanel_finds_what_other_settings_held(sender: Start, bus: Bench, double: Double) -> None:
    """Held for a project that the table no longer names: sent by the settings of today, or kept and told of."""
    events = [event(number, projectId=17 + number) for number in range(3)]
    for one in events:
        await redis(bus, "XADD", f"held:send_mixpanel:{one['projectId']}", "*", "event", json.dumps(one))
    with testing.capture_logs() as logs:
        async with sender(MIXPANEL_TOKEN="", MIXPANEL_PROJECTS='{"17": "tok17"}'):
            await until(lambda: double.store.ids() == [events[0]["id"]])
            await until(lambda: told(logs).count("mixpanel_held_for_nobody") == 2)
    assert await redis(bus, "XLEN", "held:send_mixpanel:18") == 1
    async with sender():
        await until(lambda: len(double.store.ids()) == 3)
        await until(lambda: _gone(bus, "held:send_mixpanel:18", "held:send_mixpanel:19"))


async def _gone(bus: Bench, *keys: str) -> bool:
    return sum([await redis(bus, "XLEN", key) for key in keys]) == 0


async def _held_nothing(running: Bench) -> bool:
    return bool((await running.call("stats"))["held"] == 0)


async def test_send_mixpanel_filters_by_key(sender: Start, bus: Bench, double: Double) -> None:
    """Only events under the wanted prefixes are sent; a prefix ends at a dot."""
    keys = ["in.gen.track.page", "in.gen.track", "in.gen.tracker.x", "in.gen.hook.x"]
    await accept(bus, [event(number, key=key) for number, key in enumerate(keys)])
    async with sender(MIXPANEL_KEYS="in.gen.track"):
        await bus.settled()
    assert len(double.store.ids()) == 2


async def test_send_mixpanel_says_when_mixpanel_cannot_be_reached(sender: Start, bus: Bench, double: Double) -> None:
    """Nobody listens at the address: one warning with the true reason, the same in health, and no secret."""
    await accept(bus, [event(1)])
    with testing.capture_logs() as logs:
        async with sender(MIXPANEL_URL="http://127.0.0.1:1") as running:
            await until(lambda: _requests(running, 3))
            health = await mixpanel_health(running)
    assert "Connect call failed" in health["reason"]
    assert "(0" not in health["reason"]
    assert told(logs).count("mixpanel_trouble") == 1
    assert "Connect call failed" in str(logs)
    assert CANARY not in f"{logs} {health}"


async def _requests(running: Bench, least: int) -> bool:
    return bool((await running.call("stats"))["projects"]["default"]["requests"] >= least)


async def test_send_mixpanel_says_when_trouble_is_over(sender: Start, bus: Bench, double: Double) -> None:
    """Three failures are one warning; what Mixpanel takes then is the end, said once."""
    double.faults.order({"status": 503, "times": 3})
    await accept(bus, [event(1)])
    with testing.capture_logs() as logs:
        async with sender():
            await bus.settled()
    assert [event for event in told(logs) if "trouble" in event] == ["mixpanel_trouble", "mixpanel_trouble_over"]


async def test_send_mixpanel_replays_only_what_is_asked_for(sender: Start, bus: Bench, double: Double) -> None:
    """With ids only these letters are sent again; ids that are none send nothing, not everything."""
    keys = [await bury(bus, event(number)) for number in range(3)]
    async with sender() as running:
        assert (await running.call("replay_dead_letters", ids="nonsense,5-5"))["letters"] == 0
        await until(lambda: _replayed(running))
        assert (await running.call("replay_dead_letters", ids=keys[1]))["letters"] == 1
        await until(lambda: _replayed(running))
        assert double.store.newest(5)[0]["properties"]["n"] == 1
        assert (await running.call("stats"))["dead_letters"] == 2
        assert await running.call("delete_dead_letters", ids=f"junk,{keys[0]}") == {"deleted": 1}


async def test_send_mixpanel_full_batches_do_not_wait(sender: Start, bus: Bench, double: Double) -> None:
    """So many events, or so many bytes, leave at once, several requests at a time; the rest waits for the linger."""
    async with sender(BATCH_EVENTS="50", BATCH_BYTES="20000", LINGER="30"):
        await accept(bus, [event(number) for number in range(120)])
        await until(lambda: double.store.stats()["unique"] >= 100, timeout=8)
        await asyncio.sleep(0.3)
        assert double.store.stats()["unique"] < 120
        await accept(bus, [event(500 + number, data={"pad": "x" * 5000}) for number in range(5)])
        await until(lambda: double.store.stats()["unique"] >= 120, timeout=8)
