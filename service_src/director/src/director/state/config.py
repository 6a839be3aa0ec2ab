"""What the operator set for a service, until it is removed with /rm: one JSON document a service in a Redis hash.

`env`, `pos`, `limits` and `auto_remove` shape the next run; `/update_config` takes no other keys.
The document of a service that was never configured is empty.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from band.errors import DecodingError
from band.json_codec import decode
from director.errors import Conflict, InvalidValue, shown_key
from director.state.spec import Limits, Pos, check_env, check_limits
from director.state.store import Store, pairs
from director.validation import ENV_KEY_PATTERN, explain

Document = dict[str, Any]

KEYS = "env.<NAME>, limits.memory, limits.cpus, limits.pids, pos, auto_remove"


class Shaping(msgspec.Struct, frozen=True):
    """The keys of a document that shape a run; other keys are ignored here."""

    env: dict[str, Any] = {}
    pos: Pos | None = None
    limits: Limits = Limits()
    auto_remove: bool = False


class Configs:
    """The hash `<namespace>:director:configs`."""

    def __init__(self, store: Store, namespace: str) -> None:
        self._store = store
        self._key = f"{namespace}:director:configs"

    async def names(self) -> list[str]:
        """Return the services that have a document, sorted."""
        return sorted(name for name, _ in pairs(await self._store.command("HGETALL", self._key)))

    async def get(self, name: str) -> Document:
        """Return the document of a service.

        Raises:
            Conflict: what is stored cannot be read; to run without it would be to run something else.
        """
        raw = await self._store.command("HGET", self._key, name)
        try:
            return decode(raw, dict[str, Any]) if raw else {}
        except DecodingError as error:
            raise Conflict(
                f"the stored config of {name!r} cannot be read: {error}",
                f"GET /rm/{name} forgets the service with its config; then run it with the env that it needs",
                service=name,
            ) from error

    async def put(self, name: str, document: Mapping[str, Any]) -> None:
        """Write the document of a service; an empty one is dropped."""
        if document:
            await self._store.command("HSET", self._key, name, msgspec.json.encode(document))
        else:
            await self._store.command("HDEL", self._key, name)


def shaping(document: Mapping[str, Any]) -> Shaping:
    """Return the keys of a stored document that shape a run.

    Raises:
        InvalidValue: one of them has an impossible value.
    """
    try:
        return _shaping(document)
    except msgspec.ValidationError as error:
        raise InvalidValue(
            f"the service's config is not valid: {explain(str(error))}", "correct it with /update_config"
        ) from error


def changed(document: Mapping[str, Any], changes: Mapping[str, Any]) -> Document:
    """Return a document with `changes` made, as `update` does, and whole: a run can be shaped by it.

    Raises:
        InvalidValue: a change is wrong, or what it leaves is not valid; nothing was stored.
    """
    result = update(document, changes)
    try:
        _shaping(result)
    except (msgspec.ValidationError, InvalidValue) as error:
        said = error.message if isinstance(error, InvalidValue) else explain(str(error))
        try:
            _shaping(document)
        except (msgspec.ValidationError, InvalidValue):
            hint = "nothing was changed; what is stored already is not valid either: GET /get_config shows it"
        else:
            hint = "nothing was changed: the config is as it was"
        raise InvalidValue(f"bad parameter: {said}", hint) from error
    return result


def _shaping(document: Mapping[str, Any]) -> Shaping:
    found = msgspec.convert(dict(document), Shaping, strict=False)
    check_env(found.env)
    check_limits(found.limits)
    return found


def check_keys(document: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
    """Return if every key of `changes` is one that shapes a run; what stands there already may always be removed.

    Raises:
        InvalidValue: one is not; the hint names those there are.
    """
    for key, value in changes.items():
        root, _, below = key.partition(".")
        if value in ("", None) and root in document:
            continue
        known = (
            (root == "env" and (not below or re.fullmatch(ENV_KEY_PATTERN, below)))
            or (root == "limits" and below in {"", "memory", "cpus", "pids"})
            or (root in {"pos", "auto_remove"} and not below)
        )
        if not known:
            raise InvalidValue(f"a parameter {shown_key(key)} is not a key of a service's config", f"keys: {KEYS}")


def update(document: Mapping[str, Any], changes: Mapping[str, Any]) -> Document:
    """Return a document with `changes` made: keys may be dotted (`env.TZ`); an empty value (`""` or null) removes.

    Raises:
        InvalidValue: a dotted key goes through something that is not an object.
    """
    result: Document = msgspec.json.decode(msgspec.json.encode(document))
    for dotted, value in changes.items():
        *path, last = dotted.split(".")
        if not all([*path, last]):
            raise InvalidValue(
                f"a parameter {shown_key(dotted)} is not a key of a config", "write keys with dots between, as env.TZ"
            )
        _set(result, dotted, path, last, value)
    return result


def _set(document: Document, dotted: str, path: list[str], last: str, value: Any) -> None:
    trail = [document]
    for part in path:
        below = trail[-1].setdefault(part, {})
        if not isinstance(below, dict):
            raise InvalidValue(
                f"config key {dotted} goes through {part}, which is not an object", f"remove {part} first"
            )
        trail.append(below)
    if value not in ("", None):
        trail[-1][last] = value
        return
    trail[-1].pop(last, None)
    for parent, part in zip(reversed(trail[:-1]), reversed(path), strict=True):  # no empty objects stay behind
        if not parent[part]:
            del parent[part]
