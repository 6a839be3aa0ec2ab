"""Fan-out requests to several of our services: those of one turn of the loop reach each service as one message."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from band import json_codec
from band.constants import RPC_TIMEOUT
from band.jsonrpc import messages
from band.jsonrpc.coalescing import MAX_BATCH
from band.jsonrpc.instances import Presence, instance_channel
from band.jsonrpc.messages import Envelope
from band.jsonrpc.pending import UNREADABLE, Scatter, Waiting, outcome, remote_error, unreadable
from band.redis.link import RedisLink
from band.tasks import PerTurn

MAX_GROUP_LENGTH: Final = 200
"""Characters of a service group's name."""

Key = tuple[str, frozenset[str], float, bool]
"""What requests that are sent together share: method, services, timeout, whether results stay JSON."""


class _Answers(msgspec.Struct):
    """The result of a batch; each result is still JSON."""

    results: list[msgspec.Raw]
    errors: dict[str, Any] = {}


_answers = msgspec.json.Decoder(_Answers)


def _read(answer: msgspec.Raw) -> _Answers:
    """Return the parts of a response, each result as valid JSON.

    Raises:
        ValueError: it is not the response to a batch.
        RecursionError: it is nested too deeply.
    """
    try:
        found = _answers.decode(answer)
    except msgspec.DecodeError:
        return _read_loosely(answer)
    try:
        str(memoryview(answer), "utf-8")  # msgspec does not check the encoding of a raw result
    except UnicodeDecodeError:
        for number, one in enumerate(found.results):
            try:
                str(memoryview(one), "utf-8")
            except UnicodeDecodeError as fault:
                found.errors[str(number)] = unreadable(fault)
    return found


def _read_loosely(answer: msgspec.Raw) -> _Answers:
    """Read what only the standard library accepts (NaN, half a surrogate pair) and make it valid."""
    loose = json_codec.decode_loosely(answer)
    if not isinstance(loose, dict) or not isinstance(loose.get("results"), list):
        raise ValueError("no list of results")  # noqa: TRY004 - the caller handles ValueError
    errors = loose.get("errors", {})
    if not isinstance(errors, dict):
        raise ValueError("no errors by number")  # noqa: TRY004 - as above
    return _Answers([msgspec.Raw(json_codec.encode_strictly(one)) for one in loose["results"]], errors)


def _decode_results(found: _Answers) -> list[Any]:
    """Return the values of the results; unreadable ones become errors."""
    values: list[Any] = []
    for number, one in enumerate(found.results):
        try:
            values.append(json_codec.decode_loosely(one))
        except UNREADABLE as fault:
            values.append(None)
            found.errors.setdefault(str(number), unreadable(fault))
    return values


class FanOut:
    """At most 500 concurrent requests to the same services, which are answered together.

    They share the set of missing services, the times and the deadline.
    """

    __slots__ = ("_begun", "_columns", "_elapsed", "_faults", "_open", "_raw", "futures", "items", "method", "timer")

    def __init__(self, method: str, services: frozenset[str], *, raw: bool) -> None:
        self._begun = time.perf_counter()
        self._open = set(services)
        self._raw = raw
        self._columns: dict[str, list[Any]] = {}
        self._faults: dict[str, dict[str, Any]] = {}
        self._elapsed: dict[str, float] = {}
        self.method = method
        self.items: list[bytes] = []
        self.futures: list[asyncio.Future[Scatter]] = []
        self.timer: asyncio.TimerHandle | None = None

    @property
    def services(self) -> list[str]:
        """The services that have not responded yet."""
        return list(self._open)

    def ask(self, loop: asyncio.AbstractEventLoop, item: bytes) -> asyncio.Future[Scatter]:
        """Add a request (its params as JSON); the future gets the responses."""
        future: asyncio.Future[Scatter] = loop.create_future()
        self.items.append(item)
        self.futures.append(future)
        return future

    def take_result(self, service: str, answer: Any, error: Any) -> None:
        """Process a service's response to all of them: the result as JSON, or an error of the whole batch."""
        if service not in self._open:
            return
        if error is None:
            try:
                found = _read(answer)
                self._note(service, [*found.results] if self._raw else _decode_results(found), found.errors)
                return
            except UNREADABLE:
                error = {"message": "not the answer to a batch"}
        self._note(service, [], {"": error})

    def _note(self, service: str, column: list[Any], faults: dict[str, Any]) -> None:
        """Store the results of a service, one for each request, and its errors by number; "" applies to all."""
        self._elapsed[service] = round((time.perf_counter() - self._begun) * 1000, 3)
        self._columns[service], self._faults[service] = column, faults
        self.stop_waiting_for(service)

    def stop_waiting_for(self, service: str) -> None:
        """Stop waiting for a service."""
        self._open.discard(service)
        if not self._open:
            self.finish()

    def finish(self) -> None:
        """End all waits with the responses so far."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        missing, self._open = self._open, set()
        futures, self.futures = self.futures, []
        columns = list(self._columns.items())
        # A response with another number of results is faulty too.
        faulty = any(self._faults.values()) or any(len(column) != len(futures) for _, column in columns)
        for number, future in enumerate(futures):
            if future.done():
                continue
            if faulty:
                future.set_result(self._careful(number, missing))
            else:
                results = {service: column[number] for service, column in columns}
                future.set_result(Scatter(results, {}, set(missing), self._elapsed))

    def _careful(self, number: int, missing: set[str]) -> Scatter:
        """Return the responses to one request if some are errors."""
        scatter = Scatter({}, {}, set(missing), self._elapsed)
        for service, column in self._columns.items():
            faults = self._faults[service]
            error = faults.get(str(number), faults.get(""))
            if error is None and number < len(column):
                scatter.results[service] = column[number]
            else:
                error = {"message": "fewer answers than requests"} if error is None else error
                scatter.errors[service] = remote_error(error, service, self.method)
        return scatter

    def end(self, _reason: str = "") -> bool:
        """End all waits because the service stops; returns whether there were any."""
        waited = any(not future.done() for future in self.futures)
        self.finish()
        return waited


def note_group(groups: dict[str, str], service: str, group: Any) -> None:
    """Keep what a reply says of its service's group; nothing, where it says nothing that can be a name."""
    if isinstance(group, str) and 0 < len(group) <= MAX_GROUP_LENGTH:
        groups[service] = group
    else:
        groups.pop(service, None)


class ChannelFanOut(FanOut):
    """One request on a fan-out channel, as in the original platform: each service responds separately."""

    __slots__ = ("_groups",)

    def __init__(self, method: str, services: frozenset[str], groups: dict[str, str], *, raw: bool) -> None:
        super().__init__(method, services, raw=raw)
        self._groups = groups

    def take(self, reply: Envelope) -> bool:
        """Process one service's response, result or error; True: nothing more is expected."""
        service = str(reply.sender)
        if service in self._open:
            if reply.service_group is not None or self._groups:
                note_group(self._groups, service, reply.service_group)
            result, error = outcome(reply)
            self._note(service, *self._read(result, error))
        return not self._open

    def _read(self, result: msgspec.Raw, error: Any) -> tuple[list[Any], dict[str, Any]]:
        if error is not None:
            return [], {"": error}
        try:
            value = json_codec.decode_loosely(result)
            # Encoded again: original services format and escape JSON in their own way; we use one form.
            return [msgspec.Raw(json_codec.encode_strictly(value)) if self._raw else value], {}
        except UNREADABLE as fault:
            return [], {"": unreadable(fault)}


class _BatchReply:
    """The response of one service to a turn's requests."""

    __slots__ = ("groups", "service", "timer", "turn")

    def __init__(self, service: str, turn: FanOut, groups: dict[str, str]) -> None:
        self.service = service
        self.turn = turn
        self.groups = groups
        self.timer: asyncio.TimerHandle | None = None

    def take(self, reply: Envelope) -> bool:
        """Distribute the results; an error of the whole batch applies to all requests."""
        if self.timer is not None:
            self.timer.cancel()
        if reply.service_group is not None or self.groups:
            note_group(self.groups, self.service, reply.service_group)
        self.turn.take_result(self.service, reply.result, outcome(reply)[1])
        return True

    def end(self, _reason: str) -> bool:
        """End all waits because the service stops."""
        return self.turn.end()


class FanOutSender:
    """Collects the requests of one turn of the loop and sends them.

    Args:
        link: the connection.
        presence: the known instances of our services.
        next_id: returns a new request id.
        waiting: the waiting requests by id.
        groups: service → its service group, if its last reply named one; kept up to date here.
    """

    def __init__(
        self,
        link: RedisLink,
        presence: Presence,
        next_id: Callable[[], str],
        waiting: dict[str, Waiting],
        groups: dict[str, str],
    ) -> None:
        self._link = link
        self._presence = presence
        self._next_id = next_id
        self._waiting = waiting
        self._groups = groups
        self._turns: dict[Key, FanOut] = {}
        self._full: list[tuple[Key, FanOut]] = []
        self._end_of_turn = PerTurn(self._send_all)

    def ask(self, key: Key, params: dict[str, Any]) -> asyncio.Future[Scatter] | None:
        """Add a request to those of this turn; None unless all services are known to be ours.

        Raises:
            TypeError: the params have no JSON form.
        """
        loop = asyncio.get_running_loop()
        turn = self._turns.get(key)
        if turn is None:
            method, services, _timeout, raw = key
            unknown = [service for service in services if not self._presence.knows(service)]  # looks all of them up
            if unknown:
                return None
            item = json_codec.encode(params)
            self._end_of_turn.plan()
            turn = self._turns[key] = FanOut(method, services, raw=raw)
        else:
            item = json_codec.encode(params)
        future = turn.ask(loop, item)
        if len(turn.items) >= MAX_BATCH:
            self._full.append((key, self._turns.pop(key)))
        return future

    def _send_all(self) -> None:
        turns = [*self._full, *self._turns.items()]
        self._full, self._turns = [], {}
        loop = asyncio.get_running_loop()
        for (_method, _services, timeout, _raw), turn in turns:
            turn.timer = loop.call_later(timeout, turn.finish)
            params = b'{"method":%b,"items":[%b]}' % (json_codec.encode(turn.method), b",".join(turn.items))
            turn.items = []
            for service in turn.services:
                self._send(_BatchReply(service, turn, self._groups), params, timeout)

    def _send(self, part: _BatchReply, params: bytes, timeout: float) -> None:
        request_id = self._next_id()
        payload = messages.request_raw(part.service, messages.BATCH, self._presence.channel, params, request_id)
        self._waiting[request_id] = part
        # The requests have their own deadline; this only drops the entry of a missing response.
        forget_after = max(timeout, RPC_TIMEOUT)
        part.timer = asyncio.get_running_loop().call_later(forget_after, self._waiting.pop, request_id, None)
        self._publish(part, payload)

    def _publish(self, part: _BatchReply, payload: bytes) -> None:
        instance = self._presence.pick(part.service)
        channel = part.service if instance is None else instance_channel(part.service, instance)
        heard = functools.partial(self._on_receivers, part, payload, instance)
        if not self._link.publish(channel, payload, heard):
            part.turn.stop_waiting_for(part.service)

    def _on_receivers(self, part: _BatchReply, payload: bytes, instance: str | None, receivers: Any) -> None:
        if receivers == 0 and instance is not None:
            self._presence.forget(part.service, instance)
            self._publish(part, payload)
        elif not isinstance(receivers, int) or receivers == 0:
            part.turn.stop_waiting_for(part.service)
