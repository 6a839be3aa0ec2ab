"""Plausible's events: `/api/event`, of its script and of its API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from front.event.message import Message
from front.intake.body import decode_json
from front.intake.families.family import Draft, Family, Post, mapping, text, without_empty
from front.pipeline.replies import HttpReply


def _read(post: Post) -> Sequence[Draft]:
    body = post.object()
    kind = text(_of(body, "n", "name"))
    name = "page" if kind == "pageview" else kind
    return [
        Draft(
            name,
            without_empty(
                call="page" if name == "page" else "track",
                data=_properties(_of(body, "p", "props", "m", "meta")),
                page=without_empty(url=_of(body, "u", "url"), ref=_of(body, "r", "referrer")),
                site=_of(body, "d", "domain"),
                revenue=_of(body, "$", "revenue"),
                interactive=_of(body, "i", "interactive"),
                engagement=without_empty(ms=body.get("e"), scroll=body.get("sd")),
                lib={"id": "plausible"} | without_empty(sv=body.get("v")),
            ),
            said=(body,),
        )
    ]


def _of(body: Message, *names: str) -> Any:
    """Return the value of the first name that has one: the script uses short names, the API long ones."""
    return next((body[name] for name in names if body.get(name) is not None), None)


def _properties(given: Any) -> Message:
    """Return properties, which may be JSON in a text."""
    return mapping(decode_json(given) if isinstance(given, str) and given.startswith("{") else given)


def _respond(_post: Post, _drafts: Sequence[Draft]) -> HttpReply:
    return HttpReply(202, b"ok", "text/plain; charset=utf-8")


PLAUSIBLE: Final = Family("Plausible", _read, _respond, key=lambda post: post.key("domain", "d"))
