"""Every field that front stores has its row in docs/event-fields.md; so have those of all families' tests."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest
from event_fields import fields_of, rows, undocumented

HEADERS = {
    "User-Agent": "Mozilla/5.0", "Referer": "https://shop.example/", "X-Forwarded-Host": "t.example.com",
    "X-Real-IP": "81.2.69.142", "Sec-CH-UA": '"Chromium";v="142"', "Sec-CH-UA-Mobile": "?0",
}  # fmt: skip
UID = "6410748586712844288"


def enricher(name: str) -> dict[str, Any]:
    options = {"keys": ["in.gen.track"], "props": {"ip": "td.ip"}}
    return {"service": name, "method": "enrich", "role": "enricher", "options": options}


async def test_a_native_event_has_the_fields_of_the_page(client: Any, peers: Any) -> None:
    """All rows of front and of its enrichers are met by these events, and no other field is."""
    await peers.redis.hset(f"s:{UID}", "plan", '"pro"')
    for name in ("mmgeo", "sxgeo", "uaparser"):
        await peers.service(name, lambda _: {"is_bot": 0}, enricher=True)
    await peers.register(*map(enricher, ("mmgeo", "sxgeo", "uaparser")))
    await client.post("/track/page/7", {"uid": UID, "any": 1}, **HEADERS)
    await client.post("/track/page", {}, **{**HEADERS, "Sec-GPC": "1"})
    await client.post("/v1/track", {"userId": "u-1", "messageId": "m-1", "event": "x"}, **HEADERS)
    await client.post("/track", [{"event": "x", "properties": {}}])
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{client.url.replace('http', 'ws', 1)}/wss?uid={UID}", headers=HEADERS) as socket,
    ):
        await socket.send_json({"service": "track", "name": "page", "id__": "1"})
        await socket.receive_json()
    events = [json.loads(fields[b"event"]) for _, fields in await peers.redis.xrange("events")]
    assert len(events) == 5
    known = rows()
    met = {field for event in events for field, _ in fields_of(event, known)}
    assert [undocumented(event, whole=False) for event in events] == [[]] * 5
    of_clients = {field for field in known if field.startswith("data.")} - met
    assert {"data.fpid", "data.stored", "data.mmgeo"} <= met
    assert set(known) - of_clients - {"aside"} <= met  # that one is in test_front_door


@pytest.mark.parametrize("row", rows().values(), ids=lambda row: row.field)
def test_an_example_has_the_type_of_its_row(row: Any) -> None:
    """Each field but an object whose fields have rows has an example."""
    if row.example:
        assert row.allows(json.loads(row.example.replace("\\|", "|")))
    else:
        assert row.types == (dict,)


def test_a_field_without_a_row_is_found() -> None:
    """In an event, in `td`, in a library's `data`; and a value of another type."""
    event = {"key": 5, "td": {"new": 1}, "data": {"call": "track", "new": 1, "user": {"new": 1}}, "new": 1}
    assert undocumented(event, whole=False) == ["key: 5", "td.new: 1", "new: 1"]
    assert undocumented(event, whole=True) == ["key: 5", "td.new: 1", "data.new: 1", "data.user.new: 1", "new: 1"]
