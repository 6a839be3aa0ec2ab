"""Hostile requests to every family: refused with a reason or stored, never lost after a 200, in bounded memory."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from front.intake.families.family import Family
from front.intake.families.table import ROWS
from front.intake.families.webhooks import WEBHOOKS

NAME = "NAME"
SAMPLES: dict[str, Any] = {
    "/v1/track": {"event": NAME, "userId": "u-1", "properties": {}},
    "/v1/batch": {"batch": [{"type": "track", "event": NAME, "userId": "u-1"}]},
    "/v1/b": {"batch": [{"type": "track", "event": NAME, "anonymousId": "a-1"}]},
    "/api/s/track": {"event": NAME, "userId": "u-1"},
    "/2/httpapi": {"api_key": "any", "events": [{"event_type": NAME, "user_id": "u-1"}]},
    "/api/event": {"n": NAME, "u": "https://a.example/", "d": "a.example"},
    "/api/send": {"type": "event", "payload": {"name": NAME, "url": "/", "hostname": "a.example"}},
    "/cloudevents": {"specversion": "1.0", "id": "1", "source": "s", "type": NAME},
    "/batch/": {"api_key": "any", "batch": [{"event": NAME, "distinct_id": "u-1"}]},
    "/e/": {"event": NAME, "distinct_id": "u-1", "properties": {}},
    "/engage": [{"$token": "any", "$distinct_id": "u-1", "$set": {"a": NAME}}],
    "/groups": [{"$token": "any", "$group_key": "k", "$group_id": "g", "$set": {"a": NAME}}],
    "/import": [{"event": NAME, "properties": {"distinct_id": "u-1", "token": "any", "time": 1, "$insert_id": "i"}}],
}
"""A request with one event of each family, and of each of its ways to send several."""
REFUSALS = {400, 401, 403, 404, 413}
MAX_GROWTH_KB = 100_000


def type_of(path: str) -> str:
    return "application/cloudevents+json" if path == "/cloudevents" else "application/json"


def filled(sample: Any, value: bytes) -> bytes:
    return json.dumps(sample).encode().replace(b'"NAME"', value)


def several(sample: Any, count: int) -> Any:
    """Return a request with many events, where a family has such."""
    if isinstance(sample, list):
        return sample * count
    return {name: value * count if isinstance(value, list) else value for name, value in sample.items()}


def peak_kb(front: Any) -> int:
    """Return the most memory that any process of a front has had."""
    parent = front.process.pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii").split()
    pids = [str(parent), *children]
    return max(int(re.findall(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0]) for pid in pids)


def test_every_family_has_a_sample() -> None:
    families = {row.family for row in ROWS if isinstance(row.family, Family) and row.method == "POST"} - {WEBHOOKS}
    of_samples = {row.family for row in ROWS if row.path in SAMPLES}
    assert {family.title for family in families - of_samples} <= {"PostHog"}, "but for PostHog's flags"


@pytest.mark.parametrize("path", SAMPLES)
@pytest.mark.parametrize(
    "value",
    [b'"e\\ud83d"', b'"\\udc00\\ud800"', b'"e\xff\xfe"', b'"\xed\xa0\x80"', b'"e\\u0000"', b'"' + b"x" * 256 + b'"'],
    ids=["half a pair", "a pair in the wrong order", "no UTF-8", "a surrogate as bytes", "a zero", "long"],
)
async def test_odd_text_is_one_event_or_refused(client: Any, path: str, value: bytes) -> None:
    """What was answered 200 can be read by every listener."""
    status, _ = await client.post(path, filled(SAMPLES[path], value), type_of(path))
    assert status in {200, 202} | REFUSALS
    assert len(await client.events()) == (1 if status < 300 else 0)


@pytest.mark.parametrize("path", SAMPLES)
@pytest.mark.parametrize(
    "value",
    [b"null", b"true", b"1e999", b"-0", b"9" * 400, b"[]", b"{}", b"[" * 5000 + b"]" * 5000,
     b'{"a":' * 99 + b"1" + b"}" * 99, b"NaN", b'"', b"{"],
    ids=["null", "true", "beyond all numbers", "minus zero", "a long number", "an array", "an object", "deep",
         "nearly deep", "NaN", "cut text", "cut object"],
)  # fmt: skip
async def test_a_wrong_type_is_refused_or_stored(client: Any, path: str, value: bytes) -> None:
    """Where a name is expected it is refused; where any value may be, it is stored."""
    status, answer = await client.post(path, filled(SAMPLES[path], value), type_of(path))
    assert status in {200, 202} | REFUSALS
    assert status < 300 or answer
    assert len(await client.events()) == (1 if status < 300 else 0)


@pytest.mark.parametrize("path", SAMPLES)
async def test_whole_requests_that_nobody_sends_are_refused(client: Any, path: str) -> None:
    sample = SAMPLES[path]
    empty = {name: {} for name in sample} if isinstance(sample, dict) else {"batch": {}}
    bodies = [
        b"",
        b"\x00" * 1000,
        b"[" * 100_000,
        None,
        5,
        "text",
        [1, "a", None],
        empty,
        {"batch": {}},
        {"events": {}},
    ]
    for body in bodies:
        status, answer = await client.post(path, body, type_of(path))
        assert status in REFUSALS and answer, (path, body if not isinstance(body, bytes) else body[:20])
    assert await client.events() == []


@pytest.fixture(scope="module")
def keyed(front: Any, front_redis: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A front that accepts no request without a key, and knows none."""
    started = type(front)(tmp_path_factory.mktemp("keyed"), front_redis.dsn, REQUIRE_KEY="yes")
    yield started
    started.stop()


@pytest.mark.parametrize("path", SAMPLES)
async def test_forged_keys_open_nothing(keyed: Any, peers: Any, client_of: Any, path: str) -> None:
    """In headers, query and body, of any type and length."""
    client, sample = client_of(keyed, peers), SAMPLES[path]
    for key in (5, [], {"$gt": ""}, "x" * 5000, "\u0000", None):
        body = {**sample, "writeKey": key, "api_key": key, "token": key} if isinstance(sample, dict) else sample
        for headers in ({}, {"Authorization": "Basic ====", "X-Write-Key": "%00"}, {"Authorization": "Bearer"}):
            status, answer = await client.post(f"{path}?writeKey[a]=1&token[]=2", body, type_of(path), **headers)
            assert status in REFUSALS and answer, (key, headers)
    assert await client.events() == []


@pytest.mark.filterwarnings("ignore:Sending a large body")
async def test_memory_is_bounded_whatever_is_sent(client: Any, front: Any) -> None:
    """Bombs, arrays of a megabyte and thousands of tiny events, to all families: none makes an event, or lasts."""
    before = peak_kb(front)
    bomb = gzip.compress(b" " * 50_000_000, 9)
    arrays = b"[" + b"[],{}," * 160_000 + b"1]"
    for path, sample in SAMPLES.items():
        assert (await client.post(path, bomb, type_of(path), **{"Content-Encoding": "gzip"}))[0] == 413
        assert (await client.post(path, bomb[: len(bomb) // 2], type_of(path), **{"Content-Encoding": "gzip"}))[
            0
        ] in REFUSALS
        assert (await client.post(path, filled(sample, arrays), type_of(path)))[0] in {200, 202} | REFUSALS
        many = several(sample, 12_000)
        status, _ = await client.post(path, filled(many, b'"e"')[: 1 << 20], type_of(path))
        assert status in {200, 202} | REFUSALS
    assert peak_kb(front) - before < MAX_GROWTH_KB


async def test_a_time_of_thousands_of_digits_is_none(client: Any) -> None:
    """Python itself refuses to read so long a number."""
    sent = {"event": "long_time", "distinct_id": "u-1", "properties": {}}
    assert (await client.post(f"/e/?_={'9' * 5000}", sent))[0] == 200
    (event,) = await client.events()
    assert event["name"] == "long_time"
