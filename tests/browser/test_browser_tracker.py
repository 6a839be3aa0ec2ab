"""The tracker in a visitor's browser, from a page with front's own snippet to what Mixpanel would get."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page
from tests.browser.conftest import until
from tests.browser.event_platform import Platform, Sites


@pytest.fixture
def everyday(chromium: Browser, tmp_path: Path) -> Iterator[BrowserContext]:
    """A browser with a profile: unlike a private window, it sends cookies of other sites, as most people's do."""
    (tmp_path / "profile" / "Default").mkdir(parents=True)
    wanted = {"profile": {"cookie_controls_mode": 0, "block_third_party_cookies": False}}
    (tmp_path / "profile" / "Default" / "Preferences").write_text(json.dumps(wanted))
    binary = shutil.which("chromium") or shutil.which("chromium-browser")
    context = chromium.browser_type.launch_persistent_context(
        tmp_path / "profile", executable_path=binary, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    )
    yield context
    context.close()


QUIET = 'rstat4("configure", {trackActivity: false, trackClicks: false, trackForms: false});'


def on_page(platform: Platform, *calls: str) -> str:
    """Return a page with front's snippet, and calls behind it."""
    snippet = platform.snippet().replace('rstat4("page");', "\n".join((QUIET, *calls)))
    return f"<!doctype html><title>a shop</title><h1>Shop</h1>{snippet}"


def go(context: BrowserContext, url: str) -> Page:
    """Open a page and wait until the tracker has come."""
    page = context.new_page()
    page.goto(url)
    page.wait_for_function("!window.rstat4.q")
    return page


def uid_cookies(context: BrowserContext) -> list[str]:
    """Return the values of cookies called uid."""
    return [str(cookie["value"]) for cookie in context.cookies() if cookie["name"] == "uid"]


def storage(page: Page) -> dict[str, str]:
    """Return what the page's site keeps in the browser."""
    return dict(page.evaluate("({...localStorage})"))


def kept(page: Page) -> tuple[str, str]:
    """Return the uid and the choice that the page's site keeps in the browser."""
    found = storage(page)
    return found.get("rst4:uid", "").strip('|"'), found.get("rstat4_consent", "")


def test_the_snippet_as_front_shows_it_counts_a_visit(
    platform: Platform, sites: Sites, browser_of: Callable[[], BrowserContext]
) -> None:
    """Pasted without a change: the page's address and one uid, in storage, cookie and event; Mixpanel gets it."""
    sites.pages["/"] = f"<!doctype html><title>a shop</title>{platform.snippet()}"
    context = browser_of()
    page = go(context, f"http://127.0.0.1:{sites.port}/")
    (event,) = platform.events(1)
    assert (event["key"], event["data"]["page"]["title"]) == ("in.gen.track.page", "a shop")
    assert kept(page) == (event["uid"], "")
    assert {cookie["name"]: cookie["value"] for cookie in context.cookies()} == {
        "uid": event["uid"],
        "rst4-uid": event["uid"],
    }
    assert platform.delivered(1) == ["track/page"]


REFUSALS = (
    'rstat4("event", "refused", {consent: false});',
    'rstat4("event", "refused", {consent: "denied"});',
    'rstat4("configure", {consent: false}); rstat4("event", "refused");',
    'rstat4("configure", {consent: "required"}); rstat4("event", "refused");',
    'rstat4("consent", false); rstat4("event", "refused");',
    'rstat4("optout"); rstat4("event", "refused");',
)


def test_who_refuses_is_not_delivered(
    platform: Platform, sites: Sites, browser_of: Callable[[], BrowserContext]
) -> None:
    """In each way of saying it: the event is stored with its mark, Mixpanel gets that of somebody else only."""
    for number, calls in enumerate(REFUSALS, 1):
        sites.pages["/no"] = on_page(platform, calls)
        context = browser_of()
        go(context, f"http://127.0.0.1:{sites.port}/no")
        event = platform.events(number)[-1]
        assert (event["name"], event["privacy"]) == ("refused", ["consent"]), calls
        until(lambda context=context: uid_cookies(context) == [])
    sites.pages["/yes"] = on_page(platform, 'rstat4("event", "counted");')
    go(browser_of(), f"http://127.0.0.1:{sites.port}/yes")
    platform.events(len(REFUSALS) + 1)
    assert platform.delivered(1) == ["track/counted"]


def test_an_opt_out_forgets_the_visitor_and_an_opt_in_begins_anew(
    platform: Platform, sites: Sites, browser_of: Callable[[], BrowserContext]
) -> None:
    """No event of its own; uid, cookie and what identify said are gone; the choice is remembered on the next page."""
    sites.pages["/"] = on_page(platform, 'rstat4("identify", {email: "jane@example.org"});', 'rstat4("page");')
    context = browser_of()
    page = go(context, f"http://127.0.0.1:{sites.port}/")
    known = platform.events(1)[0]["uid"]
    page.evaluate("rstat4('optout')")
    until(lambda: uid_cookies(context) == [])
    assert storage(page) == {"rstat4_consent": "no"}
    page.evaluate("rstat4('event', 'after')")
    page = go(context, f"http://127.0.0.1:{sites.port}/")
    *_, after, again = platform.events(3)
    for event in (after, again):
        assert event["privacy"] == ["consent"]
        assert event["uid"] != known
        assert "email" not in json.dumps(event)
    assert after["uid"] != again["uid"]
    assert (context.cookies(), storage(page)) == ([], {"rstat4_consent": "no"})
    page.evaluate("rstat4('optin'); rstat4('event', 'back')")
    back = platform.events(4)[-1]
    assert (back["name"], "privacy" in back) == ("back", False)
    assert kept(page) == (back["uid"], "yes")
    assert platform.delivered(2) == ["track/back", "track/page"]


def test_an_unknown_command_sends_nothing_and_warns(
    platform: Platform, sites: Sites, browser_of: Callable[[], BrowserContext]
) -> None:
    """A typo is no event; names of JavaScript's own objects are no commands either."""
    calls = ['rstat4("pgae", {a: 1});', 'rstat4("constructor");', 'rstat4("consent");', 'rstat4("page");']
    sites.pages["/"] = on_page(platform, *calls)
    context = browser_of()
    warned: list[str] = []
    context.on("console", lambda message: warned.append(message.text) if message.type == "warning" else None)
    page = go(context, f"http://127.0.0.1:{sites.port}/")
    page.evaluate("rstat4('event', 'last')")
    assert [event["name"] for event in platform.events(2)] == ["page", "last"]
    assert [text.split(",")[0] for text in warned] == [
        "rstat4: consent needs true or false",
        'rstat4: there is no command "pgae"',
        'rstat4: there is no command "constructor"',
    ]


@pytest.mark.parametrize("platform", [{"REQUIRE_CONSENT": "yes"}], indirect=True)
def test_where_consent_is_required_nothing_is_kept_before_it(
    platform: Platform, sites: Sites, browser_of: Callable[[], BrowserContext]
) -> None:
    """No cookie and no storage, with `/lib.js` itself neither; consent makes both, for the pages after it too."""
    sites.pages["/"] = on_page(platform, 'rstat4("page");')
    context = browser_of()
    page = go(context, f"http://127.0.0.1:{sites.port}/")
    (before,) = platform.events(1)
    assert (before["privacy"], context.cookies(), storage(page)) == (["consent"], [], {})
    page.evaluate("rstat4('consent', true); rstat4('event', 'agreed')")
    agreed = platform.events(2)[-1]
    assert "privacy" not in agreed
    until(lambda: uid_cookies(context) == [agreed["uid"]])
    assert kept(page) == (agreed["uid"], "yes")
    go(context, f"http://127.0.0.1:{sites.port}/")
    later = platform.events(3)[-1]
    assert (later["uid"], "privacy" in later) == (agreed["uid"], False)
    assert platform.delivered(2) == ["track/agreed", "track/page"]


def test_a_visitor_is_the_same_on_the_sites_of_others(
    platform: Platform, sites: Sites, browser_of: Callable[[], BrowserContext]
) -> None:
    """A site under another name than the tracker's (localhost here) keeps its visitor from page to page."""
    sites.pages["/"] = on_page(platform, 'rstat4("page");')
    context = browser_of()
    for _ in range(2):
        page = go(context, f"http://localhost:{sites.port}/")
        page.evaluate("rstat4('event', 'more')")
    uids = {event["uid"] for event in platform.events(4)}
    assert len(uids) == 1
    assert kept(page) == (uids.pop(), "")


def test_a_page_of_another_site_cannot_read_the_uid(platform: Platform, sites: Sites, everyday: BrowserContext) -> None:
    """It includes the script with a function of its own in the tracker's place, and fetches it with credentials."""
    sites.pages["/shop"] = on_page(platform, 'rstat4("page");')
    sites.pages["/evil"] = f"""<!doctype html><title>evil</title><script>
        window.stolen = [];
        window.rstat4 = function (command, options) {{ window.stolen.push(JSON.stringify(options || command)); }};
        fetch("{platform.url}/lib.js?part=uid", {{credentials: "include"}}).then((r) => r.text())
          .then((text) => window.stolen.push(text.slice(0, 200)), (e) => window.stolen.push(String(e)))
          .then(() => {{ window.done = true; }});
        </script><script src="{platform.url}/lib.js"></script>"""
    go(everyday, f"http://127.0.0.1:{sites.port}/shop")
    (event,) = platform.events(1)
    assert uid_cookies(everyday) == [event["uid"]]
    page = everyday.new_page()
    page.goto(f"http://localhost:{sites.port}/evil")
    page.wait_for_function("window.done")
    stolen = page.evaluate("window.stolen")
    assert [json.loads(text)["uid"] for text in stolen] == [""]
    assert event["uid"] not in json.dumps(stolen)
    assert uid_cookies(everyday) == [event["uid"]]


def test_a_visitor_has_one_uid_on_all_sites_of_a_tracker(
    platform: Platform, sites: Sites, everyday: BrowserContext
) -> None:
    """Where the browser sends the tracker's cookie: first here, then under another name."""
    sites.pages["/"] = on_page(platform, 'rstat4("page");')
    for host in ("127.0.0.1", "localhost", "127.0.0.1"):
        go(everyday, f"http://{host}:{sites.port}/")
    assert len({event["uid"] for event in platform.events(3)}) == 1
