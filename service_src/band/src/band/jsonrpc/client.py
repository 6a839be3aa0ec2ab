"""Calls to other services."""

from __future__ import annotations

import asyncio
import functools
import itertools
import secrets
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from band.constants import RPC_TIMEOUT
from band.errors import RedisUnavailable, RpcTimeout, RpcUnavailable
from band.jsonrpc import messages
from band.jsonrpc.coalescing import Outbox
from band.jsonrpc.fan_out import ChannelFanOut, FanOutSender
from band.jsonrpc.instances import Presence, instance_channel
from band.jsonrpc.messages import Envelope
from band.jsonrpc.pending import Call, Scatter, Waiting, remote_error
from band.redis.link import RedisLink, reply_error
from band.responses import from_wire
from band.telemetry.logs import logger


class RpcClient:
    """The ``rpc`` that services import: requests, notifications and fan-out requests."""

    def __init__(self, link: RedisLink, presence: Presence) -> None:
        self._link = link
        self._presence = presence
        self._batches = Outbox(link, self._on_receivers)
        # Not from 1: a late response to an earlier run of this service must not match a request of this run.
        self._ids = itertools.count(secrets.randbelow(1 << 40))
        self._waiting: dict[str, Waiting] = {}
        self.service_groups: dict[str, str] = {}
        """Service → its service group, for services that :meth:`scatter` asked and whose last reply named one."""
        self._scatterer = FanOutSender(link, presence, self._next_id, self._waiting, self.service_groups)
        self.name = ""
        self.timeouts = 0
        self.late = 0

    def _next_id(self) -> str:
        return str(next(self._ids))

    def renew(self) -> None:
        """Draw new ids: after a fork, processes with the same ids would receive each other's responses."""
        self._ids = itertools.count(secrets.randbelow(1 << 40))

    @property
    def waiting(self) -> int:
        """Number of requests that wait for a response."""
        return len(self._waiting)

    # --- one service

    async def call(
        self,
        to: str,
        method: str,
        params: dict[str, Any] | None = None,
        timeout: float = RPC_TIMEOUT,
        *,
        request_id: str = "",
    ) -> Any:
        """Call ``method`` of the service ``to`` and return its result as sent.

        Args:
            to: the service's name.
            method: the method's name.
            params: the keyword arguments, any JSON values.
            timeout: seconds until the call ends with an error.
            request_id: an id of the caller's own, never used before, which needs no escaping in JSON.

        Raises:
            RpcRemoteError: the peer responded with an error.
            RpcTimeout: no response in time.
            RpcUnavailable: nobody listens under that name, or Redis was unavailable until the deadline.
            TypeError: the params cannot be written as JSON.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        if not self._link.connected:
            await self._connected(timeout, to, method)
        request_id = request_id or self._next_id()
        call = Call(loop.create_future(), to, method)
        self._waiting[request_id] = call
        timer = loop.call_at(deadline, self._expire, call, timeout)
        try:
            self._send(call, params or {}, request_id)
            return await call.future
        finally:
            timer.cancel()
            self._waiting.pop(request_id, None)

    async def request(self, to: str, method: str, timeout__: float = RPC_TIMEOUT, **params: Any) -> Any:
        """Call as the original did: typed data is unwrapped; without a response it returns None and logs a line.

        Raises:
            RpcRemoteError: the peer responded with an error (the original's ``ReceivedErrorResponse``).
        """
        try:
            return from_wire(await self.call(to, method, params, timeout__))
        except (RpcTimeout, RpcUnavailable) as error:
            logger.warning("rpc_no_answer", to=to, method=method, reason=str(error))
            return None

    async def call_many(
        self, to: str, method: str, items: Sequence[dict[str, Any]], timeout: float = RPC_TIMEOUT
    ) -> list[Any]:
        """Call ``method`` of a service of ours once for each of ``items`` (its arguments), all in one message.

        Returns a list as long as ``items``: each result as sent, or an :class:`RpcRemoteError` in its place.

        Raises:
            RpcRemoteError: the peer refused the whole message, for example because it belongs to the original platform.
            RpcTimeout: no answer in time.
            RpcUnavailable: nobody listens under that name, or Redis was unavailable until the deadline.
        """
        answer = await self.call(to, messages.BATCH, {"method": method, "items": list(items)}, timeout)
        results: list[Any] = answer["results"]
        for number, error in answer["errors"].items():
            results[int(number)] = remote_error(error, to, method)
        return results

    async def notify(self, to: str, method: str, **params: Any) -> None:
        """Send a message without waiting for a response; while Redis is unavailable, it is queued for a while."""
        self._link.publish(to, messages.notification(to, method, self.name, params), keep=True)

    def __getattr__(self, service: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        """``rpc.anything("method", k=v)`` is ``rpc.request("anything", "method", k=v)``.

        Raises:
            AttributeError: the name begins with an underscore, so it is no service.
        """
        if service.startswith("_"):
            raise AttributeError(service)

        def call(method: str, **params: Any) -> Coroutine[Any, Any, Any]:
            return self.request(service, method, **params)

        return call

    # --- several services

    async def scatter(
        self,
        channel: str,
        method: str,
        params: dict[str, Any],
        *,
        expect: Iterable[str],
        timeout: float,
        raw: bool = False,
    ) -> Scatter:
        """Send the same request to several services, and collect the responses of those in ``expect``.

        It ends when each of them has responded, with a result or an error, or at the deadline; it does not raise if
        some or all of them do not respond, or Redis is unavailable. If all of them use this framework, the requests of
        one turn of the event loop reach each service as one message; otherwise one request goes to the fan-out channel.

        Args:
            channel: the fan-out channel, e.g. ``enrich``.
            method: the method's name.
            params: the keyword arguments, any JSON values.
            expect: names of the services to wait for.
            timeout: seconds.
            raw: leave each result as JSON (``msgspec.Raw``, valid UTF-8), to pass it on without creating objects
                from it. Results of one message share its memory; ``copy()`` what you keep.

        Raises:
            TypeError: the params cannot be written as JSON.
        """
        services = expect if isinstance(expect, frozenset) else frozenset(expect)
        if not services or not self._link.connected:
            return Scatter({}, {}, set(services), {})
        together = self._scatterer.ask((method, services, timeout, raw), params)
        if together is not None:
            return await together
        loop = asyncio.get_running_loop()
        gather = ChannelFanOut(method, services, self.service_groups, raw=raw)
        future = gather.ask(loop, b"")
        request_id = self._next_id()
        payload = messages.request(channel, method, self._plain_sender(), params, request_id)
        self._waiting[request_id] = gather
        self._link.publish(channel, payload, functools.partial(_finish_unheard, gather))
        gather.timer = loop.call_later(timeout, gather.finish)
        try:
            return await future
        finally:
            gather.finish()
            self._waiting.pop(request_id, None)

    # --- answers

    def take_reply(self, reply: Envelope) -> None:
        """Pass a reply to the request that waits for it."""
        waiting = self._waiting.get(str(reply.id))
        if waiting is None:
            self.late += 1
        elif waiting.take(reply):
            self._waiting.pop(str(reply.id), None)

    def cancel_all(self, reason: str) -> int:
        """End all waiting requests; returns their number."""
        return sum([waiting.end(reason) for waiting in list(self._waiting.values())])

    # --- sending

    async def _connected(self, timeout: float, to: str, method: str) -> None:
        try:
            await self._link.ready(timeout)
        except RedisUnavailable as error:
            raise RpcUnavailable(f"{to}.{method} was not called: {error}", to=to, method=method) from None

    def _send(self, call: Call, params: dict[str, Any], request_id: str) -> None:
        instance = self._presence.pick(call.to)
        if instance is None:
            self._publish_plain(call, messages.request(call.to, call.method, self._plain_sender(), params, request_id))
            return
        payload = messages.request(call.to, call.method, self._presence.channel, params, request_id)
        self._batches.put(instance_channel(call.to, instance), payload, (call, instance))

    def _plain_sender(self) -> str:
        """Return the channel for responses of original peers: the service's, or the instance's if it has replicas."""
        return self.name if self._presence.alone else self._presence.channel

    def _publish_plain(self, call: Call, payload: bytes) -> None:
        if not self._link.publish(call.to, payload, functools.partial(self._on_plain_receivers, call)):
            call.fail(f"it was not called: {self._link.last_error}")

    def _on_plain_receivers(self, call: Call, receivers: Any) -> None:
        if receivers == 0:
            call.fail(f"no service {call.to!r} is connected to Redis; is it running, and is the name right?")
        elif (error := reply_error(receivers)) is not None and not isinstance(error, RedisUnavailable):
            call.fail(str(error))

    def _on_receivers(self, receivers: Any, sent: tuple[bytes, tuple[Call, str]]) -> None:
        """Retry with another instance, or the service's own channel, if an instance is gone."""
        payload, (call, instance) = sent
        if receivers == 0:
            self._presence.forget(call.to, instance)
            other = self._presence.pick(call.to)
            if other is not None and not call.future.done():
                self._batches.put(instance_channel(call.to, other), payload, (call, other))
                return
        if not call.future.done() and not isinstance(receivers, RedisUnavailable):
            self._publish_plain(call, payload)

    def _expire(self, call: Call, timeout: float) -> None:
        if not call.future.done():
            self.timeouts += 1
            text = f"{call.to}.{call.method} did not answer within {timeout:g} s"
            call.future.set_exception(RpcTimeout(text, to=call.to, method=call.method))


def _finish_unheard(gather: ChannelFanOut, receivers: Any) -> None:
    if not isinstance(receivers, int) or receivers == 0:  # nobody got it: nothing to wait for
        gather.finish()
