"""What really goes over the wire, held against Mixpanel's own specification of `/import`."""

import gzip
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer
from openapi_schema_validator import OAS30Validator

from send_mixpanel.carried import record_of
from send_mixpanel.client import Client
from send_mixpanel.options import Project, read_options
from send_mixpanel.verdict import Meaning

DATA = Path(os.environ.get("BAND_TEST_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))
TIME = 1_795_468_772_471
EVENTS: list[dict[str, Any]] = [
    {"key": "in.gen.track.page", "service": "track", "name": "page", "uid": "64107", "id": "7530741854237622272",
     "time": TIME, "projectId": 1, "td": {"ip": "2.125.160.0", "ua": "x", "ref": "https://a.example/?utm_source=b"},
     "data": {"page": {"url": "https://rock.st"}, "mmgeo": {"city_en": "Boxford", "country_iso": "GB"}, "a": [1, {}]}},
    {"id": "7530741854237622272", "data": {}},
    {"id": "x" * 300, "time": TIME + 0.7, "uid": None, "service": 5, "name": {"a": 1}, "data": None},
    {"id": -1, "time": TIME, "uid": "anonymous", "data": {"time": "now", "$insert_id": "", "distinct_id": 7, "ip": []}},
    {"time": TIME, "uid": True, "data": {f"p{number}": "x" * 500 for number in range(400)}},
    {"id": "ЖЖЖ", "time": TIME, "data": {"half": "a\ud800", "deep": [[[[[1]]]]], "big": 2**70, "none": None}},
]  # fmt: skip


@pytest.fixture(scope="module")
def contract() -> dict[str, Any]:
    return dict(yaml.safe_load((DATA / "mixpanel" / "ingestion.openapi.yaml").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def operation(contract: dict[str, Any]) -> dict[str, Any]:
    return dict(contract["paths"]["/import"]["post"])


class Wire:
    """Keeps what came."""

    def __init__(self) -> None:
        self.requests: list[tuple[web.Request, bytes]] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        self.requests.append((request, await request.read()))
        return web.json_response({"code": 200, "num_records_imported": 1, "status": "OK"})


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    found = Wire()
    app = web.Application()
    app.router.add_post("/{endpoint}", found.take)
    async with TestServer(app) as server:
        found.url = str(server.make_url("")).rstrip("/")
        yield found


async def post(wire: Wire, events: list[dict[str, Any]], **settings: str) -> tuple[web.Request, bytes]:
    options = read_options({"mixpanel_url": wire.url, "mixpanel_token": "token", **settings})
    client = Client(5)
    try:
        verdict = await client.post(options.default, [record_of(event) for event in events])
    finally:
        await client.close()
    assert verdict.meaning in {Meaning.TAKEN, Meaning.LATER}
    return wire.requests[-1]


async def test_send_mixpanel_bodies_are_valid(wire: Wire, operation: dict[str, Any]) -> None:
    """Ordinary and odd events alike become what the specification's schema of the body allows."""
    _, body = await post(wire, EVENTS)
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    records = json.loads(body if body[:1] == b"[" else gzip.decompress(body))
    assert len(records) == len(EVENTS)
    OAS30Validator(schema).validate(records)
    for record in records:
        assert type(record["properties"]["time"]) is int


async def test_send_mixpanel_queries_and_headers_are_valid(wire: Wire, operation: dict[str, Any]) -> None:
    """strict, project_id where an account needs it, Content-Type and gzip: as the specification lists them."""
    request, _ = await post(
        wire, EVENTS[:1], mixpanel_service_account="me", mixpanel_service_secret="s", mixpanel_project_id="17"
    )
    seen = {"query": dict(request.query), "header": dict(request.headers)}
    for parameter in operation["parameters"]:
        value = seen[parameter["in"]].get(parameter["name"])
        assert value is not None or not parameter.get("required"), parameter["name"]
        if value is not None:
            OAS30Validator(parameter["schema"]).validate(value)
    assert seen["query"] == {"strict": "1", "project_id": "17"}
    assert seen["header"]["Content-Encoding"] == "gzip"


async def test_send_mixpanel_a_retry_is_the_same_request(wire: Wire) -> None:
    """Sent again after a restart, the body is the same byte for byte: what makes Mixpanel count it once."""
    first = (await post(wire, EVENTS))[1]
    assert (await post(wire, EVENTS))[1] == first
    assert Project("x", "https://x").auth is None


@pytest.mark.parametrize(
    ("path", "of", "change"),
    [
        ("/engage#profile-set", "user", {"$distinct_id": "u-1", "$set": {"plan": "pro"}}),
        ("/groups#group-set", "group", {"$group_key": "company", "$group_id": "g-1", "$set": {"seats": 3}}),
    ],
)
async def test_send_mixpanel_changes_of_profiles_are_valid(
    wire: Wire, contract: dict[str, Any], path: str, of: str, change: dict[str, Any]
) -> None:
    """With the token in each, no credentials in a header, and not the place of this server."""
    endpoint = path[1:].partition("#")[0]
    event = {"family": "mixpanel", "service": "mixpanel", "name": endpoint, "id": "1", "data": {of: {"update": change}}}
    request, body = await post(wire, [event, event])
    operation = contract["paths"][path]["post"]
    OAS30Validator(operation["requestBody"]["content"]["application/json"]["schema"]).validate(json.loads(body))
    assert request.path == f"/{endpoint}"
    assert json.loads(body) == [{"$token": "token", **change}] * 2
    assert dict(request.query) == {"strict": "1", "verbose": "1", "ip": "0"}
    assert "Authorization" not in request.headers
