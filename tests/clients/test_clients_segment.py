"""Segment's and RudderStack's libraries, unchanged, pointed at front."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
from clients import Platform, finish, keeps_every_call, start_client

pytestmark = pytest.mark.skipif(
    not os.environ.get("BAND_TEST_CLIENTS"), reason="bin/test clients installs the libraries, and runs these"
)
CLIENTS = {
    "segment for Node": ("segment.cjs", "@segment/analytics-node", "analytics-node-next/latest", ()),
    "segment for Python": ("segment_calls.py", "analytics-python", "analytics-python/2.4.0", ("plain",)),
    "segment for Python, gzip": ("segment_calls.py", "analytics-python", "analytics-python/2.4.0", ("gzip",)),
    "rudderstack for Node": ("rudderstack.cjs", "analytics-node", "analytics-node", ()),
}
EVERY_CALL = {
    "identify": {"uid": "u-1", "user": {"id": "u-1", "traits": {"plan": "pro"}}, "data": None, "page": None},
    "Order Completed": {"uid": "u-1", "user": {"id": "u-1"}, "data": {"total": 12.5}, "page": None},
    "page": {
        "uid": "a-1",
        "user": {"anonymousId": "a-1"},
        "page": {"url": "https://shop.example/?a=1", "title": "Shop", "name": "Home", "category": "Docs"},
    },
    "screen": {"uid": "u-1", "user": {"id": "u-1"}, "screen": {"name": "Settings"}},
    "group": {"uid": "u-1", "user": {"id": "u-1"}, "group": {"id": "g-1", "traits": {"seats": 3}}},
    "alias": {"uid": "u-1", "user": {"id": "u-1"}, "alias": {"previousId": "a-1"}},
}


@pytest.mark.parametrize("client", CLIENTS)
def test_every_call_becomes_one_event(platform: Platform, client: str) -> None:
    """The client reports success; who, what, where and when are in the same fields for all of them."""
    script, library, agent, words = CLIENTS[client]
    begun = time.time() * 1000
    finish(start_client(script, platform.url, *words))
    events = {event["name"]: event for event in platform.events()}
    assert events.keys() == EVERY_CALL.keys()
    assert len({event["dedup"] for event in events.values()}) == len(events)
    for name, expected in EVERY_CALL.items():
        event = events[name]
        assert event["key"] == f"in.gen.track.{name}"
        assert (event["uid"], event["project"]) == (expected["uid"], "default")
        assert _of(event["data"], expected) == {field: value for field, value in expected.items() if field != "uid"}
        assert library in event["data"]["lib"]["id"]
        assert event["td"]["ua"].startswith(agent)
        age = event["time"] - begun - (-60_000 if name == "Order Completed" else 0)
        assert -1000 < age < 5000


def _of(data: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """Return the expected fields of an event, without what one library adds to them and another does not."""
    found = {field: data.get(field) for field in expected if field != "uid"}
    user = found["user"]
    if user.get("id"):
        user.pop("anonymousId", None)
    return found


def test_jitsus_calls_become_events(platform: Platform) -> None:
    """In a server and in a page it uses different paths."""
    finish(start_client("jitsu.cjs", platform.url))
    events = platform.events()
    assert [event["name"] for event in events] == ["Order Completed", "identify", "page", "group"] * 2
    assert {event["uid"] for event in events} == {"u-1"}
    assert len({event["dedup"] for event in events}) == 8
    order, identify, page, group = (event["data"] for event in events[:4])
    assert order["data"] == {"total": 12.5}
    assert identify["user"]["traits"] == {"plan": "pro"}
    assert page["page"] == {"url": "https://shop.example/?a=1", "title": "Shop", "path": "/"}
    assert group["group"] == {"id": "g-1", "traits": {"seats": 3}}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("client", CLIENTS)
def test_no_call_is_lost_while_redis_and_front_are_away(own_platform: Platform, client: str) -> None:
    """1,000 calls in five seconds; Redis is away for two of them, and front is started again."""
    script, _, _, words = CLIENTS[client]
    keeps_every_call(own_platform, start_client(script, own_platform.url, *words, "1000"))
