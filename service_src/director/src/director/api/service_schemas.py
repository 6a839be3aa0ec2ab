"""What services say of their methods' types, as OpenAPI, as AsyncAPI, and as fields of a form. Pure.

A service writes its `__status` itself, so nothing here trusts it: what has another shape counts as not said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from band import Event
from band.platform import EVENTS_STREAM, openapi_operations
from director import __version__

_REF = "#/components/schemas/"
_ERRORS = {str(code): {"$ref": f"#/components/responses/Error{code}"} for code in (400, 403, 404, 409, 422, 502, 504)}


class Method(msgspec.Struct, frozen=True):
    """One method: JSON Schemas of its parameters, its event and its result; None if not declared."""

    description: str = ""
    role: str | None = None
    params: dict[str, Any] | None = None
    event: dict[str, Any] | None = None
    result: dict[str, Any] | None = None


class Schemas(msgspec.Struct, frozen=True):
    """The methods of a service, and the schemas that they refer to, by names that begin with the service's."""

    methods: dict[str, Method] = {}
    components: dict[str, dict[str, Any]] = {}


class Field(msgspec.Struct, frozen=True):
    """A field of a form: `kind` is text, number, flag, choice or json."""

    name: str
    kind: str
    required: bool
    default: str
    about: str
    choices: list[str] = []


class Form(msgspec.Struct, frozen=True):
    """How a method can be called; `free`: its parameters are not known, and are written as JSON."""

    method: str
    about: str
    role: str
    fields: list[Field]
    free: bool


def read(service: str, status: Mapping[str, Any] | None, methods: Iterable[str] | None) -> Schemas:
    """Return what a service said, with a method without types for each that it only names."""
    try:
        found = msgspec.convert((status or {}).get("schemas") or {}, Schemas)
    except (msgspec.ValidationError, RecursionError):
        found = Schemas()
    named = {name: Method() for name in methods or () if not name.startswith("__")}
    prefix = f"{_REF}{service}."
    said = {
        name: msgspec.convert(_renamed(msgspec.to_builtins(method), prefix), Method)
        for name, method in found.methods.items()
    }
    components = {f"{service}.{name}": _renamed(schema, prefix) for name, schema in found.components.items()}
    usable = {name: method if _is_usable(name, method, components) else Method() for name, method in said.items()}
    return Schemas(dict(sorted({**named, **usable}.items())), components)


def _is_usable(name: str, method: Method, components: Mapping[str, Any]) -> bool:
    """Return whether the facts about a method suffice for a description and a form."""
    try:
        _operations(name, method, components)
        _fields(method, components)
    except (TypeError, AttributeError, ValueError, RecursionError):
        return False
    return True


def _operations(name: str, method: Method, components: Mapping[str, Any]) -> dict[str, Any]:
    facts = {key: value for key, value in msgspec.to_builtins(method).items() if value is not None}
    found: dict[str, Any] = openapi_operations(name, facts, components, errors=_ERRORS)
    return found


def _renamed(value: Any, prefix: str) -> Any:
    """Return a schema whose references carry the service's name, so that two services may have one name for two."""
    if isinstance(value, dict):
        return {
            key: prefix + inner.removeprefix(_REF)
            if key == "$ref" and isinstance(inner, str)
            else _renamed(inner, prefix)
            for key, inner in value.items()
        }
    return [_renamed(item, prefix) for item in value] if isinstance(value, list) else value


def with_methods(document: dict[str, Any], service: str, schemas: Schemas) -> dict[str, Any]:
    """Return the director's OpenAPI document with `/call/<service>/<method>` for each method of a service."""
    paths = {}
    for name, method in schemas.methods.items():
        item = _operations(f"{service}.{name}", method, schemas.components)
        paths[f"/call/{service}/{name}"] = {verb: {**one, "tags": [service]} for verb, one in item.items()}
    components = document["components"]
    return {
        **document,
        "paths": {**document["paths"], **paths},
        "components": {**components, "schemas": {**components["schemas"], **schemas.components}},
    }


def asyncapi(services: Mapping[str, Schemas]) -> dict[str, Any]:
    """Return the AsyncAPI 3 document of the events: the stream, its listeners, and the type each one declares."""
    (event,), own = msgspec.json.schema_components([Event], ref_template=f"{_REF}{{name}}")
    listeners = {
        f"{service}.{name}": (service, method)
        for service, schemas in services.items()
        for name, method in schemas.methods.items()
        if method.role == "listener"
    }
    payloads = {"event": event} | {key: method.event for key, (_, method) in listeners.items() if method.event}
    channel = {"$ref": "#/channels/events"}
    receive = {
        key: {
            "action": "receive",
            "channel": channel,
            "title": f"{service} listens",
            "summary": method.description or f"{service} consumes each event",
            "messages": [{"$ref": f"#/channels/events/messages/{key if method.event else 'event'}"}],
        }
        for key, (service, method) in listeners.items()
    }
    known = {**own, **{name: one for each in services.values() for name, one in each.components.items()}}
    messages = [{"$ref": "#/channels/events/messages/event"}]
    send = {"front.accept": {"action": "send", "channel": channel, "title": "front accepts", "messages": messages}}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Events of Rockstat Band",
            "version": __version__,
            "description": "Each accepted event is an entry of a Redis stream, each listener a consumer group on it.",
        },
        "defaultContentType": "application/json",
        "channels": {
            "events": {
                "address": EVENTS_STREAM,
                "description": "The Redis stream; the field `event` of an entry is the event as JSON.",
                "messages": {key: {"$ref": f"#/components/messages/{key}"} for key in payloads},
            }
        },
        "operations": {**send, **receive},
        "components": {
            "messages": {key: {"name": key, "payload": payload} for key, payload in payloads.items()},
            "schemas": _reached(payloads, known),
        },
    }


def _reached(value: Any, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the components that something refers to, also by way of others: parameters of methods are no events."""
    found: dict[str, Any] = {}
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            name = str(one.get("$ref", "")).removeprefix(_REF)
            if name in known and name not in found:
                found[name] = known[name]
                left.append(known[name])
        left.extend(one.values() if isinstance(one, dict) else one if isinstance(one, list) else [])
    return dict(sorted(found.items()))


def forms(schemas: Schemas) -> list[Form]:
    """Return a form for each method that a person can call: not for listeners, which the stream calls."""
    return [
        Form(name, method.description, method.role or "", _fields(method, schemas.components), method.params is None)
        for name, method in schemas.methods.items()
        if method.role != "listener" and method.event is None
    ]


def _fields(method: Method, components: Mapping[str, Any]) -> list[Field]:
    schema = _resolved(method.params or {}, components)
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, dict):
        return []
    wanted = set(required) if isinstance(required, list) else set()
    return [
        _field(name, part if isinstance(part, dict) else {}, components, required=name in wanted)
        for name, part in properties.items()
    ]


def _field(name: str, schema: dict[str, Any], components: Mapping[str, Any], *, required: bool) -> Field:
    about, default = str(schema.get("description", "")), schema.get("default")
    options = schema.get("anyOf")
    if isinstance(options, list):
        left = [one for one in options if isinstance(one, dict) and one.get("type") != "null"]
        schema = left[0] if len(left) == 1 else {}
    schema = dict(_resolved(schema, components))
    limits = [f"{word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in schema]
    choices = schema.get("enum")
    kind = {"integer": "number", "number": "number", "boolean": "flag", "string": "text"}.get(str(schema.get("type")))
    return Field(
        name,
        "choice" if isinstance(choices, list) else kind or "json",
        required,
        "" if default is None else default if isinstance(default, str) else msgspec.json.encode(default).decode(),
        " ".join(filter(None, [about, *limits])),
        [str(choice) for choice in choices] if isinstance(choices, list) else [],
    )


def _resolved(schema: Mapping[str, Any], components: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return schema
    found: Mapping[str, Any] = components.get(reference.removeprefix(_REF), {})
    return found
