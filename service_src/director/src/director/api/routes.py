"""Endpoints, declared on their handlers; routing, validation, the guard and OpenAPI derive from the declarations."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from director import __version__

Handler = Callable[..., Awaitable[Any]]
F = TypeVar("F", bound=Handler)
OTHER_READING = frozenset({"", "_band", "dashboard", "favicon.ico", "ws"})
"""First segments of read-only paths that are not endpoints: the dashboard's, the live log's, and band's own."""
BOTH = ("get", "post")
_MARK = "__endpoint__"


class Endpoint(msgspec.Struct, frozen=True):
    """One path, for GET and POST or one of them.

    Attributes:
        name: the name of the handler's method.
        params: the type of its parameters.
        answer: the type of its response.
        errors: the statuses of its errors, besides those of every endpoint.
        reads: it changes nothing, so a browser may open it directly.
        text: the response is text.
        free: it accepts parameters that `params` does not name.
        verbs: the methods of HTTP.
    """

    path: str
    summary: str
    name: str
    params: type[msgspec.Struct]
    answer: Any
    errors: tuple[int, ...] = ()
    reads: bool = False
    text: bool = False
    free: bool = False
    verbs: tuple[str, ...] = BOTH


class Text(msgspec.Struct, frozen=True):
    """A text response, complete or streamed."""

    body: Any
    """A `str`, or an async generator of bytes."""
    content_type: str = "text/plain; charset=utf-8"


def route(
    path: str, summary: str, *errors: int, reads: bool = False, verbs: tuple[str, ...] = BOTH
) -> Callable[[F], F]:
    """Declare a method as the handler of a path; its annotations are the types of parameters and response.

    A second parameter receives those that the type of its first does not name, as a dictionary. A path that means
    something else with each of the `verbs` does not count as reading: the guard knows paths only.
    """

    def mark(function: F) -> F:
        setattr(function, _MARK, (path, summary, errors, reads, verbs))
        return function

    return mark


def endpoints(*handlers: type) -> tuple[Endpoint, ...]:
    """Return the endpoints that classes declare, in the order of their methods."""
    return tuple(endpoint for kind in handlers for endpoint, _ in _declared(kind))


def bound(*handlers: object) -> list[tuple[Endpoint, Handler]]:
    """Return the endpoints of handlers, each with its method."""
    return [(endpoint, function.__get__(one)) for one in handlers for endpoint, function in _declared(type(one))]


def reading_words(found: Iterable[Endpoint]) -> frozenset[str]:
    """Return the first segments of all read-only paths."""
    return OTHER_READING | {endpoint.path.split("/")[1] for endpoint in found if endpoint.reads}


def _declared(kind: type) -> Iterator[tuple[Endpoint, Any]]:
    for name, function in vars(kind).items():
        if marked := getattr(function, _MARK, None):
            path, summary, errors, reads, verbs = marked
            hints = get_type_hints(function)
            given, *more = list(inspect.signature(function).parameters)[1:]
            answer, text = hints["return"], hints["return"] is Text
            yield (
                Endpoint(
                    path,
                    summary,
                    name.rstrip("_"),
                    hints[given],
                    str if text else answer,
                    errors,
                    reads,
                    text,
                    free=bool(more),
                    verbs=verbs,
                ),
                function,
            )


_OBJECTS = frozenset({"env", "limits"})
"""Parameters that are objects; in a query they are JSON."""
_ALWAYS = frozenset({400, 403, 429})
_ERRORS = {
    400: "a parameter is unknown, missing or of the wrong type",
    403: "the request was refused: another site's page, a wrong Host, or no valid token",
    404: "no such service, image or method",
    409: "not possible in this state",
    422: "a parameter has an invalid value",
    429: "too many wrong tokens from this address; `Retry-After` says when to try again",
    502: "the service failed, or Docker or Redis is unavailable; `log` holds its last lines",
    503: "Docker is unavailable",
    504: "it did not answer in time",
}


class ErrorFacts(msgspec.Struct, omit_defaults=True):
    """What went wrong and what to do; `log` has the last lines of the failed service or build, secrets masked."""

    code: str
    message: str
    hint: str
    log: list[str] = []
    exit_code: int | None = None


class Error(msgspec.Struct):
    """The body of every error."""

    error: ErrorFacts


_ABOUT = (
    "Every path works with GET and POST, but for those of projects, where GET reads and POST changes. Parameters come "
    "from the path, the query and a JSON or form body; the body wins over the query. Other methods get 405, a body "
    "over 2 MB gets 413, both with an error body."
)
_FREE: dict[str, Any] = {
    "name": "arguments",
    "in": "query",
    "required": False,
    "style": "form",
    "explode": True,
    "description": "any other parameters; each is one argument",
    "schema": {"type": "object", "additionalProperties": {"type": "string"}},
}


def document(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of these endpoints."""
    rows = list(endpoints)
    kinds = [row.params for row in rows]
    answers = [kind for row in rows for kind in _alternatives(row.answer)]
    schemas, components = msgspec.json.schema_components(
        [*kinds, *answers, Error], ref_template="#/components/schemas/{name}"
    )
    shapes = iter(schemas[len(kinds) :])
    operations: dict[str, dict[str, Any]] = {}
    for row, schema in zip(rows, schemas, strict=False):
        found = components[schema["$ref"].rpartition("/")[2]]
        options = [next(shapes) for _ in _alternatives(row.answer)]
        shape = options[0] if len(options) == 1 else {"anyOf": options}
        operations.setdefault(row.path, {}).update({verb: _operation(row, verb, found, shape) for verb in row.verbs})
    parts = set(re.findall(r"#/components/schemas/(\w+)", str(components)))
    named = {kind.__name__ for kind in kinds} - parts
    return {
        "openapi": "3.1.0",
        "info": {"title": "Rockstat Band director", "version": __version__, "description": _ABOUT},
        "paths": operations,
        "components": {
            "schemas": {key: value for key, value in components.items() if key not in named},
            "responses": {f"Error{code}": _error(code) for code in _ERRORS},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-Band-Token"},
            },
        },
        "security": [{}, {"bearer": []}, {"header": []}],
    }


def _alternatives(answer: Any) -> tuple[Any, ...]:
    """Return the types of a union, or the type itself."""
    return get_args(answer) if get_origin(answer) is UnionType else (answer,)


def _operation(row: Endpoint, verb: str, schema: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    in_path = set(re.findall(r"\{(\w+)\}", row.path))
    properties: dict[str, Any] = schema.get("properties", {})
    outside = {key: value for key, value in properties.items() if key not in in_path}
    required = set(schema.get("required", ())) - in_path
    closed = schema.get("additionalProperties") is False
    content = {"text/plain" if row.text else "application/json": {"schema": answer}}
    if "progress" in properties:
        content["text/plain"] = {"schema": {"type": "string"}}
    operation: dict[str, Any] = {
        "operationId": f"{verb}_{row.name}",
        "summary": row.summary,
        "parameters": [
            {"name": key, "in": "path", "required": True, "schema": properties[key]}
            for key in properties
            if key in in_path
        ],
        "responses": {
            "200": {"description": "the response", "content": content},
            **{str(code): {"$ref": f"#/components/responses/Error{code}"} for code in sorted({*_ALWAYS, *row.errors})},
        },
    }
    if 503 in row.errors:  # /health tells the same either way
        operation["responses"]["503"] = {"description": _ERRORS[503], "content": content}
    if verb == "get":
        operation["parameters"] += [_in_query(key, value, key in required) for key, value in outside.items()]
        if not closed:
            operation["parameters"].append(_FREE)
        return operation
    if outside or not closed:
        body: dict[str, Any] = {"type": "object", "properties": outside, "required": sorted(required)}
        body["additionalProperties"] = not closed
        media = {"application/json": {"schema": body}}
        operation["requestBody"] = {"required": bool(required), "content": media}
    return operation


def _in_query(key: str, schema: dict[str, Any], required: bool) -> dict[str, Any]:
    """Return a parameter of the query. A query has no null, so a nullable parameter is optional there."""
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    if options:
        rest = {word: value for word, value in schema.items() if word not in {"anyOf", "default"}}
        schema = {**rest, **(options[0] if len(options) == 1 else {"anyOf": options})}
    found: dict[str, Any] = {"name": key, "in": "query", "required": required}
    if key in _OBJECTS:
        return {**found, "content": {"application/json": {"schema": schema}}}
    return {**found, "schema": schema}


def _error(code: int) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": _ERRORS[code], "content": {"application/json": {"schema": schema}}}
