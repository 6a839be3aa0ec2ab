"""The schemas of a service's functions, from their annotations: for ``__status`` and as OpenAPI 3.1."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from band.registry import Exposed, Registry

REF: Final = "#/components/schemas/{name}"
ERROR_NAME: Final = "band.Error"
_ERROR: Final = {
    "title": "Error",
    "type": "object",
    "properties": {
        "message": {"type": "string", "description": "what is wrong"},
        "path": {"type": "string", "description": "the parameter that was refused, `$.limit`"},
    },
    "required": ["message"],
}
_REFUSALS: Final = {
    400: "the parameters cannot be read",
    403: "requests from pages of other sites are refused",
    413: "the body is too large",
    422: "a parameter is missing, or its value is refused",
    500: "the function failed",
    502: "another service did not answer",
}
_VARIABLE = re.compile(r"\{(\w+)(?::[^{}]*)?\}")


def schemas(registry: Registry) -> dict[str, Any]:
    """Return the schemas of a service's functions for ``__status``.

    ``{"methods": {name: {"description", "role", "params", "event", "result"}}, "components": {name: JSON Schema}}``.
    A function without annotations has no ``params``, one without an event parameter no ``event``. References begin with
    ``#/components/schemas/``.
    """
    functions = _public(registry)
    found, components = _components(functions)
    return {
        "methods": {exposed.name: _described(exposed, found[exposed.name]) for exposed in functions},
        "components": components,
    }


def document(name: str, version: str, registry: Registry, prefix: str = "") -> dict[str, Any]:
    """Return the OpenAPI document of a service's own port.

    Args:
        name: the service's name.
        version: the version of its framework.
        registry: its functions.
        prefix: the prefix of the paths of its built-in pages.
    """
    functions = [exposed for exposed in _public(registry) if exposed.path and "*" not in exposed.path]
    found, components = _components(functions)
    errors = {str(status): _json(text, {"$ref": REF.format(name=ERROR_NAME)}) for status, text in _REFUSALS.items()}
    paths = {
        _VARIABLE.sub(r"{\1}", exposed.path): operations(
            exposed.name,
            _described(exposed, found[exposed.name]),
            components,
            in_path=_VARIABLE.findall(exposed.path),
            errors=errors,
        )
        for exposed in functions
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": name, "version": version, "description": f"What the service {name} offers on its own port."},
        "paths": {**paths, f"{prefix}/health": _health()},
        "components": {"schemas": {**components, ERROR_NAME: _ERROR}},
    }


def operations(
    name: str,
    facts: Mapping[str, Any],
    components: Mapping[str, Any],
    *,
    in_path: Iterable[str] = (),
    errors: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the path item of a function: GET if all required parameters fit into a query, and POST.

    Args:
        name: the method's name.
        facts: its entry in ``schemas``.
        components: the referenced schemas.
        in_path: the parameters that are variables of the path.
        errors: the responses besides 200.
    """
    fields, required = _fields(facts, components)
    in_path = list(in_path)
    body = _body(facts, fields, required, set(in_path))
    variables = [_parameter(field, "path", fields.get(field, {"type": "string"}), required=True) for field in in_path]
    query = [
        _parameter(field, "query", schema, required=field in required)
        for field, schema in fields.items()
        if field not in in_path and _is_flat(schema, components)
    ]
    common = {
        "summary": str(facts.get("description") or name).split("\n", 1)[0],
        **({"tags": [facts["role"]]} if facts.get("role") else {}),
        "responses": {"200": _json("what the function returned", facts.get("result") or {}), **errors},
    }
    post = {**common, "operationId": f"{name}_post", "parameters": variables}
    post["requestBody"] = {"required": bool(required - set(in_path)), "content": {"application/json": {"schema": body}}}
    if required - set(in_path) - {parameter["name"] for parameter in query}:
        return {"post": post}
    return {"get": {**common, "operationId": name, "parameters": [*variables, *query]}, "post": post}


# --- parts


def _public(registry: Registry) -> list[Exposed]:
    return [exposed for name, exposed in registry.methods.items() if not name.startswith("__")]


def _types(exposed: Exposed) -> dict[str, Any]:
    """Return the known types of a function: ``params``, ``event``, ``result``."""
    handler = exposed.handler
    types: dict[str, Any] = {}
    if handler.typed and not (exposed.batch and handler.event is not None):
        types["params"] = handler.params or _Nothing
    if handler.event is not None:
        types["event"] = handler.event
    if handler.returns not in (Any, None, inspect.Parameter.empty):
        types["result"] = handler.returns
    return types


class _Nothing(msgspec.Struct):
    """No parameters."""


def _components(functions: Iterable[Exposed]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return function name → its schemas, and the referenced components."""
    wanted = [
        (exposed.name, part, kind)
        for exposed in functions
        for part, kind in _types(exposed).items()
        if _has_schema(kind)
    ]
    written, components = msgspec.json.schema_components(
        [kind for *_, kind in wanted], schema_hook=_anything, ref_template=REF
    )
    found: dict[str, dict[str, Any]] = {exposed.name: {} for exposed in functions}
    for (name, part, _), schema in zip(wanted, written, strict=True):
        found[name][part] = schema
    return found, dict(components)


def _has_schema(kind: Any) -> bool:
    try:
        msgspec.json.schema_components([kind], schema_hook=_anything)
    except (TypeError, NotImplementedError):
        return False  # a custom type, or a response of aiohttp
    return True


def _anything(_kind: type) -> dict[str, Any]:
    return {}


def _described(exposed: Exposed, known: Mapping[str, Any]) -> dict[str, Any]:
    text = inspect.cleandoc(exposed.func.__doc__ or "").split("\n\n", 1)[0]
    return {"description": text, "role": exposed.role, **known}


def _body(facts: Mapping[str, Any], fields: Mapping[str, Any], required: set[str], in_path: set[str]) -> dict[str, Any]:
    """Return the schema of a body: a reference if that suffices, else the fields that are not in the path."""
    parts = [facts[part] for part in ("params", "event") if part in facts]
    if len(parts) == 1 and not in_path:
        return dict(parts[0])
    left = {name: schema for name, schema in fields.items() if name not in in_path}
    return {"type": "object", "properties": left, "required": sorted(required - in_path)}


def _fields(facts: Mapping[str, Any], components: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """Return the schema of each parameter, and which of them are required."""
    fields: dict[str, Any] = {}
    required: set[str] = set()
    for part in ("params", "event"):
        schema = _resolved(facts.get(part) or {}, components)
        fields |= schema.get("properties") or {}
        required |= set(schema.get("required") or ())
    return fields, required


def _resolved(schema: Mapping[str, Any], components: Mapping[str, Any]) -> Mapping[str, Any]:
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    found: Mapping[str, Any] = components.get(name, {}) if name else schema
    return found


def _is_flat(schema: Mapping[str, Any], components: Mapping[str, Any]) -> bool:
    """Return whether a value of this schema fits into a query: no object, and no list of objects."""
    schema = _resolved(schema, components)
    options = schema.get("anyOf")
    if options:
        return all(_is_flat(option, components) for option in options)
    if schema.get("type") == "array":
        return _is_flat(schema.get("items") or {}, components)
    return schema.get("type") in ("string", "integer", "number", "boolean", "null") or "enum" in schema


def _parameter(name: str, place: str, schema: Mapping[str, Any], *, required: bool) -> dict[str, Any]:
    return {"name": name, "in": place, "required": required, "schema": dict(schema)}


def _json(text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": dict(schema)}}}


def _health() -> dict[str, Any]:
    schema = {"type": "object", "properties": {"status": {"enum": ["ok", "degraded", "failing"]}}}
    answers = {"200": _json("it works, or is degraded", schema), "503": _json("it is failing", schema)}
    return {"get": {"summary": "Health of the service.", "operationId": "health", "responses": answers}}
