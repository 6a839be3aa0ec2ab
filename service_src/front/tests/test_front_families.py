"""Which requests belong to another product's clients, and what they become."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import aiohttp
import pytest

from front.errors import BadRequest
from front.intake.families.family import milliseconds
from front.intake.families.posthog import POSTHOG_CONFIG
from front.intake.families.segment import SEGMENT
from front.intake.families.segment_browser import SEGMENT_SETTINGS
from front.intake.families.table import family_of

JSON = "application/json"


@pytest.mark.parametrize(
    ("method", "path", "content_type", "family"),
    [
        ("POST", "/v1/batch", JSON, SEGMENT),
        ("POST", "/v1/batch/", "text/plain", SEGMENT),
        ("POST", "/v1/track", "", SEGMENT),
        ("POST", "/v1/t", "text/plain", SEGMENT),
        ("GET", "/v1/projects/any/settings", "", SEGMENT_SETTINGS),
        ("GET", "/array/any/config.js", "", POSTHOG_CONFIG),
        ("POST", "/array/any/config", "", None),
        ("GET", "/arrays/any", "", None),
        ("GET", "/v1/track", "", None),
        ("POST", "/v1/unknown", "", None),
        ("POST", "/track/page", JSON, None),
        ("POST", "/engaged", JSON, None),
    ],
)
def test_the_table_tells_families_apart(method: str, path: str, content_type: str, family: Any) -> None:
    assert family_of(method, path, content_type) is family


@pytest.mark.parametrize(
    ("method", "path", "whose"),
    [
        ("POST", "/v1/import", "Segment"),
        ("POST", "/record/", "Mixpanel"),
        ("POST", "/com.snowplowanalytics.snowplow/tp2", "Snowplow"),
        ("POST", "/beacon/v1/batch", "RudderStack"),
        ("POST", "/api/batch", "Umami"),
        ("GET", "/v1/projects/any/other", "Segment"),
        ("GET", "/v1/pixel/track", "Segment"),
        ("GET", "/analytics.js/v2/any", "Segment"),
        ("GET", "/api/s/track", "Jitsu"),
        ("GET", "/array/any/array.js", "PostHog"),
        ("GET", "/static/1.449.2/surveys.js", "PostHog"),
        ("GET", "/api/feature_flag/local_evaluation", "PostHog"),
        ("GET", "/api/surveys/", "PostHog"),
        ("GET", "/g/collect", "Google Analytics"),
    ],
)
def test_a_path_that_front_does_not_take_is_refused_by_name(method: str, path: str, whose: str) -> None:
    with pytest.raises(BadRequest, match=whose) as refusal:
        family_of(method, path, JSON)
    assert (refusal.value.status, refusal.value.code) == (404, "unknown_path")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-11-27T17:20:00.250Z", 1_795_800_000_250),
        ("2026-11-27T18:20:00.25+01:00", 1_795_800_000_250),
        ("2026-11-27T17:20:00.250", 1_795_800_000_250),
        (1_795_800_000_250, 1_795_800_000_250),
        (1_795_800_000.25, 1_795_800_000_250),
        ("yesterday", None), ("2026-13-01", None), (True, None), (-5, None), ([], None), (None, None),
    ],
)  # fmt: skip
def test_times_are_read_as_clients_write_them(value: Any, expected: int | None) -> None:
    assert milliseconds(value) == expected


async def test_a_segment_call_is_an_event_of_the_sdks_form(client: Any) -> None:
    """Its context goes where the browser SDK puts such things; the address is never stored as it came."""
    call = {
        "userId": "u-1", "anonymousId": "a-1", "messageId": "m-1", "event": "Order Completed",
        "properties": {"total": 12.5}, "integrations": {"All": True},
        "context": {
            "ip": "2.125.160.216", "userAgent": "Their browser", "library": {"name": "x", "version": "1.2"},
            "page": {"url": "https://a.example/?b=1", "referrer": "https://r.example/", "title": "A"},
            "campaign": {"name": "spring", "source": "mail"}, "traits": {"plan": "pro"}, "locale": "en-GB",
        },
    }  # fmt: skip
    basic = base64.b64encode(b"any:").decode()
    assert await client.post("/v1/track", call, Authorization=f"Basic {basic}") == (200, {"success": True})
    (event,) = await client.events()
    assert "Set-Cookie" not in client.headers
    assert event["data"] == {
        "call": "track",
        "data": {"total": 12.5},
        "user": {"id": "u-1", "anonymousId": "a-1", "traits": {"plan": "pro"}},
        "page": {"url": "https://a.example/?b=1", "title": "A", "ref": "https://r.example/"},
        "sess": {"hasMarks": True, "marks": {"utm_campaign": "spring", "utm_source": "mail"}},
        "lib": {"id": "x", "sv": "1.2"},
        "context": {"locale": "en-GB"},
        "integrations": {"All": True},
    }
    assert event["td"] == {"ip": "2.125.160.0", "ua": "Their browser"}
    assert (event["uid"], event["dedup"], event["project"]) == ("u-1", "m-1", "default")
    assert list(event)[:10] == [
        "key", "channel", "service", "name", "projectId", "uid", "td", "data", "id", "time",
    ]  # fmt: skip


async def test_an_address_in_a_call_counts_only_from_near_hosts(client: Any) -> None:
    """Through a proxy anybody could claim to be somewhere else."""
    call = {"userId": "u-1", "event": "x", "context": {"ip": "2.125.160.216"}}
    await client.post("/v1/track", call, **{"X-Real-IP": "81.2.69.142"})
    await client.post("/v1/track", {**call, "context": {"ip": "not an address"}})
    assert [event["td"]["ip"] for event in await client.events()] == ["81.2.69.0", "127.0.0.0"]


async def test_a_batch_is_stored_in_its_order(client: Any) -> None:
    """The batch's context holds for each call that has none; an empty batch is a success."""
    batch = {
        "context": {"locale": "fr"},
        "batch": [
            {"type": "identify", "userId": "u-1", "traits": {"plan": "pro"}},
            {"type": "track", "event": "a.b", "anonymousId": "a" * 129},
            {"type": "screen", "name": "S", "context": {"locale": "de"}, "userId": 7},
        ],
    }
    raw = gzip.compress(json.dumps(batch).encode())
    assert (await client.post("/v1/batch", raw, **{"Content-Encoding": "gzip"}))[0] == 200
    assert (await client.post("/v1/batch", {"batch": []})) == (200, {"success": True})
    events = await client.events()
    assert [event["key"] for event in events] == [f"in.gen.track.{name}" for name in ("identify", "a.b", "screen")]
    assert [event["data"]["context"] for event in events] == [{"locale": "fr"}, {"locale": "fr"}, {"locale": "de"}]
    assert (events[0]["uid"], events[2]["uid"]) == ("u-1", "7")
    assert events[1]["uid"].isdigit()  # an id that is too long is none


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/v1/batch", [], "not_an_object"),
        ("/v1/batch", {}, "not_a_list"),
        ("/v1/batch", {"batch": [{"type": "track", "event": "a"}, 5]}, "not_an_object"),
        ("/v1/batch", {"batch": [{"type": "track", "event": "a"}, {"type": "fly"}]}, "unknown_call"),
        ("/v1/batch", {"batch": [{"type": "track", "event": "a"}, {"type": ["track"]}]}, "unknown_call"),
        ("/v1/track", {"event": {}}, "no_name"),
        ("/v1/track", {"event": "x" * 257}, "long_name"),
        ("/v1/track", b"{", "malformed_json"),
        ("/v1/track", b'{"event":"a","properties":' + b"[" * 101 + b"]" * 101 + b"}", "nested_json"),
        ("/v1/nothing", {}, "unknown_path"),
    ],
)
async def test_what_a_family_does_not_send_is_refused_whole(client: Any, path: str, body: Any, code: str) -> None:
    status, answer = await client.post(path, body)
    assert (status, answer["code"]) == (404 if code == "unknown_path" else 400, code)
    assert answer["reason"]
    assert await client.events() == []


ODD = {"context": 5, "traits": [], "properties": "x", "integrations": None, "timestamp": {}, "messageId": {"a": 1},
       "userId": True, "sentAt": "x"}  # fmt: skip


async def test_fields_of_the_wrong_type_are_left_out(client: Any) -> None:
    """A name is enough for an event."""
    assert (await client.post("/v1/track", {"event": "a", **ODD}))[0] == 200
    (event,) = await client.events()
    assert (event["name"], "dedup" in event, event["uid"].isdigit()) == ("a", False, True)


async def test_broken_text_is_repaired(client: Any) -> None:
    assert (await client.post("/v1/track", b'{"event":"\\ud83d","userId":"\xff"}'))[0] == 200
    (event,) = await client.events()
    assert (event["name"], event["uid"]) == ("�", "�")


async def test_a_compressed_bomb_is_refused(client: Any) -> None:
    raw = gzip.compress(b" " * 3_000_000)
    assert (await client.post("/v1/batch", raw, **{"Content-Encoding": "gzip"}))[0] == 413


async def test_a_service_of_that_name_has_its_requests_to_itself(client: Any) -> None:
    """So has the mark `band`: what was native stays native."""
    seen = await client.peers.service("v1", lambda _: {"mine": True})
    assert json.loads((await client.post("/band/v1/track", {"event": "a"}))[1])["native__"] is True
    await client.peers.register({"method": "*", "role": "handler", "options": {}, "service": "v1"})
    assert await client.post("/v1/track", {"event": "a"}) == (200, {"mine": True})
    assert seen[0]["params"]["key"] == "in.gen.v1.track"


async def got(client: Any, path: str, **headers: str) -> tuple[int, Any, Any]:
    """Get a path; returns status, headers and body."""
    async with (
        aiohttp.ClientSession(auto_decompress=False) as http,
        http.get(client.url + path, headers=headers) as answer,
    ):
        return answer.status, answer.headers, await answer.read()


async def test_segments_library_is_told_to_send_to_the_host_that_it_asked(client: Any) -> None:
    """By the name and the scheme that the client sees."""
    settings: dict[str, Any] = {}
    for host, headers in (
        (client.url.removeprefix("http://"), {}),
        ("t.shop.example", {"X-Forwarded-Host": "t.shop.example", "X-Forwarded-Proto": "https"}),
    ):
        status, answer, body = await got(client, "/v1/projects/wk-1/settings", Origin="https://shop.example", **headers)
        settings = json.loads(body)["integrations"]["Segment.io"]
        assert (status, settings["apiKey"], settings["apiHost"]) == (200, "wk-1", f"{host}/v1")
        assert answer["Access-Control-Allow-Origin"] == "https://shop.example"
        assert "Set-Cookie" not in answer
    assert settings["protocol"] == "https"
    status, _, body = await got(client, "/v1/projects/wk-1/settings", Host="a!b")
    assert (status, json.loads(body)["code"]) == (400, "host")
    assert await client.events() == []


async def test_analytics_js_is_the_same_for_everybody(client: Any) -> None:
    status, answer, body = await got(client, "/analytics.js/v1/any/analytics.min.js", Referer="https://shop.example/")
    assert (status, answer["Content-Type"]) == (200, "application/javascript; charset=utf-8")
    assert (answer["Access-Control-Allow-Origin"], answer["Cache-Control"]) == ("*", "public, max-age=300")
    assert "Set-Cookie" not in answer and "Expires" not in answer
    assert gzip.decompress(body) if answer.get("Content-Encoding") else body
    assert (await got(client, "/analytics-next/bundles/queryString.bundle.0.js"))[0] == 404
    assert (await got(client, "/analytics-next/bundles/..%2fLICENSE.md"))[0] == 404
    assert await client.events() == []


async def test_a_browsers_library_may_send_its_headers_and_read_when_to_try_again(client: Any) -> None:
    async with (
        aiohttp.ClientSession() as http,
        http.options(f"{client.url}/v1/t", headers={"Origin": "https://shop.example"}) as answer,
    ):
        allowed = answer.headers["Access-Control-Allow-Headers"].lower().split(",")
        assert {"authorization", "content-type", "traceparent", "x-retry-count", "x-write-key"} <= {*allowed}
        assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]


async def test_posthogs_script_hears_what_it_may_do(client: Any) -> None:
    _, _, body = await got(client, "/array/any/config")
    assert json.loads(body)["sessionRecording"] is False
    _, answer, body = await got(client, '/array/a"b/config.js')
    assert answer["Content-Type"].startswith("application/javascript")
    assert b'["a%22b"]={config:{' in body or b'["a\\"b"]={config:{' in body
