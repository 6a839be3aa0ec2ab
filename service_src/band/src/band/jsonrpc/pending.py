"""What waits for answers: one call, or one request to several services."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any, Final, Protocol

import msgspec

from band import json_codec
from band.errors import RpcRemoteError, RpcUnavailable
from band.jsonrpc import messages
from band.jsonrpc.messages import Envelope

NULL: Final = msgspec.Raw(b"null")
UNREADABLE: Final = (ValueError, RecursionError)
"""What reading a peer's result raises; invalid UTF-8 is a ValueError."""


class Waiting(Protocol):
    """Something that takes the replies to one request id."""

    def take(self, reply: Envelope) -> bool:
        """Take a reply; True: nothing more is expected."""

    def end(self, reason: str) -> bool:
        """End the wait: the service stops. Whether something still waited."""


class Scatter(msgspec.Struct):
    """What came back from a request that went to several services.

    ``results``: service → result as sent. ``errors``: service → its error. ``missing``: who did not answer.
    ``elapsed_ms``: service → milliseconds until its answer.
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


def unreadable(to: str, method: str, error: Exception) -> RpcRemoteError:
    """Return the error of a call whose result is no JSON of ours (invalid UTF-8, too deep)."""
    return RpcRemoteError(messages.PARSE_ERROR, f"the result cannot be read: {error}", to=to, method=method)


def outcome(reply: Envelope) -> tuple[msgspec.Raw, Any]:
    """Return (result as JSON, error) of a reply; error is None when it succeeded."""
    error = None if reply.error is msgspec.UNSET else reply.error
    return (NULL if reply.result is msgspec.UNSET else reply.result), error


class Call:
    """One request that waits for one answer."""

    __slots__ = ("future", "method", "to")

    def __init__(self, future: asyncio.Future[Any], to: str, method: str) -> None:
        self.future = future
        self.to = to
        self.method = method

    def take(self, reply: Envelope) -> bool:
        """Take the answer; True: nothing more is expected."""
        if not self.future.done():
            result, error = outcome(reply)
            if error is not None:
                self.future.set_exception(remote_error(error, self.to, self.method))
                return True
            try:
                self.future.set_result(json_codec.decode_loosely(result))
            except UNREADABLE as fault:
                self.future.set_exception(unreadable(self.to, self.method, fault))
        return True

    def fail(self, why: str) -> None:
        """End the call: it did not reach anybody, or nobody answers any more."""
        if not self.future.done():
            text = f"{self.to}.{self.method}: {why}"
            self.future.set_exception(RpcUnavailable(text, to=self.to, method=self.method))

    def end(self, reason: str) -> bool:
        """End the call because the service stops."""
        waited = not self.future.done()
        self.fail(reason)
        return waited


class Gather:
    """One request that waits for the answers of several services."""

    __slots__ = ("_begun", "_method", "_open", "_raw", "future", "scatter")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, expect: Iterable[str], method: str, *, raw: bool = False
    ) -> None:
        self._begun = time.perf_counter()
        self._method = method
        self._raw = raw
        self._open = set(expect)
        self.future: asyncio.Future[None] = loop.create_future()
        self.scatter = Scatter({}, {}, set(self._open), {})

    def take(self, reply: Envelope) -> bool:
        """Take one service's answer, result or error; True: nothing more is expected."""
        return self.settle(str(reply.sender), *outcome(reply))

    def settle(self, service: str, result: msgspec.Raw, error: Any) -> bool:
        """Note what ``service`` answered; True: nothing more is expected."""
        scatter = self.scatter
        if service not in self._open:
            return False
        scatter.missing.discard(service)
        scatter.elapsed_ms[service] = round((time.perf_counter() - self._begun) * 1000, 3)
        if error is not None:
            scatter.errors[service] = remote_error(error, service, self._method)
            return self.give_up(service)
        try:
            value = json_codec.decode_loosely(result)
            # Written anew: peers of the original space and escape JSON as they like, and who passes it on should not.
            scatter.results[service] = msgspec.Raw(json_codec.encode_strictly(value)) if self._raw else value
        except UNREADABLE as fault:
            scatter.errors[service] = unreadable(service, self._method, fault)
        return self.give_up(service)

    def give_up(self, service: str) -> bool:
        """Expect nothing more of ``service``; True: nor of anybody else."""
        self._open.discard(service)
        if self._open:
            return False
        self.finish()
        return True

    def finish(self) -> None:
        """End the wait with what has come so far."""
        if not self.future.done():
            self.future.set_result(None)

    def end(self, _reason: str) -> bool:
        """End the wait because the service stops."""
        waited = not self.future.done()
        self.finish()
        return waited
