"""What became of an event, and the events that nobody could deliver: `/trace`, `/dead_letters` and its kin."""

from __future__ import annotations

import asyncio
from typing import Any

from band.errors import BandError
from band.jsonrpc.client import RpcClient
from band.redis import RedisLink
from director.api import params
from director.api.service_table import Rows
from director.discovery import rpc
from director.discovery.registrations import Registrations
from director.errors import DirectorError, InvalidValue
from director.state import event_stream

Rest = dict[str, Any]
TRACE_TIMEOUT = 1.0
LETTERS_TIMEOUT = 5.0


class TraceHandlers:
    """Asks Redis where an event is, and services what they know of it."""

    def __init__(self, *, rpc: RpcClient, link: RedisLink, rows: Rows, registrations: Registrations) -> None:
        self._rpc = rpc
        self._link = link
        self._rows = rows
        self._registrations = registrations

    async def trace(self, given: params.TraceParams, _rest: Rest) -> Any:
        """`/trace/<event id>`."""
        found = await event_stream.find(self._link, given.id, after=given.after, scan=given.scan)
        groups = await event_stream.groups(self._link, found.stream_id, str(found.event.get("id")))
        answers = await asyncio.gather(*(self._said(str(group["group"]), given.id) for group in groups))
        return {
            "id": given.id,
            "time": event_stream.time_of(given.id),
            "stream_id": found.stream_id,
            "event": found.event,
            "trace": found.trace,
            "groups": [{**group, "answer": answer} for group, answer in zip(groups, answers, strict=True)],
        }

    async def dead_letters(self, given: params.LettersParams, _rest: Rest) -> Any:
        """`/dead_letters/<name>`."""
        return await self._letters(given.name, "dead_letters", {"limit": given.limit})

    async def replay_dead_letters(self, given: params.ReplayParams, _rest: Rest) -> Any:
        """`/replay_dead_letters/<name>`."""
        arguments: dict[str, Any] = {"ids": given.id} if given.id else {}
        if given.limit is not None:
            arguments["limit"] = given.limit
        return await self._letters(given.name, "replay_dead_letters", arguments)

    async def delete_dead_letters(self, given: params.DeleteLettersParams, _rest: Rest) -> Any:
        """`/delete_dead_letters/<name>`."""
        if bool(given.id) == given.all:
            raise InvalidValue(
                "say which dead letters to delete", "id=<stream id>[,<stream id>…], or all=1 for all of them"
            )
        return await self._letters(given.name, "delete_dead_letters", {"ids": given.id or ""})

    async def _letters(self, name: str, method: str, arguments: dict[str, Any]) -> Any:
        return await rpc.call(
            self._rpc,
            name,
            method,
            arguments,
            timeout=LETTERS_TIMEOUT,
            known=name in self._rows.names(),
            connected=self._link.connected,
            methods=self._registrations.methods(name),
            secrets=self._rows.secrets(name),
        )

    async def _said(self, service: str, event_id: str) -> Any:
        """Return what a listener says of an event; None from one that says nothing, or does not answer."""
        methods = self._registrations.methods(service)
        if service not in self._rows.names() or (methods is not None and "trace" not in methods):
            return None
        try:
            return await rpc.call(
                self._rpc,
                service,
                "trace",
                {"id": event_id},
                timeout=TRACE_TIMEOUT,
                known=True,
                connected=self._link.connected,
                methods=methods,
                secrets=self._rows.secrets(service),
            )
        except (DirectorError, BandError):
            return None
