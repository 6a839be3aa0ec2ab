"""The OpenAPI document, made from the table of endpoints."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from director import __version__
from director.endpoints import Endpoint

_ERRORS = {
    400: "a parameter is unknown, missing or of the wrong type",
    403: "the guard refuses the request",
    404: "no such service, image or method",
    409: "not possible in this state",
    422: "a parameter has an impossible value",
    502: "the service failed, or Docker or Redis is away; `log` holds its last lines",
    503: "Docker is away",
    504: "it did not answer in time",
}
_ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "hint"],
            "properties": {key: {"type": "string"} for key in ("code", "message", "hint")},
        }
    },
}


def document(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of these endpoints."""
    rows = list(endpoints)
    kinds = list({row.params: None for row in rows})
    schemas, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    resolved = {kind: components.get(kind.__name__, schema) for kind, schema in zip(kinds, schemas, strict=True)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Rockstat Band director", "version": __version__},
        "paths": {
            row.path: {verb: _operation(row, verb, resolved[row.params]) for verb in ("get", "post")} for row in rows
        },
        "components": {
            "schemas": {**components, "Error": _ERROR_SCHEMA},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(row: Endpoint, verb: str, schema: dict[str, Any]) -> dict[str, Any]:
    in_path = set(re.findall(r"\{(\w+)\}", row.path))
    properties: dict[str, Any] = schema.get("properties", {})
    required = set(schema.get("required", ()))
    outside = {key: value for key, value in properties.items() if key not in in_path}
    operation: dict[str, Any] = {
        "operationId": f"{verb}_{row.handler}",
        "summary": row.summary,
        "parameters": [
            {"name": key, "in": "path", "required": True, "schema": properties[key]}
            for key in properties
            if key in in_path
        ],
        "responses": {
            "200": {"description": row.answer, "content": {"text/plain" if row.text else "application/json": {}}},
            **{str(code): _error(code) for code in sorted({400, 403, *row.errors})},
        },
    }
    if verb == "get":
        operation["parameters"] += [
            {"name": key, "in": "query", "required": key in required, "schema": value} for key, value in outside.items()
        ]
    elif outside:
        body = {"type": "object", "properties": outside, "required": sorted(required - in_path)}
        needed = bool(required - in_path)
        operation["requestBody"] = {"required": needed, "content": {"application/json": {"schema": body}}}
    return operation


def _error(code: int) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": _ERRORS[code], "content": {"application/json": {"schema": schema}}}
