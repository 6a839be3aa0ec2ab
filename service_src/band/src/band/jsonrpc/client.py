"""Calls to other services."""

from __future__ import annotations

import asyncio
import functools
import itertools
import secrets
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import msgspec

from band.constants import RPC_TIMEOUT
from band.errors import RedisError, RedisUnavailable, RpcRemoteError, RpcTimeout, RpcUnavailable
from band.jsonrpc import messages
from band.jsonrpc.messages import Envelope
from band.logs import logger
from band.redis.link import RedisLink, reply_error
from band.responses import from_wire


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
    text = error.get("message")
    return RpcRemoteError(
        code if isinstance(code, int) else messages.SERVER_ERROR, str(text or "unknown error"), error.get("data"),
        to=to, method=method,
    )  # fmt: skip


class _Call:
    """One request that waits for one answer."""

    __slots__ = ("future", "method", "to")

    def __init__(self, future: asyncio.Future[Any], to: str, method: str) -> None:
        self.future = future
        self.to = to
        self.method = method

    def take(self, reply: Envelope) -> bool:
        """Take the answer; True: nothing more is expected."""
        if not self.future.done():
            if reply.error is not msgspec.UNSET and reply.error is not None:
                self.future.set_exception(remote_error(reply.error, self.to, self.method))
            else:
                self.future.set_result(None if reply.result is msgspec.UNSET else reply.result)
        return True


class _Gather:
    """One request that waits for the answers of several services."""

    __slots__ = ("_begun", "_method", "future", "scatter")

    def __init__(self, loop: asyncio.AbstractEventLoop, expect: set[str], method: str) -> None:
        self._begun = time.perf_counter()
        self._method = method
        self.future: asyncio.Future[None] = loop.create_future()
        self.scatter = Scatter({}, {}, set(expect), {})

    def take(self, reply: Envelope) -> bool:
        """Take one service's answer, result or error; True: nothing more is expected."""
        sender = str(reply.sender)
        scatter = self.scatter
        if sender not in scatter.missing:
            return False
        scatter.missing.discard(sender)
        scatter.elapsed_ms[sender] = round((time.perf_counter() - self._begun) * 1000, 3)
        if reply.error is not msgspec.UNSET and reply.error is not None:
            scatter.errors[sender] = remote_error(reply.error, sender, self._method)
        else:
            scatter.results[sender] = None if reply.result is msgspec.UNSET else reply.result
        if scatter.missing:
            return False
        if not self.future.done():
            self.future.set_result(None)
        return True


class RpcClient:
    """The ``rpc`` that services import: requests, notifications and fan-out requests."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        # Not from 1: an answer to an earlier life of this service must not be taken for one to this life.
        self._ids = itertools.count(secrets.randbelow(1 << 40))
        self._waiting: dict[str, _Call | _Gather] = {}
        self.name = ""
        self.timeouts = 0
        self.late = 0

    @property
    def waiting(self) -> int:
        """Number of calls that wait for an answer."""
        return len(self._waiting)

    # --- calls

    async def call(
        self, to: str, method: str, params: dict[str, Any] | None = None, timeout: float = RPC_TIMEOUT
    ) -> Any:
        """Call ``method`` of the service ``to`` and return its result as sent.

        Args:
            to: the service's name.
            method: the method's name.
            params: the keyword arguments, any JSON values.
            timeout: seconds until the call ends with an error.

        Raises:
            RpcRemoteError: the peer answered with an error.
            RpcTimeout: no answer in time.
            RpcUnavailable: nobody listens under that name, or Redis stayed away until the deadline.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        await self._connected(timeout, to, method)
        request_id = str(next(self._ids))
        payload = messages.request(to, method, self.name, params or {}, request_id)
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting[request_id] = _Call(future, to, method)
        if not self._link.publish(to, payload, self._on_published(future, to, method)):
            self._waiting.pop(request_id, None)
            raise RpcUnavailable(f"{to}.{method} was not called: {self._link.last_error}", to=to, method=method)
        timer = loop.call_at(deadline, self._expire, future, to, method, timeout)
        try:
            return await future
        finally:
            timer.cancel()
            self._waiting.pop(request_id, None)

    async def request(self, to: str, method: str, timeout__: float = RPC_TIMEOUT, **params: Any) -> Any:
        """Call as the original did: typed data unwrapped, None (and a line in the log) when no answer comes.

        Raises:
            RpcRemoteError: the peer answered with an error (the original's ``ReceivedErrorResponse``).
        """
        try:
            return from_wire(await self.call(to, method, params, timeout__))
        except (RpcTimeout, RpcUnavailable) as error:
            logger.warning("rpc_no_answer", to=to, method=method, reason=str(error))
            return None

    async def notify(self, to: str, method: str, **params: Any) -> None:
        """Tell a service something; nobody answers. While Redis is away the message waits a while for it."""
        self._link.publish(to, messages.notification(to, method, self.name, params), keep=True)

    async def scatter(
        self, channel: str, method: str, params: dict[str, Any], *, expect: Iterable[str], timeout: float
    ) -> Scatter:
        """Send one request to everybody on ``channel`` and gather the answers of the services in ``expect``.

        It ends when each of them has answered, with a result or an error, or at the deadline; it does not raise when
        some or all stay silent, or while Redis is away.

        Args:
            channel: the fan-out channel, e.g. ``enrich``.
            method: the method's name.
            params: the keyword arguments, any JSON values.
            expect: names of the services to wait for.
            timeout: seconds.
        """
        loop = asyncio.get_running_loop()
        gather = _Gather(loop, set(expect), method)
        if not gather.scatter.missing:
            return gather.scatter
        request_id = str(next(self._ids))
        payload = messages.request(channel, method, self.name, params, request_id)
        self._waiting[request_id] = gather
        timer = loop.call_later(timeout, _finish, gather.future)
        try:
            if self._link.publish(channel, payload, functools.partial(_finish_unheard, gather.future)):
                await gather.future
        finally:
            timer.cancel()
            self._waiting.pop(request_id, None)
        return gather.scatter

    def __getattr__(self, service: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        """``rpc.anything("method", k=v)`` is ``rpc.request("anything", "method", k=v)``."""
        if service.startswith("_"):
            raise AttributeError(service)

        def call(method: str, **params: Any) -> Coroutine[Any, Any, Any]:
            return self.request(service, method, **params)

        return call

    # --- answers

    def take_reply(self, reply: Envelope) -> None:
        """Give a reply to the call that waits for it."""
        waiting = self._waiting.get(str(reply.id))
        if waiting is None:
            self.late += 1
        elif waiting.take(reply):
            self._waiting.pop(str(reply.id), None)

    def cancel_all(self, reason: str) -> int:
        """End every waiting call; returns how many there were."""
        count = 0
        for call in list(self._waiting.values()):
            if call.future.done():
                continue
            count += 1
            if isinstance(call, _Gather):
                _finish(call.future)
            else:
                call.future.set_exception(RpcUnavailable(f"{call.to}.{call.method}: {reason}"))
        return count

    async def _connected(self, timeout: float, to: str, method: str) -> None:
        try:
            await self._link.ready(timeout)
        except RedisUnavailable as error:
            raise RpcUnavailable(f"{to}.{method} was not called: {error}", to=to, method=method) from None

    def _on_published(self, future: asyncio.Future[Any], to: str, method: str) -> Callable[[Any], None]:
        def on_reply(receivers: Any) -> None:
            if future.done():
                return
            if receivers == 0:
                why = f"nobody listens under the name {to!r}; is the service running, and is its name right?"
                future.set_exception(RpcUnavailable(f"{to}.{method}: {why}", to=to, method=method))
            elif (error := reply_error(receivers)) is not None and not isinstance(error, RedisUnavailable):
                future.set_exception(RpcUnavailable(f"{to}.{method} was not called: {error}", to=to, method=method))

        return on_reply

    def _expire(self, future: asyncio.Future[Any], to: str, method: str, timeout: float) -> None:
        if not future.done():
            self.timeouts += 1
            future.set_exception(RpcTimeout(f"{to}.{method} did not answer within {timeout:g} s", to=to, method=method))


def _finish_unheard(future: asyncio.Future[None], receivers: Any) -> None:
    if not isinstance(receivers, int) or receivers == 0:  # nobody got it: nothing to wait for
        _finish(future)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


__all__ = ["RedisError", "RpcClient", "Scatter", "remote_error"]
