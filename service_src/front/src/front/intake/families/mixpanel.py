"""Mixpanel's libraries: `/track` and `/import` take events, `/engage` and `/groups` changes of profiles.

All that Mixpanel is to get is kept as it was sent: send_mixpanel makes the same event or change of it again.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final

from band.platform import PIXEL_GIF, encode
from front.errors import BadRequest
from front.event.message import Message
from front.intake.body import decode_json
from front.intake.families.family import (
    Draft,
    Family,
    Post,
    as_object,
    mapping,
    milliseconds,
    text,
    without_addresses,
    without_empty,
)
from front.intake.qs import MAX_PARAMETERS, parse_form
from front.pipeline.replies import GIF, HttpReply

FAMILY: Final = "mixpanel"
"""The field `family` of its events, which no other client can set; and the service of changes of profiles."""
_CALLS: Final = {"$create_alias": "alias", "$identify": "identify", "$mp_web_page_view": "page"}
"""Names of Mixpanel's own events -> their names here."""
_OWN: Final = frozenset({"distinct_id", "time"})
"""Mixpanel's own properties without a mark before their names."""
_NOT_KEPT: Final = frozenset({"$ip", "$token", "ip", "token"})
_DEVICE: Final = "$device:"
"""How a distinct_id begins that is no person's."""
_URL_SAFE: Final = str.maketrans("-_ ", "+/+")


def is_mixpanel(query: Message, body: bytes, content_type: str, wanted: str) -> bool:
    """Return whether a request to a path of the native form is one of Mixpanel's libraries.

    In the native form it would be refused with 404, because it names no event. `wanted` is what a query has, if there
    is no body.
    """
    if "name" in query:
        return False
    if not body:
        return wanted in query
    if "json" not in content_type:
        return b"data=" in body and _is_form_with_data(body)
    if b'"properties"' not in body:
        return False
    try:
        given = decode_json(body)
    except BadRequest:
        return False
    first = given[0] if isinstance(given, list) and given else given
    return isinstance(first, dict) and "name" not in first and {"event", "properties"} <= first.keys()


def _is_form_with_data(body: bytes) -> bool:
    """Return whether a form has `data` and no `name`; its values, which may be large, are not decoded."""
    names = _form(b"&".join([part.partition(b"=")[0] for part in body.split(b"&", MAX_PARAMETERS)[:MAX_PARAMETERS]]))
    return "data" in names and "name" not in names


def _form(body: bytes) -> Message:
    return parse_form(body.decode("utf-8", "replace"))


def _read(post: Post, make: Callable[[Message, int, Message], Draft], token_of: Callable[[Message], str]) -> Any:
    parameters, given = _given(post)
    items = given if isinstance(given, list) else [given]
    return _drafts(items, parameters, make, token_of)


def _drafts(
    items: list[Any],
    parameters: Message,
    make: Callable[[Message, int, Message], Draft],
    token_of: Callable[[Message], str],
) -> Iterable[Draft]:
    first = ""
    for number, item in enumerate(items, 1):
        one = as_object(item, f"event {number}")
        token = token_of(one)
        first = first or token
        if token and token != first:
            raise BadRequest("several_tokens", f"event {number} has another token than those before it")
        yield make(one, number, parameters)


def _given(post: Post) -> tuple[Message, Any]:
    """Return the parameters of a request, and its events or changes."""
    body = post.body
    if "json" in post.content_type or body[:1] in (b"[", b"{"):
        return post.query, post.json()
    parameters = {**post.query, **_form(body)} if body else post.query
    data = parameters.get("data")
    if not isinstance(data, str) or not data:
        raise BadRequest("no_data", "`data` is missing: it has an event, or an array of events, in JSON or in base64")
    return parameters, _unpacked(data.strip())


def _unpacked(data: str) -> Any:
    if data[:1] in ("{", "["):
        return decode_json(data)
    try:
        packed = data.translate(_URL_SAFE).rstrip("=")
        raw = base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
    except ValueError:
        raise BadRequest("malformed_base64", "`data` is neither JSON nor valid base64") from None
    return decode_json(raw)


def _event(event: Message, number: int, parameters: Message) -> Draft:
    kind = text(event.get("event"))
    given = as_object(event.get("properties"), f"`properties` of event {number}")
    name = _CALLS.get(kind, kind)
    distinct, device = text(given.get("distinct_id")), text(given.get("$device_id"))
    user = text(given.get("$user_id")) or ("" if distinct.startswith(_DEVICE) else distinct)
    own = {name: value for name, value in given.items() if name in _OWN or name.startswith(("$", "mp_"))}
    referrer = given.get("$referrer")
    return Draft(
        name,
        {
            **without_empty(
                call=name if kind in _CALLS else "track",
                event=kind if kind in _CALLS else "",
                user=without_empty(id=user, anonymousId=device),
                page=without_empty(
                    url=given.get("$current_url"),
                    title=given.get("current_page_title"),
                    ref="" if referrer == "$direct" else referrer,
                ),
                lib=without_empty(id=given.get("mp_lib"), sv=given.get("$lib_version")),
                ts=given.get("time"),
            ),
            "data": {name: value for name, value in given.items() if name not in own and name not in _NOT_KEPT},
            "context": without_addresses({name: value for name, value in own.items() if name not in _NOT_KEPT}),
        },
        uid=distinct or user or device,
        ts=milliseconds(given.get("time")),
        dedup=text(given.get("$insert_id")),
        ip=text(given.get("ip")) or text(given.get("$ip")),
        said=(event, given),
        key=_token_of_event(event),
        family=FAMILY,
        is_server=_is_server(parameters),
    )


def _change(change: Message, number: int, parameters: Message, *, of_group: bool) -> Draft:
    update = without_addresses({name: value for name, value in change.items() if name not in _NOT_KEPT})
    kind, group, user = (text(change.get(name)) for name in ("$group_key", "$group_id", "$distinct_id"))
    if of_group and not (kind and group):
        raise BadRequest("no_group", f"change {number} has no `$group_key` or no `$group_id`")
    if not of_group and not user:
        raise BadRequest("no_distinct_id", f"change {number} has no `$distinct_id`")
    if of_group:
        data = {"call": "groups", "group": {"type": kind, "id": group, "update": update}}
    else:
        data = {"call": "engage", "user": {"id": user, "update": update}}
    return Draft(
        str(data["call"]),
        data,
        service=FAMILY,
        uid="" if of_group else user,
        ts=milliseconds(change.get("$time")),
        ip=text(change.get("$ip")),
        said=(change, mapping(change.get("$set"))),
        key=_token_of_change(change),
        family=FAMILY,
        is_server=_is_server(parameters),
    )


def _is_server(parameters: Message) -> bool:
    """Return whether the sender says that its own address is not a visitor's: `ip=0`."""
    return text(parameters.get("ip")) == "0"


def _respond(post: Post, drafts: Sequence[Draft]) -> HttpReply:
    if post.last_segment == "import" and "json" in post.content_type:
        return HttpReply(200, encode({"code": 200, "num_records_imported": len(drafts), "status": "OK"}))
    if post.query.get("img") == "1":
        return HttpReply(200, PIXEL_GIF, GIF)
    if post.query.get("verbose") == "1" or b"verbose=1" in post.body.split(b"&"):
        return HttpReply(200, b'{"status":1,"error":null}')
    return HttpReply(200, b"1", "text/plain; charset=utf-8")


def _refusal(status: int, reason: str) -> Message:
    return {"status": 0, "error": reason, "code": status}


def _token_of_event(event: Message) -> str:
    return text(mapping(event.get("properties")).get("token"))


def _token_of_change(change: Message) -> str:
    return text(change.get("$token"))


def _family(make: Callable[[Message, int, Message], Draft], token_of: Callable[[Message], str]) -> Family:
    return Family("Mixpanel", partial(_read, make=make, token_of=token_of), _respond, refusal=_refusal)


MIXPANEL: Final = _family(_event, _token_of_event)
MIXPANEL_PEOPLE: Final = _family(partial(_change, of_group=False), _token_of_change)
MIXPANEL_GROUPS: Final = _family(partial(_change, of_group=True), _token_of_change)
MIXPANEL_FLAGS: Final = Family("Mixpanel", lambda _post: (), lambda _post, _drafts: HttpReply(200, b'{"flags":{}}'))
"""Feature flags: there are none."""
