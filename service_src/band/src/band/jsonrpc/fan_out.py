"""Requests to several services of ours at once: those of one turn of the loop reach each service as one message."""

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
from band.per_turn import PerTurn
from band.redis.link import RedisLink

MAX_GROUP_LENGTH: Final = 200
"""Characters of a service group's name."""

Key = tuple[str, frozenset[str], float, bool]
"""What requests must have in common to be sent together: method, services, timeout, whether results stay JSON."""


class _Answers(msgspec.Struct):
    """The result of a batch; each result is still JSON."""

    results: list[msgspec.Raw]
    errors: dict[str, Any] = {}


_answers = msgspec.json.Decoder(_Answers)


def _read(answer: msgspec.Raw) -> _Answers:
    """Return the parts of an answer, each result as JSON that can be passed on.

    Raises:
        ValueError: it is not the answer to a batch.
        RecursionError: it is nested too deeply.
    """
    try:
        found = _answers.decode(answer)
    except msgspec.DecodeError:
        return _read_loosely(answer)
    try:
        str(memoryview(answer), "utf-8")  # the only thing of a result that msgspec leaves unread
    except UnicodeDecodeError:
        for number, one in enumerate(found.results):
            try:
                str(memoryview(one), "utf-8")
            except UnicodeDecodeError as fault:
                found.errors[str(number)] = unreadable(fault)
    return found


def _read_loosely(answer: msgspec.Raw) -> _Answers:
    """Read what only Python's own reader takes (NaN, half a surrogate pair) and make it valid."""
    loose = json_codec.decode_loosely(answer)
    if not isinstance(loose, dict) or not isinstance(loose.get("results"), list):
        raise ValueError("no list of results")  # noqa: TRY004 - a ValueError is what the caller answers
    errors = loose.get("errors", {})
    if not isinstance(errors, dict):
        raise ValueError("no errors by number")  # noqa: TRY004 - as above
    return _Answers([msgspec.Raw(json_codec.encode_strictly(one)) for one in loose["results"]], errors)


def _decode_results(found: _Answers) -> list[Any]:
    """Return the values of the results; what cannot be read becomes an error."""
    values: list[Any] = []
    for number, one in enumerate(found.results):
        try:
            values.append(json_codec.decode_loosely(one))
        except UNREADABLE as fault:
            values.append(None)
            found.errors.setdefault(str(number), unreadable(fault))
    return values


class FanOut:
    """At most 500 requests that ask the same services at the same moment, and so are answered together.

    Everything that can be is kept once for all of them: who is missing, the times, the deadline.
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
        """Who has not answered yet."""
        return list(self._open)

    def ask(self, loop: asyncio.AbstractEventLoop, item: bytes) -> asyncio.Future[Scatter]:
        """Add a request (its params as JSON); the future has what came back."""
        future: asyncio.Future[Scatter] = loop.create_future()
        self.items.append(item)
        self.futures.append(future)
        return future

    def take_result(self, service: str, answer: Any, error: Any) -> None:
        """Take what a service answered to all of them: the result as JSON, or an error of the whole."""
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
        """Take the results of a service, one for each request, and its errors by number; "" is everybody's."""
        self._elapsed[service] = round((time.perf_counter() - self._begun) * 1000, 3)
        self._columns[service], self._faults[service] = column, faults
        self.stop_waiting_for(service)

    def stop_waiting_for(self, service: str) -> None:
        """Expect nothing more of a service."""
        self._open.discard(service)
        if not self._open:
            self.finish()

    def finish(self) -> None:
        """Tell everybody who still waits what has come so far."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        missing, self._open = self._open, set()
        futures, self.futures = self.futures, []
        columns = list(self._columns.items())
        # Answers that are not as many as the questions have faults too.
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
        """Return what came for one request when some of the answers are errors."""
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
        """End the wait because the service stops; whether somebody still waited."""
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
    """One request on a fan-out channel, as the original platform has it: each service answers for itself."""

    __slots__ = ("_groups",)

    def __init__(self, method: str, services: frozenset[str], groups: dict[str, str], *, raw: bool) -> None:
        super().__init__(method, services, raw=raw)
        self._groups = groups

    def take(self, reply: Envelope) -> bool:
        """Take one service's answer, result or error; True: nothing more is expected."""
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
            # Encoded again: original services format and escape JSON in their own way; what we pass on has one form.
            return [msgspec.Raw(json_codec.encode_strictly(value)) if self._raw else value], {}
        except UNREADABLE as fault:
            return [], {"": unreadable(fault)}


class _BatchReply:
    """The answer of one service to a turn's requests."""

    __slots__ = ("groups", "service", "timer", "turn")

    def __init__(self, service: str, turn: FanOut, groups: dict[str, str]) -> None:
        self.service = service
        self.turn = turn
        self.groups = groups
        self.timer: asyncio.TimerHandle | None = None

    def take(self, reply: Envelope) -> bool:
        """Share the answers out; an error of the whole is everybody's error."""
        if self.timer is not None:
            self.timer.cancel()
        if reply.service_group is not None or self.groups:
            note_group(self.groups, self.service, reply.service_group)
        self.turn.take_result(self.service, reply.result, outcome(reply)[1])
        return True

    def end(self, _reason: str) -> bool:
        """End the wait of each because the service stops."""
        return self.turn.end()


class FanOutSender:
    """Gathers the requests of one turn of the loop and sends them.

    Args:
        link: the connection.
        presence: which instances of ours there are.
        next_id: returns a new request id.
        waiting: where replies are looked up by request id.
        groups: service → its service group, for those whose last reply named one; kept up to date here.
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
        self.reply_channel = ""

    def ask(self, key: Key, params: dict[str, Any]) -> asyncio.Future[Scatter] | None:
        """Add a request to those of this turn; None when one of the services is not known to be of ours.

        Raises:
            TypeError: the params have no JSON form.
        """
        loop = asyncio.get_running_loop()
        turn = self._turns.get(key)
        if turn is None:
            method, services, _timeout, raw = key
            unknown = [service for service in services if not self._presence.knows(service)]  # looks for all of them
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
        payload = messages.request_raw(part.service, messages.BATCH, self.reply_channel, params, request_id)
        self._waiting[request_id] = part
        # Whoever still waits in it has its own deadline; this only forgets an answer that never came.
        forget_after = max(timeout, RPC_TIMEOUT)
        part.timer = asyncio.get_running_loop().call_later(forget_after, self._waiting.pop, request_id, None)
        instance = self._presence.pick(part.service)
        channel = part.service if instance is None else instance_channel(part.service, instance)
        heard = functools.partial(self._on_receivers, part, payload, instance)
        if not self._link.publish(channel, payload, heard):
            part.turn.stop_waiting_for(part.service)

    def _on_receivers(self, part: _BatchReply, payload: bytes, instance: str | None, receivers: Any) -> None:
        if receivers == 0 and instance is not None:
            self._presence.forget(part.service, instance)
            other = self._presence.pick(part.service)
            channel = part.service if other is None else instance_channel(part.service, other)
            heard = functools.partial(self._on_receivers, part, payload, other)
            if self._link.publish(channel, payload, heard):
                return
        if not isinstance(receivers, int) or receivers == 0:
            part.turn.stop_waiting_for(part.service)
