"""Libraries of Amplitude, PostHog, Umami and CloudEvents, unchanged, pointed at front."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
from clients import WEBHOOK_SECRET, Platform, finish, keeps_every_call, start_client

pytestmark = pytest.mark.skipif(
    not os.environ.get("BAND_TEST_CLIENTS"), reason="bin/test clients installs the libraries, and runs these"
)
LASTING = {
    "amplitude for Node": ("amplitude.cjs", ()),
    "posthog for Node": ("posthog.cjs", ()),
    "posthog for Python": ("posthog_calls.py", ("plain",)),
    "posthog for Python, gzip": ("posthog_calls.py", ("gzip",)),
}
"""Those that try again."""


def called(platform: Platform, script: str, *words: str) -> dict[str, Any]:
    """Run a client's program, which reports success; return its events by name."""
    finish(start_client(script, platform.url, *words))
    events = platform.events()
    found = {event["name"]: event for event in events}
    assert len(found) == len(events) == len({event.get("dedup", event["id"]) for event in events})
    return found


def test_amplitudes_calls_become_events(platform: Platform) -> None:
    begun = time.time() * 1000
    finish(start_client("amplitude.cjs", platform.url))
    events = platform.events()
    assert [event["name"] for event in events] == ["Order Completed", "identify", "group", "identify", "revenue_amount"]
    order, plan, group, member, revenue = (event["data"] for event in events)
    assert {event["uid"] for event in events} == {"user-1"}
    assert order["data"] == {"total": 12.5}
    assert abs(events[0]["time"] - begun + 60_000) < 5000
    assert plan["user"]["traits"] == {"plan": "pro"}
    assert group["group"] == {"type": "company", "id": "g-1", "traits": {"seats": 3}}
    assert member["groups"] == {"company": "g-1"}
    assert revenue["data"]["$price"] == 3
    assert order["lib"]["id"].startswith("amplitude-node")


@pytest.mark.parametrize("client", ["posthog for Node", "posthog for Python", "posthog for Python, gzip"])
def test_posthogs_calls_become_events(platform: Platform, client: str) -> None:
    """A flag that nobody set is off."""
    script, words = LASTING[client]
    begun = time.time() * 1000
    events = called(platform, script, *words)
    assert events.keys() == {"Order Completed", "identify", "group", "alias"}
    order = events["Order Completed"]
    assert order["data"]["data"].get("total") == 12.5
    assert abs(order["time"] - begun + 60_000) < 5000
    assert events["identify"]["data"]["user"] == {"id": "u-1", "traits": {"plan": "pro"}}
    assert events["group"]["data"]["group"] == {"type": "company", "id": "g-1", "traits": {"seats": 3}}
    assert {order["uid"], events["identify"]["uid"], events["alias"]["uid"]} == {"u-1"}
    assert events["alias"]["data"]["alias"] == {"id": "a-1"}


def test_umamis_calls_become_events(platform: Platform) -> None:
    events = called(platform, "umami.cjs")
    assert events.keys() == {"page", "Order Completed", "identify"}
    assert events["page"]["data"]["page"] == {"url": "https://shop.example/?a=1", "title": "Shop"}
    assert events["Order Completed"]["data"]["data"] == {"total": 12.5}
    assert events["identify"]["data"]["user"] == {"traits": {"plan": "pro"}}


@pytest.mark.parametrize("script", ["cloudevents.cjs", "cloudevents_calls.py"])
def test_a_cloudevent_is_the_same_in_each_mode(platform: Platform, script: str) -> None:
    finish(start_client(script, platform.url))
    events = platform.events()
    assert [event["dedup"] for event in events] == ["https://shop.example 1", "https://shop.example 2"]
    for event in events:
        assert event["key"] == "in.gen.cloudevents.com.example.order"
        assert (event["data"]["data"], event["data"]["extensions"]) == ({"total": 12.5}, {"region": "eu"})


@pytest.mark.parametrize("script", ["standardwebhooks.cjs", "standardwebhooks_calls.py"])
def test_a_signed_webhook_is_an_event(platform: Platform, script: str) -> None:
    begun = time.time() * 1000
    finish(start_client(script, platform.url, WEBHOOK_SECRET))
    (event,) = platform.events()
    assert (event["key"], event["dedup"]) == ("in.gen.webhooks.shop.Order Completed", "msg_1")
    assert event["data"]["data"] == {"total": 12.5}
    assert abs(event["time"] - begun + 60_000) < 5000


@pytest.mark.parametrize("script", ["standardwebhooks.cjs", "standardwebhooks_calls.py"])
def test_a_wrong_secret_makes_no_event(platform: Platform, script: str) -> None:
    client = start_client(script, platform.url, f"{WEBHOOK_SECRET[:-4]}AAAA")
    said, _ = client.communicate(timeout=60)
    assert client.returncode != 0
    assert "401" in said or "wrong_signature" in said
    assert platform.events() == []


@pytest.mark.timeout(180)
@pytest.mark.parametrize("client", LASTING)
def test_no_call_is_lost_while_redis_and_front_are_away(own_platform: Platform, client: str) -> None:
    """1,000 calls in five seconds; Redis is away for two of them, and front is started again.

    Amplitude's library gives up what it cannot send at all, and says so: for it front stays.
    """
    script, words = LASTING[client]
    running = start_client(script, own_platform.url, *words, "1000")
    keeps_every_call(own_platform, running, front=script != "amplitude.cjs")
