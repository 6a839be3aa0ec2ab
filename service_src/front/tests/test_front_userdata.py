"""`POST /userdata/update`: what a visitor stores about itself, within bounds, and nothing about anybody else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis_with_users import RedisWithUsers, free_port

from band.errors import RedisUnavailable
from front.pipeline.userdata import MAX_FIELDS, MAX_TTL_SECONDS, UserData

UID, OTHER = "6410748586712844288", "7530741854237622272"
COOKIE = {"Cookie": f"uid={UID}"}


@pytest.fixture
async def http(front: Any) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(front.url, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session


async def update(
    http: aiohttp.ClientSession, body: Any, headers: dict[str, str] | None = None, query: str = ""
) -> tuple[int, dict[str, Any], str]:
    """Send an update with the visitor's cookie, or other headers; returns status, body and the cookie that is set."""
    sent = COOKIE if headers is None else headers
    async with http.post(f"/userdata/update.json{query}", json=body, headers=sent) as answer:
        return answer.status, await answer.json(), answer.headers.get("Set-Cookie", "")


async def test_later_events_have_what_the_visitor_stored(http: aiohttp.ClientSession, peers: Any) -> None:
    """Each field as JSON, for thirty days; the next event of the visitor reads it, cached or not."""
    async with http.get("/track/page", headers=COOKIE) as answer:
        assert answer.status == 200
    assert "stored" not in (await peers.newest())["data"]
    status, told, _ = await update(http, {"plan": "pro", "seats": 3, "tags": ["a", {"b": None}], "город": "Ё"})
    assert (status, told["ttl"]) == (200, 2592000)
    kept = {"plan": b'"pro"', "seats": b"3", "tags": b'["a",{"b":null}]', "город": '"Ё"'.encode()}
    assert await peers.redis.hgetall(f"s:{UID}") == {name.encode(): value for name, value in kept.items()}
    assert 2591990 <= await peers.redis.ttl(f"s:{UID}") <= 2592000
    assert (await peers.newest())["key"] == "in.gen.userdata.update"
    status, told, _ = await update(http, {"plan": "free", "ttl": 600})
    assert (status, told["ttl"]) == (200, 600)
    assert 590 <= await peers.redis.ttl(f"s:{UID}") <= 600
    async with http.get("/track/page", headers=COOKIE) as answer:
        assert answer.status == 200
    stored = (await peers.newest())["data"]["stored"]
    assert stored == {"plan": "free", "seats": 3, "tags": ["a", {"b": None}], "город": "Ё"}
    assert (await update(http, {"ttl": 0}))[0] == 200
    assert await peers.redis.exists(f"s:{UID}") == 0


@pytest.mark.parametrize("where", ["body", "query"])
async def test_a_uid_that_the_request_names_is_ignored(http: aiohttp.ClientSession, peers: Any, where: str) -> None:
    """It is the cookie's: for what is stored, in the event and in the cookie that is set."""
    body, query = ({"plan": 1, "uid": OTHER}, "") if where == "body" else ({"plan": 1}, f"?uid={OTHER}")
    status, _, cookie = await update(http, body, query=query)
    assert status == 200
    assert [key async for key in peers.redis.scan_iter("s:*")] == [f"s:{UID}".encode()]
    assert await peers.redis.hkeys(f"s:{UID}") == [b"plan"]
    assert cookie.startswith(f"uid={UID};")
    assert (await peers.newest())["uid"] == UID


@pytest.mark.parametrize(
    ("headers", "body", "word"),
    [
        ({}, {"plan": 1}, "cookie"),
        ({}, {"plan": 1, "uid": UID}, "cookie"),
        ({"Cookie": "uid=*"}, {"plan": 1}, "cookie"),
        ({"Cookie": "uid=123"}, {"plan": 1}, "cookie"),
        ({**COOKIE, "Sec-GPC": "1"}, {"plan": 1}, "objects"),
        (COOKIE, {"plan": 1, "consent": "no"}, "objects"),
        ({**COOKIE, "Sec-Fetch-Site": "cross-site"}, {"plan": 1}, "other sites"),
    ],
)
async def test_who_may_not_store_is_told_why(
    http: aiohttp.ClientSession, peers: Any, headers: dict[str, str], body: Any, word: str
) -> None:
    """Without a valid cookie, from those who object, and from pages of other sites nothing is stored."""
    status, told, _ = await update(http, body, headers)
    assert status == 403
    assert word in told["message"]
    assert [key async for key in peers.redis.scan_iter("s:*")] == []


async def test_who_objects_may_still_erase(http: aiohttp.ClientSession, peers: Any) -> None:
    """Global Privacy Control keeps a visitor from storing data, not from deleting what was stored before."""
    await update(http, {"plan": 1}, COOKIE)
    status, _, _ = await update(http, {"ttl": 0}, {**COOKIE, "Sec-GPC": "1"})
    assert status == 200
    assert [key async for key in peers.redis.scan_iter("s:*")] == []


async def test_only_post_over_http_stores(http: aiohttp.ClientSession, peers: Any) -> None:
    """A link or an image stores nothing, and neither does a WebSocket, which has no cookie of its own."""
    async with http.get("/userdata/update?plan=1", headers=COOKIE) as answer:
        assert answer.status == 403
    async with http.ws_connect(f"/wss?uid={UID}", headers=COOKIE) as socket:
        await socket.send_json({"service": "userdata", "name": "update", "plan": 1})
        assert (await socket.receive_json())["statusCode"] == 403
    assert [key async for key in peers.redis.scan_iter("s:*")] == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"ttl": 60}, 400),
        ({"a": 1, "ttl": -1}, 400),
        ({"a": 1, "ttl": MAX_TTL_SECONDS + 1}, 400),
        ({"a": 1, "ttl": "soon"}, 400),
        ({"a": 1, "ttl": 1.5}, 400),
        ({"a": 1, "ttl": None}, 400),
        ({"a": 1, "ttl": True}, 400),
        ({"a": 1, "ttl": ""}, 400),
        ({"a": 1, "ttl": 1e300}, 400),
        ({f"f{number}": 1 for number in range(MAX_FIELDS + 1)}, 400),
        ({"": 1}, 400),
        ({"n" * 101: 1}, 400),
        ({"a\nb": 1}, 400),
        ({"a": "x" * 5000}, 413),
        ({f"f{number}": "x" * 100 for number in range(MAX_FIELDS)}, 413),
    ],
)
async def test_what_a_visitor_stores_is_bounded(
    http: aiohttp.ClientSession, peers: Any, body: Any, status: int
) -> None:
    """Fields, their names, their bytes and the time have limits; beyond them nothing of the request is stored."""
    assert (await update(http, body))[0] == status
    assert await peers.redis.exists(f"s:{UID}") == 0


async def test_many_updates_together_stay_within_the_bounds(http: aiohttp.ClientSession, peers: Any) -> None:
    """Redis decides whether a field still fits, so requests at the same moment cannot exceed the limits."""
    told = await asyncio.gather(*(update(http, {f"f{number}": 1}) for number in range(2 * MAX_FIELDS)))
    assert sorted(status for status, _, _ in told) == [200] * MAX_FIELDS + [413] * MAX_FIELDS
    assert await peers.redis.hlen(f"s:{UID}") == MAX_FIELDS
    assert (await update(http, {"ttl": 0}))[0] == 200
    sizes = [(await update(http, {f"g{number}": "x" * 990}))[0] for number in range(6)]
    assert sizes == [200] * 4 + [413] * 2


async def test_fields_of_enrichers_are_not_stored(http: aiohttp.ClientSession, peers: Any) -> None:
    """Neither what enrichers add to the event nor a forged one becomes part of what is stored."""
    await peers.service("weather", lambda _params: {"sky": "grey"}, enricher=True)
    await peers.register({"method": "enrich", "role": "enricher", "options": {"keys": ["*"]}, "service": "weather"})
    assert (await update(http, {"plan": 1, "mmgeo": {"city_en": "X"}, "stored": 1}))[0] == 200
    assert await peers.redis.hkeys(f"s:{UID}") == [b"plan"]


async def test_a_service_of_that_name_keeps_its_route(http: aiohttp.ClientSession, peers: Any) -> None:
    """A handler that somebody registers for `userdata` is asked as before, with an alias too."""
    await peers.service("mine", lambda _params: {"mine": True})
    for method in ("*", "update"):
        await peers.register({"method": method, "role": "handler", "options": {"alias": "userdata"}, "service": "mine"})
        assert (await update(http, {"plan": 1}))[1] == {"mine": True}
    assert await peers.redis.exists(f"s:{UID}") == 0


async def test_the_operator_may_turn_it_off(front_redis: Any, start_front: Any, speak: Any) -> None:
    """`STORED=no` reads nothing and writes nothing; with required consent only those who give it are stored."""
    speaker = speak(front_redis.dsn)
    for env, body, expected in (
        ({"STORED": "no"}, {"plan": 1}, 403),
        ({"REQUIRE_CONSENT": "yes"}, {"plan": 1}, 403),
        ({"REQUIRE_CONSENT": "yes"}, {"plan": 1, "consent": "yes"}, 200),
    ):
        process = start_front(front_redis.dsn, **env)
        async with aiohttp.ClientSession(process.url) as session:
            assert (await update(session, body))[0] == expected
        assert await speaker.redis.exists(f"s:{UID}") == (expected == 200)
        process.stop()
    await speaker.redis.delete(f"s:{UID}")


async def test_fronts_redis_user_may_do_that_and_no_more(tmp_path: Path, start_front: Any, speak: Any) -> None:
    """With the users of the playbook and the director, it stores; Redis refuses nothing."""
    named = RedisWithUsers(tmp_path, free_port())
    named.start()
    try:
        process = start_front(named.admit("front"))
        async with aiohttp.ClientSession(process.url) as session:
            assert (await update(session, {"plan": "pro"}))[0] == 200
            assert (await update(session, {"ttl": 0}))[0] == 200
        assert named.refusals() == []
    finally:
        named.stop()


class Memory:
    """Stands for what is known of Redis' memory."""

    used_bytes, max_bytes = 0, 0


class Away:
    """A connection that is lost."""

    async def command(self, *parts: Any, timeout: float = 5.0) -> Any:
        raise RedisUnavailable("away")


class Own:
    """A visitor with a cookie."""

    def refusal(self) -> str:
        return ""

    def claim(self) -> str:
        return UID


@pytest.mark.parametrize(("used", "most"), [(51, 100), (1 << 30, 0)])
async def test_a_half_full_redis_stores_nothing_more(used: int, most: int) -> None:
    """Visitors who are invented to fill Redis leave half of it to events; deleting goes on."""
    memory = Memory()
    memory.used_bytes, memory.max_bytes = used, most
    asked: list[Any] = []

    class Link:
        async def command(self, *parts: Any, timeout: float = 5.0) -> Any:
            asked.append(parts)
            return 1

    ours = UserData(Link(), memory, stored=True)  # type: ignore[arg-type]
    refused = await ours.update({"uid": "1", "data": {"a": 1}, "id": "5"}, Own(), set())
    assert (refused.status, asked) == (503, [])
    assert (await ours.update({"uid": "1", "data": {"ttl": 0}, "id": "5"}, Own(), set())).status == 200
    assert len(asked) == 1


async def test_without_redis_the_visitor_is_told() -> None:
    """503, and no exception."""
    ours = UserData(Away(), Memory(), stored=True)  # type: ignore[arg-type]
    told = await ours.update({"uid": "1", "data": json.loads('{"a": 1}'), "id": "5"}, Own(), set())
    assert told.status == 503
