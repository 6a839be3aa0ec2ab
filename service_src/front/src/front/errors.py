"""The errors of front.

FrontError
├── UnusableRow        a registration that front cannot use: it is left out
├── BadRequest         the client's request cannot become an event: 400, or 413 when it is too large
└── NotAccepted        the event could not be stored; the client should send it again: 503
    └── Overloaded     a limit on what is held for clients is reached: 503
"""

from __future__ import annotations


class FrontError(Exception):
    """Root of this service's errors."""


class UnusableRow(FrontError):
    """A registration row that cannot be used; the text says why."""


class BadRequest(FrontError):
    """A request that cannot become an event. `code` is its counter, `reason` tells the client what to change."""

    def __init__(self, code: str, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.status = status


class NotAccepted(FrontError):
    """The event is nowhere that survives a restart. `retry_after` is in seconds."""

    def __init__(self, reason: str, retry_after: int = 1) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


class Overloaded(NotAccepted):
    """A limit on what is held for clients is reached."""
