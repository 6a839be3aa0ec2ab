"""Several events of one request: an array or NDJSON in the native form, or what a family's clients send."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

from front.errors import BadRequest
from front.event import message
from front.event.client_address import normal
from front.event.consent import consent_of, mark_objection
from front.event.message import Message
from front.event.url_path import EventPath
from front.event.visitor_id import text_uid
from front.http1.request import Request
from front.intake.context import Intake, came_by_proxy
from front.intake.families.family import Draft, mapping, text
from front.intake.server_fields import apply_client_fields, event_time
from front.pipeline.pipeline import MAX_A_TURN
from front.projects.table import Access

T = TypeVar("T")

MAX_EVENTS: Final = 2000
"""Events of one request: in progress, each takes a few kilobytes beside its own."""


class Sender:
    """Who sends the events of one request."""

    def __init__(self, intake: Intake, request: Request, uid: Any, query: Message, td: Message) -> None:
        self._intake = intake
        self._uid = uid
        self._query = query
        self._td = td
        self._gpc = request.headers.get(b"sec-gpc") == b"1"
        self._names_addresses = intake.addresses.trusts(request.peer) and not came_by_proxy(request)

    async def of_bodies(
        self, place: EventPath, channel: str, bodies: Sequence[Message], said: Sequence[bool | None]
    ) -> list[Message]:
        """Return the messages of bodies of the native form; `said` has the consent of each."""
        return self._marked(
            await in_turns(self._of_body(place, channel, body, number) for number, body in enumerate(bodies)), said
        )

    async def of_drafts(
        self, drafts: Sequence[Draft], accesses: Sequence[Access], said: Sequence[bool | None]
    ) -> list[Message]:
        """Return the messages of what a family's client sent; each has its access and, in `said`, its consent."""
        pairs = zip(drafts, accesses, strict=True)
        made = await in_turns(self._of_draft(draft, access, number) for number, (draft, access) in enumerate(pairs))
        return self._marked(made, said)

    def _marked(self, events: list[Message], said: Sequence[bool | None]) -> list[Message]:
        """Mark the events of those who object.

        A refusal holds for all events of its visitor, and for those that name no visitor: who knows whose they are?
        """
        in_query = consent_of(self._query)
        refusing: set[str] = set()
        for event, consent in zip(events, said, strict=True):
            if consent is False:
                refusing |= {str(self._uid), *_names_of(event)}
        for event, consent in zip(events, said, strict=True):
            refused = self._intake.objects(in_query, consent) or not refusing.isdisjoint(_names_of(event))
            mark_objection(event, gpc=self._gpc, refused=refused)
        return events

    def _of_body(self, place: EventPath, channel: str, body: Message, number: int) -> Message:
        query, intake = self._query, self._intake
        service, name = message.service_and_name(place, query, body)
        if not service or not name:
            raise BadRequest("incomplete", f"event {number + 1} of the body has no service or no name", 404)
        event = message.http_message(
            _key(intake.event_key, service, name, number), channel, service, name, place, query, body,
            message.uid_of(query, body, self._uid, intake.flakes), dict(self._td), intake.flakes,
        )  # fmt: skip
        apply_client_fields(event, intake.visitors)
        return event

    def _of_draft(self, draft: Draft, access: Access, number: int) -> Message:
        flakes = self._intake.flakes
        if not draft.name:
            raise BadRequest("no_name", f"event {number + 1} of the body has no name")
        key = _key(message.event_key, draft.service, draft.name, number)
        flake = flakes.next()
        arrived = flakes.event_time(flake)
        event: Message = {
            "key": key,
            "channel": message.CHANNEL_HTTP,
            "service": draft.service,
            "name": draft.name,
            "projectId": 0,
            "uid": text_uid(draft.uid) or self._uid,
            "td": self._td_of(draft, access),
            "data": draft.data,
            "id": str(flake),
            "time": event_time(arrived, draft.ts, draft.sent_at, any_age=access.secret),
            "project": access.project.id,
        }
        if draft.dedup:
            event["dedup"] = draft.dedup
        if draft.family:
            event["family"] = draft.family
        return event

    def _td_of(self, draft: Draft, access: Access) -> Message:
        td = dict(self._td)
        if draft.is_server:
            td.pop("ip", None)
        if draft.user_agent:
            td["ua"] = draft.user_agent
            td.pop("ch", None)
        if draft.ip and (access.secret or self._names_addresses) and (ip := normal(draft.ip)):
            td["ip"] = ip
        return td


def _names_of(event: Message) -> list[str]:
    """Return the names of an event's visitor."""
    user = mapping(event["data"].get("user"))
    names = (str(event["uid"]), text(user.get("id")), text(user.get("anonymousId")))
    return [name for name in names if name]


async def in_turns(events: Iterable[T]) -> list[T]:
    """Make events one after another, and let others have their turn; BadRequest when there are too many."""
    made: list[T] = []
    for event in events:
        made.append(event)
        if len(made) > MAX_EVENTS:
            raise BadRequest("too_many", f"a request may have {MAX_EVENTS} events; send several requests", 413)
        if not len(made) % MAX_A_TURN:
            await asyncio.sleep(0)
    return made


def _key(event_key: Callable[[Any, Any], str], service: Any, name: Any, number: int) -> str:
    try:
        return event_key(service, name)
    except BadRequest as error:
        raise BadRequest(error.code, f"event {number + 1} of the body: {error.reason}", error.status) from None
