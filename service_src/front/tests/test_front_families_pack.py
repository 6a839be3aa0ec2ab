"""Clients of Amplitude, Plausible, Umami, CloudEvents and PostHog: what they send and what it becomes."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any
from urllib.parse import quote

import pytest

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


async def test_amplitude_counts_what_it_stored(client: Any) -> None:
    body = {
        "api_key": "any",
        "events": [
            {"user_id": "u-1", "device_id": "d-1", "event_type": "Order Completed", "event_properties": {"total": 1},
             "insert_id": "i-1", "library": "amplitude-node-ts/1.5.73", "platform": "Node", "ip": "$remote",
             "session_id": -1, "groups": {"company": "g-1"}},
            {"device_id": "d-1", "event_type": "$identify",
             "user_properties": {"$set": {"plan": "pro"}, "$add": {"n": 1}}},
            {"user_id": "u-1", "event_type": "$groupidentify", "groups": {"company": "g-1"},
             "group_properties": {"$set": {"seats": 3}}},
            {"device_id": "d-1", "event_type": "[Amplitude] Page Viewed",
             "event_properties": {"[Amplitude] Page Location": "https://a.example/", "referrer": "https://r.example/"}},
        ],
    }  # fmt: skip
    status, answer = await client.post("/2/httpapi", body)
    assert (status, answer["code"], answer["events_ingested"]) == (200, 200, 4)
    order, identify, group, page = await client.events()
    assert order["data"] == {
        "call": "track", "data": {"total": 1}, "user": {"id": "u-1", "anonymousId": "d-1"},
        "groups": {"company": "g-1"}, "lib": {"id": "amplitude-node-ts", "sv": "1.5.73"},
        "context": {"platform": "Node", "session_id": -1},
    }  # fmt: skip
    assert (order["uid"], order["dedup"], identify["uid"]) == ("u-1", "i-1", "d-1")
    assert identify["data"]["user"] == {"anonymousId": "d-1", "traits": {"plan": "pro", "$add": {"n": 1}}}
    assert group["data"]["group"] == {"type": "company", "id": "g-1", "traits": {"seats": 3}}
    assert page["data"]["page"] == {"url": "https://a.example/", "ref": "https://r.example/"}
    assert [event["name"] for event in (order, identify, group, page)] == [
        "Order Completed", "identify", "group", "page",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status"),
    [({"events": 5}, 400), ({"events": [{"event_type": ""}]}, 400), (b"{", 400), ({"events": [{}] * 2001}, 413),
     ({"events": ["x" * 1_100_000]}, 413)],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Sending a large body")
async def test_amplitude_is_refused_in_its_own_form(client: Any, body: Any, status: int) -> None:
    """Its libraries read the status from the body: with 413 they send smaller requests."""
    refused, answer = await client.post("/2/httpapi", body)
    assert (refused, answer["code"]) == (status, status)
    assert answer["error"]
    assert await client.events() == []


@pytest.mark.parametrize(
    "body",
    [
        {"n": "Signup", "v": 36, "u": "https://a.example/x", "d": "a.example", "r": "https://r.example/",
         "p": {"plan": "pro"}, "$": {"currency": "EUR", "amount": 3}, "i": False},
        {"name": "Signup", "v": 36, "url": "https://a.example/x", "domain": "a.example",
         "referrer": "https://r.example/", "props": '{"plan": "pro"}', "revenue": {"currency": "EUR", "amount": 3},
         "interactive": False},
    ],
)  # fmt: skip
async def test_plausible_is_read_in_both_spellings(client: Any, body: Any) -> None:
    """The script sends JSON as text."""
    assert await client.post("/api/event", body, "text/plain") == (202, "ok")
    (event,) = await client.events()
    assert event["key"] == "in.gen.track.Signup"
    assert event["data"] == {
        "call": "track", "data": {"plan": "pro"}, "page": {"url": "https://a.example/x", "ref": "https://r.example/"},
        "site": "a.example", "revenue": {"currency": "EUR", "amount": 3}, "interactive": False,
        "lib": {"id": "plausible", "sv": 36},
    }  # fmt: skip


async def test_plausibles_page_view_is_a_page(client: Any) -> None:
    await client.post("/api/event", {"n": "pageview", "u": "https://a.example/", "d": "a.example", "r": None})
    await client.post("/api/event", {"n": "engagement", "u": "https://a.example/", "e": 3000, "sd": 50})
    page, engagement = await client.events()
    assert (page["name"], page["data"]["call"], page["uid"].isdigit()) == ("page", "page", True)
    assert engagement["data"]["engagement"] == {"ms": 3000, "scroll": 50}


async def test_umami_names_its_pages_by_path(client: Any) -> None:
    payload = {
        "website": "w-1", "hostname": "a.example", "url": "/x?a=1", "title": "X", "referrer": "", "screen": "1x1",
        "language": "en", "tag": "t",
    }  # fmt: skip
    assert await client.post("/api/send", {"type": "event", "payload": payload}) == (200, {"disabled": False})
    named = {**payload, "name": "Signup", "data": {"plan": "pro"}, "id": "u-1"}
    await client.post("/api/send", {"type": "event", "payload": named})
    await client.post("/api/send", {"type": "identify", "payload": {"website": "w-1", "data": {"plan": "pro"}}})
    page, signup, identify = await client.events()
    assert page["data"] == {
        "call": "page", "page": {"url": "https://a.example/x?a=1", "title": "X"}, "site": "w-1",
        "browser": {"screen": "1x1"}, "context": {"locale": "en", "tag": "t"}, "lib": {"id": "umami"},
    }  # fmt: skip
    assert (signup["name"], signup["uid"], signup["data"]["data"]) == ("Signup", "u-1", {"plan": "pro"})
    assert (identify["name"], identify["data"]["user"]) == ("identify", {"traits": {"plan": "pro"}})
    assert (await client.post("/api/send", {"type": "fly", "payload": {}}))[1]["code"] == "unknown_call"
    assert (await client.post("/api/send", {"type": "event"}))[1]["code"] == "not_an_object"


CLOUDEVENT = {
    "specversion": "1.0", "id": "7", "source": "https://shop.example", "type": "com.example.order",
    "subject": "o-1", "time": "2026-11-27T17:20:00Z", "region": "eu",
}  # fmt: skip


@pytest.mark.parametrize(
    ("body", "content_type", "headers"),
    [
        ({**CLOUDEVENT, "data": {"total": 1}}, "application/cloudevents+json", {}),
        ([{**CLOUDEVENT, "data": {"total": 1}}], "application/cloudevents-batch+json; charset=utf-8", {}),
        ({"total": 1}, JSON, {f"ce-{name}": quote(value, safe=":/") for name, value in CLOUDEVENT.items()}),
    ],
)
async def test_cloudevents_are_one_event_in_all_three_modes(
    client: Any, body: Any, content_type: str, headers: dict[str, str]
) -> None:
    assert (await client.post("/cloudevents", body, content_type, **headers))[0] == 200
    (event,) = await client.events()
    event["data"].pop("contentType", None)
    assert event["key"] == "in.gen.cloudevents.com.example.order"
    assert event["dedup"] == "https://shop.example 7"
    assert event["data"] == {
        "data": {"total": 1}, "source": "https://shop.example", "subject": "o-1", "extensions": {"region": "eu"},
        "ts": "2026-11-27T17:20:00Z",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "content_type", "data"),
    [
        (b"some text", "text/plain", {"data": "some text"}),
        (b"\xff\x00", "image/png", {"data_base64": base64.b64encode(b"\xff\x00").decode()}),
        (b"", "text/plain", {}),
    ],
)
async def test_a_cloudevent_carries_any_bytes(client: Any, body: bytes, content_type: str, data: Any) -> None:
    headers = {f"ce-{name}": CLOUDEVENT[name] for name in ("specversion", "id", "source", "type")}
    assert (await client.post("/cloudevents", body, content_type, **headers))[0] == 200
    (event,) = await client.events()
    assert {name: event["data"].get(name) for name in data} == data
    assert (await client.post("/cloudevents", body or b"{}", content_type))[1]["code"] == "not_a_cloudevent"


async def test_posthogs_batch_is_stored(client: Any) -> None:
    body = {
        "api_key": "any",
        "sent_at": "2026-11-27T17:45:12.839Z",
        "batch": [
            {"event": "Order Completed", "distinct_id": "u-1", "uuid": "i-1", "timestamp": "2026-11-27T17:45:12.837Z",
             "properties": {"total": 1, "$lib": "posthog-node", "$lib_version": "5.70.0", "$is_server": True,
                            "$ip": "2.125.160.216"}},
            {"event": "$set", "distinct_id": "u-1", "$set": {"plan": "pro"}, "properties": {"$set_once": {"a": 1}}},
            {"event": "$create_alias", "distinct_id": "u-1", "properties": {"alias": "a-1", "distinct_id": "u-1"}},
            {"event": "$groupidentify", "distinct_id": "x", "properties":
             {"$group_type": "company", "$group_key": "g-1", "$group_set": {"seats": 3}}},
        ],
    }  # fmt: skip
    assert await client.post("/batch/", body) == (200, {"status": 1})
    order, identify, alias, group = await client.events()
    assert order["data"] == {
        "call": "track", "data": {"total": 1}, "user": {"id": "u-1"}, "lib": {"id": "posthog-node", "sv": "5.70.0"},
        "context": {"$is_server": True}, "ts": "2026-11-27T17:45:12.837Z",
    }  # fmt: skip
    assert (order["uid"], order["dedup"], order["td"]["ip"]) == ("u-1", "i-1", "2.125.160.0")
    assert order["time"] == (int(order["id"]) >> 22) - 2
    assert (identify["name"], identify["data"]["user"]["traits"]) == ("identify", {"a": 1, "plan": "pro"})
    assert alias["data"]["alias"] == {"id": "a-1"}
    assert group["data"]["group"] == {"type": "company", "id": "g-1", "traits": {"seats": 3}}


PAGE_VIEW = {
    "event": "$pageview", "uuid": "i-1", "offset": 2000,
    "properties": {"token": "any", "distinct_id": "u-1", "$current_url": "https://a.example/x", "$pathname": "/x",
                   "$referrer": "$direct"},
}  # fmt: skip
RAW = json.dumps(PAGE_VIEW).encode()


@pytest.mark.parametrize(
    ("query", "raw", "content_type"),
    [
        ("?compression=gzip-js", gzip.compress(RAW), "text/plain"),
        ("", gzip.compress(RAW), "text/plain"),
        ("?compression=base64", b"data=" + quote(base64.b64encode(RAW), safe="").encode(), FORM),
        ("", b"data=" + quote(RAW).encode(), FORM),
        ("", RAW, "text/plain"),
        ("", b"[%b]" % RAW, JSON),
    ],
)  # fmt: skip
async def test_posthogs_script_is_read_however_it_packs(client: Any, query: str, raw: bytes, content_type: str) -> None:
    assert await client.post(f"/e/{query}", raw, content_type) == (200, {"status": 1})
    (event,) = await client.events()
    assert event["key"] == "in.gen.track.page"
    assert event["data"] == {
        "call": "page", "user": {"id": "u-1"}, "page": {"url": "https://a.example/x", "path": "/x"},
    }  # fmt: skip
    assert 1900 < (int(event["id"]) >> 22) - event["time"] < 2100


async def test_posthog_hears_that_there_are_no_flags(client: Any) -> None:
    """Nothing is stored for it."""
    status, answer = await client.post("/flags/?v=2", {"token": "any", "distinct_id": "u-1"})
    assert (status, answer["flags"]) == (200, {})
    assert await client.events() == []


@pytest.mark.parametrize(
    ("path", "raw", "status"),
    [
        ("/e/?compression=gzip-js", gzip.compress(b" " * 3_000_000), 413),
        ("/e/?compression=gzip-js", b"\x1f\x8b broken", 400),
        ("/e/?compression=base64", b"data=x", 400),
        ("/e/", b"5", 400),
        ("/e/", b'{"event": {"a": 1}}', 400),
        ("/batch/", b'{"batch": {}}', 400),
        ("/i/v0/other/", b"{}", 404),
        ("/2/identify", b"{}", 404),
        ("/api/event", b"[]", 400),
        ("/api/event", b'{"n": "x", "p": "{"}', 400),
        ("/cloudevents", b"[1]", 400),
    ],
)
async def test_what_they_do_not_send_is_refused(client: Any, path: str, raw: bytes, status: int) -> None:
    assert (await client.post(path, raw))[0] == status
    assert await client.events() == []


async def test_numbers_beyond_all_bounds_are_no_times(client: Any) -> None:
    huge = b'{"events":[{"event_type":"a","time":1' + b"0" * 400 + b"},{" + b'"event_type":"a","time":-1e308}]}'
    assert (await client.post("/2/httpapi", huge))[0] in (200, 400)
    assert all(event["time"] == int(event["id"]) >> 22 for event in await client.events())
