"""Segment's HTTP API, which RudderStack's and Jitsu's clients speak too: `/v1/batch`, `/v1/track` and the others.

`track` is named after its event; the other calls are named after themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from front.errors import BadRequest
from front.event.message import Message
from front.intake.families.family import (
    Draft,
    Family,
    Post,
    as_list,
    as_object,
    mapping,
    milliseconds,
    rest_of,
    text,
    without_addresses,
    without_empty,
)

BATCH: Final = "batch"
CALLS: Final = ("alias", "group", "identify", "page", "screen", "track")
SHORT: Final = {"a": "alias", "b": BATCH, "g": "group", "i": "identify", "p": "page", "s": "screen", "t": "track"}
"""The last segment of the browser library's paths -> what it stands for."""
_ELSEWHERE: Final = frozenset({"campaign", "ip", "library", "page", "traits", "userAgent"})
"""Fields of `context` that the event has in other places."""
_PAGE: Final = {"url": "url", "title": "title", "referrer": "ref", "path": "path", "search": "search"}
"""Segment's name of a page's property -> its name in `data.page`."""


def _read(post: Post) -> Iterable[Draft]:
    body = post.object()
    call = SHORT.get(post.last_segment, post.last_segment)
    if call != BATCH:
        return [_draft(body, call, {}, body)]
    shared = mapping(body.get("context"))
    return (
        _draft(message, message.get("type"), shared, body)
        for number, one in enumerate(as_list(body.get("batch"), "`batch`"))
        for message in (as_object(one, f"`batch[{number}]`"),)
    )


def _draft(message: Message, call: Any, shared: Message, body: Message) -> Draft:
    if call not in CALLS:
        raise BadRequest("unknown_call", f"`type` must be one of {', '.join(CALLS)}")
    own = mapping(message.get("context"))
    context = {**shared, **own}
    given = mapping(message.get("properties"))
    traits = mapping(message.get("traits"))
    user, anonymous = text(message.get("userId")), text(message.get("anonymousId"))
    when = message.get("timestamp") or message.get("originalTimestamp")
    return Draft(
        text(message.get("event")) if call == "track" else call,
        without_empty(
            call=call,
            data=given,
            user=without_empty(
                id=user, anonymousId=anonymous, traits=traits if call == "identify" else mapping(context.get("traits"))
            ),
            **_OWN_FIELDS[call](message, traits) if call in _OWN_FIELDS else {},
            page=_page(message, call, mapping(context.get("page"))),
            sess=_session(mapping(context.get("campaign"))),
            lib=_library(mapping(context.get("library"))),
            context=without_addresses(rest_of(context, _ELSEWHERE)),
            integrations=message.get("integrations"),
            ts=when,
        ),
        uid=user or anonymous,
        ts=milliseconds(when),
        sent_at=milliseconds(message.get("sentAt") or body.get("sentAt")),
        dedup=text(message.get("messageId")),
        ip=text(context.get("ip")),
        user_agent=text(context.get("userAgent")),
        said=(body, shared, message, own, traits, mapping(context.get("traits"))),
        key=text(message.get("writeKey")),
    )


_OWN_FIELDS: Final[dict[str, Callable[[Message, Message], Message]]] = {
    "alias": lambda message, _: {"alias": without_empty(previousId=text(message.get("previousId")))},
    "group": lambda message, traits: {"group": without_empty(id=text(message.get("groupId")), traits=traits)},
    "screen": lambda message, _: {"screen": without_empty(name=message.get("name"), category=message.get("category"))},
}
"""What only one call has: the fields of an event for its message and its traits."""


def _page(message: Message, call: str, context: Message) -> Message:
    """Return `data.page`: what the call says of its page, then what the context says."""
    given = mapping(message.get("properties")) if call == "page" else {}
    page = {ours: given.get(theirs) or context.get(theirs) for theirs, ours in _PAGE.items()}
    if call == "page":
        page |= {"name": message.get("name"), "category": message.get("category")}
    return without_empty(**page)


def _session(campaign: Message) -> Message:
    """Return `data.sess` with the marks of a campaign, named as in a URL."""
    marks = without_empty(
        **{f"utm_{'campaign' if name == 'name' else name}": value for name, value in campaign.items()}
    )
    return {"hasMarks": True, "marks": marks} if marks else {}


def _library(library: Message) -> Message:
    return without_empty(id=library.get("name"), sv=library.get("version"))


SEGMENT: Final = Family("Segment", _read, key=lambda post: post.key("writeKey"))
