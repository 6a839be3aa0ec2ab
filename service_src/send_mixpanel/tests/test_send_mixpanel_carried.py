"""What Mixpanel's own libraries sent through front reaches Mixpanel as they would have sent it, and in its order."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from service_src.send_mixpanel.tests.mixpanel_stage import CANARY, IMAGE, QUICK, event, until

from band import Service, testing
from band.config import read_settings
from band.testing import Bench
from mixpanel_double import Double
from mixpanel_double.rules import complaint
from send_mixpanel.carried import record_of
from send_mixpanel.main import make_service
from send_mixpanel.mapping import UnusableEvent
from send_mixpanel.options import ENGAGE, GROUPS, read_options

TIME = 1_795_468_772_471
Start = Callable[..., AbstractAsyncContextManager[Bench]]


def carried(context: dict[str, Any], data: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """An event as front makes it of one of a library."""
    return {
        "key": "in.gen.track.Signup", "channel": "http", "service": "track", "name": "Signup", "projectId": 0,
        "uid": "6410748586712844288", "td": {"ua": "Mozilla/5.0", "ref": "https://a.example/?utm_source=b"},
        "data": {"call": "track", "context": context, "data": data or {}}, "id": "7530741854237622272", "time": TIME,
        "project": "default", "family": "mixpanel", **changes,
    }  # fmt: skip


def change(number: int, person: str = "u-1", **update: Any) -> dict[str, Any]:
    update = {"$distinct_id": person, **(update or {"$append": {"n": number}})}
    data = {"call": "engage", "user": {"id": person, "update": update}}
    return event(number, key="in.gen.mixpanel.engage", service="mixpanel", name="engage", family="mixpanel", data=data)


def properties_of(one: dict[str, Any]) -> dict[str, Any]:
    record = json.loads(record_of(one).body)
    assert complaint(record, now=TIME / 1000) is None
    return dict(record["properties"])


SENT = {
    "time": TIME / 1000, "distinct_id": "$device:d-1", "$device_id": "d-1", "$insert_id": "i-1", "mp_lib": "web",
    "$browser": "Their name", "$os": "Their OS", "$city": "Their city",
}  # fmt: skip


def test_send_mixpanel_an_event_of_a_library_stays_as_it_was_sent() -> None:
    """Enrichment is added where the library says nothing."""
    given = {"plan": "pro", "nothing": None, "long": "x" * 300, "cart": {"items": [{"sku": "A"}]}, "time spent": 3}
    one = carried(SENT, given)
    one["data"] |= {
        "event": "$mp_web_page_view", "mmgeo": {"country_iso": "GB", "city_en": "London"},
        "uaparser": {"os_family": "iOS", "browser_family": "Safari", "device_brand": "Apple", "is_mob": 1},
    }  # fmt: skip
    record = json.loads(record_of(one).body)
    assert complaint(record, now=TIME / 1000) is None
    assert record == {
        "event": "$mp_web_page_view",
        "properties": {
            **SENT, **given, "time": TIME, "ip": 0, "mp_country_code": "GB", "$brand": "Apple", "is_bot": False,
            "device_type": "mobile", "_key": "in.gen.track.Signup", "_channel": "http", "_id": "7530741854237622272",
            "_projectId": 0,
        },
    }  # fmt: skip


def test_send_mixpanel_a_server_has_no_device() -> None:
    one = carried({"distinct_id": "u-1", "mp_lib": "python", "time": TIME / 1000})
    one["data"]["uaparser"] = {"os_family": "Other", "browser_family": "Python Requests"}
    assert "$browser" not in properties_of(one)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (1_795_468_000, 1_795_468_000),
        (1_795_468_000.0, 1_795_468_000),
        (1_795_468_000.25, 1_795_468_000_250),
        (TIME - 86_400_000 * 400, TIME - 86_400_000 * 400),
        (TIME + 3_000_000, TIME + 3_000_000),
        (TIME + 4_000_000, TIME),
        ("yesterday", TIME), (None, TIME), (True, TIME), (-5, TIME), ([], TIME),
    ],
)  # fmt: skip
def test_send_mixpanel_a_time_is_the_librarys(sent: Any, expected: int) -> None:
    """Not where it is none, or in the future: `/import` refuses those."""
    assert properties_of(carried({**SENT, "time": sent}))["time"] == expected


@pytest.mark.parametrize(
    ("context", "distinct", "insert"),
    [
        ({"distinct_id": "u-1", "$insert_id": "i-1"}, "u-1", "i-1"),
        ({"distinct_id": 42, "$insert_id": 7}, "42", "7"),
        ({"distinct_id": "null", "$insert_id": ""}, "", "7530741854237622272"),
        ({"distinct_id": None}, "", "7530741854237622272"),
        ({}, "6410748586712844288", "7530741854237622272"),
    ],
)
def test_send_mixpanel_ids_are_the_librarys_if_mixpanel_takes_them(context: Any, distinct: str, insert: str) -> None:
    found = properties_of(carried(context))
    assert (found["distinct_id"], found["$insert_id"]) == (distinct, insert)


def test_send_mixpanel_an_id_that_mixpanel_refuses_is_hashed() -> None:
    """Always to the same one, so that the event is counted once."""
    first, again = (properties_of(carried({"$insert_id": "x y" * 20}))["$insert_id"] for _ in range(2))
    assert first == again
    assert len(first) == 36


def test_send_mixpanel_properties_beyond_the_limits_are_cut() -> None:
    """So that the event is counted: `/track` is less strict than `/import`."""
    deep = {
        "a": {"b": {"c": {"d": [1]}}},
        "list": [[[[[1]]]]] * 300,
        "big": 2**70,
        "map": dict.fromkeys(map(str, range(300))),
    }
    found = properties_of(carried(SENT, {**deep, **{f"p{number}": number for number in range(400)}}))
    assert found["a"] == {"b": {"c": {"d": "[1]"}}}
    assert (len(found["list"]), found["big"]) == (254, str(2**70))
    assert found["_properties_left_out"] > 100


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (carried(SENT, {"x": "x" * 1_000_000}), "Mixpanel accepts less than"),
        (change(1, **{"$set": {"x": "x" * 1_000_000}}), "Mixpanel accepts less than"),
        ({**change(1), "data": {"user": 5}}, "no change for /engage"),
        ({**change(1), "name": "groups"}, "no change for /groups"),
        (carried(SENT, time=None, id=None) | {"data": {"context": {}}}, "neither a time"),
    ],
)
def test_send_mixpanel_what_cannot_be_sent_says_why(one: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnusableEvent, match=reason):
        record_of(one)


def test_send_mixpanel_only_front_says_whose_an_event_is() -> None:
    """A client that claims it in its data gets a record like any other."""
    one = event(1, data={"family": "mixpanel", "context": {"$insert_id": "forged", "$city": "forged"}})
    found = json.loads(record_of(one).body)["properties"]
    assert found["$insert_id"] == one["id"]
    assert "$city" not in found


def test_send_mixpanel_changes_are_for_their_own_endpoints() -> None:
    """As they came; the token is added when they are sent."""
    group = {"$group_key": "company", "$group_id": "g-1", "$set": {"seats": 3}}
    of_group = {**change(1), "name": "groups", "data": {"group": {"update": group}}}
    assert [record_of(one).endpoint for one in (change(1), of_group)] == [ENGAGE, GROUPS]
    assert json.loads(record_of(of_group).body) == group


# --- the whole service


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


async def dead_letters(bus: Bench) -> list[dict[str, str]]:
    found: Sequence[Any] = await bus.service.link.command("XRANGE", "dead:send_mixpanel", "-", "+")
    return [
        {key.decode(): value.decode() for key, value in zip(fields[::2], fields[1::2], strict=True)}
        for _, fields in found
    ]


async def test_send_mixpanel_changes_arrive_in_their_order(sender: Start, bus: Bench, double: Double) -> None:
    """Of 40 people, in batches of which several are sent at a time, between events."""
    people = [f"u-{number}" for number in range(40)]
    mixed = [
        one
        for number in range(2000)
        for one in (change(number, people[number % 40]), *([event(number)] if number % 3 == 0 else []))
    ]
    await bus.append(*mixed)
    async with sender(BATCH_EVENTS="150", IN_FLIGHT="8", MIXPANEL_TIMEOUT="30"):
        await bus.settled()
    of_people = double.profiles.listed("engage", 100)
    assert len(of_people) == 40
    assert double.profiles.taken == 2000
    for profile in of_people:
        numbers = profile["properties"]["n"]
        assert numbers == sorted(numbers)
        assert len(numbers) == 50
    assert double.store.stats()["unique"] == 667


async def test_send_mixpanel_a_change_has_the_token_and_nobodys_place(
    sender: Start, bus: Bench, double: Double
) -> None:
    double.access.set([CANARY], {})
    await bus.append(change(1, **{"$set": {"plan": "pro"}}))
    async with sender() as running:
        await bus.settled()
        stats = await running.call("stats")
    (sent,) = double.profiles.changes
    assert sent == {"endpoint": "engage", "$token": CANARY, "$distinct_id": "u-1", "$set": {"plan": "pro"}}
    assert stats["projects"]["default/engage"]["taken"] == 1
    assert "default/groups" not in stats["projects"]
    assert CANARY not in json.dumps(stats)


@pytest.mark.parametrize("order", [{"status": 429, "times": 3}, {"status": 503}, {"hang": 2}, {"cut": True}])
async def test_send_mixpanel_changes_outlive_trouble(
    sender: Start, bus: Bench, double: Double, order: dict[str, Any]
) -> None:
    """They wait, and none overtakes another."""
    double.faults.order(order)
    await bus.append(*[change(number) for number in range(60)])
    async with sender(BATCH_EVENTS="20"):
        await bus.settled()
    (profile,) = double.profiles.listed("engage", 10)
    assert profile["properties"]["n"] == list(range(60))


async def test_send_mixpanel_a_bad_change_is_a_dead_letter(sender: Start, bus: Bench, double: Double) -> None:
    """The others are applied, each once."""
    changes = [change(number) for number in range(30)]
    changes[7] = change(7, **{"$nothing": {"a": 1}})
    await bus.append(*changes)
    async with sender():
        await bus.settled()
    (letter,) = await dead_letters(bus)
    assert "$append" in letter["reason"]
    assert json.loads(letter["event"])["id"] == changes[7]["id"]
    assert double.profiles.taken == 29


async def test_send_mixpanel_changes_need_a_token(sender: Start, bus: Bench, double: Double) -> None:
    """A service account is not enough: they are dead letters, and can be replayed; events are sent."""
    await bus.append(change(1), event(2))
    account = {"MIXPANEL_SERVICE_ACCOUNT": "a", "MIXPANEL_SERVICE_SECRET": "b", "MIXPANEL_PROJECT_ID": "17"}
    async with sender(MIXPANEL_TOKEN="", **account):
        await bus.settled()
    (letter,) = await dead_letters(bus)
    assert "MIXPANEL_TOKEN" in letter["reason"]
    async with sender(**account) as running:
        await running.call("replay_dead_letters")
        await until(lambda: double.profiles.taken == 1)
    assert double.store.stats()["unique"] == 1


async def test_send_mixpanel_changes_of_a_project_in_trouble_are_held_in_order(
    sender: Start, bus: Bench, double: Double
) -> None:
    """Those of the other project go on; later ones do not overtake the held ones."""
    double.access.set([CANARY], {})
    first = [{**change(number), "projectId": 18} for number in range(20)]
    await bus.append(*first, *[change(number, "u-2") for number in range(20)])
    async with sender(MIXPANEL_PROJECTS='{"18": "of-18"}', PATIENCE="0.3", BATCH_EVENTS="10"):
        await until(lambda: double.profiles.taken == 20)
        await bus.settled()
        await bus.append(*[{**change(number), "projectId": 18} for number in range(20, 40)])
        await asyncio.sleep(0.3)
        double.access.set([], {})
        await until(lambda: double.profiles.taken == 60, timeout=20)
    profile = next(one for one in double.profiles.listed("engage", 10) if one["project"] == "of-18")
    assert profile["properties"]["n"] == list(range(40))


async def test_send_mixpanel_counts_an_event_once_that_came_both_ways(
    sender: Start, bus: Bench, double: Double, double_url: str
) -> None:
    """Straight from the library, and through front."""
    import aiohttp

    now = event(1)["time"] / 1000
    straight = {**SENT, "time": now, "token": CANARY, "plan": "pro"}
    async with aiohttp.ClientSession() as http:
        await http.post(f"{double_url}/track/", data={"data": json.dumps({"event": "Signup", "properties": straight})})
    (direct,) = double.store.newest(10)
    await bus.append(carried({**SENT, "time": now}, {"plan": "pro"}, time=int(now * 1000)))
    async with sender():
        await bus.settled()
    assert (double.store.stats()["unique"], double.store.stats()["duplicates"]) == (1, 1)
    (both,) = double.store.newest(10)
    assert {name: both["properties"][name] for name in direct["properties"]} == direct["properties"] | {
        "time": int(now * 1000)
    }
