"""Mixpanel's libraries for Node and Python, unchanged, pointed at front."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import pytest
from clients import Platform, finish, keeps_every_call, start_client

pytestmark = pytest.mark.skipif(
    not os.environ.get("BAND_TEST_CLIENTS"), reason="bin/test clients installs the libraries, and runs these"
)
CLIENTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "mixpanel for Node": ("mixpanel.cjs", ()),
    "mixpanel for Python": ("mixpanel_calls.py", ("plain",)),
    "mixpanel for Python, buffered": ("mixpanel_calls.py", ("buffered",)),
}
EVENTS = {
    "mixpanel.cjs": ["Batch 1", "Batch 2", "Imported", "Imported in a batch", "Order Completed", "alias"],
    "mixpanel_calls.py": ["$merge", "Imported", "Order Completed"],
}
OF_PERSON = [
    {"$set": {"plan": "pro"}}, {"$set_once": {"first": "a"}}, {"$add": {"n": 2}}, {"$append": {"list": "a"}},
    {"$union": {"list": ["b"]}}, {"$remove": {"list": "a"}}, {"$unset": ["first"]},
]  # fmt: skip
OF_GROUP = [
    {"$set": {"seats": 3}}, {"$set_once": {"first": "a"}}, {"$union": {"list": ["a"]}}, {"$remove": {"list": "a"}},
    {"$unset": ["first"]},
]  # fmt: skip
ABOUT = {"$distinct_id", "$group_id", "$group_key", "$time"}


def operations(events: list[dict[str, Any]], name: str, about: str) -> list[dict[str, Any]]:
    """Return what the changes of one person or group change, in their order."""
    of = "user" if name == "engage" else "group"
    updates = [event["data"][of]["update"] for event in events if event["name"] == name]
    found = [update for update in updates if about in (update.get("$distinct_id"), update.get("$group_id"))]
    return [{key: value for key, value in update.items() if key not in ABOUT} for update in found]


@pytest.mark.parametrize("client", CLIENTS)
def test_every_call_of_mixpanels_libraries_becomes_one_event(platform: Platform, client: str) -> None:
    """Events as they were sent, and changes of people and groups in the order of their calls."""
    script, words = CLIENTS[client]
    begun = time.time()
    finish(start_client(script, platform.url, *words))
    events = platform.events()
    tracked = {event["name"]: event for event in events if event["service"] == "track"}
    assert sorted(tracked) == EVENTS[script]
    order = tracked["Order Completed"]
    assert (order["uid"], order["dedup"], order["data"]["data"]) == ("u-1", "i-1", {"total": 12.5})
    assert abs(order["time"] / 1000 - begun + 60) < 5
    assert order["data"]["context"]["distinct_id"] == "u-1"
    assert "any" not in json.dumps(order)
    changes = operations(events, "engage", "u-1")
    assert changes[:7] == OF_PERSON
    assert list(changes[7]) == ["$append"]
    assert changes[8:] in ([{"$set": {"$transactions": []}}], [{"$unset": ["$transactions"]}])
    assert [list(change) for change in operations(events, "engage", "u-2")] == [["$delete"]]
    assert operations(events, "groups", "g-1") == OF_GROUP
    assert [list(change) for change in operations(events, "groups", "g-2")] == [["$delete"]]
    assert len(events) == len(tracked) + 10 + 6
    assert {event["td"].get("ip") for event in events} <= {None, "2.125.160.0"}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("client", CLIENTS)
def test_no_call_is_lost_while_redis_and_front_are_gone(own_platform: Platform, client: str) -> None:
    """1,000 calls in five seconds; Redis is away for two of them, and front is started again."""
    script, words = CLIENTS[client]
    keeps_every_call(own_platform, start_client(script, own_platform.url, *words, "1000"))
