"""Umami's events: `/api/send`, of its script and of `@umami/node`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from front.errors import BadRequest
from front.intake.families.family import Draft, Family, Post, as_object, mapping, milliseconds, text, without_empty
from front.pipeline.replies import HttpReply


def _read(post: Post) -> Sequence[Draft]:
    body = post.object()
    kind = body.get("type")
    if kind not in ("event", "identify"):
        raise BadRequest("unknown_call", "`type` must be `event` or `identify`")
    payload = as_object(body.get("payload"), "`payload`")
    given, user = mapping(payload.get("data")), text(payload.get("id"))
    name = "identify" if kind == "identify" else text(payload.get("name")) or "page"
    url, host = text(payload.get("url")), text(payload.get("hostname"))
    identifies = kind == "identify"
    return [
        Draft(
            name,
            without_empty(
                call=name if name in ("identify", "page") else "track",
                data={} if identifies else given,
                user=without_empty(id=user, traits=given if identifies else {}),
                page=without_empty(
                    url=f"https://{host}{url}" if host and url.startswith("/") else url,
                    title=payload.get("title"),
                    ref=payload.get("referrer"),
                ),
                site=payload.get("website"),
                browser=without_empty(screen=payload.get("screen")),
                context=without_empty(locale=payload.get("language"), tag=payload.get("tag")),
                lib={"id": "umami"},
                ts=payload.get("timestamp"),
            ),
            uid=user,
            ts=milliseconds(payload.get("timestamp")),
            ip=text(payload.get("ip")),
            user_agent=text(payload.get("userAgent")),
            said=(body, payload),
            key=text(payload.get("website")),
        )
    ]


def _respond(_post: Post, _drafts: Sequence[Draft]) -> HttpReply:
    # Without `cache`: its script would send it in a header that browsers ask about first.
    return HttpReply(200, b'{"disabled":false}')


UMAMI: Final = Family("Umami", _read, _respond)
