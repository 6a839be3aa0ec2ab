"""Several events in one request: read, dated, stored together or not at all."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from front.errors import BadRequest
from front.intake.batch import MAX_EVENTS
from front.intake.body import parse_body
from front.intake.server_fields import MAX_CLOCK_SHIFT_MS, event_time

NOW = 1_795_470_000_000


@pytest.mark.parametrize(
    ("raw", "content_type", "parsed"),
    [
        (b'[{"a":1},{"b":2}]', "application/json", [{"a": 1}, {"b": 2}]),
        (b'{"a":1}\n\r\n{"b":2}\n', "application/x-ndjson", [{"a": 1}, {"b": 2}]),
        (b'{"a":1}\n', "application/jsonl; charset=utf-8", {"a": 1}),
    ],
)
def test_arrays_and_lines_are_read(raw: bytes, content_type: str, parsed: Any) -> None:
    assert parse_body(raw, content_type) == parsed


@pytest.mark.parametrize(
    ("raw", "content_type", "code"),
    [
        (b"[]", "application/json", "not_an_object"),
        (b'[{"a":1},2]', "application/json", "not_an_object"),
        (b'{"a":1}\n[1]\n', "application/x-ndjson", "not_an_object"),
        (b'{"a":1}\n{"b":\n', "application/x-ndjson", "malformed_json"),
    ],
)
def test_arrays_of_something_else_are_refused(raw: bytes, content_type: str, code: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        parse_body(raw, content_type)
    assert refusal.value.code == code


@pytest.mark.parametrize(
    ("ts", "sent_at", "time"),
    [
        (None, None, NOW),
        (NOW - 5000, None, NOW - 5000),
        (NOW - 3_600_000 - 5000, NOW - 3_600_000, NOW - 5000),  # the client's clock is an hour slow
        (NOW + 3_600_000, NOW + 3_600_000 + 7, NOW - 7),  # an hour fast
        (NOW + 5000, None, NOW),  # nothing happens in the future
        (NOW, NOW - 5000, NOW),
        (NOW - MAX_CLOCK_SHIFT_MS, None, NOW - MAX_CLOCK_SHIFT_MS),
        (NOW - MAX_CLOCK_SHIFT_MS - 1, None, NOW),
    ],
)
def test_an_event_is_dated_by_our_clock(ts: int | None, sent_at: int | None, time: int) -> None:
    """Its age is the client's, for which its clock need not be right."""
    assert event_time(NOW, ts, sent_at) == time


async def test_an_array_becomes_events_of_one_response(client: Any) -> None:
    """Path and query hold for all; each may name its own visitor; the others share a new one."""
    bodies = [{"sum": 1}, {"sum": 2, "uid": "1234567890"}, {"sum": 3, "mmgeo": "forged"}]
    status, answer = await client.post("/track/order/7?src=a", bodies)
    stored = await client.events()
    assert (status, answer) == (200, {"ids": [one["id"] for one in stored]})
    assert [one["data"] for one in stored] == [
        {"sum": 1, "src": "a"},
        {"sum": 2, "uid": "1234567890", "src": "a"},
        {"sum": 3, "src": "a"},
    ]
    assert {one["key"] for one in stored} == {"in.gen.track.order"}
    assert {one["projectId"] for one in stored} == {7}
    assert stored[0]["uid"] == stored[2]["uid"] != stored[1]["uid"] == "1234567890"


async def test_lines_of_the_sdks_form_keep_the_native_response(client: Any) -> None:
    lines = b'{"service":"track","name":"page"}\n{"service":"shop","name":"sale"}\n'
    status, answer = await client.post("/band/t4k", lines, "application/x-ndjson")
    stored = await client.events()
    native = json.loads(answer)
    assert (status, native["native__"], native["data"]["ids"]) == (200, True, [one["id"] for one in stored])
    assert [one["key"] for one in stored] == ["in.gen.track.page", "in.gen.shop.sale"]


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/track", [{"name": "a"}, {}], 404, "incomplete"),
        ("/track", [{"name": "a"}, {"name": []}], 404, "incomplete"),
        ("/track", [{"name": "a"}, {"name": ["b"]}], 400, "bad_name"),
        ("/track/x", [{}] * (MAX_EVENTS + 1), 413, "too_many"),
        ("/track/x", [{"a": "x" * 1_100_000}], 413, "too_large"),
        ("/track/x", {"a": "x" * 200_000}, 413, "too_large"),
    ],
)
async def test_one_bad_event_refuses_the_request(client: Any, path: str, body: Any, status: int, code: str) -> None:
    """Nothing of it is stored, so that the client can mend it and send it again."""
    assert [(await client.post(path, body))[0]] == [status]
    assert (await client.post(path, body))[1]["code"] == code
    assert await client.events() == []


async def test_a_megabyte_of_events_is_one_request(client: Any) -> None:
    status, answer = await client.post("/track/x", [{"a": "x" * 500}] * 1900)
    assert (status, len(answer["ids"])) == (200, 1900)
    assert await client.peers.redis.xlen("events") == 1900


async def test_handlers_are_called_for_each_event(client: Any) -> None:
    """Their replies are dropped; the enrichers of all events are asked together."""
    seen = await client.peers.service("labsvc", lambda _: {"a": 1})
    await client.peers.register({"method": "order", "role": "handler", "options": {}, "service": "labsvc"})
    status, answer = await client.post("/labsvc/order", [{"n": 1}, {"n": 2}])
    assert (status, len(answer["ids"])) == (200, 2)
    assert [one["params"]["data"]["n"] for one in seen] == [1, 2]


async def test_without_redis_the_journal_takes_all_events(
    start_front: Any, own_redis: Any, speak: Any, client_of: Any
) -> None:
    """They are replayed once, in their order, by the time of their arrival."""
    front = start_front(own_redis.dsn, JOURNAL_DIR="journal")
    peers = speak(own_redis.dsn)
    client = client_of(front, peers)
    own_redis.stop()
    status, answer = await client.post("/track/x", [{"n": number} for number in range(100)])
    assert (status, len(answer["ids"])) == (200, 100)
    own_redis.start()
    for _ in range(200):
        if await peers.redis.xlen("events") == 100:
            break
        await asyncio.sleep(0.1)
    assert [one["data"]["n"] for one in await client.events()] == list(range(100))


async def test_a_full_redis_without_a_journal_takes_none(
    start_front: Any, own_redis: Any, speak: Any, client_of: Any
) -> None:
    peers = speak(own_redis.dsn)
    client = client_of(start_front(own_redis.dsn), peers)
    used = (await peers.redis.info("memory"))["used_memory"]
    await peers.redis.config_set("maxmemory", used + 2000)
    status, answer = await client.post("/track/x", [{"a": "x" * 2000}] * 100)
    assert (status, answer["message"]) == (503, "Service Unavailable")
    await peers.redis.config_set("maxmemory", 0)
    assert await peers.redis.xlen("events") == 0
