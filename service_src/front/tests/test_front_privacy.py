"""What of a visitor may leave front, and what marks an event whose sender objects."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from multidict import CIMultiDict

from front.event.consent import consent_of, mark_objection
from front.event.fingerprint import fingerprint_of, fpid
from front.http1.request import Request
from front.intake.client_hints import read_hints

ADDRESS = "81.2.69.142"
IPV6 = "2a02:6b8:1234:5678:9abc::1"
UA = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"
ROW = {
    "service": "nosy", "method": "enrich", "role": "enricher",
    "options": {"keys": ["*"], "props": {"ip": "td.ip", "ch_model": "td.ch.model"}},
}  # fmt: skip


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers={"User-Agent": UA}) as client:
        yield client


@pytest.mark.parametrize("address", [ADDRESS, IPV6])
async def test_the_whole_address_stays_inside(
    own_redis: Any, start_front: Any, speak: Any, session: aiohttp.ClientSession, address: str
) -> None:
    """Enrichers see it; handlers, the stream, listeners, every key of Redis, log, pages and answers do not."""
    front = start_front(own_redis.dsn, LOG_LEVEL="DEBUG")
    peers = speak(own_redis.dsn)
    asked = await peers.service("nosy", lambda _params: {"ok": 1}, enricher=True)
    told = await peers.service("answerer", lambda _params: 1 / 0 if "boom" in str(_params) else {"ok": 1})
    await peers.register(ROW, {"service": "answerer", "method": "*", "role": "handler", "options": {}})
    broadcast = await peers.listener()
    seen = []
    for path, headers in [
        ("/track/page.json", {"X-Real-IP": address}),
        ("/answerer/say", {"X-Forwarded-For": address}),
        ("/redir/x", {"X-Real-IP": address}),
        ("/band/t4k.gif?name=page", {"X-Real-IP": address}),
        ("/track", {"X-Real-IP": address}),
    ]:
        async with session.get(front.url + path, headers=headers) as answer:
            seen.append(f"{answer.headers} {await answer.text(errors='replace')}")
    async with session.post(
        f"{front.url}/track/page.json", data="{bad", headers={"X-Real-IP": address, "Content-Type": "application/json"}
    ) as refused:
        assert refused.status == 400
        seen.append(await refused.text())
    for page in ("health", "metrics"):
        async with session.get(f"{front.url}/_band/{page}") as answer:
            assert answer.status == 200
            seen.append(await answer.text())
    async with asyncio.timeout(5):
        seen += [(await broadcast.get()).decode() for _ in range(4)]
    for key in await peers.redis.keys("*"):
        seen.append(repr(await peers.redis.dump(key)))
        if await peers.redis.type(key) == b"stream":
            seen.append(repr(await peers.redis.xrange(key)))
    seen += [json.dumps(request) for request in told]
    front.stop()
    seen.append(front.log.read_text())
    assert {request["params"]["ip"] for request in asked} == {address}, "enrichers must see it: geo needs it"
    assert len(told) == 1
    assert any("81.2.69.0" in text or "2a02:6b8:1234::" in text for text in seen), "what is kept"
    for text in seen:
        assert address not in text


def marked(headers: dict[str, str], data: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"key": "k", "data": data, "time": 1}
    mark_objection(message, gpc=CIMultiDict(headers).get("Sec-GPC") == "1", refused=consent_of(data) is False)
    return message


@pytest.mark.parametrize(
    ("headers", "data", "reasons"),
    [
        ({"Sec-GPC": "1"}, {}, ["gpc"]),
        ({"sec-gpc": "1"}, {"consent": "no"}, ["gpc", "consent"]),
        ({}, {"consent": False}, ["consent"]),
        ({}, {"consent": "0"}, ["consent"]),
        ({}, {"consent": "Denied"}, ["consent"]),
        ({}, {"consent": 0}, ["consent"]),
        ({}, {"consent": 0.0}, ["consent"]),
        ({}, {"consent": ["false", "false"]}, ["consent"]),
        ({}, {"consent": ["true", "no"]}, ["consent"]),
        ({}, {"consent": True, "data": {"consent": [1, 0]}}, ["consent"]),
        ({}, {"consent": ["yes", "perhaps"]}, None),
        ({}, {"consent": {"0": "yes", "1": "no"}}, ["consent"]),
        ({}, {"consent": {}}, None),
        ({}, {"consent": [["no"]]}, ["consent"]),
        ({}, {"consent": 10**400}, None),
        ({}, {"data": {"consent": "denied"}}, ["consent"]),
        ({}, {"consent": True, "data": {"consent": False}}, ["consent"]),
        ({}, {"consent": "no", "data": {"consent": "yes"}}, ["consent"]),
        ({}, {"data": {"consent": "yes"}}, None),
        ({}, {"data": ["consent"]}, None),
        ({"Sec-GPC": "0"}, {"consent": True}, None),
        ({}, {"consent": "yes"}, None),
        ({}, {"consent": {"ads": False}}, None),
        ({}, {}, None),
    ],
)
def test_an_objection_marks_the_event(headers: dict[str, str], data: dict[str, Any], reasons: Any) -> None:
    """`privacy` is the last field and lists the reasons; an event without objection keeps the original's fields."""
    message = marked(headers, data)
    assert message.get("privacy") == reasons
    assert list(message) == ["key", "data", "time", *(["privacy"] if reasons else [])]


def test_an_event_of_who_objects_has_no_fingerprint_of_the_client() -> None:
    """Trackers of the original compute one themselves; others keep theirs."""
    assert marked({"Sec-GPC": "1"}, {"fpid": "1", "a": 1})["data"] == {"a": 1}
    assert marked({}, {"fpid": "1"})["data"] == {"fpid": "1"}


async def test_objections_reach_the_stream(session: aiohttp.ClientSession, front: Any, peers: Any) -> None:
    """Over HTTP and WebSocket, with white space behind the header too; no fingerprint is made of one who objects."""
    async with session.get(f"{front.url}/track/page", headers={"Sec-GPC": "1 "}) as answer:
        assert answer.status == 200
    event = await peers.newest()
    assert event["privacy"] == ["gpc"]
    assert "fpid" not in event["data"]
    async with session.get(f"{front.url}/track/page") as answer:
        assert answer.status == 200
    event = await peers.newest()
    assert "privacy" not in event
    assert event["data"]["fpid"]
    async with session.ws_connect(f"{front.url}/wss?uid=5", headers={"Sec-GPC": "1\t"}) as socket:
        await socket.send_json({"service": "track", "name": "page", "consent": "no"})
        await socket.receive(5)
    assert (await peers.newest())["privacy"] == ["gpc", "consent"]


async def test_client_hints_reach_enrichers(session: aiohttp.ClientSession, front: Any, peers: Any) -> None:
    """They stand in `td.ch` under short names, and enrichers get the texts that they ask for."""
    asked = await peers.service("nosy", lambda _params: {}, enricher=True)
    await peers.register(ROW)
    headers = {"Sec-CH-UA": '"Brave";v="130"', "Sec-CH-UA-Mobile": "?1", "Sec-CH-UA-Model": '"Pixel 7"'}
    async with session.get(f"{front.url}/track/page", headers=headers) as answer:
        assert answer.status == 200
    td = (await peers.newest())["td"]
    assert td["ch"] == {"ua": '"Brave";v="130"', "mobile": "?1", "model": '"Pixel 7"'}
    assert list(td)[-1] == "ch"
    assert asked[-1]["params"]["ch_model"] == '"Pixel 7"'


def test_hints_are_cut_and_all_or_none() -> None:
    """Without `Sec-CH-UA` there are none; a long one is cut."""
    assert read_hints(Request("GET", b"/", {b"sec-ch-ua-model": b'"x"'}, "")) is None
    assert read_hints(Request("GET", b"/", {b"sec-ch-ua": b"x" * 9000}, "")) == {"ua": "x" * 512}


async def test_the_fingerprint_does_not_lead_to_the_address(
    session: aiohttp.ClientSession, front: Any, peers: Any
) -> None:
    """By default it is of what is kept: all addresses of a network give one, so trying all of them finds none."""
    found = set()
    for address in (ADDRESS, "81.2.69.7"):
        async with session.get(f"{front.url}/track/page", headers={"X-Real-IP": address}) as answer:
            assert answer.status == 200
        found.add((await peers.newest())["data"]["fpid"])
    tried = {fpid(f"81.2.69.{last}", UA): last for last in range(256)}
    assert [tried.get(one) for one in found] == [0]


async def test_the_original_fingerprint_must_be_asked_for(
    own_redis: Any, start_front: Any, speak: Any, session: aiohttp.ClientSession
) -> None:
    """`FPID=original` gives the value that services of the original know."""
    front = start_front(own_redis.dsn, FPID="original")
    peers = speak(own_redis.dsn)
    async with session.get(f"{front.url}/track/page", headers={"X-Real-IP": ADDRESS}) as answer:
        assert answer.status == 200
    assert (await peers.newest())["data"]["fpid"] == fpid(ADDRESS, UA)


def test_fingerprints_of_less() -> None:
    """`masked` is the same for all addresses of a network, `none` is none, `original` is the original's."""
    assert fingerprint_of("none", str) is None
    masked = fingerprint_of("masked", lambda ip: ip.rpartition(".")[0])
    assert masked is not None
    assert masked("1.2.3.4", UA) == masked("1.2.3.5", UA) != masked("1.2.4.4", UA)
    assert fingerprint_of("original", str) is fpid
