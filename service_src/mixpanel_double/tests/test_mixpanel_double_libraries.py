"""The double to Mixpanel's own libraries: `/track`, `/engage` and `/groups`, and what becomes of profiles."""

import base64
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from mixpanel_double import Double, make_app

Client = TestClient[Any, Any]
SET = {"$token": "t", "$distinct_id": "u-1", "$set": {"plan": "pro"}}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(Double()))) as test_client:
        yield test_client


async def send(client: Client, path: str, data: Any, *, packed: bool = False, **fields: str) -> tuple[int, str]:
    text = json.dumps(data)
    form = {"data": base64.b64encode(text.encode()).decode() if packed else text, **fields}
    async with client.post(path, data=form) as answer:
        return answer.status, await answer.text()


async def get(client: Client, path: str) -> Any:
    async with client.get(path) as answer:
        return await answer.json()


def event(**properties: Any) -> dict[str, Any]:
    return {"event": "Signup", "properties": {"token": "t", "distinct_id": "u", "$insert_id": "i", **properties}}


async def test_mixpanel_double_counts_an_event_of_track_and_import_once(client: Client) -> None:
    """The token of the one is the project of the other; the same moment may be in seconds or in milliseconds."""
    now = round(time.time(), 3)
    assert await send(client, "/track/", [event(time=now)], packed=True, verbose="1") == (
        200,
        '{"status": 1, "error": null}',
    )
    assert await send(client, "/track", event(time=now)) == (200, "1")
    record = {"event": "Signup", "properties": {"distinct_id": "u", "$insert_id": "i", "time": round(now * 1000)}}
    headers = {"Authorization": "Basic " + base64.b64encode(b"t:").decode()}
    assert (await client.post("/import", json=[record], headers=headers)).status == 200
    stats = await get(client, "/_double/stats")
    assert (stats["unique"], stats["duplicates"]) == (1, 2)


async def test_mixpanel_double_tells_of_an_unknown_token_if_asked(client: Client) -> None:
    """Without `verbose` it says 1, as the real one does."""
    await client.post("/_double/settings", json={"tokens": ["other"]})
    assert await send(client, "/track", event()) == (200, "1")
    assert json.loads((await send(client, "/track", event(), verbose="1"))[1])["status"] == 0
    assert await send(client, "/engage", SET) == (200, "0")
    assert (await get(client, "/_double/stats"))["received"] == 0
    assert (await get(client, "/_double/profiles"))["people"] == []


async def test_mixpanel_double_changes_profiles(client: Client) -> None:
    """Each operation does what its documentation says, in the order in which the changes came."""
    person = {"$token": "t", "$distinct_id": "u-1"}
    changes = [
        SET, {**person, "$set_once": {"plan": "free", "first": 1}}, {**person, "$add": {"n": 2}},
        {**person, "$add": {"n": 3}}, {**person, "$append": {"list": "a"}}, {**person, "$union": {"list": ["a", "b"]}},
        {**person, "$remove": {"list": "a"}}, {**person, "$unset": ["first"]},
        {**person, "$distinct_id": "u-2", "$set": {"a": 1}}, {**person, "$distinct_id": "u-2", "$delete": ""},
    ]  # fmt: skip
    group = {"$token": "t", "$group_key": "company", "$group_id": "g-1", "$set": {"seats": 3}}
    assert await send(client, "/engage/", changes, packed=True) == (200, "1")
    assert await send(client, "/groups", group, verbose="1") == (200, '{"status": 1, "error": null}')
    profiles = await get(client, "/_double/profiles")
    assert profiles["people"] == [
        {"project": "t", "id": "u-1", "properties": {"plan": "pro", "n": 5, "list": ["b"]}}
    ]  # fmt: skip
    assert profiles["groups"] == [{"project": "t", "id": "company/g-1", "properties": {"seats": 3}}]
    listed = (await get(client, "/_double/changes?limit=2"))["changes"]
    assert [change["endpoint"] for change in listed] == ["engage", "groups"]
    await client.post("/_double/reset")
    assert (await get(client, "/_double/changes"))["changes"] == []


@pytest.mark.parametrize(
    "bad",
    [
        5, {}, {"$token": "t", "$set": {}}, {**SET, "$distinct_id": "anonymous"}, {**SET, "$token": ""},
        {**SET, "$set": 5}, {"$token": "t", "$distinct_id": "u-1", "$fly": {}},
    ],
)  # fmt: skip
async def test_mixpanel_double_refuses_a_bad_change(client: Client, bad: Any) -> None:
    """With `strict=1` it says which of several, and takes the others."""
    async with client.post("/engage?strict=1", json=[SET, bad]) as answer:
        said = await answer.json()
    assert (answer.status, said["num_records_imported"], said["failed_records"][0]["index"]) == (400, 1, 1)
    assert await send(client, "/engage", [bad]) == (200, "0")


async def test_mixpanel_double_fails_on_command_for_changes_too(client: Client) -> None:
    await client.post("/_double/fail", json={"status": 429})
    statuses = []
    for _ in range(2):
        async with client.post("/engage?strict=1", json=[SET]) as answer:
            statuses.append(answer.status)
    assert statuses == [429, 200]


@pytest.mark.parametrize("path", ["/track", "/engage", "/groups"])
@pytest.mark.parametrize("data", ["", "%%%", "e30", "{", "eyI="])
async def test_mixpanel_double_reads_no_junk(client: Client, path: str, data: str) -> None:
    async with client.post(path, data={"data": data}) as answer:
        assert answer.status == 200
        assert (await answer.text())[:12] in ("0", '{"status": 0')
