"""The double over HTTP: credentials, limits, partial success, faults, the contract of Mixpanel's specification."""

import asyncio
import base64
import gzip
import json
import os
import re
import time
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp.test_utils import TestClient, TestServer
from openapi_schema_validator import OAS30Validator

from mixpanel_double import Double, make_app

DATA = Path(os.environ.get("BAND_TEST_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))


def basic(name: str, password: str = "") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


AUTH = basic("a-token")


@pytest.fixture
async def client() -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(make_app(Double()))) as test_client:
        yield test_client


@pytest.fixture(scope="module")
def contract() -> dict[str, Any]:
    return dict(yaml.safe_load((DATA / "mixpanel" / "ingestion.openapi.yaml").read_text(encoding="utf-8")))


def record(number: int = 1, **changes: Any) -> dict[str, Any]:
    properties = {"time": int(time.time() * 1000), "distinct_id": "u1", "$insert_id": f"id-{number}", **changes}
    return {"event": "track/page", "properties": properties}


async def send(client: TestClient[Any, Any], records: Any, **options: Any) -> tuple[int, Any]:
    auth = options.pop("auth", AUTH)
    body = gzip.compress(json.dumps(records).encode())
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip", **auth}
    async with client.post("/import", params={"strict": "1"}, data=body, headers=headers, **options) as answer:
        return answer.status, await answer.json()


def check_answer(contract: dict[str, Any], status: int, answer: Any) -> None:
    reference = contract["paths"]["/import"]["post"]["responses"][str(status)]["$ref"]
    response = contract["components"]["responses"][reference.rsplit("/", 1)[1]]
    OAS30Validator(response["content"]["application/json"]["schema"]).validate(answer)


async def test_mixpanel_double_counts_once(client: TestClient[Any, Any], contract: dict[str, Any]) -> None:
    """The same event sent twice is received twice and counted once; both answers keep the specification."""
    one = record()
    schema = contract["paths"]["/import"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    OAS30Validator(schema).validate([one])
    for _ in range(2):
        status, answer = await send(client, [one])
        assert (status, answer["num_records_imported"]) == (200, 1)
        check_answer(contract, status, answer)
    other_time = record(time=one["properties"]["time"] + 1000)
    await send(client, [other_time])
    stats = await (await client.get("/_double/stats")).json()
    assert (stats["unique"], stats["received"], stats["duplicates"]) == (2, 3, 1)


@pytest.mark.parametrize("id_field", ["insert_id", "$insert_id"])
async def test_mixpanel_double_keeps_the_good(
    client: TestClient[Any, Any], contract: dict[str, Any], id_field: str
) -> None:
    """A batch with bad records is 400, names them by index, and the good ones are counted all the same."""
    await client.post("/_double/settings", json={"id_field": id_field})
    batch = [record(1), record(2, distinct_id="null"), record(3), record(4, time=5)]
    status, answer = await send(client, batch)
    assert status == 400
    assert answer["num_records_imported"] == 2
    assert [failed["index"] for failed in answer["failed_records"]] == [1, 3]
    assert answer["failed_records"][0][id_field] == "id-2"
    check_answer(contract, status, answer)
    assert (await (await client.get("/_double/ids")).json())["ids"] == ["id-1", "id-3"]


async def test_mixpanel_double_limits(client: TestClient[Any, Any], contract: dict[str, Any]) -> None:
    """More than 2,000 events, or more than 2 MB unpacked, is 413; the packed size does not matter."""
    status, answer = await send(client, [record(number) for number in range(2001)])
    assert status == 413
    check_answer(contract, status, answer)
    fat = [record(number, text="x" * 200_000) for number in range(12)]
    status, answer = await send(client, fat)
    assert (status, answer["error"]) == (413, "request exceeds max limit of 2097152 bytes")
    status, _ = await send(client, fat[:9])
    assert status == 200


async def test_mixpanel_double_credentials(client: TestClient[Any, Any], contract: dict[str, Any]) -> None:
    """Nobody, an unknown token, or an account without a project id gets 401 once credentials are set."""
    status, answer = await send(client, [record()], auth={})
    assert status == 401
    check_answer(contract, status, answer)
    await client.post("/_double/settings", json={"tokens": ["good"], "accounts": {"robot": "pass"}})
    assert (await send(client, [record()]))[0] == 401
    assert (await send(client, [record()], auth=basic("good", "")))[0] == 200
    assert (await send(client, [record()], auth=basic("robot", "pass")))[0] == 401


@pytest.mark.parametrize(("body", "status"), [(b"", 400), (b"{}", 400), (b"[", 400), (b"[]", 400), (b"\xff", 400)])
async def test_mixpanel_double_refuses_junk(client: TestClient[Any, Any], body: bytes, status: int) -> None:
    """A body that is no array of events is 400 with Mixpanel's kind of answer."""
    async with client.post("/import", data=body, headers={"Content-Type": "application/json", **AUTH}) as answer:
        assert answer.status == status
        assert (await answer.json())["code"] == status


async def test_mixpanel_double_fails_on_command(client: TestClient[Any, Any], contract: dict[str, Any]) -> None:
    """An ordered status comes as often as ordered, then all is well; what fails so is not counted."""
    await client.post("/_double/fail", json={"status": 429, "times": 2})
    statuses = []
    for _ in range(3):
        status, answer = await send(client, [record()])
        statuses.append(status)
        check_answer(contract, status, answer)
    assert statuses == [429, 429, 200]
    assert (await (await client.get("/_double/stats")).json())["received"] == 1


@pytest.mark.parametrize("order", [{"cut_after_store": True}, {"half_body": True}])
async def test_mixpanel_double_cuts_after_it_stored(client: TestClient[Any, Any], order: dict[str, Any]) -> None:
    """The client sees a broken connection although the events are counted: the case that counts twice elsewhere."""
    await client.post("/_double/fail", json=order)
    with pytest.raises(aiohttp.ClientError):
        await send(client, [record()])
    await send(client, [record()])
    stats = await (await client.get("/_double/stats")).json()
    assert stats["received"] == 2


async def test_mixpanel_double_hangs(client: TestClient[Any, Any]) -> None:
    """An ordered silence keeps the client waiting."""
    await client.post("/_double/fail", json={"hang": 5})
    with pytest.raises(TimeoutError):
        await send(client, [record()], timeout=aiohttp.ClientTimeout(total=0.2))


@pytest.mark.parametrize("order", [{}, {"status": 9}, {"status": 429, "hang": 1}, {"explode": True}])
async def test_mixpanel_double_refuses_unclear_orders(client: TestClient[Any, Any], order: dict[str, Any]) -> None:
    """An order that says nothing, or two things, is refused with a text that says what can be ordered."""
    async with client.post("/_double/fail", json=order) as answer:
        assert answer.status == 422
        assert re.search("one fault|a status from|faults are", (await answer.json())["error"])


async def test_mixpanel_double_page_escapes(client: TestClient[Any, Any]) -> None:
    """The page shows the newest events, and a visitor's markup stays text."""
    await send(client, [record(title="<script>alert(1)</script>", distinct_id="<b>x")])
    text = await (await client.get("/")).text()
    assert "track/page" in text
    assert "<script>" not in text
    assert "<b>x" not in text


async def test_mixpanel_double_track_says_1(client: TestClient[Any, Any]) -> None:
    """/track answers 1 without any credentials, and silently drops what is older than five days."""
    old = record(1, time=int(time.time()) - 6 * 86400)
    async with client.post("/track", json=[old, record(2)]) as answer:
        assert await answer.text() == "1"
    assert (await (await client.get("/_double/ids")).json())["ids"] == ["id-2"]


async def test_mixpanel_double_survives_many_at_once(client: TestClient[Any, Any]) -> None:
    """Ten requests at once are all counted."""
    answers = await asyncio.gather(*(send(client, [record(number)]) for number in range(10)))
    assert {status for status, _ in answers} == {200}


ODD = [
    record(), record(time=1_795_468_772), record(distinct_id=""), record(extra={"a": [1, 2]}),
    record(time=1.5), record(time="1"), record(time=True), record(time=None), record(distinct_id=7),
    record(**{"$insert_id": 5}), {**record(), "more": 1}, {"event": 5, "properties": record()["properties"]},
    {"event": "x"}, {"properties": {}}, [], "text", None, 7, {"event": "x", "properties": []},
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=[str(number) for number in range(len(ODD))])
async def test_mixpanel_double_takes_nothing_that_the_specification_refuses(
    client: TestClient[Any, Any], contract: dict[str, Any], odd: Any
) -> None:
    """What it answers with 200 is valid by Mixpanel's own document, and every answer has the form that it gives."""
    schema = contract["paths"]["/import"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    status, answer = await send(client, [odd])
    check_answer(contract, status, answer)
    if status == 200:
        OAS30Validator(schema).validate([odd])
    valid = OAS30Validator(schema).is_valid([odd])
    assert status == 200 or not valid or answer["failed_records"]


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ({"strict": "2"}, {}),
        ({"strict": "1"}, {"Content-Type": "text/plain"}),
        ({"strict": "1"}, {"Content-Encoding": "deflate"}),
    ],
)
async def test_mixpanel_double_holds_query_and_headers_against_the_specification(
    client: TestClient[Any, Any], query: dict[str, str], headers: dict[str, str]
) -> None:
    """Values that the document does not list are a 400, and nothing is counted."""
    body = zlib.compress(json.dumps([record()]).encode()) if "Content-Encoding" in headers else json.dumps([record()])
    given = {"Content-Type": "application/json", **AUTH, **headers}
    async with client.post("/import", params=query, data=body, headers=given) as answer:
        assert answer.status == 400
    assert (await (await client.get("/_double/stats")).json())["unique"] == 0


async def test_mixpanel_double_refuses_on_command(client: TestClient[Any, Any], contract: dict[str, Any]) -> None:
    """`refuse`: the first records of a request are found bad, the others are kept; wrong credentials, too large."""
    for order, expected in (({"refuse": 2}, 400), ({"status": 401}, 401), ({"status": 413}, 413)):
        assert (await client.post("/_double/fail", json=order)).status == 200
        status, answer = await send(client, [record(number) for number in range(5)])
        assert status == expected
        check_answer(contract, status, answer)
        if "refuse" in order:
            assert [failed["index"] for failed in answer["failed_records"]] == [0, 1]
            assert answer["num_records_imported"] == 3
    stats = await (await client.get("/_double/stats")).json()
    assert (stats["unique"], stats["refused"]) == (3, 2)
