"""Mixpanel's libraries: which requests are theirs, what they become, and what they are told."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import pytest

from front.intake.families.mixpanel import MIXPANEL, MIXPANEL_FLAGS, MIXPANEL_GROUPS, MIXPANEL_PEOPLE
from front.intake.families.table import family_of, unnamed_family_of

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
NODE = (
    "data=eyJldmVudCI6Ik9yZGVyIENvbXBsZXRlZCIsInByb3BlcnRpZXMiOnsiZGlzdGluY3RfaWQiOiJ1LTEiLCJ0b3RhbCI6MTIuNSwiJGluc2Vy"
    "dF9pZCI6ImktMSIsInRpbWUiOjE3OTU4MTQ0NjYwMDEsInRva2VuIjoidG9rIiwibXBfbGliIjoibm9kZSIsIiRsaWJfdmVyc2lvbiI6IjAuMjQuMCJ9"
    "fQ%3D%3D"
)
"""As `mixpanel` 0.24.0 for Node sends it."""
NODE_BATCH = (
    "data=W3siZXZlbnQiOiJhIiwicHJvcGVydGllcyI6eyJkaXN0aW5jdF9pZCI6InUtMSIsInRva2VuIjoidG9rIn19LHsiZXZlbnQiOiJiIiwicHJv"
    "cGVydGllcyI6eyJkaXN0aW5jdF9pZCI6InUtMSIsInRpbWUiOjE3OTU4MTQ0NjYwMjksInRva2VuIjoidG9rIn19XQ=="
)
PYTHON = (
    "data=%7B%22event%22%3A%22Order+Completed%22%2C%22properties%22%3A%7B%22token%22%3A%22tok%22%2C%22distinct_id%22%3A"
    "%22u-1%22%2C%22time%22%3A1795814466.25%2C%22%24insert_id%22%3A%22abc%22%2C%22mp_lib%22%3A%22python%22%2C"
    "%22%24lib_version%22%3A%225.4.1%22%2C%22total%22%3A12.5%7D%7D&verbose=1&ip=0"
)
"""As `mixpanel` 5.4.1 for Python sends it."""
SIGNUP = {
    "event": "Signup",
    "properties": {"token": "tok", "distinct_id": "u-1", "$insert_id": "i-1", "time": 1795814466},
}
SET = {"$token": "tok", "$distinct_id": "u-1", "$set": {"plan": "pro"}}
VERBOSE = {"status": 1, "error": None}


def form(data: Any, **fields: str) -> bytes:
    """A form as the browser's library sends it to hosts that are not Mixpanel's."""
    return urlencode({"data": base64.b64encode(json.dumps(data).encode()).decode(), **fields}).encode()


@pytest.mark.parametrize(
    ("path", "query", "body", "content_type", "family"),
    [
        ("/track", {"data": "e30="}, b"", "", MIXPANEL),
        ("/track/", {"ip": "1"}, form(SIGNUP), FORM, MIXPANEL),
        ("/track", {}, PYTHON.encode(), FORM, MIXPANEL),
        ("/track", {}, json.dumps([SIGNUP]).encode(), JSON, MIXPANEL),
        ("/engage", {"data": "e30="}, b"", "", MIXPANEL_PEOPLE),
        ("/groups/", {"data": "e30="}, b"", "", MIXPANEL_GROUPS),
        ("/flags/", {"context": "{}", "token": "t"}, b"", "", MIXPANEL_FLAGS),
        ("/track", {"name": "page", "data": "x"}, b"", "", None),
        ("/track", {"name": "page"}, form(SIGNUP), FORM, None),
        ("/track", {}, b"name=page&data=x", FORM, None),
        ("/track", {}, b"data[x]=1&n%61me[]=page", FORM, None),
        ("/track", {}, b"n%61me=page&data=x", FORM, None),
        ("/track", {}, b"a=1&d%61ta=x", FORM, None),
        ("/track", {}, b'{"name":"page","event":"x","properties":{}}', JSON, None),
        ("/track", {}, b'[{"name":"page","properties":{}}]', JSON, None),
        ("/track", {}, b'{"properties":', JSON, None),
        ("/track", {}, b'{"event":"x"}', JSON, None),
        ("/track", {}, b"[]", JSON, None),
        ("/engage", {}, b"", "", None),
        ("/flags", {"data": "x"}, b"", "", None),
    ],
)
def test_a_request_that_names_an_event_is_native(
    path: str, query: dict[str, Any], body: bytes, content_type: str, family: Any
) -> None:
    """The native form answers the others with 404: they name none."""
    assert unnamed_family_of(path, query, body, content_type) is family


def test_posts_to_mixpanels_other_paths_are_its_own() -> None:
    assert [family_of("POST", path, FORM) for path in ("/engage/", "/groups", "/import", "/track")] == [
        MIXPANEL_PEOPLE, MIXPANEL_GROUPS, MIXPANEL, None,
    ]  # fmt: skip


async def get(client: Any, target: str) -> tuple[int, bytes]:
    async with aiohttp.ClientSession() as http, http.get(f"{client.url}{target}") as answer:
        return answer.status, await answer.read()


async def test_an_event_keeps_all_that_mixpanel_is_to_get(client: Any) -> None:
    """The token and addresses are not stored; a name of Mixpanel's own becomes ours, and is kept."""
    properties = {
        "token": "tok", "distinct_id": "$device:d-1", "$device_id": "d-1", "$insert_id": "i-1", "time": 1795814466.5,
        "mp_lib": "web", "$lib_version": "2.83.0", "$current_url": "https://a.example/x", "$referrer": "$direct",
        "current_page_title": "X", "$ip": "2.125.160.216", "ip": "2.125.160.216", "nothing": None,
        "nested": {"a": [{}]},
    }  # fmt: skip
    sent = form([{"event": "$mp_web_page_view", "properties": properties}])
    assert await client.post("/track/?ip=1&verbose=1&_=1795814466", sent, FORM) == (200, VERBOSE)
    assert "Set-Cookie" not in client.headers
    (event,) = await client.events()
    assert (event["key"], event["uid"], event["dedup"]) == ("in.gen.track.page", "$device:d-1", "i-1")
    assert (event["family"], event["td"]["ip"]) == ("mixpanel", "2.125.160.0")
    assert event["data"] == {
        "call": "page", "event": "$mp_web_page_view", "user": {"anonymousId": "d-1"},
        "page": {"url": "https://a.example/x", "title": "X"}, "lib": {"id": "web", "sv": "2.83.0"}, "ts": 1795814466.5,
        "data": {"current_page_title": "X", "nothing": None, "nested": {"a": [{}]}},
        "context": {
            "distinct_id": "$device:d-1", "$device_id": "d-1", "$insert_id": "i-1", "time": 1795814466.5,
            "mp_lib": "web", "$lib_version": "2.83.0", "$current_url": "https://a.example/x", "$referrer": "$direct",
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("target", "body", "answer"),
    [
        (f"/track?ip=0&verbose=0&{NODE}&api_key=k", b"", "1"),
        ("/track", PYTHON.encode(), VERBOSE),
        ("/import", PYTHON.encode(), VERBOSE),
        ("/import?ip=0&verbose=0&api_key=k", NODE.encode(), "1"),
    ],
)
async def test_a_servers_library_sends_its_event(client: Any, target: str, body: bytes, answer: Any) -> None:
    """Its own address (`ip=0`) is no visitor's, and no place is made of it."""
    if body:
        assert await client.post(target, body, FORM) == (200, answer)
    else:
        assert await get(client, target) == (200, b"1")
    (event,) = await client.events()
    assert (event["key"], event["uid"], "ip" in event["td"]) == ("in.gen.track.Order Completed", "u-1", False)
    assert event["data"]["data"] == {"total": 12.5}
    assert event["data"]["user"] == {"id": "u-1"}


async def test_batches_json_and_pixels_are_taken(client: Any) -> None:
    assert await client.post("/track?ip=0&verbose=0&api_key=k", NODE_BATCH.encode(), FORM) == (200, "1")
    assert await client.post("/track", [SIGNUP, SIGNUP]) == (200, "1")
    imported = {"code": 200, "num_records_imported": 1, "status": "OK"}
    assert await client.post("/import?strict=1", [SIGNUP]) == (200, imported)
    assert await client.post("/import", json.dumps(SIGNUP).encode(), "text/plain") == (200, "1")
    status, picture = await get(client, f"/track/?img=1&data={quote(json.dumps(SIGNUP))}")
    assert (status, picture[:4]) == (200, b"GIF8")
    assert [event["name"] for event in await client.events()] == ["a", "b", *["Signup"] * 5]


async def test_changes_of_profiles_are_events_of_their_own(client: Any) -> None:
    """Listeners of `in.gen.track` do not get them, and those without personal data get none of a person's."""
    change = {**SET, "$ip": "2.125.160.216", "$time": 1795814466000, "$set": {"plan": None, "$ip": "2.125.160.216"}}
    group = {"$token": "tok", "$group_key": "company", "$group_id": "g-1", "$union": {"tags": ["a"]}}
    assert await client.post("/engage/?verbose=1", form([change, SET]), FORM) == (200, VERBOSE)
    assert await client.post("/groups", [group]) == (200, "1")
    assert await get(client, f"/engage?data={quote(json.dumps(SET))}") == (200, b"1")
    first, second, of_group, last = await client.events()
    assert first["data"] == {
        "call": "engage",
        "user": {"id": "u-1", "update": {"$distinct_id": "u-1", "$time": 1795814466000, "$set": {"plan": None}}},
    }
    assert {event["key"] for event in (first, second, last)} == {"in.gen.mixpanel.engage"}
    assert {event["uid"] for event in (first, second, last)} == {"u-1"}
    assert (of_group["key"], of_group["uid"].isdigit()) == ("in.gen.mixpanel.groups", True)
    assert of_group["data"]["group"] == {
        "type": "company", "id": "g-1",
        "update": {"$group_key": "company", "$group_id": "g-1", "$union": {"tags": ["a"]}},
    }  # fmt: skip


async def test_a_native_event_of_that_path_is_as_before(client: Any) -> None:
    """No event can claim a family for itself."""
    assert (await client.post("/track", {"name": "page", "family": "mixpanel", "properties": {}}))[0] == 200
    assert (await client.post("/track", [{"name": "a"}, {"name": "b"}]))[0] == 200
    assert (await client.post("/track", b"name=c&data=x", FORM))[0] == 200
    assert (await client.post("/track", {"event": "x"}))[0] == 404
    assert (await client.post("/track", b"name=c&data=" + b"x" * 110_000, FORM))[0] == 413
    events = await client.events()
    assert [event["name"] for event in events] == ["page", "a", "b", "c"]
    assert not [event for event in events if "family" in event]


OTHER_TOKEN = {"event": "x", "properties": {"token": "other"}}


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        ("/track", form([SIGNUP, 5]), "event 2 must be a JSON object"),
        ("/track", form("text"), "must be a JSON object"),
        ("/track", form([[SIGNUP]]), "must be a JSON object"),
        ("/track", form({"event": "x", "properties": []}), "`properties`"),
        ("/track", form({"event": {"a": 1}, "properties": {}}), "no name"),
        ("/track", form({"event": "x" * 257, "properties": {}}), "256 characters"),
        ("/track", form([SIGNUP, OTHER_TOKEN]), "another token"),
        ("/track", b"data=%%%", "neither JSON nor valid base64"),
        ("/track", b"data=e30%FF", "neither JSON nor valid base64"),
        ("/track", b"data=eyI", "not valid JSON"),
        ("/track", b"data=" + quote("[" * 150 + "]" * 150).encode(), "nested deeper"),
        ("/track", b"data=" + quote("[" * 200_000).encode(), "nested deeper"),
        ("/track", b"data=&verbose=1", "`data` is missing"),
        ("/engage", b"", "`data` is missing"),
        ("/engage", form({"$set": {}}), "$distinct_id"),
        ("/engage", form([SET, {**SET, "$token": "other"}]), "another token"),
        ("/engage", form({**SET, "$distinct_id": {"a": 1}}), "$distinct_id"),
        ("/groups", form({"$group_key": "company", "$set": {}}), "$group_id"),
        ("/import", form([SIGNUP] * 2001), "2000 events"),
    ],
)
async def test_what_no_library_of_mixpanel_sends_is_refused_whole(
    client: Any, path: str, body: bytes, reason: str
) -> None:
    """In the form that the libraries read, whatever the status is."""
    status, answer = await client.post(path, body, FORM)
    assert status in (400, 413)
    assert (answer["status"], answer["code"]) == (0, status)
    assert reason in answer["error"]
    assert await client.events() == []


async def test_broken_text_in_an_event_is_repaired(client: Any) -> None:
    """Half a surrogate pair, and bytes that are no UTF-8, as in each other form."""
    sent = base64.b64encode(b'{"event":"\\ud83d","properties":{"distinct_id":"\xff","a":"\\udc00"}}')
    assert await client.post("/track", b"data=" + quote(sent).encode(), FORM) == (200, "1")
    (event,) = await client.events()
    assert (event["name"], event["uid"], event["data"]["data"]) == ("\ufffd", "\ufffd", {"a": "\ufffd"})


async def test_a_refusal_of_consent_marks_the_event(client: Any) -> None:
    refused = {**SIGNUP, "properties": {**SIGNUP["properties"], "consent": "denied"}}
    await client.post("/track", form([refused]), FORM)
    await client.post("/engage", form([{**SET, "$set": {"consent": False}}]), FORM)
    assert [event["privacy"] for event in await client.events()] == [["consent"], ["consent"]]


async def test_flags_are_off_and_recordings_are_not_taken(client: Any) -> None:
    assert await get(client, "/flags/?context=%7B%7D&token=t&sdk=js") == (200, b'{"flags":{}}')
    status, answer = await client.post("/record/?a=1", b"x", "application/octet-stream")
    assert (status, "Mixpanel" in answer["reason"]) == (404, True)
