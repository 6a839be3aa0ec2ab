"""The trace of one event: what happened to it in front; stored in the stream together with the event."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Final

from band.platform import encode

OK: Final = "ok"
CACHED: Final = "cached"
ERROR: Final = "error"
TIMEOUT: Final = "timeout"
ABSENT: Final = "absent"
"""Not asked: its circuit is open."""


class Trace:
    """The trace of one event; JSON is written by hand, because there is one for every event."""

    __slots__ = ("_at", "_begun", "_enrichers", "handler")

    def __init__(self, at: int) -> None:
        self._at = at
        self._begun = time.perf_counter()
        self._enrichers: list[str] = []
        self.handler = ""
        """The service that answered the client; empty for front itself."""

    def enriched(self, service: str, status: str, ms: float = 0.0) -> None:
        """Add an enricher's status (one of this module's constants) and its milliseconds."""
        note = f'{_name(service)}:{{"ms":{ms:.3f},"status":"{status}"}}' if ms else _at_once(service, status)
        self._enrichers.append(note)

    def encode(self) -> bytes:
        """Return `{"at": ms since 1970, "ms": so far, "enrichers": {name: {"ms", "status"}}, "handler": name}`."""
        ms = (time.perf_counter() - self._begun) * 1000
        handler = _name(self.handler) if self.handler else "null"
        enrichers = ",".join(self._enrichers)
        return f'{{"at":{self._at},"ms":{ms:.3f},"enrichers":{{{enrichers}}},"handler":{handler}}}'.encode()


@lru_cache(maxsize=1024)
def _name(text: str) -> str:
    return encode(text).decode()


@lru_cache(maxsize=1024)
def _at_once(service: str, status: str) -> str:
    return f'{_name(service)}:{{"ms":0,"status":"{status}"}}'
