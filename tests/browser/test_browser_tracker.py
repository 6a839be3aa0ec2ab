"""The tracker in a visitor's browser, from a page with front's own snippet to what Mixpanel would get."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import redis
from playwright.sync_api import Browser, BrowserContext, Page

IMAGES = Path(__file__).parents[2] / "band_images"
PATIENCE = 30.0


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(found: Callable[[], Any]) -> Any:
    """Return the first true value of `found`; what it raises while things start is no value yet."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            if value := found():
                return value
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"not within {PATIENCE} s: {found}")


class Platform:
    """Front, send_mixpanel and a double of Mixpanel as processes, with the settings of their images."""

    def __init__(self, folder: Path, redis_port: int, **front: str) -> None:
        self.ports = {name: free_port() for name in ("front", "mixpanel_double", "send_mixpanel")}
        self.url = f"http://127.0.0.1:{self.ports['front']}"
        self.redis = redis.Redis(port=redis_port)
        self._folder = folder
        self._dsn = f"redis://127.0.0.1:{redis_port}"
        self._double = f"http://127.0.0.1:{self.ports['mixpanel_double']}"
        self._running = [
            self._run("mixpanel_double"),
            self._run("send_mixpanel", MIXPANEL_TOKEN="token", MIXPANEL_URL=self._double, LINGER="0.1"),
            self._run("front", ADMIN_PORT="0", WORKERS="1", **front),
        ]
        until(lambda: self._read(f"{self.url}/_band/health")["checks"]["redis"]["status"] == "ok")
        until(lambda: self._read(f"{self._double}/_double/events") is not None)
        until(lambda: self.redis.exists("events") and self.redis.xinfo_groups("events"))

    def _run(self, name: str, **env: str) -> subprocess.Popen[bytes]:
        folder = self._folder / name
        folder.mkdir()
        shutil.copy(IMAGES / name / "config.yaml", folder)
        given = {
            "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "NAME": name, "HOST": "127.0.0.1", "PORT": str(self.ports[name]), "REDIS_DSN": self._dsn,
            "DATA_DIR": str(folder), "JOURNAL_DIR": "", **env,
        }  # fmt: skip
        with (self._folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen([sys.executable, "-m", name], cwd=folder, env=given, stdout=log, stderr=log)

    def _read(self, url: str) -> Any:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)

    def snippet(self) -> str:
        """Return what front's `/` tells its reader to put on a page."""
        with urllib.request.urlopen(self.url, timeout=5) as answer:
            found = re.search(r"<pre>(.*?)</pre>", answer.read().decode(), re.DOTALL)
        assert found
        return unescape(found[1])

    def events(self, count: int) -> list[dict[str, Any]]:
        """Return the events of the stream, oldest first, once there are so many."""
        until(lambda: self.redis.xlen("events") >= count)
        found: Any = self.redis.xrange("events")
        return [json.loads(fields[b"event"]) for _, fields in found]

    def delivered(self, count: int) -> list[str]:
        """Return the names of what Mixpanel counted, once there are so many and nothing waits any more."""

        def done() -> list[str]:
            (group,) = self.redis.xinfo_groups("events")
            events = self._read(f"{self._double}/_double/events?limit=1000")["events"]
            settled = group["pending"] == 0 and group["last-delivered-id"] == self._last()
            return [str(event["event"]) for event in events] if settled and len(events) >= count else []

        return sorted(until(done))

    def _last(self) -> Any:
        return self.redis.xinfo_stream("events")["last-generated-id"]

    def stop(self) -> None:
        for process in reversed(self._running):
            process.terminate()
        for process in self._running:
            process.wait(15)


class Sites:
    """A web server for the pages of a test: path -> HTML."""

    def __init__(self) -> None:
        self.pages: dict[str, str] = {}
        pages = self.pages

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = pages.get(self.path, "").encode()
                self.send_response(200 if body else 404)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def sites() -> Iterator[Sites]:
    """A web server."""
    found = Sites()
    yield found
    found.close()


@pytest.fixture
def platform(redis_port: int, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Platform]:
    """The services; `@pytest.mark.parametrize("platform", [{…env of front…}], indirect=True)` gives front settings."""
    redis.Redis(port=redis_port).flushall()
    found = Platform(tmp_path, redis_port, **getattr(request, "param", {}))
    yield found
    found.stop()


@pytest.fixture
def browser_of(chromium: Browser) -> Iterator[Callable[[], BrowserContext]]:
    """Makes visitors: browsers that have been nowhere yet."""
    made: list[BrowserContext] = []

    def make() -> BrowserContext:
        made.append(chromium.new_context())
        return made[-1]

    yield make
    for context in made:
        context.close()


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


def on_page(platform: Platform, *calls: str) -> str:
    """Return a page with front's snippet, and calls behind it."""
    snippet = platform.snippet().replace('rstat4("page");', "\n".join(calls))
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


def test_the_snippet_as_front_shows_it_counts_a_visit(
    platform: Platform, sites: Sites, browser_of: Callable[[], BrowserContext]
) -> None:
    """Pasted without a change: the page's address and one uid, in storage, cookie and event; Mixpanel gets it."""
    sites.pages["/"] = f"<!doctype html><title>a shop</title>{platform.snippet()}"
    context = browser_of()
    page = go(context, f"http://127.0.0.1:{sites.port}/")
    (event,) = platform.events(1)
    assert (event["key"], event["data"]["page"]["title"]) == ("in.gen.track.page", "a shop")
    assert storage(page) == {"rstat4_uid": event["uid"]}
    assert uid_cookies(context) == [event["uid"]]
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
    assert (uid_cookies(context), storage(page)) == ([], {"rstat4_consent": "no"})
    page.evaluate("rstat4('optin'); rstat4('event', 'back')")
    back = platform.events(4)[-1]
    assert (back["name"], "privacy" in back) == ("back", False)
    assert storage(page) == {"rstat4_consent": "yes", "rstat4_uid": back["uid"]}
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
        'rstat4: there is no command "pgae"',
        'rstat4: there is no command "constructor"',
        "rstat4: consent needs true or false",
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
    assert storage(page) == {"rstat4_consent": "yes", "rstat4_uid": agreed["uid"]}
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
    assert storage(page) == {"rstat4_uid": uids.pop()}


def test_a_page_of_another_site_cannot_read_the_uid(platform: Platform, sites: Sites, everyday: BrowserContext) -> None:
    """It includes the script with a function of its own in the tracker's place, and fetches it with credentials."""
    sites.pages["/shop"] = on_page(platform, 'rstat4("page");')
    sites.pages["/evil"] = f"""<!doctype html><title>evil</title><script>
        window.stolen = [];
        window.rstat4 = function (command, options) {{ window.stolen.push(JSON.stringify(options || command)); }};
        fetch("{platform.url}/lib.js", {{credentials: "include"}}).then((r) => r.text())
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
    assert len(stolen) >= 2
    assert all("initialUid" in text or "Failed" in text for text in stolen)
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
