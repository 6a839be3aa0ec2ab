"""What services say of their methods: merged into the documents, and shown as forms."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import openapi_schema_validator
from msgspec import Meta

from band import Event, Service
from band.service.openapi import schemas
from director.api import service_schemas
from director.api.handlers import ENDPOINTS
from director.api.routes import document


class Row(msgspec.Struct):
    uid: str


class Purchase(msgspec.Struct):
    price: float


def shop() -> dict[str, Any]:
    """Return a status as a service writes it."""
    service = Service()

    @service.expose()
    async def top(
        limit: Annotated[int, Meta(ge=1, le=9)] = 3,
        order: Literal["up", "down"] = "up",
        deep: bool | None = None,
        tags: list[str] = [],  # noqa: B006
        *,
        who: str,
    ) -> list[Row]:
        """Return the busiest."""
        return [Row(f"{limit}{order}{deep}{tags}{who}")]

    @service.expose.listener()
    async def broadcast(event: Event[Purchase]) -> None:
        """Take purchases."""

    @service.expose()
    async def old(limit=1, **params):
        return limit, params

    service.registry.prepare([])
    return {"schemas": msgspec.to_builtins(schemas(service.registry)), "methods": ["top", "old", "more"]}


def told(name: str = "shop") -> service_schemas.Schemas:
    status = shop()
    return service_schemas.read(name, status, status["methods"])


def test_the_directors_document_takes_a_services_methods_in() -> None:
    """Under /call, with references that two services cannot share by accident."""
    found = service_schemas.with_methods(document(ENDPOINTS), "shop", told())
    get, post = (found["paths"]["/call/shop/top"][verb] for verb in ("get", "post"))
    assert {one["name"] for one in get["parameters"]} == {"limit", "order", "deep", "tags", "who"}
    assert post["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/shop.TopParams"
    }
    assert post["responses"]["200"]["content"]["application/json"]["schema"]["items"] == {
        "$ref": "#/components/schemas/shop.Row"
    }
    assert "/call/shop/more" in found["paths"], "a method without types is described as far as it is known"
    assert "/list" in found["paths"]
    for shape in found["components"]["schemas"].values():
        openapi_schema_validator.OAS31Validator.check_schema(shape)


def test_events_are_described_with_who_listens() -> None:
    found = service_schemas.asyncapi({"shop": told()})
    assert found["asyncapi"].startswith("3.")
    receive = found["operations"]["shop.broadcast"]
    assert (receive["action"], receive["summary"]) == ("receive", "Take purchases.")
    assert receive["messages"] == [{"$ref": "#/channels/events/messages/shop.broadcast"}]
    assert found["components"]["messages"]["shop.broadcast"]["payload"] == {
        "$ref": "#/components/schemas/shop.Event_Purchase_"
    }
    assert set(found["components"]["schemas"]) == {"Event", "shop.Event_Purchase_", "shop.Purchase"}, "no parameters"


def test_a_form_has_a_field_for_each_parameter() -> None:
    forms = {form.method: form for form in service_schemas.forms(told())}
    assert set(forms) == {"top", "old", "more"}, "a listener is called by the stream"
    fields = {field.name: field for field in forms["top"].fields}
    assert (fields["limit"].kind, fields["limit"].default, fields["limit"].about) == ("number", "3", "from 1 to 9")
    assert (fields["order"].kind, fields["order"].choices) == ("choice", ["down", "up"])
    assert (fields["deep"].kind, fields["tags"].kind) == ("flag", "json")
    assert fields["who"].required
    assert forms["old"].free
    assert not forms["top"].free


def test_what_has_another_shape_counts_as_not_said() -> None:
    """A status may hold anything."""
    for odd in (7, {"methods": 7}, {"methods": {"a": {"params": "x"}}}, {"components": {"a": 1}}):
        found = service_schemas.read("shop", {"schemas": odd}, ["top", "__status"])
        assert list(found.methods) == ["top"]
    wrong: dict[str, Any] = {"properties": {"a": 7, "b": {"anyOf": 7, "enum": 7}}, "required": 7}
    found = service_schemas.read("shop", {"schemas": {"methods": {"top": {"params": wrong}}}}, None)
    service_schemas.forms(found)
    service_schemas.with_methods(document(ENDPOINTS), "shop", found)


def test_a_director_that_runs_has_the_documents(director: Any) -> None:
    for path, name in (("/openapi.json?service=svc000", "openapi"), ("/asyncapi.json?service=svc000", "asyncapi")):
        status, body = director.get(path)
        assert (status, name in body) == (200, True)
    assert "/call/svc000/echo" in director.get("/openapi.json?service=svc000")[1]["paths"]
    assert director.get("/openapi.json?service=nowhere")[0] == 404
    assert "asyncapi" in director.get("/asyncapi.json")[1]
