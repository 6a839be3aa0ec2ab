"""Consent in requests with several events and in those of other products' clients: where it is seen, whom it is of."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

UID = "6410748586712844288"
COOKIE = {"Cookie": f"uid={UID}"}
NO: dict[str, Any] = {"consent": False}
ALL_OFF = {"categoryPreferences": {"ads": False, "statistics": False}}
ONE_ON = {"categoryPreferences": {"ads": False, "statistics": True}}
CLOUD_EVENT = {"specversion": "1.0", "id": "1", "source": "s", "type": "e"}


def placed(said: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return requests that say something about consent, one for each place."""
    call = {"type": "track", "event": "e"}
    amplitude = {"event_type": "e"}
    posthog = {"event": "e", "properties": {}}
    return [
        ("/v1/track", {"event": "e", **said}),
        ("/v1/track", {"event": "e", "context": said}),
        ("/v1/track", {"event": "e", "properties": said}),
        ("/v1/track", {"event": "e", "context": {"traits": said}}),
        ("/v1/identify", {"traits": said}),
        ("/v1/group", {"traits": said}),
        ("/v1/batch", {**said, "batch": [call]}),
        ("/v1/batch", {"context": said, "batch": [call]}),
        ("/v1/batch", {"batch": [{**call, **said}]}),
        ("/v1/batch", {"batch": [{**call, "context": said}]}),
        ("/2/httpapi", {"events": [amplitude], **said}),
        ("/2/httpapi", {"events": [{**amplitude, **said}]}),
        ("/2/httpapi", {"events": [{**amplitude, "event_properties": said}]}),
        ("/2/httpapi", {"events": [{**amplitude, "user_properties": {"$set": said}}]}),
        ("/batch/", {"batch": [posthog], **said}),
        ("/batch/", {"batch": [{**posthog, **said}]}),
        ("/e/", {"event": "e", "properties": said}),
        ("/e/", {"event": "e", "$set": said}),
        ("/api/event", {"n": "e", **said}),
        ("/api/event", {"n": "e", "p": said}),
        ("/api/send", {"type": "event", "payload": {"name": "e"}, **said}),
        ("/api/send", {"type": "event", "payload": {"name": "e", **said}}),
        ("/api/send", {"type": "identify", "payload": {"data": said}}),
        ("/cloudevents", [{**CLOUD_EVENT, **said}]),
        ("/cloudevents", [{**CLOUD_EVENT, "data": said}]),
    ]


def type_of(path: str) -> str:
    return "application/cloudevents-batch+json" if path == "/cloudevents" else "application/json"


@pytest.mark.parametrize(
    ("path", "body"), [*placed(NO), ("/v1/track", {"event": "e", "context": {"consent": ALL_OFF}})]
)
async def test_a_refusal_anywhere_in_a_librarys_request_is_seen(client: Any, path: str, body: Any) -> None:
    """The visitor is not recognized, loses the cookie, and the event is marked."""
    assert (await client.post(path, body, type_of(path), **COOKIE))[0] in (200, 202)
    (event,) = await client.events()
    assert event["privacy"] == ["consent"]
    assert event["uid"] != UID
    assert client.headers["Set-Cookie"].startswith("uid=; Max-Age=0; ")


@pytest.fixture
async def strict(client_of: Any, start_front: Any, front_redis: Any, speak: Any) -> AsyncIterator[Any]:
    """A client of a front that requires consent."""
    return client_of(start_front(front_redis.dsn, REQUIRE_CONSENT="yes"), speak(front_redis.dsn))


async def test_consent_anywhere_in_a_librarys_request_is_seen(strict: Any) -> None:
    """What one of several categories allows says nothing about tracking."""
    requests = placed({"consent": True})
    for path, body in requests:
        assert (await strict.post(path, body, type_of(path), **COOKIE))[0] in (200, 202)
        assert strict.headers["Set-Cookie"].startswith(f"uid={UID}; "), (path, body)
    await strict.post("/v1/track", {"event": "e", "context": {"consent": ONE_ON}}, **COOKIE)
    assert "Set-Cookie" not in strict.headers
    marks = [event.get("privacy") for event in await strict.events()]
    assert marks == [*[None] * len(requests), ["consent"]]


async def test_one_of_several_categories_is_no_refusal(client: Any) -> None:
    await client.post("/v1/track", {"event": "e", "context": {"consent": ONE_ON}}, **COOKIE)
    (event,) = await client.events()
    assert (event["uid"], "privacy" in event) == (UID, False)


async def test_a_request_of_a_library_that_is_refused_sets_no_cookie(client: Any) -> None:
    """Its visitor may have refused: what it says of consent was not read."""
    for query, cookie in (("", None), ("?consent=no", "uid=; Max-Age=0; ")):
        assert (await client.post(f"/v1/batch{query}", {**NO, "batch": [{"type": "x"}]}, **COOKIE))[0] == 400
        assert (client.headers.get("Set-Cookie") or "").startswith(cookie or "")
        assert ("Set-Cookie" in client.headers) is (cookie is not None)


@pytest.mark.parametrize("first", [0, 1])
async def test_a_refusal_holds_for_all_events_of_the_visitor_in_a_request(client: Any, first: int) -> None:
    """Whichever comes first; so it does for events that name nobody."""
    bodies = [{"n": 1, "consent": "no"}, {"n": 2}, {"n": 3, "consent": "yes"}]
    assert (await client.post("/track/c", bodies if first == 0 else bodies[::-1], **COOKIE))[0] == 200
    events = await client.events()
    assert [event["privacy"] for event in events] == [["consent"]] * 3
    assert UID not in {event["uid"] for event in events}


async def test_a_refusal_of_one_visitor_is_not_anothers(client: Any) -> None:
    """A server sends events of many; those that name nobody may be of the one who refused."""
    lines = b'{"uid":1234567890,"n":1}\n{"uid":"1234567890","consent":0}\n{"uid":"9876543210"}\n{"n":4}\n'
    assert (await client.post("/track/c", lines, "application/x-ndjson"))[0] == 200
    calls = [
        {"type": "track", "event": "a", "anonymousId": "a-1"},
        {"type": "track", "event": "b", "anonymousId": "a-1", "userId": "u-1", "properties": {"consent": "no"}},
        {"type": "track", "event": "c", "userId": "u-1", "properties": {"consent": "yes"}},
        {"type": "track", "event": "d", "userId": "u-2"},
    ]
    assert (await client.post("/v1/batch", {"batch": calls}))[0] == 200
    marks = [event.get("privacy") for event in await client.events()]
    assert marks == [["consent"], ["consent"], None, ["consent"]] + [["consent"]] * 3 + [None]


async def test_consent_of_one_event_is_not_anothers(strict: Any) -> None:
    """Where it is required, each event says so, or what holds for all."""
    await strict.post("/track/c", [{"consent": "yes"}, {"n": 2}])
    await strict.post("/track/c?consent=yes", [{"n": 3}, {"n": 4}])
    marks = [event.get("privacy") for event in await strict.events()]
    assert marks == [None, ["consent"], None, None]


async def test_gpc_holds_for_a_librarys_request(client: Any) -> None:
    await client.post("/v1/track", {"event": "a", "consent": "yes"}, **{"Sec-GPC": "1"})
    assert [event["privacy"] for event in await client.events()] == [["gpc"]]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/track", {"userId": "u", "event": "e", "context": {
            "IP": "81.2.69.142", "ip": "81.2.69.142", "ip_address": "81.2.69.143", "ipAddress": ["81.2.69.143"],
            "device": {"ip": "81.2.69.144", "model": "m", "net": {"Ip": "81.2.69.145"}},
            "hops": [{"ip": "81.2.69.146", "n": 1}, [{"ip": "81.2.69.147"}], 2]}}),
        ("/2/httpapi", {"events": [{"user_id": "u", "event_type": "e", "ip_address": "81.2.69.142",
                                    "device": {"IP": "81.2.69.142"}, "plan": [{"ip": "81.2.69.143"}]}]}),
        ("/batch/", {"batch": [{"event": "e", "distinct_id": "u", "properties": {
            "$IP": "81.2.69.142", "$ip_address": "81.2.69.142", "$device": {"ip": "81.2.69.142"},
            "$geoip_ip": "81.2.69.142", "$set": {"$ip": "81.2.69.142", "hops": [{"ip": "81.2.69.144"}]},
            "$set_once": {"$initial_ip": "81.2.69.142"},
            "$hops": [{"ip": "81.2.69.143"}],
        }}]}),
        ("/cloudevents", [{**CLOUD_EVENT, "clientip": "81.2.69.142", "ip": "81.2.69.142",
                           "hops": [{"ip": "81.2.69.143"}]}]),
    ],
)  # fmt: skip
async def test_no_address_that_a_library_names_is_stored(client: Any, path: str, body: Any) -> None:
    """However the name is written, and however deep it is."""
    assert (await client.post(path, body, type_of(path)))[0] == 200
    (event,) = await client.events()
    assert "81.2.69.14" not in str(event)
    if path == "/v1/track":
        assert event["data"]["context"] == {"device": {"model": "m", "net": {}}, "hops": [{"n": 1}, [{}], 2]}
