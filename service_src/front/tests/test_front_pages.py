"""The pages of front for people: `/` with the snippet, `/demo`, and whether an event of a page came."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from band.service.cross_site import service_policy
from front.event.client_address import ClientAddresses
from front.http1.request import Request
from front.intake.admin_pages import AdminPages
from front.intake.pages import Pages
from front.settings import FrontSettings

ROOT = Path(__file__).resolve().parents[3]
PROXIED = {"Host": "127.0.0.1:10001", "X-Forwarded-Host": "t.example.com", "X-Forwarded-Proto": "https"}


def pages(public_url: str = "", demo: str = "near") -> Pages:
    async def nothing() -> Any:
        raise AssertionError

    loopback = ClientAddresses((ipaddress.ip_network("127.0.0.0/8"),))
    admin = AdminPages("/_band", loopback, service_policy("front", hosts=[]), nothing, nothing, nothing)
    return Pages(public_url, demo, loopback, admin)


def request(method: str = "GET", peer: str = "127.0.0.1", **headers: str) -> Request:
    given = {name.lower().replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return Request(method, b"/", given, peer)


def index(found: Pages, **headers: str) -> str:
    reply = found.page("/", request(**headers))
    assert reply is not None
    text = reply.body.decode()
    assert "{{" not in text
    return text


def snippet_of(text: str) -> str:
    """Return the URL in the snippet that a page shows."""
    (shown,) = re.findall(r"<pre id=\"snippet\".*?>(.*?)</pre>", text, re.DOTALL)
    (url,) = re.findall(r'"(https?://[^"]*)"\);\n', unescape(shown))
    return str(url)


def test_pages_are_few() -> None:
    """Index, icon and teapot; everything else is an event's path."""
    assert pages().page("/track/page", request()) is None
    icon, coffee = pages().page("/favicon.ico", request()), pages().page("/coffee", request())
    assert icon is not None and icon.body[:4] == b"\0\0\1\0"
    assert coffee is not None and (coffee.status, coffee.headers) == (418, [("X-My-Name", "front")])


@pytest.mark.parametrize(
    ("public_url", "headers", "shown"),
    [
        ("", {"Host": "t.example.com"}, "https://t.example.com"),
        ("", {"Host": "127.0.0.1:10001"}, "http://127.0.0.1:10001"),
        ("", PROXIED, "https://t.example.com"),
        ("https://t.example.com", {"Host": "127.0.0.1:10001"}, "https://t.example.com"),
        ("https://t.example.com/t", PROXIED, "https://t.example.com/t"),
        ("https://other.example.com", PROXIED, "https://t.example.com"),
        ("", {"Host": 't"></pre><script>'}, "https://THIS-HOST"),
    ],
)
def test_the_index_shows_the_snippet_with_the_name_that_visitors_know(
    public_url: str, headers: dict[str, str], shown: str
) -> None:
    """The name that it was asked by, unless that is known on this host only; a name that is none is never shown."""
    text = index(pages(public_url), **headers)
    assert snippet_of(text) == shown
    assert ("cannot reach it" in text) is not shown.startswith("https://t.")
    assert 't"></pre>' not in text


def test_only_the_host_itself_is_told_what_came() -> None:
    """Through a proxy the page does not ask for it; the demo is linked where it can be seen."""
    near, proxied = index(pages(), Host="127.0.0.1:10001"), index(pages(), **PROXIED)
    assert 'fetch("_band/pages")' in near and 'href="demo"' in near
    assert "_band" not in proxied and 'href="demo"' not in proxied
    assert 'href="demo"' in index(pages(demo="public"), **PROXIED)
    assert 'href="demo"' not in index(pages(demo="off"), Host="127.0.0.1:10001")


@pytest.mark.parametrize(
    ("demo", "headers", "seen"),
    [
        ("near", {"Host": "127.0.0.1:10001"}, True), ("near", PROXIED, False), ("near", {"peer": "10.0.0.9"}, False),
        ("public", PROXIED, True), ("public", {"peer": "10.0.0.9"}, True), ("off", {"Host": "127.0.0.1:10001"}, False),
    ],
)  # fmt: skip
def test_who_sees_the_demo(demo: str, headers: dict[str, str], seen: bool) -> None:
    found = pages(demo=demo)
    assert (found.demo("/demo", request(**headers)) is not None) is seen
    assert found.demo("/demo/x", request(**headers)) is None
    assert found.demo("/demo", request("POST", **headers)) is None


def test_the_demo_has_the_snippet_and_asks_nobody_else() -> None:
    """The server is the one that it came from, also where `/` shows the public name; under a path it is the path's."""
    reply = pages("https://t.example.com").demo("/demo", request(Host="127.0.0.1:10001"))
    assert reply is not None
    text = reply.body.decode()
    assert '"http://127.0.0.1:10001");' in text and "{{" not in text
    assert set(re.findall(r"https?://[\w.:-]+", text)) == {"http://127.0.0.1:10001", "https://example.com"}
    proxied = pages("https://t.example.com/t", "public").demo("/demo/", request(**PROXIED))
    assert proxied is not None and b'"https://t.example.com/t");' in proxied.body


async def test_demo_stays_a_service_like_others(front: Any, peers: Any) -> None:
    """With a name it is an event's path; a handler of that name keeps its requests; without a name it is the page."""
    async with aiohttp.ClientSession(base_url=front.url, cookie_jar=aiohttp.DummyCookieJar()) as http:
        for path in ("/demo?name=x", "/demo/x", "/demo/x/7", "/demo?service=track&name=y"):
            async with http.get(path) as answer:
                assert (answer.status, answer.content_type) == (200, "application/json"), path
        async with http.post("/demo", json={"name": "x"}) as answer:
            assert (answer.status, (await answer.json())["key"]) == (200, "in.gen")
        assert await peers.redis.xlen("events") == 5
        await peers.service("demo", lambda params: {"mine": params["name"]})
        await peers.register({"service": "demo", "method": "*", "role": "handler", "options": {}})
        async with http.get("/demo/x") as answer:
            assert await answer.json() == {"mine": "x"}
        async with http.get("/demo") as answer:
            assert (answer.status, answer.content_type) == (200, "text/html")
        for path in ("/band/demo", "/demo/?service=demo"):
            async with http.post(path, json={}) as answer:
                assert answer.status == 404, path
        assert await peers.redis.xlen("events") == 6


async def test_the_host_is_told_which_event_of_a_page_came_last(front: Any, client: Any, peers: Any) -> None:
    """Others are passed over; nobody behind a proxy is told."""
    async with aiohttp.ClientSession(base_url=front.url) as http:

        async def told(**headers: str) -> tuple[int, Any]:
            async with http.get("/_band/pages", headers=headers) as answer:
                return answer.status, await answer.json()

        assert await told() == (200, {"event": None, "looked_at": 0})
        for page in ({}, {"page": "no"}, {"page": {"url": "file:///x"}}):
            await client.post("/track/page", page)
        assert await told() == (200, {"event": None, "looked_at": 3})
        _, sent = await client.post("/track/signup", {"page": {"url": "https://shop.example/"}})
        for _ in range(30):
            await client.post("/track/server", {})
        status, found = await told()
        seconds = found["event"].pop("seconds")
        event = {"id": sent["id"], "name": "signup", "url": "https://shop.example/"}
        assert (status, found) == (200, {"event": event, "looked_at": 31})
        assert 0 <= seconds < 20
        await client.post("/track", [{"name": "server"}] * 200)
        assert await told() == (200, {"event": None, "looked_at": 200})
        assert (await told(**{"X-Real-IP": "81.2.69.142"}))[0] == 404
        await peers.redis.delete("events")
        await peers.redis.set("events", "no stream")
        assert (await told())[0] == 503


@pytest.mark.parametrize("url", ["t.example.com", "ftp://t.example.com", 'https://t.example.com/"', "https://t/a b"])
def test_a_public_url_is_one(url: str) -> None:
    with pytest.raises(Exception, match="public_url"):
        FrontSettings.read({"public_url": url})


def test_the_settings_of_the_pages() -> None:
    """The slash at the end is dropped; the demo is near unless it is said."""
    found = FrontSettings.read({"public_url": "https://shop.example/t/"})
    assert (found.public_url, found.demo) == ("https://shop.example/t", "near")
    with pytest.raises(Exception, match="near, public, off"):
        FrontSettings.read({"demo": "yes"})


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("docs/send-events.md", "https://t.example.com"),
        ("docs/put-it-on-your-site.md", "https://t.example.com"),
        ("roles/verify/templates/snippet.j2", "{{ band_verify_public_url or band_verify_front_url }}"),
    ],
)
def test_the_snippet_is_the_same_everywhere(path: str, name: str, snippet_with: Callable[[str], str]) -> None:
    """In the documents, and where setup ends."""
    text = re.sub(r"^ +", "", (ROOT / path).read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert re.sub(r"^ +", "", snippet_with(name), flags=re.MULTILINE) in text


@pytest.fixture
def snippet_with() -> Callable[[str], str]:
    snippet = (ROOT / "service_src/front/src/front/static/snippet.html").read_text(encoding="utf-8")
    return lambda name: snippet.replace("https://THIS-HOST", name)
