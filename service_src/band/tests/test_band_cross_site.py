"""What a web page of another site has a browser send is refused, whatever its method."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from band.service.cross_site import SitePolicy, cors_headers, host_names, hostname, protect, reader, service_policy

POLICY = service_policy("visits", hosts=["panel.example.com:8080"])
FRIENDLY = service_policy("visits", origins=["https://app.example"])
HERE = {"Host": "127.0.0.1:8900"}
PAGE = {**HERE, "User-Agent": "Mozilla/5.0 (Windows NT 10.0)"}


def refused(
    headers: dict[str, str], policy: SitePolicy = POLICY, *, reads: bool = False, trusted: bool = False
) -> bool:
    return policy.refusal(reader(headers), reads=reads, trusted=trusted) is not None


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:8900", "localhost", "LOCALHOST:1", "[::1]:8900", "visits:8080", "rockstat2-visits:8080",
     "panel.example.com", "10.0.0.7:8900", "192.168.1.5", "[fe80::1]:1", "visits."],
)  # fmt: skip
def test_own_names_and_literal_addresses_pass(host):
    """No foreign DNS server can make an address or a name of the service's own point somewhere else."""
    assert not refused({"Host": host})


@pytest.mark.parametrize(
    "host",
    ["", "evil.com", "127.0.0.1.evil.com", "localhost.evil.com", "evil.com:8900", "visits@evil.com", "[::1", "a, b",
     "visits, visits", "notvisits", "evil-visits.com", "2130706433", "0x7f.1", "127.1", "visits:99999999"],
)  # fmt: skip
def test_a_foreign_name_is_dns_rebinding_and_refused(host):
    """A name that somebody else's DNS server resolves is refused, also in disguise."""
    assert refused({"Host": host})
    assert refused({"Host": host}, reads=True)


def test_an_address_is_refused_where_the_policy_names_every_host():
    """Without any_address only loopback and the names given pass."""
    strict = SitePolicy(host_names(["director"]))
    assert refused({"Host": "10.0.0.7"}, strict)
    assert refused({"Host": "rockstat2-director"}, strict)
    assert not refused({"Host": "127.0.0.1"}, strict)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.com"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:3000"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "weird"},
        {"Referer": "http://evil.com/page"},
        {"Referer": "no url"},
        {"Referer": "http://[broken"},
    ],
)
def test_pages_of_other_sites_are_refused(headers):
    """A foreign Origin, also of another port of this machine, a foreign fetch or Referer: refused whatever is read."""
    assert refused({**HERE, **headers})
    assert refused({**HERE, **headers}, reads=True)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://127.0.0.1:8900", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Referer": "http://127.0.0.1:8900/page"},
        {"User-Agent": "curl/8.14"},
    ],
)
def test_own_page_address_bar_and_command_line_pass(headers):
    """The port's own page, a typed address and programs pass."""
    assert not refused({**HERE, **headers})


def test_a_browser_that_says_nothing_may_only_read():
    """Old browsers name no page: what changes something is refused, a page that is opened is not."""
    assert refused(PAGE)
    assert not refused(PAGE, reads=True)
    assert not refused(PAGE, trusted=True)


def test_a_link_of_another_site_may_open_what_only_reads():
    """A page that is opened on its own cannot be read by who linked to it; a frame or picture of it is refused."""
    link = {**PAGE, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert not refused(link, reads=True)
    assert refused(link)
    assert refused({**link, "Origin": "http://evil.com"}, reads=True)
    assert refused({**link, "Sec-Fetch-Dest": "iframe"}, reads=True)
    assert refused({**link, "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, reads=True)
    assert refused({**link, "Host": "evil.com"}, reads=True)
    assert refused(link, SitePolicy(host_names()), reads=True)


@pytest.mark.parametrize("name", ["Sec-Purpose", "Purpose", "X-Moz", "X-Purpose"])
def test_what_a_browser_opens_ahead_of_time_may_only_read(name):
    """A prefetch or preview has been asked for by nobody."""
    early = {**HERE, "Sec-Fetch-Site": "none", name: "prefetch;prerender"}
    assert refused(early)
    assert not refused(early, reads=True)


def test_an_allowed_origin_may_call_and_read_the_response_and_others_may_not():
    """Origins are compared whole, by any of the headers that tell them; only theirs get CORS headers."""
    foreign = {**HERE, "Sec-Fetch-Site": "cross-site"}
    assert not refused({**foreign, "Origin": "https://app.example"}, FRIENDLY)
    assert not refused({**foreign, "Referer": "https://APP.example/x"}, FRIENDLY)
    for origin in ("http://app.example", "https://app.example.evil.com", "https://app.example:444", "null"):
        assert refused({**foreign, "Origin": origin}, FRIENDLY)
        assert refused({**foreign, "Referer": f"{origin}/x"}, FRIENDLY)
        assert cors_headers(FRIENDLY, origin) == {}
    assert refused({**foreign, "Host": "evil.com", "Origin": "https://app.example"}, FRIENDLY)
    assert cors_headers(FRIENDLY, "https://app.example")["Access-Control-Allow-Origin"] == "https://app.example"
    assert cors_headers(FRIENDLY, None) == cors_headers(POLICY, "https://app.example") == {}


def test_a_star_allows_every_site():
    """`*` gives the port away to every page, as the original platform did."""
    everybody = SitePolicy(host_names(), origins=frozenset({"*"}))
    assert not refused({**HERE, "Origin": "http://evil.com", "Sec-Fetch-Site": "cross-site"}, everybody)


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_any_text_in_the_headers_is_judged(host, origin, referer):
    """Whatever stands in the headers, judging it does not fail."""
    assert isinstance(hostname(host), str)
    refused({"Host": host, "Origin": origin, "Referer": referer})
    refused({**HERE, "Referer": referer}, FRIENDLY)


Ask = Callable[..., Coroutine[Any, Any, tuple[int, str, Any]]]


@pytest.fixture
async def ask() -> AsyncIterator[Ask]:
    """Ask an application that is protected by FRIENDLY; returns status, text and headers."""
    app = web.Application()

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.path == "/missing":
            raise web.HTTPNotFound
        return web.Response(text="done")

    app.router.add_route("*", "/{path}", handle)
    protect(app, lambda: FRIENDLY, lambda request: request.path == "/health")
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as session:

        async def send(path: str, method: str = "GET", **headers: str) -> tuple[int, str, Any]:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            async with session.request(method, path, headers=named) as response:
                return response.status, await response.text(), response.headers

        yield send
    await runner.cleanup()


async def test_the_middleware_answers_403_with_the_reason(ask):
    """A refused request does not reach the handler; the response says why and what to do."""
    status, text, headers = await ask("/x", Origin="http://evil.com")
    assert (status, "pages of other sites" in text) == (403, True)
    assert "Access-Control-Allow-Origin" not in headers
    status, text, _ = await ask("/x", Host="evil.com")
    assert (status, "`allowed_hosts` adds a name" in text) == (403, True)
    assert (await ask("/x"))[0] == 200
    assert (await ask("/x", User_Agent="Mozilla/5.0"))[0] == 403
    assert (await ask("/health", User_Agent="Mozilla/5.0"))[0] == 200


async def test_every_response_to_an_allowed_origin_can_be_read_by_its_page(ask):
    """CORS headers are on errors too, and never on a response to anybody else."""
    for path, expected in (("/x", 200), ("/missing", 404)):
        status, _, headers = await ask(path, Origin="https://app.example", Sec_Fetch_Site="cross-site")
        assert (status, headers["Access-Control-Allow-Origin"], headers["Vary"]) == (
            expected, "https://app.example", "Origin",
        )  # fmt: skip
        assert "Access-Control-Allow-Origin" not in (await ask(path))[2]
