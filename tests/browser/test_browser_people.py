"""The page for everybody: themes, phones, keyboards, screen readers; and who may open it at all."""

from __future__ import annotations

import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from director.api.throttle import FREE, PAUSE_SECONDS

TOKEN = "t0ken-of-the-browser-tests-abcdef"
PLACES = ("/", "/dashboard/service/mmgeo", "/dashboard/trace/{event}", "/dashboard/service/nobody")

RULES = (Path(__file__).parent / "rules.js").read_text(encoding="utf-8")


def fill(theatre: Any) -> str:
    """Have something of everything on the page; returns the id of an event."""
    at = "1795480000001"
    theatre.tell(
        "letters", letters=[{"stream_id": f"{at}-0", "at": at, "reason": "time is invalid", "event": {"a": [1, None]}}]
    )
    for stream in ("stdout", "stderr"):
        theatre.tell("print", name="front", text=f"a line of {stream}", stream=stream)
    theatre.tell("crash", name="uaparser", code=3)
    theatre.ask("/stop/front")
    return str(theatre.event())


def opened(page: Page) -> None:
    """Open whatever can be opened."""
    for summary in page.locator("main summary").all():
        if not summary.locator("xpath=ancestor::*[@class='menu']").count():
            summary.click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_keep_the_rules_of_accessibility(visitors: Callable[..., Any], theatre: Any, scheme: str) -> None:
    """Names, labels, headings, reachability, contrast: nothing on any page, in a menu or a dialog, breaks a rule."""
    event = fill(theatre)
    visit = visitors(color_scheme=scheme)
    visit.expected = ("404",)
    for path in PLACES:
        page = visit.open(path.format(event=event))
        page.wait_for_timeout(300)
        opened(page)
        check_rules(page, path)
    page = visit.open("/")
    page.locator("#card-mmgeo .menu summary").click()
    check_rules(page, "menu")
    page.get_by_role("button", name="Remove… mmgeo").click()
    check_rules(page, "question")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Run tg_hellobot").click()
    expect(page.get_by_label("BOT_TOKEN")).to_be_visible()
    check_rules(page, "form")


def check_rules(page: Page, where: str) -> None:
    """Fail when an element breaks a rule of `rules.js`."""
    broken = page.evaluate(
        f"""() => {{
            const rules = {RULES.strip().removesuffix(";").partition(chr(10))[2]};
            return Object.entries(rules).flatMap(([rule, find]) =>
                find().map((e) => `${{rule}}: ${{e.outerHTML?.slice(0, 160) ?? e}}`));
        }}"""
    )
    assert broken == [], where


def test_the_theme_is_switched_and_remembered_before_any_script_runs(visitors: Callable[..., Any]) -> None:
    """Light, dark, as the system; the server sends the next page in the chosen one, so nothing flashes."""
    visit = visitors(color_scheme="light")
    page = visit.open()
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    switch = page.get_by_role("button", name=re.compile("^Theme"))
    switch.click()
    expect(switch).to_have_accessible_name("Theme: light")
    page.keyboard.press("t")
    expect(switch).to_have_accessible_name("Theme: dark")
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate(ground) == dark
    assert 'data-theme="dark"' in page.request.get("/").text()
    page.wait_for_selector("html.js")
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") is None
    assert page.evaluate(ground) == light


@pytest.mark.parametrize("width", [360, 768, 1024, 1920])
def test_no_page_is_wider_than_the_screen(
    visitors: Callable[..., Any], theatre: Any, tmp_path: Any, width: int
) -> None:
    """From phone to wall: no horizontal scrolling, not even with long names, lines and events, nor in dialogs."""
    name = "a" + "long-name-of-a-service-" * 2 + "end"
    path = tmp_path / "user" / name
    path.mkdir(parents=True)
    (path / "Dockerfile").write_text("FROM scratch\n")
    (path / "band.yml").write_text(f"title: {'T' * 120}\nsecrets: [{'S' * 60}]\n")
    theatre.ask(f"/run/{name}")
    event = theatre.event(key="in.gen." + "k" * 200, data={"x" * 150: "y" * 3000})
    theatre.tell("print", name=name, text="z" * 3000)
    event = fill(theatre) or event
    visit = visitors(viewport={"width": width, "height": 740})
    visit.expected = ("404",)
    for place in (*PLACES, f"/dashboard/service/{name}"):
        page = visit.open(place.format(event=event))
        page.wait_for_timeout(300)
        opened(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, place
    page = visit.open("/")
    page.locator(f"#card-{name} .menu summary").click()
    page.get_by_role("button", name=f"Run with settings… {name}").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert page.evaluate("document.querySelector('dialog').scrollWidth <= document.querySelector('dialog').clientWidth")
    box = page.get_by_role("dialog").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= width


def test_everything_is_done_by_keyboard_alone(visit: Any, theatre: Any) -> None:
    """Tab reaches every control and shows where it is; arrows go from card to card; no mouse is needed."""
    page = visit.open()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the services")).to_be_focused()
    expect(page.get_by_role("link", name="Skip to the services")).to_be_in_viewport()
    wanted = page.evaluate("""[...document.querySelectorAll('button, a[href], input, select, summary, [tabindex="0"]')]
        .filter((e) => e.checkVisibility() && !e.disabled && e.tabIndex >= 0).length""")
    reached = set()
    for _ in range(wanted + 5):
        reached.add(
            page.evaluate("""(() => { const e = document.activeElement; const s = getComputedStyle(e);
            if (e !== document.body && (s.outlineStyle === 'none' || parseFloat(s.outlineWidth) < 2))
                throw new Error('focus is not seen: ' + e.outerHTML);
            return [...document.querySelectorAll('*')].indexOf(e); })()""")
        )
        page.keyboard.press("Tab")
    assert len(reached) >= wanted
    page.keyboard.press("g")
    expect(page.locator("#name-front a")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#name-mmgeo a")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#name-uaparser a")).to_be_focused()
    for _ in range(3):
        page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Stop uaparser")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#card-uaparser .state")).to_have_text("stopped")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("search the log")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.locator("#card-front .menu summary").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Remove… front")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Remove… front")).to_be_hidden()
    expect(page.locator("#card-front .menu summary")).to_be_focused()


def test_what_one_does_survives_what_comes_in(visit: Any, theatre: Any) -> None:
    """An open menu, the focus and a text that is being written stay, while cards are made anew every second."""
    page = visit.open()
    page.locator("#card-front .menu summary").click()
    page.locator("#log-search").fill("half a wo")
    theatre.ask("/restart/mmgeo")
    expect(page.locator("#card-mmgeo")).to_contain_text(re.compile(r"up\s*[2-9] s"))
    expect(page.locator("#card-front .menu")).to_have_attribute("open", "")
    expect(page.locator("#log-search")).to_be_focused()
    assert page.locator("#log-search").input_value() == "half a wo"


def test_nothing_moves_for_those_who_do_not_like_it(visitors: Callable[..., Any], theatre: Any) -> None:
    """With prefers-reduced-motion there is no animation; without it new events light up."""
    for liking, animation in (("reduce", "none"), ("no-preference", "arrive")):
        page = visitors(reduced_motion=liking).open()
        theatre.event()
        item = page.locator(".event.new").first
        item.wait_for()
        assert item.evaluate("(e) => getComputedStyle(e).animationName") == animation


def test_pages_carry_strict_headers_and_files_are_kept_for_good(theatre: Any) -> None:
    """No inline script or style may run, nobody may frame the page; files have their hash in the address."""
    with urllib.request.urlopen(theatre.url + "/", timeout=10) as answer:
        policy, html = answer.headers["Content-Security-Policy"], answer.read().decode()
    assert "default-src 'self'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert not re.search(r"\son\w+=|javascript:|<style|<script(?! type=\"module\" src=\"/dashboard/static/)", html)
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", html)
    file = re.search(r"/dashboard/static/[0-9a-f]{16}/app\.js", html)
    assert file
    with urllib.request.urlopen(theatre.url + file[0], timeout=10) as answer:
        assert "immutable" in answer.headers["Cache-Control"]
        assert answer.headers["Content-Type"].startswith("text/javascript")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{theatre.url}/dashboard/static/{'0' * 16}/app.js", timeout=10)


@pytest.mark.parametrize("theatre", [{"BAND_TOKEN": TOKEN}], indirect=True)
def test_with_a_token_one_logs_in_first(visitors: Callable[..., Any], theatre: Any) -> None:
    """A page leads to the login and back; scripts cannot reach the cookie; actions work with it; Log out ends it."""
    visit = visitors()
    visit.expected = ("403",)
    page = visit.page
    page.goto("/dashboard/service/mmgeo")
    expect(page).to_have_url(re.compile(r"/dashboard/login\?next=/dashboard/service/mmgeo$"))
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_have_text("Wrong token.")
    check_rules(page, "login")
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/dashboard/service/mmgeo")
    (cookie,) = visit.context.cookies()
    assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == ("band_session", True, "Strict")
    assert TOKEN not in cookie["value"] + page.content()
    page.goto("/")
    page.wait_for_selector("#link[data-state=live]")
    page.get_by_role("button", name="Restart uaparser").click()
    page.get_by_role("dialog").get_by_role("button", name="Restart").click()
    expect(page.get_by_role("status").filter(has_text="uaparser restarted")).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/dashboard/login")
    assert page.request.get("/list").status == 403


@pytest.mark.parametrize("theatre", [{"BAND_TOKEN": TOKEN}], indirect=True)
def test_guesses_are_slowed_down(theatre: Any) -> None:
    """Wrong tokens wait for each other as soon as there are many; the right one is let in at once meanwhile."""

    def guess(token: str) -> tuple[int, float]:
        client = http.client.HTTPConnection("127.0.0.1", theatre.port, timeout=20)
        begun = time.monotonic()
        try:
            client.request(
                "POST", "/dashboard/login", f"token={token}", {"Content-Type": "application/x-www-form-urlencoded"}
            )
            return client.getresponse().status, time.monotonic() - begun
        finally:
            client.close()

    wrong = [guess("wrong") for _ in range(FREE + 2)]
    assert {status for status, _ in wrong} == {403}
    assert wrong[-1][1] > PAUSE_SECONDS / 2
    status, took = guess(TOKEN)
    assert (status, took < wrong[-1][1]) == (303, True)


@pytest.mark.parametrize("theatre", [{"BAND_TOKEN": TOKEN}], indirect=True)
def test_a_session_that_ended_leads_back_to_the_login(visitors: Callable[..., Any], theatre: Any) -> None:
    """When the cookie is gone and the socket breaks, the page does not try for ever: it asks for the token."""
    visit = visitors()
    visit.expected = ("403", "WebSocket", "ERR_", "Failed to load")
    page = visit.page
    page.goto("/dashboard/login")
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_selector("#link[data-state=live]")
    visit.context.clear_cookies()
    theatre.close()
    theatre.open()
    page.wait_for_url("**/dashboard/login?next=%2F")


def test_other_sites_reach_nothing(visitors: Callable[..., Any], theatre: Any) -> None:
    """A page of another origin can neither open the sockets, nor post, nor frame or read the page."""
    visit = visitors()
    visit.expected = ("WebSocket", "403", "Failed to load", "CORS", "frame", "Refused", "blocked")
    page = visit.page
    page.route(
        "http://localhost:1/**", lambda route: route.fulfill(body="<p>another site</p>", content_type="text/html")
    )
    page.goto("http://localhost:1/")
    visit.requests.clear()
    for path in ("/ws", "/dashboard/live"):
        opened = page.evaluate(
            """(url) => new Promise((done) => {
                const socket = new WebSocket(url);
                socket.onopen = () => done('open');
                socket.onerror = () => done('refused');
            })""",
            theatre.url.replace("http", "ws") + path,
        )
        assert opened == "refused"
    page.evaluate(
        "(url) => fetch(url, { method: 'POST', mode: 'no-cors' }).catch(() => 0)", f"{theatre.url}/stop/uaparser"
    )
    page.evaluate(
        "(url) => { const i = document.createElement('img'); i.src = url; document.body.append(i); }",
        f"{theatre.url}/stop/uaparser",
    )
    page.wait_for_timeout(300)
    assert theatre.state("uaparser") == "running"
