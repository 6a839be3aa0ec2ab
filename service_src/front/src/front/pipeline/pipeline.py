"""The stages of one message: enrich, mask the address, handle, store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from band import RpcError, RpcRemoteError, RpcTimeout, logger
from band.platform import ASIDE, INVALID_PARAMS, RpcClient, eager_task, encode
from front.enrichment.enricher import Enricher
from front.errors import NotAccepted
from front.event.ip_privacy import Masker
from front.event.message import Message
from front.event.trace import Trace
from front.metrics import Counters
from front.pipeline import replies
from front.pipeline.bots import is_bot
from front.pipeline.builtin_handlers import BuiltInHandlers, default_answer
from front.pipeline.replies import Reply
from front.pipeline.userdata import UserData, Visitor
from front.projects.table import NO_PROJECTS
from front.routing.enrichment_plan import OWN_FIELDS, EnrichPlan
from front.routing.handlers import OWN_UPDATE, Remote
from front.routing.registrations import EMPTY, Table
from front.storage.stream_acceptor import Acceptor, Event

REFUSAL_SHOWN_SECONDS: Final = 10.0
MAX_A_TURN: Final = 50
"""Events of one request that are processed before others have their turn."""


class Refusals:
    """Remembers the last event that was refused with 503, for health."""

    def __init__(self) -> None:
        self._reason = ""
        self._at = 0.0

    def note(self, error: NotAccepted) -> NotAccepted:
        """Remember one; returns it."""
        self._reason, self._at = str(error.__cause__ or error.reason), time.monotonic()
        return error

    def recent(self) -> str:
        """Return why an event was refused in the last seconds; empty when none was."""
        return self._reason if time.monotonic() - self._at < REFUSAL_SHOWN_SECONDS else ""


class Pipeline:
    """Runs messages through all stages. `table` and `projects` are replaced as a whole when they change."""

    def __init__(
        self,
        rpc: RpcClient,
        enricher: Enricher,
        acceptor: Acceptor,
        mask: Masker,
        builtin: BuiltInHandlers,
        userdata: UserData,
        counters: Counters,
        handler_timeout: float,
    ) -> None:
        self.table: Table = EMPTY
        self.projects = NO_PROJECTS
        self.refusals = Refusals()
        self._rpc = rpc
        self._enricher = enricher
        self._acceptor = acceptor
        self._mask = mask
        self._builtin = builtin
        self._userdata = userdata
        self._counters = counters
        self._handler_timeout = handler_timeout

    async def run(
        self,
        message: Message,
        own_hosts: tuple[str, ...] = (),
        visitor: Visitor | None = None,
        arrived: int = 0,
        into: list[Event] | None = None,
    ) -> Reply:
        """Return the reply once the event is stored. NotAccepted when it is not: then nothing was promised.

        `own_hosts` are the host names that the request came to; redirects to them are allowed. `visitor` is who sent
        it over HTTP; None over a WebSocket. `arrived` is when it did, in milliseconds since 1970, if the message has
        another time. With `into`, the event is added there instead of being stored.
        """
        refusal = self._acceptor.refusal()
        if refusal:
            raise self.refusals.note(NotAccepted(f"events cannot be stored now: {refusal}"))
        table = self.table
        data = message["data"]
        if not table.plan.fields.isdisjoint(data):
            self._drop_reserved(data, table.plan)
        trace = Trace(arrived or message["time"])
        for service in await self._enricher.enrich(message, table.plan, trace):
            self._counters.add("enricher_timeouts", service)
        td = message.get("td")
        if td is not None and "ip" in td:
            td["ip"] = self._mask(td["ip"])
        target, known = table.routes.find(message["key"])
        if target is None:
            answer = default_answer(known, message)
        elif isinstance(target, str):
            answer = self._builtin.answer(target, message, own_hosts)
        elif target is OWN_UPDATE:
            answer = await self._userdata.update(message, visitor, table.plan.fields)
        else:
            trace.handler = target.service
            answer = await self._call(target, message)
        if self.projects.bots and is_bot(data) and not self._keeps_bot(message):
            return answer
        if into is not None:
            into.append((encode(message), trace.encode()))
            return answer
        try:
            await self._acceptor.accept(encode(message), trace.encode())
        except NotAccepted as error:
            self.refusals.note(error)
            raise
        self._counters.add("accepted")
        if not self.projects.plain:
            self._counters.add("project_events", message["project"])
        return answer

    async def run_all(self, messages: Sequence[Message], arrived: int) -> None:
        """Process the events of one request and store all of them, or none: then NotAccepted is raised.

        Handlers are called, and their replies dropped. `arrived` is in milliseconds since 1970.
        """
        events: list[list[Event]] = [[] for _ in messages]
        tasks: list[asyncio.Task[Reply]] = []
        try:
            for number, message in enumerate(messages):
                if number and not number % MAX_A_TURN:
                    await asyncio.sleep(0)
                tasks.append(eager_task(self.run(message, arrived=arrived, into=events[number])))
            if waiting := [task for task in tasks if not task.done()]:
                await asyncio.wait(waiting)
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            raise
        for task in tasks:
            task.result()
        kept = [event for made in events for event in made]
        if not kept:
            return
        try:
            await self._acceptor.accept_all(kept)
        except NotAccepted as error:
            self.refusals.note(error)
            raise
        self._counters.add("accepted", count=len(kept))
        if not self.projects.plain:
            for message, made in zip(messages, events, strict=True):
                self._counters.add("project_events", message["project"], count=len(made))

    def _keeps_bot(self, message: Message) -> bool:
        """Do with a bot's event what its project says; returns whether it is to be stored."""
        policy = self.projects.bots.get(message["project"])
        if policy == "drop":
            self._counters.add("left_out", "bot")
            return False
        if policy == "aside":
            message[ASIDE] = ["bot"]
        return True

    def _drop_reserved(self, data: Message, plan: EnrichPlan) -> None:
        """Remove fields that only enrichers may set, so that listeners do not take a client's claim for their result.

        It is logged once for each table of registrations: the client may be right, and the service badly named.
        """
        for field in plan.fields.intersection(data):
            del data[field]
            if field not in OWN_FIELDS and field not in plan.dropped:
                plan.dropped.add(field)
                hint = "an enricher or its group has this name; if pages of yours send such a field, rename the service"
                logger.warning("client_field_dropped", field=field, hint=hint)
        self._counters.add("reserved_fields_dropped")
        self._counters.add("forged")

    async def _call(self, target: Remote, message: Message) -> Reply:
        timeout = target.timeout(self._handler_timeout)
        try:
            return replies.from_handler(await self._rpc.call(target.service, target.method, message, timeout=timeout))
        except RpcRemoteError as error:
            if error.code == INVALID_PARAMS and isinstance(error.data, dict) and error.data.get("path"):
                return replies.error(error.text, 422)  # what the visitor sent, not the handler, is at fault
            return replies.error(error.message, 500)
        except RpcTimeout:
            return replies.error("Request timeout", 500)
        except RpcError:
            return replies.error("The service that answers this is not running", 500)
