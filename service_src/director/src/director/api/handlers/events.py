"""Endpoints about events: the newest, the trace of one, replays and dead letters."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import msgspec

from band import BandError
from band.platform import RedisLink, first_id, last_id
from director.api import params
from director.api.routes import route
from director.api.schemas import EventList, EventTrace, GroupTrace
from director.discovery.registrations import Registrations
from director.discovery.rpc import Rpc
from director.errors import BadParameter, DirectorError, InvalidValue, NotFound
from director.state import event_stream
from director.state.store import stream_order
from director.supervise.status import StatusBoard

TRACE_TIMEOUT = 1.0
LETTERS_TIMEOUT = 5.0
_SEE_PLACES = "give beginning, now, a time, or an entry's id"
_LETTERS = (404, 409, 422, 502, 504)


@dataclass(kw_only=True, eq=False)
class EventHandlers:
    """Asks Redis where events are, and services what they know of them."""

    rpc: Rpc
    link: RedisLink
    board: StatusBoard
    registrations: Registrations

    @route("/events", "Events, newest first; filtered by key, visitor and time", 422, 502, reads=True)
    async def events(self, given: params.EventsParams) -> EventList:
        try:
            start, end = first_id(given.start), last_id(given.end)
        except ValueError as error:
            raise InvalidValue(str(error), _SEE_PLACES) from None
        if given.before and "-" in given.before and stream_order(given.before) == (0, 0):
            raise InvalidValue("no entry is before 0-0, the first of all ids", "leave before out for the newest events")
        page = await event_stream.search(
            self.link, given.limit, start=start, end=end, before=given.before, key=given.key, uid=given.uid,
            scan=given.scan,
        )  # fmt: skip
        return EventList(page.events, page.before)

    @route(
        "/trace/{id}",
        "The path of an event: as received, its enrichers, its listeners and their results",
        404, 422, 502, reads=True,
    )  # fmt: skip
    async def trace(self, given: params.TraceParams) -> EventTrace:
        found = await event_stream.find(self.link, given.id, after=given.after, scan=given.scan)
        groups = await event_stream.groups(self.link, found.stream_id, str(found.event.get("id")))
        services = [event_stream.service_of(str(group["group"])) for group in groups]
        answers = await asyncio.gather(*(self._said(service, given.id) for service in services))
        traced = [
            msgspec.convert({**group, "answer": answer}, GroupTrace)
            for group, answer in zip(groups, answers, strict=True)
        ]
        at = event_stream.time_of(given.id)
        return EventTrace(given.id, at, found.stream_id, found.event, found.trace, traced)

    @route(
        "/dead_letters/{name}", "Events that a service could not process, newest first, each with the reason",
        *_LETTERS, reads=True,
    )  # fmt: skip
    async def dead_letters(self, given: params.LettersParams) -> Any:
        return await self._letters(given.name, "dead_letters", {"limit": given.limit})

    @route(
        "/replay_dead_letters/{name}", "Process dead letters again: those given by id, otherwise the oldest", *_LETTERS
    )
    async def replay_dead_letters(self, given: params.ReplayParams) -> Any:
        arguments: dict[str, Any] = {"ids": given.id} if given.id else {}
        if given.limit is not None:
            arguments["limit"] = given.limit
        return await self._letters(given.name, "replay_dead_letters", arguments)

    @route("/delete_dead_letters/{name}", "Delete dead letters: those given by id, or all of them", *_LETTERS)
    async def delete_dead_letters(self, given: params.DeleteLettersParams) -> Any:
        if bool(given.id) == given.all:
            raise InvalidValue(
                "say which dead letters to delete", "id=<stream id>[,<stream id>…], or all=1 for all of them"
            )
        return await self._letters(given.name, "delete_dead_letters", {"ids": given.id or ""})

    @route(
        "/replay/{name}",
        "Deliver events that are still in the stream to one listener again; other listeners are not affected",
        *_LETTERS,
    )
    async def replay(self, given: params.ReplayEventsParams) -> Any:
        if sum([given.start is not None, given.resume, given.stop]) > 1:
            raise InvalidValue(
                "from, resume and stop cannot be combined", "give one of them, or none to see the progress"
            )
        arguments: dict[str, Any] = {"resume": given.resume, "stop": given.stop}
        if given.start is not None:
            arguments |= {"start": given.start, "end": given.end, "key": given.key}
        if given.group:
            arguments["group"] = given.group
        try:
            return await self._letters(given.name, "replay_events", arguments)
        except BadParameter as error:
            said = error.message.removeprefix(f"{given.name}.replay_events: ").removeprefix("Invalid params: ")
            raise BadParameter(said, f"GET /replay/{given.name} shows the newest replay") from error

    async def _letters(self, name: str, method: str, arguments: dict[str, Any]) -> Any:
        known = name in self.board.names()
        try:
            return await self.rpc.call(name, method, arguments, timeout=LETTERS_TIMEOUT, known=known)
        except NotFound as error:
            if "method" not in error.facts:
                raise
            what = f"service {name!r} has no listener of the stream, so it has no dead letters and no replays"
            raise NotFound(what, "GET /asyncapi.json describes the listeners", **error.facts) from error

    async def _said(self, service: str, event_id: str) -> Any:
        """Return a listener's own report about an event; None if it has none or does not respond."""
        methods = self.registrations.methods(service)
        if service not in self.board.names() or (methods is not None and "trace" not in methods):
            return None
        try:
            return await self.rpc.call(service, "trace", {"id": event_id}, timeout=TRACE_TIMEOUT, known=True)
        except (DirectorError, BandError):
            return None
