"""front's own pages in a browser: `/demo` shows events as they are made, `/` says whether one of a page came."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from playwright.sync_api import Browser, BrowserContext, Page, expect
from tests.browser.front_stage import stage


class Events:
    """A front, and what is in its stream."""

    def __init__(self, folder: Path, redis_port: int) -> None:
        self._redis = redis.Redis(port=redis_port)
        self._redis.flushall()
        self.front = stage.FrontProcess(folder, f"redis://127.0.0.1:{redis_port}")

    def stored(self) -> dict[str, str]:
        """Return the names of the events by id."""
        found: Any = self._redis.xrange("events")
        events = [json.loads(fields[b"event"]) for _, fields in found]
        return {event["id"]: event["name"] for event in events}


@pytest.fixture
def events(tmp_path: Path, redis_port: int) -> Iterator[Events]:
    found = Events(tmp_path, redis_port)
    yield found
    found.front.stop()


@pytest.fixture
def open_page(chromium: Browser, events: Events) -> Iterator[Callable[..., Page]]:
    """Opens a page of front; at the end nothing may have gone to another host, and the console has no complaint."""
    contexts: list[BrowserContext] = []
    requests: list[str] = []
    complaints: list[str] = []

    def make(path: str, **how: Any) -> Page:
        context = chromium.new_context(base_url=events.front.url, **how)
        contexts.append(context)
        context.on("request", lambda request: requests.append(request.url))
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        context.on(
            "console",
            lambda message: complaints.append(message.text) if message.type in {"error", "warning"} else None,
        )
        page = context.new_page()
        page.goto(path)
        return page

    yield make
    for context in contexts:
        context.close()
    assert {urlsplit(url).netloc for url in requests} == {urlsplit(events.front.url).netloc}
    assert complaints == []


def rows(page: Page, name: str) -> Any:
    """Return the rows of the list for the events of a name."""
    return page.locator("#list li", has=page.locator("b", has_text=f"track / {name}"))


def shown(page: Page) -> dict[str, str]:
    """Return what the list shows: id -> name."""
    found = page.locator("#list li").evaluate_all(
        "items => items.map(item => [item.querySelector('code').textContent, item.querySelector('b').textContent])"
    )
    return {code.partition("id ")[2]: name.removeprefix("track / ") for code, name in found}


def test_the_demo_shows_each_event_with_its_response(open_page: Callable[..., Page], events: Events) -> None:
    """A page view by itself, then a button, a form and a link; what is shown is what is stored, under the same ids."""
    page = open_page("/demo")
    expect(rows(page, "page").locator(".state").first).to_have_text("200 stored")
    page.get_by_role("button", name="Add to cart").click()
    page.get_by_label("E-mail").fill("secret@example.org")
    page.get_by_role("button", name="Subscribe").click()
    page.get_by_role("link", name="Coffee").click()
    page.get_by_role("button", name="Sign in as user 42").click()
    page.get_by_role("link", name="A link to another site").click()
    page.mouse.wheel(0, 600)
    for name in ("add_to_cart", "subscribe", "page", "login"):
        expect(rows(page, name).locator(".state").first).to_have_text("200 stored")
    expect(page.locator(".state.bad")).to_have_count(0)
    page.wait_for_function("!document.querySelector('#list').textContent.includes('on its way')")
    assert shown(page).items() <= events.stored().items()
    assert page.url.endswith("/demo")
    rows(page, "add_to_cart").locator("summary").click()
    expect(rows(page, "add_to_cart").locator("pre").first).to_contain_text('"product": "Tea"')
    assert "secret@example.org" not in str(page.locator("#list").text_content())
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#count")).to_have_text("nothing yet")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_demo_fits_any_screen(open_page: Callable[..., Page], scheme: str, width: int, tmp_path: Path) -> None:
    """Nothing is cut off at the side, text can be read in both schemes, and the list is seen without scrolling."""
    page = open_page("/demo", viewport={"width": width, "height": 740}, color_scheme=scheme, reduced_motion="reduce")
    expect(rows(page, "page").locator(".state").first).to_have_text("200 stored")
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    expect(page.locator("#list li").first).to_be_in_viewport()
    colours = page.evaluate("[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]")
    assert (sum(map(int, colours[0][4:-1].split(","))) > sum(map(int, colours[1][4:-1].split(",")))) is (
        scheme == "dark"
    )
    page.screenshot(path=tmp_path / "demo.png")


def test_the_demo_works_by_keyboard(open_page: Callable[..., Page]) -> None:
    """Each control is reached by Tab in its order and worked by Enter; the list can be skipped to."""
    page = open_page("/demo")
    expect(rows(page, "page").locator(".state").first).to_have_text("200 stored")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to what was sent"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "sent"
    page.locator("#title").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(rows(page, "add_to_cart").locator(".state")).to_have_text("200 stored")
    summary = rows(page, "add_to_cart").locator("summary")
    summary.focus()
    page.keyboard.press("Enter")
    expect(rows(page, "add_to_cart").locator("pre").first).to_be_visible()


def test_the_index_says_that_an_event_came(open_page: Callable[..., Page], events: Events) -> None:
    """It asks again by itself; the snippet can be copied."""
    index = open_page("/")
    expect(index.get_by_role("status")).to_contain_text("No event of a web page yet")
    demo = open_page("/demo")
    expect(rows(demo, "page").locator(".state").first).to_have_text("200 stored")
    expect(index.get_by_role("status")).to_contain_text("Newest event of a web page: page")
    expect(index.get_by_role("status")).to_contain_text(f" of {events.front.url}/demo")
    index.get_by_role("button", name="Copy").click()
    assert str(index.evaluate("getSelection().toString()")).startswith("<script>")
    index.get_by_role("link", name="A demo page").click()
    expect(index.get_by_role("heading", name="Tea")).to_be_visible()
