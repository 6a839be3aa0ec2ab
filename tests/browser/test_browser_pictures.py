"""The pictures of the documentation, made of the page as it is: `bin/test browser --pictures`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
NAMES = ("dashboard-light", "dashboard-dark", "phone", "log", "event", "trace")
LARGEST = 250_000
NOON = 1_795_521_600.0
"""2026-11-24 12:00:00 UTC: everything that has a time in a picture happened shortly before."""
SENDERS = [
    ("page", "London", "United Kingdom", "Mobile Safari", "iOS"),
    ("signup", "Boxford", "United Kingdom", "Chrome", "Mac OS X"),
    ("page", "Moscow", "Russia", "Firefox", "Windows"),
    ("purchase", "Linköping", "Sweden", "Chrome Mobile", "Android"),
    ("page", "Milton", "United States", "Edge", "Windows"),
]
LINES = [
    ("front", "stdout", "[info     ] service_started                 methods=9 name=front port=8080"),
    ("mmgeo", "stdout", "[info     ] database_opened                 source=dbip build=2026-11-01 nodes=4211837"),
    ("sxgeo", "stderr", "[warning  ] database_old                    age_days=162.9 source=sypex"),
    ("send_mixpanel", "stdout", "[info     ] batch_taken                     events=212 ms=131 status=200"),
    ("uaparser", "stdout", "[info     ] cache                           hits=18231 misses=402 share=0.978"),
    ("front", "stdout", "[info     ] registrations_replaced          rows=5 state_hash=8813"),
    ("send_mixpanel", "stderr", "[warning  ] answered_429                    retry_in=2.1 waiting=212"),
    ("send_mixpanel", "stdout", "[info     ] batch_taken                     events=404 ms=188 status=200"),
]


@pytest.mark.parametrize("name", NAMES)
def test_each_picture_is_there_and_small(name: str) -> None:
    """The documentation's pictures exist, are PNG files, and none is over 250 kB."""
    content = (PICTURES / f"{name}.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) <= LARGEST


def stage(theatre: Any) -> str:
    """Have an ordinary morning on the page; returns the id of the newest event."""
    for number in range(48):
        name, stream, text = LINES[number % len(LINES)]
        theatre.tell("print", name=name, stream=stream, text=text, at=NOON - 96 + 2 * number)
    newest = ""
    for number in range(14):
        name, city, country, browser, system = SENDERS[number % len(SENDERS)]
        data = {
            "page": {"title": "Rockstat platform", "url": "https://rock.st/docs/"},
            "mmgeo": {"city_en": city, "country_en": country, "source": "dbip"},
            "sxgeo": {"city_en": city, "country_en": country},
            "uaparser": {"browser_family": browser, "os_family": system, "is_bot": 0},
        }
        newest = theatre.event(
            at=NOON - 70 + 5 * number, key=f"in.gen.track.{name}", name=name, data=data,
            td={"ip": "81.2.69.0", "host": "t.example.com"},
        )  # fmt: skip
    theatre.redis.xgroup_create("events", "send_mixpanel", "0")
    theatre.redis.xreadgroup("send_mixpanel", "one", {"events": ">"})
    stream_id = theatre.redis.xrevrange("events", count=1)[0][0].decode()
    theatre.redis.xack("events", "send_mixpanel", stream_id)
    at = int(stream_id.partition("-")[0]) + 1213
    theatre.redis.xadd("events:taken:send_mixpanel", {"ids": stream_id, "ms": "131.4"}, id=f"{at}-0")
    theatre.tell("trace", trace={"outcome": "taken", "at": at, "answer": "200 OK, with 211 others"})
    return newest


def show(visitors: Callable[..., Any], path: str, **how: Any) -> Page:
    how = {"viewport": {"width": 1440, "height": 1180}, "timezone_id": "UTC", **how}
    page: Page = visitors(**how).open(path)
    if path == "/":
        expect(page.locator("#card-front")).to_contain_text("3.8 %")
        expect(page.locator("#lines .line")).to_have_count(48)
    page.wait_for_timeout(400)
    return page


def test_the_pictures_are_made(pytestconfig: pytest.Config, visitors: Callable[..., Any], theatre: Any) -> None:
    """What the pictures show can be shown; with --pictures they are written anew."""
    event = stage(theatre)
    whole = show(visitors, "/")
    dark = show(visitors, "/", color_scheme="dark")
    phone = show(visitors, "/", viewport={"width": 360, "height": 740}, device_scale_factor=2)
    search = show(visitors, "/")
    search.locator("#log-search").fill("taken")
    expect(search.locator("#lines mark").first).to_be_visible()
    search.evaluate("document.activeElement.blur()")
    opened = show(visitors, "/")
    opened.locator(".event summary").first.click()
    trace = show(visitors, f"/dashboard/trace/{event}", viewport={"width": 900, "height": 620})
    expect(trace.locator(".trace")).to_contain_text("Processed by send_mixpanel")
    if not pytestconfig.getoption("--pictures"):
        return
    PICTURES.mkdir(exist_ok=True)
    whole.screenshot(path=PICTURES / "dashboard-light.png")
    dark.screenshot(path=PICTURES / "dashboard-dark.png")
    phone.screenshot(path=PICTURES / "phone.png")
    search.locator("#log").screenshot(path=PICTURES / "log.png")
    opened.locator("#events").screenshot(path=PICTURES / "event.png")
    trace.screenshot(path=PICTURES / "trace.png")
