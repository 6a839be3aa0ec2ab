"""The desired state: what should run, one JSON document a service in a Redis hash, with a copy in memory.

The director is its only writer. Reading never needs Redis once it was loaded; writing does.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import msgspec

from band import logger
from band.errors import DecodingError
from band.json_codec import decode
from director.errors import RedisUnavailable
from director.state.spec import RESERVED, Spec

State = Literal["running", "stopped", "removed"]


class Store(Protocol):
    """The part of a Redis link that is needed: a command with its arguments in, a reply with bytes out."""

    async def command(self, *args: Any) -> Any:
        """Run one Redis command."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What should be of one service. `removed` is kept only until its containers are gone.

    `watch`: seconds for which a new release is watched, None for the director's own setting.
    """

    spec: Spec
    state: State = "running"
    title: str = ""
    pos: str | None = None
    since: float = 0.0
    watch: float | None = None


class Desired:
    """The hash `<namespace>:director:desired` and its copy; `loaded` is False until Redis has been read once."""

    def __init__(self, store: Store, namespace: str) -> None:
        self._store = store
        self._key = f"{namespace}:director:desired"
        self._wanted: dict[str, Wanted] = {}
        self.loaded = False

    async def load(self) -> None:
        """Read everything from Redis; a document that cannot be read is left alone and not acted on.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        reply = await self._store.command("HGETALL", self._key)
        found = documents(reply, Wanted, self._key)
        self._wanted = {
            name: wanted for name, wanted in found.items() if wanted.spec.name == name and name not in RESERVED
        }
        self.loaded = True

    def get(self, name: str) -> Wanted | None:
        """Return what should be of a service."""
        return self._wanted.get(name)

    def all(self) -> dict[str, Wanted]:
        """Return what should be of every service."""
        return dict(self._wanted)

    async def put(self, wanted: Wanted) -> None:
        """Write what should be of a service.

        Raises:
            RedisUnavailable: Redis does not answer; nothing was changed.
        """
        self._need_loaded()
        await self._store.command("HSET", self._key, wanted.spec.name, msgspec.json.encode(wanted))
        self._wanted[wanted.spec.name] = wanted

    async def forget(self, name: str) -> None:
        """Drop a service.

        Raises:
            RedisUnavailable: Redis does not answer; nothing was changed.
        """
        self._need_loaded()
        await self._store.command("HDEL", self._key, name)
        self._wanted.pop(name, None)

    def _need_loaded(self) -> None:
        if not self.loaded:
            raise RedisUnavailable("what should run could not be read from Redis yet", "is Redis up? GET /health tells")


def pairs(reply: Any) -> list[tuple[str, Any]]:
    """Return (field, value) of a reply in pairs, which is a flat list (RESP2) or a map (RESP3).

    A field that is no UTF-8 keeps what can be read of it.
    """
    if isinstance(reply, dict):
        items = list(reply.items())
    else:
        flat = list(reply or [])
        items = list(zip(flat[::2], flat[1::2], strict=True))
    return [(key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key), value) for key, value in items]


def documents(reply: Any, kind: Any, key: str) -> dict[str, Any]:
    """Return the documents of a hash by field, each of type `kind`; one that cannot be read is logged and left out."""
    found: dict[str, Any] = {}
    for name, raw in pairs(reply):
        try:
            found[name] = decode(raw, kind)
        except DecodingError as error:
            logger.error("document_unreadable", key=key, field=name[:80], reason=str(error))
    return found
