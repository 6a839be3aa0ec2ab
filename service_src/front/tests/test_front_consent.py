"""Consent at the door: who gets a cookie, who is known again, and what `/lib.js` tells."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

UID = "6410748586712844288"
COOKIE = {"Cookie": f"uid={UID}"}
SAME_SITE = {"Sec-Fetch-Site": "same-site"}
CROSS_SITE = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session


VISITOR = "/lib.js?part=uid"
"""Answers who the visitor is, to pages that may know it."""


async def visitor(http: aiohttp.ClientSession, front: Any, **headers: str) -> Any:
    """The uid that the answer names, and the header that sets a cookie."""
    async with http.get(front.url + VISITOR, headers=headers) as answer:
        assert (answer.status, answer.content_type) == (200, "application/json")
        assert "no-store" in answer.headers["Cache-Control"]
        return (await answer.json())["uid"], answer.headers.get("Set-Cookie", "")


@pytest.mark.parametrize(
    "body", [{"consent": False}, {"data": {"consent": "denied"}}, {"consent": "yes", "data": {"consent": 0}}]
)
async def test_who_refuses_gets_no_cookie_and_is_not_known_again(
    http: aiohttp.ClientSession, front: Any, peers: Any, body: dict[str, Any]
) -> None:
    """Wherever the tracker puts the refusal: the event is marked and has a uid of its own, the cookie ends."""
    sent = {"service": "track", "name": "page", **body}
    async with http.post(f"{front.url}/band/t4k.json", data=json.dumps(sent), headers=COOKIE) as answer:
        assert answer.status == 200
        assert answer.headers["Set-Cookie"].startswith("uid=; Max-Age=0; Path=/; ")
    event = await peers.newest()
    assert event["privacy"] == ["consent"]
    assert event["uid"] != UID
    assert "fpid" not in event["data"]
    async with http.post(f"{front.url}/band/t4k.json", data=json.dumps(sent)) as answer:
        assert "Set-Cookie" not in answer.headers


async def test_the_script_asked_for_with_a_refusal_ends_the_cookie(http: aiohttp.ClientSession, front: Any) -> None:
    """The SDK asks so at an opt-out: no event, and no script could end an HttpOnly cookie."""
    for path in (f"{VISITOR}&consent=no", "/lib.js?consent=no"):
        async with http.get(front.url + path, headers={**COOKIE, **SAME_SITE}) as answer:
            assert answer.headers["Set-Cookie"].startswith("uid=; Max-Age=0; ")
            assert "no-store" in answer.headers["Cache-Control"]
            assert UID not in await answer.text()


@pytest.mark.parametrize(
    "query",
    ["consent=false&consent=false", "consent[]=no", "consent=true&consent=false", "consent[0]=yes&consent[1]=no"],
)
async def test_one_refusal_of_several_is_a_refusal(
    http: aiohttp.ClientSession, front: Any, peers: Any, query: str
) -> None:
    """However often the query says it."""
    async with http.get(f"{front.url}/track/page?{query}", headers=COOKIE) as answer:
        assert answer.headers["Set-Cookie"].startswith("uid=; Max-Age=0; ")
    event = await peers.newest()
    assert (event["privacy"], event["uid"] != UID) == (["consent"], True)


async def test_one_refusal_of_several_in_a_form_is_a_refusal(
    http: aiohttp.ClientSession, front: Any, peers: Any
) -> None:
    """Two fields `consent[]` of a form become a list within an object."""
    form = {"Content-Type": "application/x-www-form-urlencoded", **COOKIE}
    async with http.post(f"{front.url}/track/page", data="consent[]=yes&consent[]=no", headers=form) as answer:
        assert answer.headers["Set-Cookie"].startswith("uid=; Max-Age=0; ")
    event = await peers.newest()
    assert (event["privacy"], event["uid"] != UID) == (["consent"], True)


async def test_a_refusal_holds_where_the_body_cannot_be_read(http: aiohttp.ClientSession, front: Any) -> None:
    """The answer to a bad request sets no cookie for who refuses in the query."""
    headers = {"Content-Type": "application/json"}
    for more in ({}, COOKIE):
        async with http.post(
            f"{front.url}/track/page?consent=false", data="{bad", headers={**headers, **more}
        ) as answer:
            assert answer.status == 400
            assert answer.headers.get("Set-Cookie", "uid=; Max-Age=0; ").startswith("uid=; Max-Age=0; ")


async def test_a_refusal_in_the_handshake_holds_for_all_its_messages(
    http: aiohttp.ClientSession, front: Any, peers: Any
) -> None:
    """As one in the query does for a request."""
    async with http.ws_connect(f"{front.url}/wss?uid={UID}&consent=no") as socket:
        for said in ({}, {"consent": "yes"}):
            await socket.send_json({"service": "track", "name": "page", **said})
            await socket.receive_json(timeout=5)
            assert (await peers.newest())["privacy"] == ["consent"]


@pytest.fixture
def strict(start_front: Any, front_redis: Any) -> Any:
    """A front that requires consent."""
    return start_front(front_redis.dsn, REQUIRE_CONSENT="yes")


async def test_where_consent_is_required_nothing_is_kept_before_it_is_given(
    http: aiohttp.ClientSession, strict: Any, speak: Any, front_redis: Any
) -> None:
    """No answer sets a cookie, no event is a known visitor's, until an event says that consent was given."""
    peers = speak(front_redis.dsn)
    paths = (
        "/lib.js",
        VISITOR,
        "/",
        "/favicon.ico",
        "/track",
        "/track/page",
        "/track/page.gif?consent=perhaps",
        "/redir/x",
    )
    for path in paths:
        async with http.get(strict.url + path, headers=SAME_SITE) as answer:
            assert "Set-Cookie" not in answer.headers, path
    async with http.options(f"{strict.url}/track/page") as answer:
        assert "Set-Cookie" not in answer.headers
    async with http.get(f"{strict.url}/track/before", headers=COOKIE) as answer:
        assert "Set-Cookie" not in answer.headers
    event = await peers.newest()
    assert (event["name"], event["privacy"], event["uid"] != UID) == ("before", ["consent"], True)
    async with http.get(f"{strict.url}/track/after?consent=yes", headers=COOKIE) as answer:
        assert answer.headers["Set-Cookie"].startswith(f"uid={UID}; ")
    event = await peers.newest()
    assert (event["name"], event["uid"], "privacy" in event) == ("after", UID, False)
    async with http.ws_connect(f"{strict.url}/wss?uid={UID}") as socket:
        for said, mark in (({}, ["consent"]), ({"data": {"consent": True}}, None), ({"consent": "no"}, ["consent"])):
            await socket.send_json({"service": "track", "name": "page", **said})
            await socket.receive_json(timeout=5)
            assert (await peers.newest()).get("privacy") == mark


async def test_a_page_of_another_site_cannot_read_the_uid(http: aiohttp.ClientSession, front: Any) -> None:
    """Not with CORS; where the browser does not say whose page it is, neither."""
    for headers in (CROSS_SITE, {}):
        uid, cookie = await visitor(http, front, **COOKIE, **headers)
        assert uid == ""
        assert cookie.startswith(f"uid={UID}; ")


async def test_a_page_of_another_site_cannot_know_the_uid_that_a_visitor_will_get(
    http: aiohttp.ClientSession, front: Any
) -> None:
    """Who has no cookie yet gets none with the answer: its uid becomes his only by an event that brings it."""
    fresh, cookie = await visitor(http, front, **CROSS_SITE)
    assert cookie == ""
    async with http.post(f"{front.url}/track/page", data={"uid": fresh}) as answer:
        assert answer.headers["Set-Cookie"].startswith(f"uid={fresh}; ")


async def test_pages_of_the_own_site_know_their_visitor(http: aiohttp.ClientSession, front: Any) -> None:
    """The answer's uid is the cookie's, or a new one that becomes the cookie."""
    assert (await visitor(http, front, **COOKIE, **SAME_SITE))[0] == UID
    fresh, cookie = await visitor(http, front, **SAME_SITE)
    assert cookie.startswith(f"uid={fresh}; ")


async def test_the_sdk_is_the_same_file_for_everybody(http: aiohttp.ClientSession, front: Any) -> None:
    """Whoever asks: the same bytes, no cookie, no credentials; it may be kept, and is not sent again to who has it."""
    plain = {"Accept-Encoding": "identity"}
    seen: list[tuple[bytes, str]] = []
    for headers in (plain, {**plain, **COOKIE, **SAME_SITE}, {**plain, **CROSS_SITE}):
        async with http.get(f"{front.url}/lib.js", headers=headers) as answer:
            assert (answer.status, answer.content_type) == (200, "application/javascript")
            assert answer.headers["Cache-Control"] == "public, max-age=3600"
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert not {"Set-Cookie", "Pragma", "Expires", "Last-Modified", "Access-Control-Allow-Credentials"} & {
                *answer.headers
            }
            seen.append((await answer.read(), answer.headers["ETag"]))
    assert len(set(seen)) == 1
    body, tag = seen[0]
    async with http.get(f"{front.url}/lib.js", headers={**plain, "If-None-Match": tag}) as answer:
        assert (answer.status, answer.headers["ETag"], await answer.read()) == (304, tag, b"")
    async with http.get(f"{front.url}/lib.js", headers={"Accept-Encoding": "gzip"}) as answer:
        assert (answer.headers["Content-Encoding"], answer.headers["Vary"]) == ("gzip", "Accept-Encoding")
        assert answer.headers["ETag"] != tag
        assert await answer.read() == body
    async with http.get(f"{front.url}/lib.js?part=more", headers=plain) as answer:
        assert b"web-vitals" in await answer.read()


async def test_other_paths_of_the_name_are_events_as_ever(http: aiohttp.ClientSession, front: Any, peers: Any) -> None:
    """Only `/lib.js` itself is the SDK."""
    async with http.get(f"{front.url}/lib/more.js", headers=COOKIE) as answer:
        assert answer.status == 200
    assert (await peers.newest())["key"] == "in.gen.lib.more"


async def test_where_consent_is_required_the_sdk_learns_it(
    http: aiohttp.ClientSession, front: Any, strict: Any
) -> None:
    """The answer about the visitor says so; the page need not."""
    for host, mode in ((front, "off"), (strict, "opt-in")):
        async with http.get(host.url + VISITOR) as answer:
            assert (await answer.json())["consent"] == mode
