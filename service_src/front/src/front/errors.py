"""The errors of front.

FrontError
├── UnusableRow        a registration that front cannot use: it is left out
├── BadRequest         the client's request cannot become an event: 400, or 413 when it is too large
│   ├── NotAdmitted    its key or the page that sent it may not send events: 403, or as its client expects
│   └── RateLimited    there were too many events of its key or its visitor; send it again later: 429
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


class NotAdmitted(BadRequest):
    """A request that the rules of its project refuse."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(code, reason, 403)


class RateLimited(BadRequest):
    """More events than a limit allows. `retry_after` is in whole seconds."""

    def __init__(self, retry_after: int, whose: str) -> None:
        super().__init__("rate_limited", f"too many events of {whose}; send them again after {retry_after} s", 429)
        self.retry_after = retry_after


class NotAccepted(FrontError):
    """The event is nowhere that survives a restart. `retry_after` is in seconds."""

    def __init__(self, reason: str, retry_after: int = 1) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


class Overloaded(NotAccepted):
    """A limit on what is held for clients is reached."""
