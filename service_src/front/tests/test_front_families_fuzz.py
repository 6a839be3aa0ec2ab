"""Whatever clients of other products send: events that can be stored, or a refusal."""

from __future__ import annotations

import os
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from band.platform import encode
from front.errors import BadRequest
from front.event.message import Message
from front.intake.families.family import Draft, Family, Post
from front.intake.families.table import ROWS
from front.intake.server_fields import event_time

FUZZ = settings(max_examples=int(os.environ.get("FUZZ_EXAMPLES", "100")), deadline=None, database=None)
FIELDS = (
    "$", "$current_url", "$device_id", "$distinct_id", "$group_id", "$group_key", "$group_set", "$insert_id", "$ip",
    "$set", "$time", "$token", "$user_id", "alias", "anonymousId", "batch", "campaign", "context", "data",
    "device_id", "distinct_id", "event", "event_properties", "event_type", "events", "group_properties", "groups",
    "hostname", "id", "insert_id", "integrations", "ip", "library", "messageId", "n", "name", "offset", "p", "page",
    "payload", "properties", "props", "sentAt", "sent_at", "source", "specversion", "time", "timestamp", "traits",
    "type", "u", "url", "user_id", "user_properties", "userId", "uuid",
)  # fmt: skip
WORDS = ("1.0", "2026-11-27T17:20:00Z", "event", "identify", "track", "group", "page", "screen", "alias", "$identify",
         "$groupidentify", "$pageview", "[Amplitude] Page Viewed", "pageview", "/x", '{"a":1}', "{")  # fmt: skip
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.sampled_from(WORDS),
    st.integers(10**18, 10**25),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(FIELDS), inner, max_size=8)),
    max_leaves=30,
)
OBJECTS = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=10)
SENT = st.one_of(
    VALUES, OBJECTS, st.fixed_dictionaries({"batch": st.lists(OBJECTS)}),
    st.fixed_dictionaries({"events": st.lists(OBJECTS)}),
    st.fixed_dictionaries({"type": st.sampled_from(["event", "identify"]), "payload": OBJECTS}),
    st.lists(st.fixed_dictionaries({"event": SCALARS, "properties": OBJECTS})),
    st.fixed_dictionaries({"$distinct_id": SCALARS, "$group_key": SCALARS, "$group_id": SCALARS, "$set": VALUES}),
    st.fixed_dictionaries({"type": st.text(min_size=1), "source": st.text(min_size=1), "id": st.text(min_size=1),
                           "specversion": st.just("1.0")}, optional={"data": VALUES, "time": SCALARS, "x": VALUES}),
)  # fmt: skip
FAMILIES = [row for row in ROWS if isinstance(row.family, Family)]


def read(family: Family, path: str, body: bytes, query: Message, content_type: str) -> list[Draft]:
    """Read a request; none if it is refused, as the handler does."""
    post = Post(path, query, body, content_type, {b"ce-id": b"%ff", b"ce-type": body[:20]}, 1_795_800_000_000)
    try:
        drafts = list(family.read(post))
        assert family.respond(post, drafts).status in (200, 202)
    except BadRequest as refusal:
        assert refusal.reason
        return []
    return drafts


@FUZZ
@given(
    st.sampled_from(FAMILIES),
    SENT,
    st.sampled_from(["application/json", "application/cloudevents+json", "application/cloudevents-batch+json", ""]),
    st.sampled_from([{}, {"_": "1795800000000"}, {"_": ["1"]}, {"compression": "base64"}, {"_": "9" * 30}]),
)
def test_any_json_is_read_or_refused(row: Any, sent: Any, content_type: str, query: Message) -> None:
    """What is read can be stored: names and ids are text, times are numbers, nobody's address is in the data."""
    try:
        body = msgspec.json.encode(sent)
    except OverflowError:
        body = b"1" + b"0" * 30
    for draft in read(row.family, row.path, body, query, content_type):
        assert {type(part) for part in (draft.name, draft.uid, draft.dedup, draft.ip, draft.user_agent)} == {str}
        encode(draft.data)
        assert isinstance(event_time(1_795_800_000_000, draft.ts, draft.sent_at), int)
        assert not {"ip", "$ip"} & {*draft.data.get("context", {})}


@FUZZ
@given(
    st.sampled_from(FAMILIES),
    st.one_of(st.binary(), st.binary().map(b"data=".__add__)),
    st.sampled_from(["text/plain", ""]),
)
def test_any_bytes_are_read_or_refused(row: Any, body: bytes, content_type: str) -> None:
    read(row.family, row.path, body, {"compression": "base64"}, content_type)
