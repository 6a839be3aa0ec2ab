"""The handler of an event: the longest registered prefix of its key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from front.event.message import KEY_PREFIX, key_prefixes

BUILT_IN = {
    f"{KEY_PREFIX}.track": "track",
    f"{KEY_PREFIX}.pixel": "pixel",
    f"{KEY_PREFIX}.redir": "redir",
    f"{KEY_PREFIX}.hello": "hello",
}
"""Route key -> name of the built-in handler. A registered handler of the same key goes first."""

USER_DATA = f"{KEY_PREFIX}.userdata"
"""The route of front's own `/userdata/update`; a service that registers a handler there has it to itself."""

_MAX_TIMEOUT_SECONDS = 60.0
_MAX_CACHED = 4096
_MAX_CACHED_LENGTH = 100


@dataclass(frozen=True, slots=True)
class Remote:
    """A handler in another service."""

    service: str
    method: str
    options: dict[str, Any] = field(default_factory=dict)

    def timeout(self, default: float) -> float:
        """Return seconds to wait for its response: its own `options.timeout` (milliseconds) or the default."""
        own = self.options.get("timeout")
        if isinstance(own, (int, float)) and not isinstance(own, bool) and own > 0:
            return min(own, _MAX_TIMEOUT_SECONDS * 1000) / 1000
        return default


OWN_UPDATE = Remote("front", "update")
"""The handler of `/userdata/update`: it writes to Redis, so it is called like a service, but it is front's."""


class RouteTable:
    """Finds the handler of an event key by walking its segments."""

    def __init__(self, handlers: Mapping[str, Remote]) -> None:
        own = {} if USER_DATA in handlers else {f"{USER_DATA}.update": OWN_UPDATE}
        self._targets: dict[str, Remote | str] = {**BUILT_IN, **own, **handlers}
        self._nodes = {prefix for key in self._targets for prefix in key_prefixes(key)}
        self._found = lru_cache(_MAX_CACHED)(self._walk)

    def find(self, key: str) -> tuple[Remote | str | None, str]:
        """Return the handler of a key (a remote one, or a built-in's name), and the longest known prefix of the key."""
        return self._found(key) if len(key) <= _MAX_CACHED_LENGTH else self._walk(key)

    def serves(self, service: str) -> bool:
        """Return whether there is a handler for events of a service, by the name that clients use."""
        return f"{KEY_PREFIX}.{service}" in self._nodes

    def _walk(self, key: str) -> tuple[Remote | str | None, str]:
        target: Remote | str | None = None
        known = KEY_PREFIX
        for prefix in key_prefixes(key):
            if prefix not in self._nodes:
                break
            known = prefix
            target = self._targets.get(prefix, target)
        return target, known
