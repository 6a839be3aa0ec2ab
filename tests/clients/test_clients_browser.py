"""Libraries for browsers in Chromium, unchanged, pointed at front: a page of another site, with preflights and CORS."""

from __future__ import annotations

import gzip
import os
import subprocess
import time
import urllib.request
from typing import Any

import pytest
from clients import HERE, KEY, ROOT, Platform, finish, keeps_every_call, keeps_every_limited_call
from pages import Visitor
from playwright.sync_api import Route

pytestmark = pytest.mark.skipif(
    not os.environ.get("BAND_TEST_CLIENTS"), reason="bin/test clients installs the libraries, and runs these"
)
OURS = ROOT / "service_src" / "front" / "src" / "front" / "static" / "analytics-next"
PUBLISHED = HERE / "node_modules" / "@segment" / "analytics-next"
LASTING = {
    "segment": ("segment_browser.mjs", ("standard",)),
    "segment, batches": ("segment_browser.mjs", ("batching",)),
    "amplitude": ("amplitude_browser.mjs", ()),
    "posthog": ("posthog_browser.mjs", ()),
}
"""Those that try again."""


def called(platform: Platform, visitor: Visitor, program: str, *words: str) -> dict[str, Any]:
    """Run a client's program, which reports success; return its events by name."""
    platform.events()
    finish(visitor.start(program, platform.url, *words))
    events = platform.events()
    assert len({event.get("dedup", event["id"]) for event in events}) == len(events)
    return {event["name"]: event for event in events}


@pytest.mark.parametrize("strategy", ["standard", "batching"])
def test_segments_calls_become_events(platform: Platform, visitor: Visitor, strategy: str) -> None:
    """Its settings come from front, and nothing goes to anybody else."""
    begun = time.time() * 1000
    events = called(platform, visitor, "segment_browser.mjs", strategy)
    assert events.keys() == {"identify", "Order Completed", "page", "screen", "group", "alias"}
    assert {event["uid"] for event in events.values()} == {"u-1"}
    order = events["Order Completed"]
    assert order["data"]["data"] == {"total": 12.5}
    assert abs(order["time"] - begun + 60_000) < 5000
    assert events["identify"]["data"]["user"]["traits"] == {"plan": "pro"}
    page = events["page"]["data"]["page"]
    assert (page["name"], page["category"], page["title"]) == ("Home", "Docs", "Shop")
    assert events["screen"]["data"]["screen"] == {"name": "Settings"}
    assert events["group"]["data"]["group"] == {"id": "g-1", "traits": {"seats": 3}}
    assert events["alias"]["data"]["alias"] == {"previousId": "a-1"}
    assert {event["data"]["lib"]["sv"] for event in events.values()} == {"next-1.84.3"}
    assert all(url.startswith((platform.url, visitor.url, "blob:", "data:")) for url in visitor.requests)


def test_segments_snippet_works_with_another_host(platform: Platform, visitor: Visitor) -> None:
    """As it is pasted into a page, with front behind a proxy that has a name and TLS."""
    render = 'console.log(require("@segment/snippet").min({apiKey: "any", host: "t.shop.example", page: true}))'
    snippet = subprocess.run(["node", "-e", render], cwd=HERE, check=True, capture_output=True, text=True).stdout

    def proxy(route: Route) -> None:
        sender = {"X-Forwarded-Host": "t.shop.example", "X-Forwarded-Proto": "https", "X-Real-IP": "203.0.113.9"}
        url = route.request.url.replace("https://t.shop.example", platform.url)
        route.fulfill(response=route.fetch(url=url, headers={**route.request.headers, **sender}))

    visitor.page.route("https://t.shop.example/**", proxy)
    visitor.page.route(
        "**/page.html?*",
        lambda route: route.fulfill(body=f"<title>Shop</title><script>{snippet}</script>", content_type="text/html"),
    )
    page = visitor.open("/page.html", ajs_event="Opened", ajs_uid="u-1")
    page.evaluate("() => analytics.track('Order Completed', { total: 12.5 })")
    for _ in range(100):
        if platform.stream.xlen("events") == 4:
            break
        page.wait_for_timeout(100)
    events = platform.events()
    assert sorted(event["name"] for event in events) == ["Opened", "Order Completed", "identify", "page"]
    assert len({event["data"]["user"]["anonymousId"] for event in events}) == 1
    assert {event["td"]["ip"] for event in events} == {"203.0.113.0"}
    assert not [url for url in visitor.requests if "segment" in url]


def test_fronts_copy_of_analytics_js_is_the_published_one(platform: Platform) -> None:
    """Every file of it, byte for byte; front sends it packed or not, to be kept by the browser."""
    published = {"standalone.js.gz", *(path.name for path in (PUBLISHED / "dist" / "umd").glob("*.bundle.*.js.gz"))}
    assert {path.name for path in OURS.iterdir()} == {*published, "LICENSE.md"}
    assert (OURS / "LICENSE.md").read_bytes() == (PUBLISHED / "LICENSE.MD").read_bytes()
    for name in published:
        packed = (OURS / name).read_bytes()
        assert packed == (PUBLISHED / "dist" / "umd" / name).read_bytes(), name
        plain = (PUBLISHED / "dist" / "umd" / name.removesuffix(".gz")).read_bytes()
        assert gzip.decompress(packed) == plain, name
        path = (
            "/analytics.js/v1/any/analytics.min.js" if "standalone" in name else f"/analytics-next/bundles/{name[:-3]}"
        )
        for encoding, body in (("gzip", packed), ("identity", plain)):
            request = urllib.request.Request(platform.url + path, headers={"Accept-Encoding": encoding})
            with urllib.request.urlopen(request) as answer:
                assert answer.read() == body, name
                assert answer.headers["Cache-Control"].startswith("public, max-age=")
                assert "Set-Cookie" not in answer.headers
    assert platform.events() == []


def test_amplitudes_calls_become_events(platform: Platform, visitor: Visitor) -> None:
    begun = time.time() * 1000
    events = called(platform, visitor, "amplitude_browser.mjs")
    assert events.keys() == {"page", "Order Completed", "identify", "group", "revenue_amount"}
    assert {event["uid"] for event in events.values()} == {"user-1"}
    order = events["Order Completed"]
    assert order["data"]["data"]["total"] == 12.5
    assert abs(order["time"] - begun + 60_000) < 5000
    page = events["page"]["data"]["page"]
    assert (page["title"], page["path"]) == ("Shop", "/page.html")
    assert events["group"]["data"]["group"] == {"type": "company", "id": "g-1", "traits": {"seats": 3}}


def test_plausibles_calls_become_events(platform: Platform, visitor: Visitor) -> None:
    events = called(platform, visitor, "plausible_browser.mjs")
    assert events.keys() - {"engagement"} == {"page", "Order Completed"}
    assert events["page"]["data"]["page"]["url"] == f"{visitor.url}/page.html"
    order = events["Order Completed"]["data"]
    assert (order["data"], order["site"], order["interactive"]) == ({"total": 12.5}, "shop.example", False)
    assert order["revenue"] == {"currency": "EUR", "amount": 12.5}


def test_jitsus_calls_become_events(platform: Platform, visitor: Visitor) -> None:
    """Its key is in a header of its own, which the preflight allows."""
    events = called(platform, visitor, "jitsu_browser.mjs")
    assert events.keys() == {"Order Completed", "identify", "page", "group"}
    assert {event["uid"] for event in events.values()} == {"u-1"}
    assert events["Order Completed"]["data"]["data"] == {"total": 12.5}
    assert events["page"]["data"]["page"]["title"] == "Shop"


def test_posthogs_calls_become_events(platform: Platform, visitor: Visitor) -> None:
    """It packs them, without a header that says so; its flags are all off."""
    events = called(platform, visitor, "posthog_browser.mjs")
    assert events.keys() == {"Order Completed", "identify", "page", "group", "alias"}
    assert {event["uid"] for event in events.values()} == {"u-1"}
    assert events["Order Completed"]["data"]["data"] == {"total": 12.5}
    assert events["group"]["data"]["group"] == {"type": "company", "id": "g-1", "traits": {"seats": 3}}
    assert events["identify"]["data"]["user"]["traits"]["plan"] == "pro"


@pytest.mark.timeout(180)
@pytest.mark.parametrize("client", LASTING)
def test_no_call_is_lost_while_redis_and_front_are_away(own_platform: Platform, visitor: Visitor, client: str) -> None:
    """1,000 calls in five seconds; Redis is away for two of them, and front is started again."""
    program, words = LASTING[client]
    running = visitor.start(program, own_platform.url, *words, "1000")
    keeps_every_call(own_platform, running, front="amplitude" not in program)


@pytest.mark.parametrize(
    ("program", "words", "told"),
    [
        ("segment_browser.mjs", ("standard",), "Non-retryable error: 403"),
        ("amplitude_browser.mjs", (), "Invalid API key"),
        ("posthog_browser.mjs", (), "status 401"),
    ],
)
def test_a_wrong_key_is_an_error_of_the_client_and_no_event(
    own_platform: Platform, visitor: Visitor, program: str, words: tuple[str, ...], told: str
) -> None:
    """Whatever page sends it; the right key is accepted."""
    own_platform.write_project(public_keys=["another"])
    with pytest.raises(AssertionError, match=told):
        finish(visitor.start(program, own_platform.url, *words))
    assert own_platform.events() == []
    own_platform.write_project(public_keys=[KEY])
    called(own_platform, visitor, program, *words)


@pytest.mark.parametrize(("program", "word"), [("segment_browser.mjs", "batching"), ("jitsu_browser.mjs", "")])
def test_a_wrong_key_stores_no_event(own_platform: Platform, visitor: Visitor, program: str, word: str) -> None:
    """These say nothing of it; the console of the page does."""
    own_platform.write_project(public_keys=["another"])
    visitor.start(program, own_platform.url, word)
    for _ in range(100):
        if any("403" in text for text in visitor.said):
            break
        visitor.page.wait_for_timeout(100)
    assert any("403" in text for text in visitor.said)
    assert own_platform.events() == []


@pytest.mark.timeout(180)
@pytest.mark.parametrize("client", [client for client in LASTING if client != "posthog"])
def test_no_call_is_lost_to_a_limit(own_platform: Platform, visitor: Visitor, client: str) -> None:
    """1,000 calls in five seconds, of which the limit takes 100 a second: the client sends the rest later.

    PostHog's does so too, but waits longer and longer: more than a minute.
    """
    program, words = LASTING[client]
    own_platform.write_project(public_keys=[KEY], events_per_second=100, burst=50)
    keeps_every_limited_call(own_platform, visitor.start(program, own_platform.url, *words, "1000"))
