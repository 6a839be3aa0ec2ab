"""The browser SDK under the original's snippets and its own: events, fields, storage, consent, what is kept offline."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from playwright.sync_api import Browser, BrowserContext, Page
from tests.browser.event_platform import Platform, TlsSites, until

from band.platform import PROJECTS_KEY

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
        self._made.append(self._browser.new_context(**how))
        return self._made[-1]

    def put(self, name: str, version: str, *calls: str, options: str = "", body: str = PLAIN) -> None:
        """Put a page with the original's snippet, configured as users did it, and calls behind it."""
        loader = LOADER.replace("NAME", name).replace("VERSION", version)
        script = "\n".join((f'{name}("configure", {{server: "{TRACKER}", {options}}});', *calls))
        for path in ("", "a", "b"):
            self.sites.pages[f"www.shop.example/{path}"] = f"{body}{loader}<script>{script}</script>"

    def events(self, count: int, *only: str) -> list[dict[str, Any]]:
        """Return the events, oldest first, once there are so many, of certain names or all."""

        def found() -> list[dict[str, Any]]:
            events = self._platform.events(1, without=())
            events = [event for event in events if not only or event["name"] in only]
            return events if len(events) >= count else []

        return list(until(found))

    def project(self, **fields: Any) -> None:
        """Write the project `default`, and wait until front has read it."""
        self.redis.delete(PROJECTS_KEY)
        self.redis.hset(PROJECTS_KEY, "default", json.dumps(fields))
        mode = fields.get("consent", "off")
        until(lambda: self._platform.read("/lib.js?part=uid")["consent"] == mode)

    def close(self) -> None:
        """Close the visitors' browsers."""
        for context in self._made:
            context.close()
        self._made.clear()
        time.sleep(0.2)  # for the last beacons
        until(lambda: not self.sites.busy)


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
        executable_path=binary, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", rules, sites.trust]
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
    if opened.redis.exists(PROJECTS_KEY):
        opened.project()


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


ONE = ("rstat4", "4.4.0")


def test_a_request_resolves_with_the_handler_s_result(shop: Shop) -> None:
    """A refusal rejects, with the status; `notify` has no result."""
    shop.put(*ONE, 'rstat4("page");')
    page = go(shop.visitor(), SHOP)
    assert page.evaluate("rstat4('request', 'hello', 'ping')") == {"message": "pong"}
    refused = "rstat4('request', 'hello', 'nothing').catch((error) => [error.message, error.statusCode])"
    assert page.evaluate(refused) == ["Not Found", 404]
    assert page.evaluate("rstat4('notify', 'hello', 'ping', {a: 1})") is None
    assert shop.events(3, "ping", "nothing")[-1]["data"]["data"] == {"a": 1}


def test_calls_return_values_and_call_back(shop: Shop) -> None:
    """Those of the original, after the script has come; also on a function that a page has kept from the snippet."""
    shop.put(
        *ONE, "window.mine = rstat4; window.seen = []; rstat4('onEvent', (name) => seen.push(name)); mine('page');"
    )
    page = go(shop.visitor(), SHOP)
    (event,) = shop.events(1, "page")
    assert page.evaluate("[rstat4('getUid'), mine('getUid'), rstat('getUid')]") == [event["uid"]] * 3
    assert page.evaluate("rstat4('getSessNum')") == 1
    assert page.evaluate("rstat4('getLibInfo')") == {"id": "web-sdk", "v": 5000000, "sv": "4.4.0"}
    assert page.evaluate("rstat4('buildProjectId', 'www.rock.st')") == ["rock.st", 3516188042]
    page.evaluate("mine('identify', 'u-7', {plan: 'pro'}); mine('event', 'bought', {sum: 5})")
    (bought,) = shop.events(1, "bought")
    assert bought["data"]["data"] == {"sum": 5}
    user = bought["data"]["user"]
    assert (user["id"], user["traits"], user["plan"]) == ("u-7", {"plan": "pro"}, "pro")
    assert page.evaluate("seen.slice(0, 2)") == ["session", "page"]
    page.goto(SHOP)
    assert shop.events(2, "page")[1]["data"]["user"]["id"] == "u-7"


def test_a_session_lasts_until_the_visitor_pauses_or_comes_back_from_elsewhere(shop: Shop) -> None:
    """Page after page; a search begins another, and so does half an hour without an event."""
    shop.put(*ONE, 'rstat4("page");')
    shop.sites.pages["www.google.example/"] = f'<!doctype html><a href="{SHOP}">shop</a>'
    context = shop.visitor()
    page = go(context, SHOP)
    shop.events(1, "page_loaded")
    page.goto(f"{SHOP}?a=1")
    shop.events(2, "page_loaded")
    page.goto("https://www.google.example/")
    page.click("a")
    page.wait_for_url(SHOP)
    shop.events(3, "page_loaded")
    page.evaluate("localStorage.setItem('rst4:levent', '|' + (Date.now() - 1801000))")
    page.goto(f"{SHOP}?a=2")
    pages = shop.events(4, "page")
    assert [of_session(event)[:2] for event in pages] == [(1, 1), (1, 2), (2, 1), (3, 1)]
    assert [event["data"]["sess"]["type"] for event in pages] == ["direct", "direct", "organic", "direct"]
    assert pages[2]["data"]["sess"]["engine"] == "google"
    assert len(shop.events(3, "session")) == 3


def test_routes_of_a_single_page_application_are_pages(shop: Shop) -> None:
    """With the route before as their referrer; a change of the hash or of nothing is none."""
    shop.put(*ONE, 'rstat4("page");', options="trackPages: true")
    page = go(shop.visitor(), SHOP)
    shop.events(1, "page")
    for change in (
        "pushState({}, '', '/a')",
        "replaceState({}, '', '/a#part')",
        "pushState({}, '', '/b#!/c')",
        "back()",
    ):
        page.evaluate(f"history.{change}")
        page.wait_for_timeout(100)
    pages = [event["data"]["page"] for event in shop.events(4, "page")]
    urls = [SHOP, f"{SHOP}a", f"{SHOP}b#!/c", f"{SHOP}a#part"]
    assert [found["url"] for found in pages] == urls
    assert [found["ref"] for found in pages] == ["", *urls[:3]]


def test_before_an_opt_in_nothing_is_kept_and_nothing_is_sent_unasked(shop: Shop) -> None:
    """Neither cookie nor storage nor clicks; afterwards all of them, under a uid of the visitor's own."""
    shop.put(*ONE, 'rstat4("page");', options='consent: "opt-in"', body=FORM)
    context = shop.visitor()
    page = go(context, SHOP)
    page.click("#inside")
    (event,) = shop.events(1)
    assert (event["name"], event["privacy"], event["data"]["consent"]) == ("page", ["consent"], False)
    assert "uid" not in event["data"]
    assert "num" not in event["data"]["sess"]
    assert (cookies(context), storage(page)) == ({}, {})
    page.evaluate("rstat4('optin')")
    page.click("#inside")
    (click,) = shop.events(1, "link_click")
    assert ("privacy" in click, click["data"]["consent"]) == (False, True)
    assert cookies(context)["rst4-uid"]["value"] == click["uid"] == storage(page)["rst4:uid"].strip('|"')
    page.evaluate("rstat4('optout')")
    until(lambda: cookies(context) == {})
    assert storage(page) == {"rstat4_consent": "no"}


def test_cookieless_keeps_nothing(shop: Shop) -> None:
    """No cookie, no storage, no uid, page after page; events come all the same and object to nothing."""
    shop.put(*ONE, 'rstat4("page"); rstat4("identify", "u-7");', options='consent: "cookieless"')
    context = shop.visitor()
    for number in (1, 2):
        page = go(context, SHOP)
        event = shop.events(number, "page")[-1]
        assert (event["data"]["cookieless"], "privacy" in event) == (True, False)
        assert not {"uid", "consent"} & {*event["data"]}
        assert "id" not in event["data"]["user"]
        assert (cookies(context), storage(page)) == ({}, {})


@pytest.mark.parametrize(("mode", "kept"), [("opt-out", False), ("off", True)])
def test_global_privacy_control_is_an_opt_out(shop: Shop, mode: str, kept: bool) -> None:
    """Where visitors may opt out; with consent off the event says so, and front does the rest."""
    shop.put(*ONE, 'rstat4("page");', options=f'consent: "{mode}"')
    context = shop.visitor()
    context.add_init_script("Object.defineProperty(Navigator.prototype, 'globalPrivacyControl', {get: () => true})")
    page = go(context, SHOP)
    (event,) = shop.events(1, "page")
    assert event["data"]["gpc"] is True
    assert ("rst4-uid" in cookies(context), "rst4:uid" in storage(page)) == (kept, kept)
    assert ("privacy" in event) is not kept


def test_the_project_says_what_the_page_does_not(shop: Shop) -> None:
    """Its consent mode is asked for before anything is kept; the page's key is its project's."""
    shop.project(consent="opt-in", public_keys=["pk_page"])
    shop.put(*ONE, 'rstat4("page");', options='key: "pk_page"')
    context = shop.visitor()
    page = go(context, SHOP)
    (event,) = shop.events(1)
    assert (event["privacy"], cookies(context), storage(page)) == (["consent"], {}, {})
    assert ("POST", "/band/t4k.json?writeKey=pk_page") in shop.sites.asked


@pytest.mark.parametrize("cut", ["server", "network"])
def test_events_wait_for_a_connection_across_a_reload(shop: Shop, cut: str) -> None:
    """In their order, each once, with the time when they happened; what waits is bounded."""
    shop.put(*ONE, 'rstat4("page");', options="trackActivity: false")
    context = shop.visitor()
    page = go(context, SHOP)
    shop.events(1, "page_loaded")
    if cut == "server":
        shop.sites.down = True
    else:
        context.set_offline(True)
    page.evaluate("for (let n = 0; n < 150; n++) rstat4('event', 'waited', {n})")
    page.wait_for_function("(localStorage['rst4:queue'] || '').includes('149')")
    assert len(json.loads(storage(page)["rst4:queue"][1:])) == 100
    if cut == "server":
        page.goto(f"{SHOP}?again")
        page.wait_for_function("rstat4._loaded")
    shop.sites.down = False
    context.set_offline(False)
    page.wait_for_function("!localStorage['rst4:queue']")
    waited = shop.events(90, "waited")
    # What the next page could not send displaced the oldest.
    assert [event["data"]["data"]["n"] for event in waited][-90:] == list(range(60, 150))
    assert len({event["data"]["dedup"] for event in waited}) == len(waited) <= 100
    assert {event["data"]["ts"] == event["data"]["user"]["ts"] for event in waited} == {True}


def test_the_owner_s_visits_are_left_out(shop: Shop) -> None:
    """From the call on, on later pages too, until it is taken back."""
    shop.put(*ONE, 'rstat4("page");')
    context = shop.visitor()
    page = go(context, SHOP)
    shop.events(1, "page_loaded")
    page.evaluate("rstat4('ignore'); rstat4('event', 'mine')")
    page.goto(SHOP)
    page.wait_for_function("rstat4._loaded")
    page.evaluate("rstat4('event', 'mine')")
    page.goto(SHOP)
    page.wait_for_function("rstat4._loaded")
    page.evaluate("rstat4('ignore', false); rstat4('event', 'counted')")
    (counted,) = shop.events(1, "counted")
    names = [event["name"] for event in shop.events(1) if event["uid"] == counted["uid"]]
    assert "mine" not in names
    assert names.count("page") == 1


def test_pages_can_stay_in_the_browser_s_cache(shop: Shop) -> None:
    """Nothing listens to `unload` or `beforeunload`."""
    shop.put(*ONE, 'rstat4("page");', options="trackPages: true, trackClicks: {allClicks: true}", body=FORM)
    context = shop.visitor()
    context.add_init_script("""window.heard = [];
        const original = EventTarget.prototype.addEventListener;
        EventTarget.prototype.addEventListener = function (type, ...rest) {
          heard.push(type);
          return original.call(this, type, ...rest);
        };""")
    page = go(context, SHOP)
    page.click("#box")
    heard = set(page.evaluate("heard"))
    assert {"pagehide", "visibilitychange", "click", "submit"} <= heard
    assert not {"unload", "beforeunload"} & heard
    (click,) = shop.events(1, "element_click")
    assert (click["data"]["data"]["etag"], click["data"]["data"]["eid"]) == ("div", "box")


def test_core_web_vitals_come_with_a_second_file(shop: Shop) -> None:
    """After the page; one event as it is left."""
    shop.put(*ONE, 'rstat4("page");', options="trackVitals: true", body=FORM)
    page = go(shop.visitor(), SHOP)
    page.wait_for_function("performance.getEntriesByType('resource').some((each) => each.name.includes('part=more'))")
    page.wait_for_timeout(3000)
    page.click("#box")
    page.wait_for_timeout(500)
    page.goto(f"{SHOP}a")
    (event,) = shop.events(1, "vitals")
    assert {"LCP", "FCP", "TTFB", "CLS"} <= {*event["data"]["data"]}


def test_a_path_before_the_server_s_own_is_kept(shop: Shop) -> None:
    """The script and all requests are under it."""
    shop.put(*ONE, 'rstat4("page");', options='pathPrefix: "/stats"')
    shop.sites.asked.clear()
    go(shop.visitor(), SHOP)
    shop.events(1, "page")
    assert {path.partition("?")[0] for _, path in shop.sites.asked} == {"/stats/lib.js", "/stats/band/t4k.json"}
