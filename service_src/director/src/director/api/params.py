"""Typed parameters of the endpoints. A request's path, query and body become one of these, or an error."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar, get_args

import msgspec

from director import validation
from director.errors import BadParameter, InvalidValue, shown_key
from director.redact import leaves
from director.state.desired import Limits, Name, Pos
from director.validation import explain

DEPTH = 32
"""Levels of objects and lists in a body; nothing that the director knows has more than four."""
EXAMPLE = 'send an object as application/json: {"env": {"KEY": "value"}}'
P = TypeVar("P", bound=msgspec.Struct)
_SEE = "GET /openapi.json describes the parameters"


EnvKey = Annotated[str, msgspec.Meta(pattern=validation.ENV_KEY_PATTERN)]
EnvText = Annotated[str, msgspec.Meta(pattern=validation.ENV_VALUE_PATTERN)]
EnvValue = EnvText | int | float | bool


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


class DocumentParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The service whose methods are described too; without one only the director's own paths, or all listeners."""

    service: Name | None = None


class ServiceParams(Nothing, frozen=True):
    """The service that the request is about."""

    name: Name


class RunParams(ServiceParams, frozen=True):
    """What to run, and with which settings from now on. `env` and `limits` replace earlier ones; omitted, those stay.

    With `wait` the response comes when the old container has stopped: from then on no event meets the old settings.
    With `progress` it is text: a line for each step as it happens, then the response or the error as JSON.
    """

    env: dict[EnvKey, EnvValue] | None = None
    pos: Pos | None = None
    limits: Limits | None = None
    auto_remove: bool | None = None
    nocache: bool = False
    dry_run: bool = False
    wait: bool = False
    progress: bool = False


class RollbackParams(ServiceParams, frozen=True):
    """The service, and the release to go back to: its id or spec hash; without one the last good one.

    With `dry_run` nothing is done: the response names the release that it would be.
    """

    to: Annotated[str, msgspec.Meta(pattern=validation.RELEASE_PATTERN)] | None = None
    dry_run: bool = False


class PruneParams(Nothing, frozen=True):
    """Whether to remove what is unused; otherwise it is only listed."""

    apply: bool = False


class StateParams(Nothing, frozen=True):
    """Which service; without a name all of them."""

    name: Name | None = None


class SetPosParams(ServiceParams, frozen=True):
    """The service, and its new place."""

    pos: Pos


class RebuildParams(Nothing, frozen=True):
    """Whether to build without BuildKit's cache, and then also what did not change."""

    nocache: bool = False


class LogsParams(ServiceParams, frozen=True):
    """The service, how many of its last lines, and whether to follow the output."""

    tail: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 100
    follow: bool = False


EventId = Annotated[
    str, msgspec.Meta(pattern=validation.EVENT_ID_PATTERN, description="id of an event, as in front's response")
]
StreamId = Annotated[
    str, msgspec.Meta(pattern=validation.STREAM_ID_PATTERN, description="id of an entry of the stream")
]
StreamIds = Annotated[
    str,
    msgspec.Meta(pattern=validation.STREAM_IDS_PATTERN, description="stream ids of dead letters, separated by commas"),
]


class TraceParams(Nothing, frozen=True):
    """The event; how many entries to search, and after which entry to continue."""

    id: EventId
    after: StreamId | None = None
    scan: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 100_000


Place = Annotated[
    str,
    msgspec.Meta(
        pattern=validation.PLACE_PATTERN,
        description="a place in the stream: beginning, now, a time (ISO 8601, UTC without a zone; seconds or "
        "milliseconds since 1970), or an entry's id",
    ),
]
EventKey = Annotated[str, msgspec.Meta(max_length=256, description="an event's key, or the beginning of one at a dot")]


class EventsParams(Nothing, frozen=True):
    """Which events: of a key, of a visitor, between two places; how many, and before which entry.

    At most `scan` entries are searched. `before` in the response is the parameter for the next page.
    """

    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 20
    key: EventKey = ""
    uid: Annotated[str, msgspec.Meta(max_length=256, description="a visitor's id")] = ""
    start: Place = msgspec.field(default="beginning", name="from")
    end: Place = msgspec.field(default="now", name="to")
    before: StreamId | None = None
    scan: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 100_000


class ReplayEventsParams(ServiceParams, frozen=True):
    """The service, and which events of the stream its listener gets again; without `from`, only the progress.

    `stop` stops a running replay, `resume` continues a stopped one.
    """

    start: Place | None = msgspec.field(default=None, name="from")
    end: Place = msgspec.field(default="now", name="to")
    key: EventKey = ""
    resume: bool = False
    stop: bool = False
    group: Annotated[
        str, msgspec.Meta(max_length=200, description="of a service with several listeners, the group of one")
    ] = ""


class LettersParams(ServiceParams, frozen=True):
    """The service, and how many of its newest dead letters."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100


class ReplayParams(ServiceParams, frozen=True):
    """The service, and which dead letters: those named, else the oldest `limit`, else all."""

    id: StreamIds | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None


class DeleteLettersParams(ServiceParams, frozen=True):
    """The service, and which dead letters: those named, or `all` of them."""

    id: StreamIds | None = None
    all: bool = False


class CallParams(msgspec.Struct, frozen=True):
    """The service and method to call; all other parameters of the request go to the method."""

    name: Name
    method: Annotated[str, msgspec.Meta(pattern=validation.METHOD_PATTERN)]
    timeout__: Annotated[float, msgspec.Meta(ge=0.01, le=60)] = 2.0


class ConfigParams(msgspec.Struct, frozen=True):
    """The service; every other parameter is a dotted key of its config with its new value (empty: remove)."""

    name: Name


def decode(raw: bytes | str) -> Any:
    """Return the value of a JSON text; raises BadParameter for invalid JSON and for a repeated key."""
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise BadParameter(f"the body is not JSON: {error}", EXAMPLE) from error
    check_tree(value)
    json.loads(raw, object_pairs_hook=lambda pairs: check_once(key for key, _ in pairs), parse_int=str, parse_float=str)
    return value


def check_once(keys: Iterable[str]) -> None:
    """Raise BadParameter if a key is repeated."""
    known: set[str] = set()
    for key in keys:
        if key in known:
            raise BadParameter(f"parameter {shown_key(key)} is given twice", "give each parameter once")
        known.add(key)


def check_tree(value: Any) -> None:
    """Refuse what could not be encoded again: deep trees, and text with half a surrogate pair."""
    try:
        for leaf in leaves(value, DEPTH):
            if isinstance(leaf, str):
                leaf.encode()
    except RecursionError as error:
        raise BadParameter(f"the body {error}", EXAMPLE) from error
    except UnicodeEncodeError as error:
        raise BadParameter("a parameter is not valid UTF-8", "send UTF-8") from error


def checked(kind: type[P], **given: Any) -> P:
    """Return typed parameters from values of other code; raises as `read_params` does."""
    return read_params(kind, {}, {}, given)[0]


def read_params(
    kind: type[P], path: Mapping[str, str], query: Mapping[str, str], body: Mapping[str, Any]
) -> tuple[P, dict[str, Any]]:
    """Return the typed parameters, and those that the type does not name.

    If the type accepts others too, they include a parameter of the query or body with the name of one in the path: a
    method called over `/call/<name>/<method>` may have an argument `name`.

    A type with a function `problems` says itself what is wrong, of all parameters at once.

    Raises:
        BadParameter: one is unknown, missing, repeated or of the wrong type.
        InvalidValue: one has an impossible value.
    """
    strict = bool(kind.__struct_config__.forbid_unknown_fields)
    check_once([*(path if strict else ()), *query, *body])
    given: dict[str, Any] = {**query, **body}
    merged: dict[str, Any] = {**given, **path}
    if problems := [*getattr(kind, "problems", lambda _: ())(merged)]:
        raise InvalidValue("; ".join(problems), getattr(kind, "hint", _SEE))
    fields = {field.encode_name for field in msgspec.structs.fields(kind)}
    unknown = sorted(set(merged) - fields)
    if strict and unknown:
        known = ", ".join(sorted(fields - set(path))) or "none"
        hint = f"known parameters: {known}"
        if unknown[0].lstrip().startswith("{"):
            hint += "; that looks like JSON: send it with Content-Type: application/json"
        raise BadParameter(f"unknown parameter {shown_key(unknown[0])}", hint)
    named = {key: _parsed(key, value) for key, value in merged.items() if key in fields}
    for field in msgspec.structs.fields(kind):
        value = named.get(field.encode_name)
        switch = bool in {field.type, *get_args(field.type)}
        if switch and isinstance(value, int | float) and not isinstance(value, bool):
            raise BadParameter(f"bad parameter: {field.encode_name}: must be true or false, not a number", _SEE)
    try:
        params = msgspec.convert(named, kind, strict=False)
    except msgspec.ValidationError as error:
        raise _explain(str(error)) from error
    return params, {key: value for key, value in given.items() if key not in fields or key in path}


def _parsed(key: str, value: Any) -> Any:
    """Return a value of a query or form whose type is an object as that object."""
    if key in {"env", "limits"} and isinstance(value, str):
        try:
            return decode(value)
        except BadParameter as error:
            raise BadParameter(
                f"parameter {key} is not a JSON object with each key once", 'send JSON: {"env": {"KEY": "value"}}'
            ) from error
    return value


def _explain(message: str) -> BadParameter | InvalidValue:
    # msgspec says "Expected `int`, got `str`" for a wrong type, and "Expected `int` >= 1" for an impossible value.
    wrong_type = "got `" in message or "missing required" in message or "unknown field" in message
    kind = BadParameter if wrong_type else InvalidValue
    return kind(f"bad parameter: {explain(message)}", _SEE)
