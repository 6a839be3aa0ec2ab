"""Consent at the door: who gets a cookie, who is known again, and what `/lib.js` tells a page of another site."""

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


def initial_uid(script: str) -> Any:
    """The uid that the script's first line configures."""
    return json.loads(script.split("configure',", 1)[1].split(");\n", 1)[0])["initialUid"]


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
    """The tracker asks so at an opt-out: no event, and no script could end an HttpOnly cookie."""
    async with http.get(f"{front.url}/lib.js?consent=no", headers={**COOKIE, **SAME_SITE}) as answer:
        assert answer.headers["Set-Cookie"].startswith("uid=; Max-Age=0; ")
        assert initial_uid(await answer.text()) != UID


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
    paths = ("/lib.js", "/", "/favicon.ico", "/track", "/track/page", "/track/page.gif?consent=perhaps", "/redir/x")
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
    """Not as a script, not with CORS; where the browser does not say whose page it is, neither."""
    for headers in (CROSS_SITE, {}):
        async with http.get(f"{front.url}/lib.js", headers={**COOKIE, **headers}) as answer:
            assert UID not in await answer.text()
            assert answer.headers["Set-Cookie"].startswith(f"uid={UID}; ")


async def test_a_page_of_another_site_cannot_know_the_uid_that_a_visitor_will_get(
    http: aiohttp.ClientSession, front: Any
) -> None:
    """Who has no cookie yet gets none with the script: the uid in it becomes his only by an event that brings it."""
    async with http.get(f"{front.url}/lib.js", headers=CROSS_SITE) as answer:
        assert "Set-Cookie" not in answer.headers
        fresh = initial_uid(await answer.text())
    async with http.post(f"{front.url}/track/page", data={"uid": fresh}) as answer:
        assert answer.headers["Set-Cookie"].startswith(f"uid={fresh}; ")


async def test_pages_of_the_own_site_know_their_visitor(http: aiohttp.ClientSession, front: Any) -> None:
    """The script's uid is the cookie's, as the original's."""
    async with http.get(f"{front.url}/lib.js", headers={**COOKIE, **SAME_SITE}) as answer:
        assert (answer.status, answer.content_type) == (200, "application/javascript")
        assert (answer.headers["Access-Control-Allow-Origin"], answer.headers["X-Frame-Options"]) == ("*", "SAMEORIGIN")
        assert initial_uid(await answer.text()) == UID
    async with http.get(f"{front.url}/lib.js", headers=SAME_SITE) as answer:
        assert answer.headers["Set-Cookie"].startswith(f"uid={initial_uid(await answer.text())}; ")


async def test_the_index_names_the_host_that_it_was_asked_by(http: aiohttp.ClientSession, front: Any) -> None:
    """Its own port, or the public name that a proxy passes on."""
    async with http.get(f"{front.url}/") as answer:
        assert f'"rstat4", "{front.url}");' in await answer.text()
    proxied = {"Host": "t.example.com", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "t.example.com:8443"}
    async with http.get(f"{front.url}/", headers=proxied) as answer:
        assert '"rstat4", "https://t.example.com:8443");' in await answer.text()
