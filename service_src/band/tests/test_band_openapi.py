"""The OpenAPI document of a service, against the service that runs; and the schemas in ``__status``."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Literal

import aiohttp
import msgspec
import openapi_schema_validator
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from msgspec import Meta

from band import testing
from band.calls.event import Event
from band.service.lifecycle import Service
from band.service.openapi import document

service = Service()


class Row(msgspec.Struct):
    uid: str
    events: int


class Purchase(msgspec.Struct):
    sku: str
    price: float


class Filter(msgspec.Struct):
    prefix: str = ""
    least: int = 0


class Database:
    """What a lifespan yields."""


@service.lifespan
async def database() -> AsyncIterator[Database]:
    yield Database()


@service.expose()
async def top(
    database: Database,
    limit: Annotated[int, Meta(ge=1, le=100, description="how many rows")] = 10,
    order: Literal["up", "down"] = "up",
    tag: list[str] | None = None,
) -> list[Row]:
    """Return the busiest visitors.

    Only the first paragraph is shown.
    """
    return [Row(f"{order}{tag}", number) for number in range(limit)]


@service.expose(path="/users/{uid}")
async def user(uid: Annotated[str, Meta(max_length=20)], deep: bool = False) -> Row:
    return Row(uid, int(deep))


@service.expose()
async def search(where: Filter, limit: int | None = None) -> dict[str, Any]:
    return {"where": where, "limit": limit}


@service.expose.handler(name="buy", timeout=300)
async def buy(event: Event[Purchase]) -> Purchase:
    return event.data


@service.expose(http=False)
async def hidden(number: float) -> None:
    """Over RPC only."""


@service.expose()
async def untyped(limit=10, **params):
    return {"limit": limit, "number": len(params)}


@service.expose.listener()
async def broadcast(event: Event[Purchase]) -> None:
    """Take purchases."""


def prepared() -> dict[str, Any]:
    service.registry.prepare([Database()])
    return document("shop", "1", service.registry)


contract = schemathesis.openapi.from_dict(prepared())
# A query brings texts, so what cannot be read is told by 422; so is a right type with an impossible value.
contract.config.checks.positive_data_acceptance.expected_statuses = ["2xx", "422"]
# A text becomes the number that it stands for, and GET takes a body like POST: neither is told by the document.
contract.config.checks.negative_data_rejection.enabled = False
contract.config.checks.unsupported_method.enabled = False


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Run the service in a thread of its own, for a client that blocks."""
    found: list[int] = []
    ready, loop, stop = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    async def run() -> None:
        async with testing.running(subject=service, name="shop"):
            found.append(service.port)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    try:
        assert ready.wait(20)
        yield found[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        loop.close()


@contract.parametrize()
@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_whatever_is_sent_the_answer_is_one_that_the_document_knows(case: Any, port: int) -> None:
    """Good, odd and broken requests of every function: a documented status and body, and never a 500."""
    case.call_and_validate(base_url=f"http://127.0.0.1:{port}")


async def test_the_page_is_the_document(port: int) -> None:
    """And a valid one: its shapes are JSON Schemas."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/openapi.json") as answer:
        page = await answer.json()
    assert page == msgspec.to_builtins(prepared()) | {"info": page["info"]}
    assert page["info"]["title"] == "shop"
    for shape in page["components"]["schemas"].values():
        openapi_schema_validator.OAS31Validator.check_schema(shape)


def test_the_document_says_what_the_annotations_say() -> None:
    """Parameters with limits and defaults; not what is handed in by a lifespan, nor what is not on the port."""
    page = prepared()
    get = page["paths"]["/top"]["get"]
    assert get["summary"] == "Return the busiest visitors."
    assert [parameter["name"] for parameter in get["parameters"]] == ["limit", "order", "tag"]
    limit = get["parameters"][0]
    assert limit == {
        "name": "limit", "in": "query", "required": False,
        "schema": {"type": "integer", "minimum": 1, "maximum": 100, "default": 10, "description": "how many rows"},
    }  # fmt: skip
    assert get["responses"]["200"]["content"]["application/json"]["schema"]["items"]["$ref"].endswith("/Row")
    assert page["paths"]["/users/{uid}"]["get"]["parameters"][0]["in"] == "path"
    assert "get" not in page["paths"]["/search"], "an object cannot stand in a query"
    assert "get" not in page["paths"]["/buy"]
    assert "/hidden" not in page["paths"]


async def test_functions_of_one_name_have_schemas_of_their_own() -> None:
    """One function under two names, two of the same name, and a Struct called as that of the parameters."""
    own = Service()
    params = msgspec.defstruct("OneParams", [("deep", int)], module=__name__)

    def make(kind: Any) -> Any:
        async def one(x: Any) -> Any:
            return x

        one.__annotations__ = {"x": kind}
        return one

    for name, kind in (("one", params), ("two", int), ("three", str)):
        own.expose(name=name)(make(kind))
    own.expose(name="four")(own.registry.methods["three"].func)
    async with testing.running(subject=own) as bench:
        found = bench.service.status()["schemas"]
        assert await bench.call("one", x={"deep": 1}) == {"deep": 1}
    for name, kind in (("two", "integer"), ("three", "string"), ("four", "string")):
        component = found["components"][found["methods"][name]["params"]["$ref"].rpartition("/")[2]]
        assert component["properties"]["x"]["type"] == kind


async def test_a_schema_that_cannot_be_made_keeps_no_service_from_starting(capsys: pytest.CaptureFixture[str]) -> None:
    """The log tells; calls are answered."""
    own = Service()
    same = [msgspec.defstruct("Same", [("x", int)], module="one") for _ in range(2)]

    async def add(a: Any, b: Any) -> int:
        return int(a.x + b.x)

    add.__annotations__ = {"a": same[0], "b": same[1]}
    own.expose()(add)
    async with testing.running(subject=own) as bench:
        assert await bench.call("add", a={"x": 1}, b={"x": 2}) == 3
        assert bench.service.status()["schemas"] == {}
    assert "schemas_failed" in capsys.readouterr().out


async def test_status_has_the_schemas_of_all_methods(port: int) -> None:
    """For the director: also of those over RPC only, and the type of the events that a listener takes."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/__status") as answer:
        found = (await answer.json())["schemas"]
    methods = found["methods"]
    assert methods["hidden"]["params"] == {"$ref": "#/components/schemas/HiddenParams"}
    assert methods["broadcast"]["event"] == {"$ref": "#/components/schemas/Event_Purchase_"}
    assert methods["broadcast"]["role"] == "listener"
    assert methods["top"]["description"] == "Return the busiest visitors."
    assert "params" not in methods["untyped"]
    assert set(found["components"]) >= {"TopParams", "Row", "Event_Purchase_", "Purchase", "Filter"}
