"""The RPC server: calls from other services."""

from __future__ import annotations

import asyncio
import functools
import zlib
from collections.abc import Coroutine
from typing import Any, Final

import msgspec

from band import json_codec
from band.calls.middleware import RPC, Call, Next, chain, counted, deliver, own
from band.calls.signature import Handler
from band.constants import BROADCAST, DIRECTOR_METHODS, ENRICH, INSTANCE_SEPARATOR
from band.errors import InvalidParams, RedisError
from band.jsonrpc import messages
from band.jsonrpc.batch import run_batch
from band.jsonrpc.coalescing import Outbox
from band.jsonrpc.instances import Presence
from band.jsonrpc.invoke import PLAIN, describe, wire_value
from band.jsonrpc.messages import Envelope
from band.redis.link import RedisLink
from band.registry import Exposed, Registry
from band.tasks import eager_task
from band.telemetry.logs import logger
from band.telemetry.metrics import Metrics

MAX_IN_FLIGHT: Final = 5_000
"""Concurrent calls beyond which further ones are refused: a flood leads to errors, not to memory exhaustion."""

MAX_PER_METHOD: Final = 1_000
"""Concurrent calls of one method: a hanging handler leaves room for the others."""

FAN_OUT: Final = frozenset({ENRICH, BROADCAST})


class RpcServer:
    """Serves requests on the channels of a service."""

    def __init__(self, link: RedisLink, registry: Registry, metrics: Metrics, presence: Presence) -> None:
        self._link = link
        self._presence = presence
        self._batches = Outbox(link, keep=True)
        self._batch_method = Exposed(messages.BATCH, run_batch, path="", handler=Handler(run_batch, read=False))
        self._run_batch = chain([counted(metrics), self._write], self._deliver_batch)
        self._run = self._run_batch
        self._registry = registry
        self._metrics = metrics
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy: dict[str, int] = {}
        self._draining = False
        self._channels: frozenset[str] = frozenset()
        self._guarded: frozenset[str] = frozenset()
        self.name = ""
        self.grants = ""
        """Beginning of the keys of the director's grants; empty: its methods serve everybody."""
        self.group = ""
        """Name that replies give as ``service_group``: front stores enrichments under it. Empty: none."""

    def listen(self, name: str, channels: set[str]) -> None:
        """Accept messages for the service ``name`` on ``channels`` (including its own name)."""
        self.name = name
        self._run = chain([counted(self._metrics), self._write, *own(self._registry)], deliver)
        self._channels = frozenset(channels)
        self._draining = False
        self._guarded = DIRECTOR_METHODS if self.grants else frozenset()

    @property
    def in_flight(self) -> int:
        """Number of calls in progress."""
        return len(self._tasks)

    def in_progress(self) -> dict[str, float]:
        """Return method → number of its calls in progress."""
        return {method: float(count) for method, count in self._busy.items()}

    def _is_ours(self, envelope: Envelope, data: bytes) -> bool:
        """Return whether this replica handles a request that every replica received: exactly one does."""
        replicas = self._presence.replicas()
        if self._presence.alone:
            return True
        mark = data if envelope.id is msgspec.UNSET else f"{envelope.id}{envelope.sender}{envelope.method}".encode()
        return replicas[zlib.crc32(mark) % len(replicas)] == self._presence.instance

    async def drain(self, timeout: float) -> int:
        """Refuse further calls, wait for those in progress; returns how many were cancelled after ``timeout`` seconds.

        The callers of cancelled calls get an error that says so.
        """
        self._draining = True
        if not self._tasks:
            return 0
        _, late = await asyncio.wait(set(self._tasks), timeout=timeout)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=1.0)
        return len(late)

    # --- one request

    def on_request(self, channel: str, envelope: Envelope, data: bytes) -> None:
        """Handle a request from ``channel``, in the message ``data``, if it is for this replica."""
        if INSTANCE_SEPARATOR in channel or self._is_ours(envelope, data):
            self._begin(channel, envelope)

    def _begin(self, channel: str, envelope: Envelope) -> None:
        try:
            to, method, sender = envelope.address()
        except ValueError:
            self._refuse(envelope, str(envelope.sender or ""), messages.INVALID_REQUEST, None)
            return
        if envelope.jsonrpc != "2.0":
            self._refuse(envelope, sender, messages.INVALID_REQUEST, 'jsonrpc must be "2.0"')
            return
        if to not in self._channels:
            logger.debug("rpc_wrong_recipient", formerly="rpc_not_for_us", to=to, channel=channel, method=method)
            return
        exposed = self._registry.methods.get(method)
        if exposed is None and method == messages.BATCH:
            exposed = self._batch_method
        if exposed is None:
            if channel not in FAN_OUT:  # on a fan-out channel others may have it
                self._refuse(envelope, sender, messages.METHOD_NOT_FOUND, f"{self.name} has no method {method!r}")
            return
        params = {} if envelope.params is msgspec.UNSET or envelope.params is None else envelope.params
        if not isinstance(params, dict):
            self._refuse(envelope, sender, messages.INVALID_PARAMS, "params must be an object of named arguments")
            return
        if self._draining and not method.startswith("__"):
            self._refuse(envelope, sender, messages.SERVER_ERROR, f"{self.name} is stopping")
            return
        if len(self._tasks) >= MAX_IN_FLIGHT or self._busy.get(method, 0) >= MAX_PER_METHOD:
            self._refuse(
                envelope, sender, messages.OVERLOADED,
                f"{self._busy.get(method, 0)} calls of {method} are in progress, {len(self._tasks)} in all",
            )  # fmt: skip
            return
        if method in self._guarded:
            self._spawn(method, self._answer_director(exposed, params, envelope, sender))
        elif exposed is self._batch_method and params.get("method") in self._guarded:
            self._refuse(envelope, sender, messages.SERVER_ERROR, f"{params['method']} cannot be called in a batch")
        else:
            self._spawn(method, self._answer(exposed, params, envelope, sender))

    def _spawn(self, method: str, coroutine: Coroutine[Any, Any, None]) -> None:
        task = eager_task(coroutine)  # a handler that waits for nothing responds without a turn of the loop
        if not task.done():
            self._tasks.add(task)
            self._busy[method] = self._busy.get(method, 0) + 1
            task.add_done_callback(functools.partial(self._ended, method))

    def _ended(self, method: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._busy[method] -= 1

    async def _answer_director(self, exposed: Exposed, params: dict[str, Any], envelope: Envelope, sender: str) -> None:
        """Respond only to what the director has granted; everybody can write its name into ``from``."""
        try:
            grant = await self._link.command("GETDEL", f"{self.grants}:{envelope.id}")
            granted = grant is not None and json_codec.decode(grant) == {"method": exposed.name, "params": params}
        except (RedisError, ValueError) as error:
            logger.warning("grant_unreadable", method=exposed.name, reason=str(error))
            granted = False
        if granted:
            await self._answer(exposed, params, envelope, sender)
        else:
            detail = f"only the director may call {exposed.name}: ask it, as in GET /call/{self.name}/{exposed.name}"
            self._refuse(envelope, sender, messages.SERVER_ERROR, detail)

    async def _answer(self, exposed: Exposed, params: dict[str, Any], envelope: Envelope, sender: str) -> None:
        call = Call(RPC, exposed, params, sender=sender, request_id=envelope.id)
        try:
            reply = await (self._run_batch if exposed is self._batch_method else self._run)(call)
        except InvalidParams as error:
            reply = self._failure(call, messages.INVALID_PARAMS, str(error), error.path)
        except asyncio.CancelledError:
            if reply := self._failure(call, messages.SERVER_ERROR, "the call was cancelled before it finished"):
                self._link.publish(sender, reply, keep=True)
            raise
        except Exception as error:  # noqa: BLE001 - the caller gets a response in any case
            detail = describe(error)
            logger.exception("rpc_handler_failed", method=exposed.name, sender=sender, reason=detail)
            reply = self._failure(call, messages.SERVER_ERROR, detail)
        if reply and sender:
            self._send(sender, reply)

    def _failure(self, call: Call, code: int, detail: str, path: str = "") -> bytes:
        """Return an error response; empty if nobody waits for it."""
        if call.request_id is msgspec.UNSET or not call.sender:
            return b""
        return messages.failure(code, detail, call.request_id, self.name, call.sender, path, self.group)

    async def _write(self, call: Call, following: Next) -> bytes:
        """Return the encoded reply; an unencodable result is an error of the function like any other."""
        result = await following(call)
        if type(result) not in PLAIN:
            result = await wire_value(result)
        if call.request_id is msgspec.UNSET:
            return b""
        return messages.success(result, call.request_id, self.name, call.sender, self.group)

    async def _deliver_batch(self, call: Call) -> msgspec.Raw:
        batch = functools.partial(run_batch, self._registry, self._metrics, call)
        found: msgspec.Raw = await Handler(batch, read=False).call(call.params)
        return found

    def _send(self, channel: str, reply: bytes) -> None:
        # An instance's channel belongs to our framework, which accepts batches; others get one message per response.
        if INSTANCE_SEPARATOR in channel:
            self._batches.put(channel, reply)
        else:
            self._link.publish(channel, reply, keep=True)

    def _refuse(self, envelope: Envelope, sender: str, code: int, detail: str | None) -> None:
        self._metrics.called("-", messages.MESSAGES[code], 0.0)
        logger.warning("rpc_refused", sender=sender, reason=messages.MESSAGES[code], detail=detail)
        if envelope.id is msgspec.UNSET or not sender:
            return
        # The original responds to an invalid request with a null id.
        request_id = None if code == messages.INVALID_REQUEST else envelope.id
        self._send(sender, messages.failure(code, detail, request_id, self.name, sender, group=self.group))
