"""What front does with write keys, pages and limits of projects, over HTTP and WebSockets."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

import aiohttp
import pytest

from band.platform import PROJECTS_KEY
from front.projects.saved import SavedProjects

SECRET = "sk_0123456789"
SHOP = {
    "id": "shop",
    "public_keys": ["pk_shop"],
    "secret_keys": [sha256(SECRET.encode()).hexdigest()],
    "origins": ["https://shop.example"],
    "project_ids": ["7"],
}
ORIGIN = {"Origin": "https://shop.example"}
EVIL = {"Origin": "https://evil.example"}
JSON = "application/json"


class Door:
    """A front, the projects that it has, and the client."""

    def __init__(self, client: Any, front: Any) -> None:
        self.client = client
        self.front = front
        self.post = client.post

    async def write(self, **projects: Any) -> None:
        """Write projects as the director does, and wait until front has read them."""
        redis = self.client.peers.redis
        before = await self.client.metric("band_front_projects_read_total")
        async with redis.pipeline(transaction=True) as pipe:
            pipe.delete(PROJECTS_KEY)
            for name, document in projects.items():
                pipe.hset(PROJECTS_KEY, name, json.dumps(document))
            await pipe.execute()
        for _ in range(50):
            if await self.client.metric("band_front_projects_read_total") > before:
                return
            await asyncio.sleep(0.02)
        raise TimeoutError("front has not read the projects within a second")

    async def projects_of_events(self) -> list[str]:
        found = [event["project"] for event in await self.client.events()]
        await self.client.peers.redis.delete("events")
        return found


@pytest.fixture
async def door(client: Any, front: Any) -> AsyncIterator[Door]:
    made = Door(client, front)
    await made.write(shop=SHOP)
    yield made
    await made.write(default={})


async def test_an_event_has_the_project_of_its_key(door: Door) -> None:
    """A header, Bearer, Basic or the query; the key is not part of the event."""
    basic = base64.b64encode(b"pk_shop:").decode()
    for path, headers in (
        ("/track/a", {"X-Write-Key": "pk_shop"}),
        ("/track/a", {"Authorization": "Bearer pk_shop"}),
        ("/track/a", {"Authorization": f"Basic {basic}"}),
        ("/track/a?writeKey=pk_shop", {}),
        ("/track/a/7", {}),
        ("/track/a", {}),
    ):
        status, body = await door.post(path, {"plan": "pro"}, **headers)
        assert (status, list(body)) == (200, ["id"])
    events = await door.client.events()
    assert [event["project"] for event in events] == ["shop"] * 5 + ["default"]
    assert [event["projectId"] for event in events] == [0, 0, 0, 0, 7, 0]
    assert {json.dumps(event["data"]) for event in events} == {'{"plan": "pro"}'}


async def test_projects_change_without_a_restart(door: Door) -> None:
    """A second key during a rotation; the old one ends; without keys all is as before."""
    both = {**SHOP, "public_keys": ["pk_shop", "pk_new"]}
    await door.write(shop=both)
    assert [(await door.post("/track/a?writeKey=" + key, {}))[0] for key in ("pk_shop", "pk_new")] == [200, 200]
    await door.write(shop={**SHOP, "public_keys": ["pk_new"]})
    assert [(await door.post("/track/a?writeKey=" + key, {}))[0] for key in ("pk_shop", "pk_new")] == [403, 200]
    await door.write()
    assert (await door.post("/track/a?writeKey=any", {}))[0] == 200
    (*_, last) = await door.client.events()
    assert (last["project"], last["data"]) == ("default", {"writeKey": "any"})


@pytest.mark.parametrize(
    "key", ["pk_other", "x" * 20_000, "p\u00e4k".encode().decode("latin-1"), "pk_shop,pk_shop", "\ud83d"]
)
async def test_an_unknown_key_is_refused(door: Door, key: str) -> None:
    """However long or odd it is; no cookie is set and nothing is stored."""
    headers = {"X-Write-Key": key} if key.isascii() else {}
    query = "" if headers else "?writeKey=" + ("%ff%fe" if key == "\ud83d" else "p%C3%A4k")
    status, body = await door.post(f"/track/a{query}", {}, **headers)
    assert (status, body["code"], body["message"]) == (403, "unknown_key", "Forbidden")
    assert "Set-Cookie" not in door.client.headers
    assert await door.client.events() == []


@pytest.mark.parametrize(
    ("path", "body", "status", "told"),
    [
        ("/v1/track", {"userId": "u", "event": "a", "writeKey": "no"}, 403, {"code": "unknown_key"}),
        ("/v1/batch", {"batch": [{"type": "track", "event": "a", "writeKey": "no"}]}, 403, {"code": "unknown_key"}),
        ("/api/s/track", {"userId": "u", "event": "a", "writeKey": "no"}, 403, {"code": "unknown_key"}),
        ("/2/httpapi", {"api_key": "no", "events": [{"event_type": "a", "user_id": "u"}]}, 400, {"code": 400}),
        ("/batch/", {"api_key": "no", "batch": []}, 401, {"code": "invalid_api_key"}),
        ("/e/", {"token": "no", "event": "a", "distinct_id": "u"}, 401, {"code": "invalid_api_key"}),
        ("/e/", [{"event": "a", "properties": {"token": "no"}}], 401, {"code": "invalid_api_key"}),
        ("/flags/", {"token": "no"}, 401, {"code": "invalid_api_key"}),
        ("/api/event", {"n": "pageview", "u": "https://a.example/", "d": "no"}, 403, {"code": "unknown_key"}),
        ("/api/send", {"type": "event", "payload": {"website": "no"}}, 403, {"code": "unknown_key"}),
    ],
)  # fmt: skip
async def test_each_family_refuses_in_its_own_form_and_takes_the_right_key(
    door: Door, path: str, body: Any, status: int, told: Any
) -> None:
    found, answer = await door.post(path, body)
    assert (found, {name: answer[name] for name in told}) == (status, told)
    if path == "/2/httpapi":
        assert answer["error"].startswith("Invalid API key")
    assert await door.client.events() == []
    good = json.loads(json.dumps(body).replace('"no"', '"pk_shop"'))
    assert (await door.post(path, good))[0] in (200, 202)
    assert set(await door.projects_of_events()) <= {"shop"}


async def test_a_key_in_the_head_wins_over_those_of_events(door: Door) -> None:
    body = {"batch": [{"type": "track", "event": "a", "userId": "u", "writeKey": "other"}]}
    assert (await door.post("/v1/batch", body, **{"X-Write-Key": "pk_shop"}))[0] == 200
    assert await door.projects_of_events() == ["shop"]


async def test_events_of_one_request_may_be_of_several_projects_or_are_refused_together(door: Door) -> None:
    await door.write(shop=SHOP, blog={"public_keys": ["pk_blog"]})
    events = [{"event": "a", "distinct_id": "u", "properties": {"token": key}} for key in ("pk_shop", "pk_blog")]
    assert (await door.post("/e/", events))[0] == 200
    assert await door.projects_of_events() == ["shop", "blog"]
    assert (await door.post("/e/", [*events, {"event": "a", "properties": {"token": "no"}}]))[0] == 401
    assert await door.projects_of_events() == []


async def test_an_array_takes_the_project_of_each_events_project_id(door: Door) -> None:
    assert (await door.post("/track/a", [{"projectId": 7}, {"projectId": 8}, {"projectId": [7]}]))[0] == 200
    assert await door.projects_of_events() == ["shop", "default", "default"]


# --- pages


async def test_a_page_that_is_not_listed_is_refused(door: Door) -> None:
    """The browser is not told either: no CORS headers."""
    for headers in ({"X-Write-Key": "pk_shop"}, {}):
        path = "/track/a" if headers else "/track/a/7"
        status, body = await door.post(path, {}, **headers, **EVIL)
        assert (status, body["code"]) == (403, "origin")
        assert "Access-Control-Allow-Origin" not in door.client.headers
        assert (await door.post(path, {}, **headers, **ORIGIN))[0] == 200
        assert door.client.headers["Access-Control-Allow-Origin"] == ORIGIN["Origin"]
    assert (await door.post("/track/a", {}, **EVIL))[0] == 200
    assert await door.projects_of_events() == ["shop", "shop", "default"]


async def test_a_preflight_is_answered_for_the_project_of_its_key(door: Door) -> None:
    async def ask(path: str, **headers: str) -> tuple[int, bool]:
        async with aiohttp.ClientSession() as http, http.options(f"{door.front.url}{path}", headers=headers) as answer:
            return answer.status, "Access-Control-Allow-Origin" in answer.headers

    assert await ask("/track/a?writeKey=pk_shop", **ORIGIN) == (200, True)
    assert await ask("/track/a?writeKey=pk_shop", **EVIL) == (403, False)
    assert await ask("/track/a", **EVIL) == (200, True)
    await door.write(shop=SHOP, default={"origins": ["https://other.example"]})
    assert await ask("/track/a", **EVIL) == (403, False)
    assert await ask("/track/a", **ORIGIN) == (200, True)
    assert (await ask("/track/a"))[0] == 200


@pytest.mark.parametrize("mode", ["off", "opt-out", "opt-in", "cookieless"])
async def test_the_browser_sdk_learns_its_visitor_and_the_consent_mode_on_listed_pages(door: Door, mode: str) -> None:
    """By key or `projectId`. The cookie's uid is told to pages that the project lists; none is set before a consent."""
    uid = "6410748586712844288"
    await door.write(shop={**SHOP, "consent": mode})
    cross = {"Cookie": f"uid={uid}", "Sec-Fetch-Site": "cross-site"}
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        for query in ("writeKey=pk_shop", "projectId=7"):
            url = f"{door.front.url}/lib.js?part=uid&{query}"
            async with http.get(url, headers={**cross, **ORIGIN}) as answer:
                assert (answer.status, await answer.json()) == (200, {"uid": uid, "consent": mode})
                assert ("Set-Cookie" in answer.headers) is (mode in ("off", "opt-out"))
            async with http.get(url, headers={**cross, **EVIL}) as answer:
                assert answer.status == 403
                assert uid not in await answer.text()
                assert not {"Set-Cookie", "Access-Control-Allow-Origin"} & {*answer.headers}
        async with http.get(f"{door.front.url}/lib.js?part=uid", headers={**cross, **ORIGIN}) as answer:
            assert await answer.json() == {"uid": "", "consent": "off"}


async def test_a_secret_key_in_a_browser_is_refused(door: Door) -> None:
    for headers in (ORIGIN, {"Sec-Fetch-Site": "same-origin"}):
        status, body = await door.post("/track/a", {}, Authorization=f"Bearer {SECRET}", **headers)
        assert (status, body["code"]) == (403, "secret_key_in_browser")
        assert "rotate" in body["reason"]
    assert await door.client.events() == []


# --- what a secret key may do


async def test_a_server_says_who_when_and_from_where(door: Door) -> None:
    """With a public key it may not."""
    body = {"uid": "anna@shop", "ts": 1_500_000_000_000, "ip": "192.0.2.77", "plan": "pro"}
    assert (await door.post("/track/a", body, Authorization=f"Bearer {SECRET}"))[0] == 200
    assert (await door.post("/track/a", [body], Authorization=f"Bearer {SECRET}"))[0] == 200
    assert (await door.post("/track/a", body, Authorization="Bearer pk_shop"))[0] == 200
    *servers, browser = await door.client.events()
    for event in servers:
        assert (event["uid"], event["time"], event["td"]["ip"]) == ("anna@shop", body["ts"], "192.0.2.0")
        assert "ip" not in event["data"]
    assert browser["uid"].isdecimal()
    assert browser["time"] > 1_700_000_000_000
    assert browser["td"]["ip"] != "192.0.2.0"


async def test_a_visitor_without_a_cookie_is_known_for_the_day(door: Door) -> None:
    """However the event comes; a cookie is neither read nor set."""
    lone = {"cookieless": True}
    cookie = {"Cookie": "uid=6410748586712844288"}
    assert (await door.post("/track/a", lone, **cookie))[0] == 200
    assert "Set-Cookie" not in door.client.headers
    assert (await door.post("/track/a", [lone, lone], **cookie))[0] == 200
    assert "Set-Cookie" not in door.client.headers
    assert (await door.post("/track/a", {**lone, "uid": "6410748586712844288"}))[0] == 200
    assert (await door.post("/track/a", {"cookieless": "true"}))[0] == 200
    *same, named, other = [event["uid"] for event in await door.client.events()]
    assert len(set(same)) == 1
    assert (len(same), named) == (3, "6410748586712844288")
    assert other not in (same[0], named)


async def test_a_client_gives_an_event_an_id_of_its_own(door: Door) -> None:
    """Those downstream know by it an event that was sent twice."""
    for said in ("m1", "x" * 128, 7, "", "x" * 129, None, ["m1"]):
        assert (await door.post("/track/a", {"dedup": said}))[0] == 200
        assert (await door.post("/track/a", [{"dedup": said}]))[0] == 200
    found = [event.get("dedup") for event in await door.client.events()]
    assert found == ["m1", "m1", "x" * 128, "x" * 128, "7", "7", *[None] * 8]


@pytest.mark.parametrize("age", [0.5, 3600, 23 * 3600, 25 * 3600, -3600])
async def test_a_browser_says_when_within_a_day(door: Door, age: float) -> None:
    """So an event that waited in its queue keeps its time; another time is that of arrival."""
    now = time.time() * 1000
    ts = int(now - age * 1000)
    assert (await door.post("/track/a", {"ts": ts}))[0] == 200
    assert (await door.post("/track/a", [{"ts": ts}]))[0] == 200
    assert (await door.post(f"/track/a?ts={ts}", {}))[0] == 200
    for event in await door.client.events():
        assert event["time"] == ts if 0 < age < 86_400 else abs(event["time"] - now) < 5000


@pytest.mark.parametrize(
    ("fields", "uid", "ts"),
    [
        ({"uid": "x" * 128, "time": "2020-01-01T00:00:00Z"}, "x" * 128, 1_577_836_800_000),
        ({"uid": "x" * 129, "ts": 4_000_000_000_000}, None, None),
        ({"uid": "a\nb", "ts": "9" * 5000}, None, None),
        ({"uid": 5, "ts": {"a": 1}, "ip": ["192.0.2.1"]}, "5", None),
    ],
)
async def test_what_a_server_says_is_checked(door: Door, fields: Any, uid: Any, ts: Any) -> None:
    """A time in the future is that of arrival."""
    assert (await door.post("/track/a", fields, Authorization=f"Bearer {SECRET}"))[0] == 200
    (event,) = await door.client.events()
    assert event["uid"] == uid or (uid is None and event["uid"].isdecimal())
    assert event["time"] == ts or (ts is None and abs(event["time"] - time.time() * 1000) < 5000)


async def test_a_familys_server_says_so_too(door: Door) -> None:
    call = {"userId": "u", "event": "a", "timestamp": "2020-01-01T00:00:00Z", "context": {"ip": "192.0.2.77"}}
    assert (await door.post("/v1/track", call, Authorization=f"Bearer {SECRET}"))[0] == 200
    (event,) = await door.client.events()
    assert (event["time"], event["td"]["ip"], event["project"]) == (1_577_836_800_000, "192.0.2.0", "shop")


# --- limits


async def test_too_many_events_are_refused_together(door: Door) -> None:
    """Events count, not requests; the response says when to try again, in the family's form."""
    await door.write(shop={**SHOP, "origins": [], "events_per_second": 2, "burst": 20})
    headers = {"X-Write-Key": "pk_shop"}
    assert (await door.post("/track/a", [{}] * 20, **headers))[0] == 200
    status, body = await door.post("/track/a", [{}] * 5, **headers)
    assert (status, body["code"], body["message"]) == (429, "rate_limited", "Too Many Requests")
    assert door.client.headers["Retry-After"] in ("1", "2", "3")
    event = {"event_type": "a", "user_id": "u"}
    status, body = await door.post("/2/httpapi", {"api_key": "pk_shop", "events": [event] * 9})
    assert (status, body["code"], int(door.client.headers["Retry-After"]) >= 1) == (429, 429, True)
    assert (await door.post("/track/a", {}))[0] == 200
    assert await door.projects_of_events() == ["shop"] * 20 + ["default"]


async def test_a_visitor_has_a_limit(door: Door) -> None:
    """Behind the proxy each has its own; a server with its secret key has none."""
    await door.write(shop={**SHOP, "visitor_events_per_second": 0.5, "visitor_burst": 2})
    one, other = (
        {"X-Write-Key": "pk_shop", "X-Real-IP": "192.0.2.1"},
        {"X-Write-Key": "pk_shop", "X-Real-IP": "192.0.2.2"},
    )
    assert [(await door.post("/track/a", {}, **one))[0] for _ in range(4)] == [200, 200, 429, 429]
    assert (await door.post("/track/a", {}, **other))[0] == 200
    one["X-Write-Key"] = SECRET
    assert [(await door.post("/track/a", {}, **one))[0] for _ in range(4)] == [200] * 4


async def test_a_project_has_a_body_limit(door: Door) -> None:
    """Less than front's own, or more; more only if the key is where front sees it before the body."""
    await door.write(shop={**SHOP, "body_limit": 2000})
    headers = {"X-Write-Key": "pk_shop"}
    assert (await door.post("/track/a", {"a": "x" * 1500}, **headers))[0] == 200
    status, body = await door.post("/track/a", {"a": "x" * 2500}, **headers)
    assert (status, body["code"]) == (413, "too_large")
    await door.write(shop={**SHOP, "body_limit": 3_000_000})
    assert (await door.post("/track/a", {"a": "x" * 2_000_000}, **headers))[0] == 200
    assert (await door.post("/track/a", {"a": "x" * 2_000_000}))[0] == 413


async def test_an_ignored_address_is_answered_and_not_stored(door: Door) -> None:
    await door.write(shop={**SHOP, "ignored_addresses": ["192.0.2.0/24"]})
    headers = {"X-Write-Key": "pk_shop", "X-Real-IP": "192.0.2.1"}
    status, body = await door.post("/track/a", {}, **headers)
    assert (status, list(body)) == (200, ["id"])
    assert len((await door.post("/track/a", [{}, {}], **headers))[1]["ids"]) == 2
    call = {"userId": "u", "event": "a"}
    assert await door.post("/v1/track", call, **headers) == (200, {"success": True})
    assert await door.client.events() == []
    assert (await door.post("/track/a", {}, **{**headers, "X-Real-IP": "192.0.3.1"}))[0] == 200
    assert await door.projects_of_events() == ["shop"]


@pytest.mark.parametrize("policy", ["mark", "aside", "drop"])
async def test_bots_are_marked_set_aside_or_dropped(door: Door, policy: str) -> None:
    await door.client.peers.service("uaparser", lambda params: {"is_bot": int("bot" in params["ua"])}, enricher=True)
    await door.client.peers.register(
        {
            "method": "enrich", "role": "enricher", "service": "uaparser",
            "options": {"keys": ["in.gen.track"], "props": {"ua": "td.ua"}},
        }
    )  # fmt: skip
    await door.write(shop={**SHOP, "bots": policy})
    headers = {"X-Write-Key": "pk_shop"}
    for agent in ("Firefox", "Googlebot"):
        assert (await door.post("/track/a", {}, **headers, **{"User-Agent": agent}))[0] == 200
        assert (await door.post("/track/a", [{}, {}], **headers, **{"User-Agent": agent}))[0] == 200
    events = await door.client.events()
    bots = [event for event in events if event["data"]["uaparser"]["is_bot"]]
    assert (len(events) - len(bots), len(bots)) == (3, 0 if policy == "drop" else 3)
    assert [event.get("aside") for event in bots] == [["bot"] if policy == "aside" else None] * len(bots)


async def test_front_counts_events_by_project_and_refusals_by_reason(door: Door) -> None:
    before = await door.client.metric('band_front_rejected_total{code="unknown_key"}')
    stored = await door.client.metric('band_front_project_events_total{project="shop"}')
    await door.post("/track/a?writeKey=no", {})
    await door.post("/track/a?writeKey=pk_shop", [{}, {}])
    await door.post("/track/a?writeKey=pk_shop", {})
    assert await door.client.metric('band_front_rejected_total{code="unknown_key"}') == before + 1
    assert await door.client.metric('band_front_project_events_total{project="shop"}') == stored + 3


async def test_health_names_a_project_that_cannot_be_read(door: Door) -> None:
    await door.write(shop=SHOP, bad={"origins": ["no origin"]})
    async with aiohttp.ClientSession() as http, http.get(f"{door.front.url}/_band/health") as answer:
        check = (await answer.json())["checks"]["projects"]
    assert check["status"] == "degraded"
    assert "bad: " in check["reason"]


# --- WebSockets


async def test_a_websocket_has_the_project_of_its_key(door: Door) -> None:
    """Each message is admitted; a key that ends, ends for it too."""
    url = f"{door.front.url}/wss?uid=1234567890&writeKey="
    async with aiohttp.ClientSession() as http, http.ws_connect(f"{url}pk_shop", origin=ORIGIN["Origin"]) as socket:
        message = {"service": "track", "name": "a"}
        await socket.send_json(message)
        assert (await socket.receive_json())["statusCode"] == 200
        await door.write(shop={**SHOP, "events_per_second": 0.1, "burst": 1})
        for expected in (200, 429):
            await socket.send_json(message)
            assert (await socket.receive_json())["statusCode"] == expected
        await door.write(shop={**SHOP, "public_keys": ["pk_new"]})
        await socket.send_json(message)
        answer = await socket.receive_json()
        assert (answer["statusCode"], answer["errorMessage"][:9]) == (403, "Forbidden")
    assert await door.projects_of_events() == ["shop", "shop"]


@pytest.mark.parametrize(("key", "origin"), [("no", ""), ("pk_shop", EVIL["Origin"]), (SECRET, ORIGIN["Origin"])])
async def test_a_handshake_with_a_refused_key_is_refused(door: Door, key: str, origin: str) -> None:
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(f"{door.front.url}/wss?uid=1&writeKey={key}", origin=origin or None)
    assert refused.value.status == 403


async def test_a_websocket_without_key_has_the_project_of_each_project_id(door: Door) -> None:
    async with aiohttp.ClientSession() as http, http.ws_connect(f"{door.front.url}/wss?uid=1234567890") as socket:
        for project_id in (7, 8, None):
            await socket.send_json({"service": "track", "name": "a", "projectId": project_id})
            assert (await socket.receive_json())["statusCode"] == 200
    assert await door.projects_of_events() == ["shop", "default", "default"]


# --- the keyless door


async def test_require_key_closes_the_keyless_door(
    own_redis: Any, start_front: Any, speak: Any, client_of: Any
) -> None:
    """Also before there is any project: a made-up key is none. Pages of front itself need none."""
    front = start_front(own_redis.dsn, REQUIRE_KEY="yes")
    client = client_of(front, speak(own_redis.dsn))
    assert [(await client.post(path, {}))[1]["code"] for path in ("/track/a", "/track/a?writeKey=any")] == [
        "no_key", "unknown_key",
    ]  # fmt: skip
    door = Door(client, front)
    await door.write(shop=SHOP)
    assert (await client.post("/v1/track", {"userId": "u", "event": "a"}))[0] == 403
    assert (await client.post("/track/a/7", {}))[0] == 403
    assert (await client.post("/track/a/7?writeKey=pk_shop", {}))[0] == 200
    async with aiohttp.ClientSession() as http:
        for path in ("/", "/lib.js", "/favicon.ico"):
            async with http.get(f"{front.url}{path}") as answer:
                assert answer.status == 200
        async with http.ws_connect(f"{front.url}/wss?uid=1234567890") as socket:
            await socket.send_json({"service": "track", "name": "a"})
            assert (await socket.receive_json())["statusCode"] == 403


async def test_two_workers_hold_one_limit(own_redis: Any, start_front: Any, speak: Any, client_of: Any) -> None:
    """Connections end at both; ten times the limit, for some seconds."""
    front = start_front(own_redis.dsn, WORKERS="2")
    client = client_of(front, speak(own_redis.dsn))
    door = Door(client, front)
    await door.write(shop={"public_keys": ["pk_shop"], "events_per_second": 100, "burst": 50})
    await asyncio.sleep(1)  # both have read it
    begun, statuses = time.monotonic(), dict.fromkeys((200, 429), 0)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http:

        async def flood() -> None:
            while time.monotonic() < begun + 5:
                async with http.get(f"{front.url}/track/a?writeKey=pk_shop") as answer:
                    statuses[answer.status] += 1
                await asyncio.sleep(0.005)

        await asyncio.gather(*(flood() for _ in range(8)))
    elapsed = time.monotonic() - begun
    assert statuses[429] > 100
    assert statuses[200] == pytest.approx(50 + 100 * elapsed, rel=0.1)
    assert await client.peers.redis.xlen("events") == statuses[200]


async def test_front_knows_its_projects_without_redis(
    own_redis: Any, start_front: Any, speak: Any, client_of: Any, tmp_path: Any
) -> None:
    """After a restart too: an event of a key goes to the journal with its project, an unknown key is refused."""
    front = start_front(own_redis.dsn, JOURNAL_DIR=str(tmp_path / "journal"))
    client = client_of(front, speak(own_redis.dsn))
    await Door(client, front).write(shop=SHOP)
    front.stop()
    own_redis.stop()
    front._answers = lambda: front.process.poll() is None and "front_open" in front.log.read_text()
    front.start()
    assert [(await client.post(f"/track/a?writeKey={key}", {}))[0] for key in ("pk_shop", "no")] == [200, 403]
    own_redis.start()
    redis = speak(own_redis.dsn).redis
    for _ in range(100):
        await asyncio.sleep(0.1)
        if found := await redis.xrange("events"):
            break
    assert json.loads(found[0][1][b"event"])["project"] == "shop"


def test_a_damaged_copy_of_the_projects_is_ignored(tmp_path: Any) -> None:
    saved = SavedProjects(tmp_path / "deep" / "projects-0")
    assert saved.read() is None
    saved.write({"shop": b'{"public_keys": ["pk"]}', "bad": b"\xff"})
    assert saved.read() == {"shop": b'{"public_keys": ["pk"]}', "bad": "\ufffd".encode()}
    (tmp_path / "deep" / "projects-0").write_bytes(b'{"shop": ')
    assert saved.read() is None
    SavedProjects(tmp_path / "deep" / "projects-0" / "no" / "folder").write({})
    SavedProjects(None).write({})
