"""Pending requests: one call, and what single calls and fan-outs share."""

from __future__ import annotations

import asyncio
from typing import Any, Final, Protocol

import msgspec

from band import json_codec
from band.errors import RpcRemoteError, RpcUnavailable
from band.jsonrpc import messages
from band.jsonrpc.messages import Envelope

NULL: Final = msgspec.Raw(b"null")
UNREADABLE: Final = (ValueError, RecursionError)
"""The errors of decoding a peer's result; invalid UTF-8 is a ValueError."""


class Waiting(Protocol):
    """Receives the replies to one request id."""

    def take(self, reply: Envelope) -> bool:
        """Process a reply; True: nothing more is expected."""

    def end(self, reason: str) -> bool:
        """End the wait because the service stops; returns whether something still waited."""


class Scatter(msgspec.Struct):
    """The responses to a request that was sent to several services.

    ``results``: service → result as sent. ``errors``: service → its error. ``missing``: services without a response.
    ``elapsed_ms``: service → milliseconds until its response.
    """

    results: dict[str, Any]
    errors: dict[str, RpcRemoteError]
    missing: set[str]
    elapsed_ms: dict[str, float]


def remote_error(error: Any, to: str, method: str) -> RpcRemoteError:
    """Return the typed error for the ``error`` object of a reply."""
    if not isinstance(error, dict):
        return RpcRemoteError(messages.SERVER_ERROR, str(error), to=to, method=method)
    code = error.get("code")
    number = code if isinstance(code, int) else messages.SERVER_ERROR
    return RpcRemoteError(number, str(error.get("message") or "unknown error"), error.get("data"), to=to, method=method)


def unreadable(error: Exception) -> dict[str, Any]:
    """Return the ``error`` object for an undecodable result (invalid UTF-8, too deep)."""
    return {"code": messages.PARSE_ERROR, "message": f"the result cannot be read: {error}"}


def outcome(reply: Envelope) -> tuple[msgspec.Raw, Any]:
    """Return (result as JSON, error) of a reply; error is None if it succeeded."""
    error = None if reply.error is msgspec.UNSET else reply.error
    return (NULL if reply.result is msgspec.UNSET else reply.result), error


class Call:
    """One request that waits for one response."""

    __slots__ = ("future", "method", "to")

    def __init__(self, future: asyncio.Future[Any], to: str, method: str) -> None:
        self.future = future
        self.to = to
        self.method = method

    def take(self, reply: Envelope) -> bool:
        """Process the response; True: nothing more is expected."""
        if not self.future.done():
            result, error = outcome(reply)
            if error is not None:
                self.future.set_exception(remote_error(error, self.to, self.method))
                return True
            try:
                self.future.set_result(json_codec.decode_loosely(result))
            except UNREADABLE as fault:
                self.future.set_exception(remote_error(unreadable(fault), self.to, self.method))
        return True

    def fail(self, why: str) -> None:
        """End the call with an error: it reached nobody, or the service stops."""
        if not self.future.done():
            text = f"{self.to}.{self.method}: {why}"
            self.future.set_exception(RpcUnavailable(text, to=self.to, method=self.method))

    def end(self, reason: str) -> bool:
        """End the call because the service stops."""
        waited = not self.future.done()
        self.fail(reason)
        return waited
