"""The browser SDK under the original's snippets and its own: events, fields, storage, consent, what is kept offline."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from playwright.sync_api import Browser, BrowserContext, Page
from tests.browser.event_platform import Platform, TlsSites, until

TRACKER = "t.shop.example"
SHOP = "https://www.shop.example/"

LOADER = """<script>(function (w, d, name, version) {
  var stub = w[name] = function () {
    var call = [].slice.call(arguments);
    if (call[0] === "configure") { stub._host = call[1].server; stub._prefix = call[1].pathPrefix || ""; load(); }
    return stub.doCall ? stub.doCall(call) : (stub._q.push(call), 0);
  };
  stub._q = []; stub._sv = version; stub.push = stub;
  function load() {
    var script = d.createElement("script");
    script.async = true;
    script.src = "https://" + stub._host + stub._prefix + "/lib.js";
    d.head.appendChild(script);
  }
})(window, document, "NAME", "VERSION");</script>"""
"""What the original's snippet leaves on a page, in our words: a function that collects the arrays of calls in `_q`."""

ORIGINALS = [("rstat", "4.1.0", "rst-", "rst:"), ("rstat4", "4.4.0", "rst4-", "rst4:")]

PLAIN = "<!doctype html><title>a shop</title>"
FORM = """<!doctype html><title>a shop</title><body style="height: 5000px">
<form id="order" name="order" method="post" action="/buy" class="plain" onsubmit="return false">
  <input id="mail" name="mail" type="email" placeholder="Your address"><button>Buy</button>
</form>
<a id="inside" href="/more#here" onclick="event.preventDefault()">More <b>shoes</b></a>
<a id="outside" href="https://other.example/x" target="_top" onclick="event.preventDefault()">Elsewhere</a>
<div id="box">box</div>"""


class Shop:
    """Front behind a proxy as t.shop.example, and a browser that knows the sites of the test."""

    def __init__(self, platform: Platform, sites: TlsSites, browser: Browser) -> None:
        self.sites = sites
        self.redis = platform.redis
        self._platform = platform
        self._browser = browser
        self._made: list[BrowserContext] = []

    def visitor(self, **how: Any) -> BrowserContext:
        """Return the browser of somebody who has been nowhere yet."""
        self.redis.delete("events")
        self.sites.down = False
        self._made.append(self._browser.new_context(ignore_https_errors=True, **how))
        return self._made[-1]

    def put(
        self, name: str, version: str, *calls: str, path: str = "", body: str = "<!doctype html><title>a shop</title>"
    ) -> None:
        """Put a page with the original's snippet, configured as users did it, and calls behind it."""
        loader = LOADER.replace("NAME", name).replace("VERSION", version)
        script = "\n".join((f'{name}("configure", {{server: "{TRACKER}"}});', *calls))
        self.sites.pages[f"www.shop.example/{path}"] = f"{body}{loader}<script>{script}</script>"

    def events(self, count: int, *only: str) -> list[dict[str, Any]]:
        """Return the events, oldest first, once there are so many, of certain names or all."""

        def found() -> list[dict[str, Any]]:
            events = self._platform.events(1, without=())
            events = [event for event in events if not only or event["name"] in only]
            return events if len(events) >= count else []

        return list(until(found))

    def close(self) -> None:
        """Close the visitors' browsers."""
        for context in self._made:
            context.close()
        self._made.clear()


@pytest.fixture(scope="module")
def opened(redis_port: int, tmp_path_factory: pytest.TempPathFactory, chromium: Browser) -> Iterator[Shop]:
    """One front and one browser for all tests of this file."""
    redis.Redis(port=redis_port).flushall()
    folder = tmp_path_factory.mktemp("shop")
    platform = Platform(folder, redis_port, whole=False)
    sites = TlsSites(folder, platform.url.removeprefix("http://"), TRACKER)
    binary = shutil.which("chromium") or shutil.which("chromium-browser")
    rules = f"--host-resolver-rules=MAP *.example 127.0.0.1:{sites.port}, MAP shop.example 127.0.0.1:{sites.port}"
    browser = chromium.browser_type.launch(
        executable_path=binary, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", rules]
    )
    yield Shop(platform, sites, browser)
    browser.close()
    sites.close()
    platform.stop()


@pytest.fixture
def shop(opened: Shop) -> Iterator[Shop]:
    """The shop, without visitors."""
    yield opened
    opened.close()


def go(context: BrowserContext, url: str) -> Page:
    """Open a page and wait until the SDK knows its visitor."""
    page = context.new_page()
    page.goto(url)
    page.wait_for_function("(window.rstat4 || window.rstat)._loaded")
    page.evaluate("() => new Promise((done) => (window.rstat4 || window.rstat)('onReady', done))")
    return page


def storage(page: Page) -> dict[str, str]:
    """Return what the page's site keeps in the browser."""
    return dict(page.evaluate("({...localStorage})"))


def cookies(context: BrowserContext) -> dict[str, dict[str, Any]]:
    """Return the browser's cookies by name."""
    return {str(cookie["name"]): dict(cookie) for cookie in context.cookies()}


def of_session(event: dict[str, Any]) -> tuple[int, int, int]:
    """Return the numbers of an event: session, page, event."""
    sess = event["data"]["sess"]
    return sess["num"], sess["pageNum"], sess["eventNum"]


@pytest.mark.parametrize(("name", "version", "cookie_prefix", "prefix"), ORIGINALS)
def test_a_visit_with_the_original_s_snippet_makes_its_events(
    shop: Shop, name: str, version: str, cookie_prefix: str, prefix: str
) -> None:
    """In its order and with its fields, and with its storage: session, page, load, form, clicks, scrolling, leaving."""
    shop.put(name, version, f'{name}("page");', body=FORM)
    context = shop.visitor()
    page = go(context, f"{SHOP}?utm_source=mail&utm_campaign=may&gclid=x1")
    shop.events(3)
    page.click("#mail")
    page.keyboard.type("jane@example.org")
    page.click("button")
    page.click("#inside")
    page.click("#outside")
    page.click("#box")
    page.mouse.wheel(0, 800)
    shop.events(1, "scroll")
    shop.events(1, "activity")
    page.goto("about:blank")
    shop.events(1, "page_unload")
    events = shop.events(11)
    names = [event["name"] for event in events if event["name"] not in ("activity", "scroll")]
    assert names == [
        "session", "page", "page_loaded", "field_focus", "field_change", "field_blur", "form_submit", "link_click",
        "link_click", "page_unload",
    ]  # fmt: skip
    first = events[1]["data"]
    assert {key: type(first[key]) for key in ("service", "name", "data", "projectId", "uid")} == {
        "service": str, "name": str, "data": dict, "projectId": int, "uid": str,
    }  # fmt: skip
    assert first["page"] == {"title": "a shop", "ref": "", "url": f"{SHOP}?utm_source=mail&utm_campaign=may&gclid=x1"}
    assert first["sess"].pop("start") > 0
    assert first["sess"].pop("marksHash") > 0
    assert first["sess"] == {
        "num": 1, "pageNum": 1, "eventNum": 0, "type": "campaign", "hasMarks": True,
        "marks": {"utm_source": "mail", "utm_campaign": "may", "has_gclid": 1},
    }  # fmt: skip
    assert first["lib"] == {"id": "web-sdk", "v": 5000000, "sv": version}
    assert first["char"] == {"ls": True, "sb": True}
    assert {"w", "h", "tw", "th", "plt", "uad"} <= {*first["browser"]}
    assert {"ts", "tz", "tzo"} == {*first["user"]}
    assert {"cs", "dl"} <= {*first["perf"]}
    assert "scroll" not in first
    named = {event["name"]: event["data"] for event in events}
    assert named["page_loaded"]["perf"]["dc"] > 0
    field = {"etag": "input", "etype": "email", "ename": "mail", "eph": "Your address", "ecl": "", "eid": "mail"}
    form = {"fmthd": "post", "fact": "/buy", "fname": "order", "fcls": "plain", "fid": "order"}
    assert named["field_change"]["data"] == {"event": "change", **field, **form}
    assert named["form_submit"]["data"] == {"event": "submit", **form}
    assert "jane" not in str(events)
    inside, outside = (event["data"]["data"] for event in events if event["name"] == "link_click")
    assert inside == {"href": f"{SHOP}more#here", "text": "More shoes", "outbound": False, "target": ""}
    assert outside == {"href": "https://other.example/x", "text": "Elsewhere", "outbound": True, "target": "_top"}
    scroll = named["scroll"]["scroll"]
    assert scroll["topOffset"] == 800
    assert 0 < scroll["scroll"] < 100
    assert scroll["maxScroll"] == scroll["scroll"]
    active = next(event["data"]["data"] for event in events if event["name"] == "activity")
    assert (active["interval"], active["active"]) == (5, 1)
    assert active["click"] > 0
    assert {event["uid"] for event in events} == {first["uid"]}
    # What stays in the browser, as the original wrote it.
    context.new_page().goto(SHOP)
    page = go(context, SHOP)
    found = storage(page)
    assert found[f"{prefix}uid"] == f'|"{first["uid"]}"'
    names = ("levent", "lsess", "lcamp", "csess", "s:lsts", "s:scpages", "s:scevs")
    assert {prefix + key for key in names} <= {*found}
    assert found[f"{prefix}csess"] == "|1"
    assert int(found[f"{prefix}lcamp"].partition("|")[0]) > 0
    own = cookies(context)[f"{cookie_prefix}uid"]
    assert (own["value"], own["domain"], own["sameSite"], own["secure"]) == (first["uid"], ".shop.example", "Lax", True)
    assert cookies(context)["uid"]["value"] == first["uid"]


@pytest.mark.parametrize(("name", "version", "cookie_prefix", "prefix"), ORIGINALS)
@pytest.mark.parametrize("where", ["rst4- cookie", "rst- cookie", "rst4: storage", "rst: storage", "rstat4_uid"])
def test_a_visitor_of_the_original_stays_the_same(
    shop: Shop, name: str, version: str, cookie_prefix: str, prefix: str, where: str
) -> None:
    """Whichever version kept the uid, and wherever; it is kept under the snippet's own prefix from then on."""
    uid = "6410748586712844288"
    shop.put(name, version, f'{name}("page");')
    context = shop.visitor()
    if where.endswith("cookie"):
        context.add_cookies(
            [{"name": f"{where.split()[0]}uid", "value": uid, "domain": ".shop.example", "path": "/", "secure": True}]
        )
    else:
        shop.sites.pages["www.shop.example/before"] = "<!doctype html><title>before</title>"
        page = context.new_page()
        page.goto(f"{SHOP}before")
        key, value = (f"{where.split()[0]}uid", f'|"{uid}"') if where.endswith("storage") else (where, uid)
        page.evaluate("([key, value]) => localStorage.setItem(key, value)", [key, value])
    page = go(context, SHOP)
    (event,) = shop.events(1, "page")
    assert (event["uid"], page.evaluate(f"{name}('getUid')")) == (uid, uid)
    assert cookies(context)[f"{cookie_prefix}uid"]["value"] == uid
    assert storage(page)[f"{prefix}uid"] == f'|"{uid}"'
