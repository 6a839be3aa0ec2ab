"""PostHog's capture API: `/batch/` of its server libraries, `/e/` of its script; feature flags: there are none."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Any, Final

from band.platform import encode
from front.errors import BadRequest
from front.event.message import Message
from front.intake.body import decode_json
from front.intake.content_encoding import unpacked
from front.intake.families.family import (
    Draft,
    Family,
    Post,
    as_list,
    as_object,
    mapping,
    milliseconds,
    text,
    time_said,
    without_addresses,
    without_empty,
)
from front.intake.qs import parse_form
from front.pipeline.replies import JAVASCRIPT, HttpReply

_CALLS: Final = {
    "$create_alias": "alias", "$groupidentify": "group", "$identify": "identify", "$pageview": "page",
    "$screen": "screen", "$set": "identify",
}  # fmt: skip
"""Names of PostHog's own events -> their names here."""
_TAKEN: Final = frozenset({
    "$current_url", "$group_key", "$group_set", "$group_type", "$ip", "$lib", "$lib_version", "$pathname",
    "$raw_user_agent", "$referrer", "$set", "$set_once",
})  # fmt: skip
"""PostHog's own properties that have their own place; the others are the context."""
_GZIP: Final = b"\x1f\x8b"
_NOT_DATA: Final = frozenset({"alias", "distinct_id", "token"})


def _read(post: Post) -> Iterable[Draft]:
    body = _body(post)
    if isinstance(body, dict) and "batch" in body:
        events, sent_at = as_list(body["batch"], "`batch`"), body.get("sent_at")
    else:
        events, sent_at = body if isinstance(body, list) else [body], post.query.get("_")
    sent = time_said(sent_at)
    return (
        _draft(as_object(event, f"event {number}"), sent, post.received, mapping(body))
        for number, event in enumerate(events, 1)
    )


def _unpack(body: bytes, _query: Message, limit: int) -> bytes:
    """Unpack what the script compressed, whether it says so or not: its size must be known before it is read."""
    return unpacked(body, "gzip", limit) if body[:2] == _GZIP else body


def _body(post: Post) -> Any:
    """Return the JSON of a body, which the script may have put in a form."""
    raw = post.body
    if raw.startswith(b"data="):
        given = text(parse_form(raw.decode("utf-8", "replace")).get("data"))
        try:
            raw = (
                base64.b64decode(given.replace(" ", "+"))
                if post.query.get("compression") == "base64"
                else given.encode()
            )
        except ValueError:
            raise BadRequest("malformed_base64", "`data` is not valid base64") from None
    return decode_json(raw)


def _draft(event: Message, sent_at: int | None, received: int, body: Message) -> Draft:
    kind = text(event.get("event"))
    call = _CALLS.get(kind, "track")
    given = mapping(event.get("properties"))
    user = text(event.get("distinct_id")) or text(given.get("distinct_id"))
    ts, offset = milliseconds(event.get("timestamp")), event.get("offset")
    if isinstance(offset, int):
        ts, sent_at = received - offset, None
    traits = without_addresses({**_mapping_of("$set_once", event, given), **_mapping_of("$set", event, given)})
    return Draft(
        kind if call == "track" else call,
        without_empty(
            call=call,
            data={name: value for name, value in given.items() if name[:1] != "$" and name not in _NOT_DATA},
            user=without_empty(id=user, traits=traits),
            group=without_empty(
                type=given.get("$group_type"), id=given.get("$group_key"), traits=given.get("$group_set")
            ),
            alias=without_empty(id=given.get("alias")) if call == "alias" else {},
            page=_page(given),
            lib=without_empty(id=given.get("$lib"), sv=given.get("$lib_version")),
            context=without_addresses(
                {name: value for name, value in given.items() if name[:1] == "$" and name not in _TAKEN}
            ),
            ts=event.get("timestamp"),
        ),
        uid=user,
        ts=ts,
        sent_at=sent_at,
        dedup=text(event.get("uuid")),
        ip=text(given.get("$ip")),
        user_agent=text(given.get("$raw_user_agent")),
        said=(body, event, given, traits),
        key=text(event.get("api_key")) or text(event.get("token")) or text(given.get("token")),
    )


def _mapping_of(name: str, event: Message, given: Message) -> Message:
    return mapping(event.get(name)) | mapping(given.get(name))


def _page(given: Message) -> Message:
    referrer = given.get("$referrer")
    return without_empty(
        url=given.get("$current_url"), path=given.get("$pathname"), ref="" if referrer == "$direct" else referrer
    )


def _respond(_post: Post, _drafts: Sequence[Draft]) -> HttpReply:
    return HttpReply(200, b'{"status":1}')


def _respond_flags(_post: Post, _drafts: Sequence[Draft]) -> HttpReply:
    return HttpReply(200, encode({"flags": {}, "featureFlags": {}, "errorsWhileComputingFlags": False}))


def _key(post: Post) -> str:
    return post.key("api_key", "token")


def _not_admitted(reason: str) -> tuple[int, Message]:
    return 401, {"type": "authentication_error", "code": "invalid_api_key", "detail": reason, "attr": None}


def _respond_config(post: Post, _drafts: Sequence[Draft]) -> HttpReply:
    if not post.path.endswith(".js"):
        return HttpReply(200, encode(_CONFIG))
    script = b"(window._POSTHOG_REMOTE_CONFIG=window._POSTHOG_REMOTE_CONFIG||{})[%b]={config:%b,siteApps:[]}"
    return HttpReply(200, script % (encode(post.path.split("/")[2]), encode(_CONFIG)), JAVASCRIPT)


_CONFIG: Final = {
    "autocapture_opt_out": False, "captureDeadClicks": False, "capturePerformance": False,
    "defaultIdentifiedOnly": True, "elementsChainAsString": True, "hasFeatureFlags": True, "heatmaps": False,
    "sessionRecording": False, "siteApps": [], "supportedCompression": ["gzip-js"], "surveys": False,
}  # fmt: skip
"""What the script may do: capture events, and nothing that needs more of its server."""

POSTHOG: Final = Family("PostHog", _read, _respond, _unpack, key=_key, not_admitted=_not_admitted)
POSTHOG_CONFIG: Final = Family("PostHog", lambda _post: (), _respond_config)
POSTHOG_FLAGS: Final = Family("PostHog", lambda _post: (), _respond_flags, key=_key, not_admitted=_not_admitted)
