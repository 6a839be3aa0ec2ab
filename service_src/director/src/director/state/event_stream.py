"""The stream of events: the newest of them, and one event with what each group of listeners made of it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from band import DecodingError, RedisReplyError
from band.platform import DEAD_LETTERS, EVENTS_STREAM, decode
from director.errors import NotFound
from director.state.store import Store, pairs, stream_order, text

TAKEN = EVENTS_STREAM + ":taken:{name}"
"""What a group has acknowledged, one entry a batch: `ids` (joined by commas) and `ms`, the time it took."""
EARLY = 2_000
"""Milliseconds by which an entry may be older than its id says: many ids in one millisecond borrow from the next."""
CHUNK = 500
CHUNK_BYTES = 2 * 1024 * 1024
"""What one answer of Redis may take, about: events may have 100 kB each, and the director has little memory."""
SCAN = 100_000
"""Entries looked at before the search is given up: what lay in front's journal comes later than its id says."""
RECORDS = 20_000
"""Records of a group looked at: it keeps about half as many."""

Fields = dict[str, bytes]


class StoredEvent(msgspec.Struct, frozen=True):
    """An entry of the stream of events."""

    stream_id: str
    event: Any


class Found(msgspec.Struct, frozen=True):
    """An event in the stream, and what front noted of its making (None from a front that notes nothing)."""

    stream_id: str
    event: dict[str, Any]
    trace: dict[str, Any] | None


def time_of(event_id: str) -> int:
    """Return the milliseconds since 1970 in an id that front drew (42 bits of time, then worker and sequence)."""
    return int(event_id) >> 22


async def find(store: Store, event_id: str, *, after: str | None = None, scan: int = SCAN) -> Found:
    """Return the entry of an event, searched from its time on, or from behind the entry `after`.

    Raises:
        NotFound: it was trimmed away, is not there yet, or there never was such an event; the hint says which may be.
    """
    start = f"({after}" if after else str(max(0, time_of(event_id) - EARLY))
    looked, last = 0, ""
    mark = event_id.encode()
    async for stream_id, fields in _entries(store, EVENTS_STREAM, start, scan):
        looked, last = looked + 1, stream_id
        raw = fields.get("event", b"")
        if mark in raw and (event := _object(raw)) is not None and str(event.get("id")) == event_id:
            return Found(stream_id, event, _object(fields.get("trace", b"")))
    if not looked and not after:  # an id from the future: front's clock was set back, and its ids are ahead of it
        return await find(store, event_id, after="0-0", scan=scan)
    raise NotFound(
        f"event {event_id} is not in the stream", await _why(store, event_id, looked, last, scan), id=event_id
    )


async def newest(store: Store, limit: int) -> list[StoredEvent]:
    """Return up to `limit` events, newest first; one that is no JSON stands there as text."""
    rows = await store.command("XREVRANGE", EVENTS_STREAM, "+", "-", "COUNT", str(limit))
    return [StoredEvent(text(row[0]), _event(_named(row[1]).get("event", b"null"))) for row in rows or () if row[1]]


async def groups(store: Store, stream_id: str, event_id: str = "") -> list[dict[str, Any]]:
    """Return what became of an entry in each listener's group, sorted by name.

    Listeners that bury events themselves know no entry: their dead letters are told by the event's own id.

    `state` is `waiting` (not given to anybody yet), `pending` (given and not acknowledged, with `deliveries`),
    `taken` (acknowledged, with `at` and `ms`), `dead_letter` (given up, with `reason`), `older` (it came before the
    group was there, and was never given to it) or `unknown` (one of the last three, of which no record is left).
    """
    try:
        known = [_named(item) for item in await store.command("XINFO", "GROUPS", EVENTS_STREAM) or ()]
    except RedisReplyError:  # there is no stream
        return []
    found = [await _group(store, item, stream_id, event_id) for item in known]
    return sorted(found, key=lambda item: str(item["group"]))


async def _group(store: Store, facts: Fields, stream_id: str, event_id: str) -> dict[str, Any]:
    name = text(facts["name"])
    if stream_order(stream_id) > stream_order(text(facts["last-delivered-id"])):
        return {"group": name, "state": "waiting"}
    pending = await store.command("XPENDING", EVENTS_STREAM, name, stream_id, stream_id, "1")
    if pending:
        _, consumer, idle, deliveries = pending[0]
        held = {"consumer": text(consumer), "idle_ms": int(idle), "deliveries": int(deliveries)}
        return {"group": name, "state": "pending", **held}
    async for letter_id, fields in _entries(store, DEAD_LETTERS.format(name=name), stream_id, RECORDS):
        if _is_letter_of(fields, stream_id, event_id):
            reason = text(fields.get("reason", b""))
            return {"group": name, "state": "dead_letter", "at": stream_order(letter_id)[0], "reason": reason}
    async for record_id, fields in _entries(store, TAKEN.format(name=name), stream_id, RECORDS):
        if stream_id in text(fields.get("ids", b"")).split(","):
            took = _number(fields.get("ms"))
            return {"group": name, "state": "taken", "at": stream_order(record_id)[0], "ms": took}
    return {"group": name, "state": "older" if await _has_taken_all_else(store, facts, name) else "unknown"}


async def _has_taken_all_else(store: Store, facts: Fields, name: str) -> bool:
    """Tell whether all that a group ever took is on record: what is not there was before it."""
    try:
        records = dict(pairs(await store.command("XINFO", "STREAM", TAKEN.format(name=name))))
    except RedisReplyError:  # no record at all: either it has read nothing yet, or it keeps none
        return facts.get("entries-read") is None
    return records.get("entries-added") == records.get("length")


def _is_letter_of(fields: Fields, stream_id: str, event_id: str) -> bool:
    if noted := text(fields.get("stream_id", b"")):
        return noted == stream_id
    raw = fields.get("event", b"")
    if not event_id or event_id.encode() not in raw:
        return False
    event = _object(raw)
    return event is not None and str(event.get("id")) == event_id


async def _entries(store: Store, key: str, start: str, most: int) -> AsyncIterator[tuple[str, Fields]]:
    """Yield up to `most` entries of a stream from `start` on; nothing when the key is not there, or no stream."""
    chunk = CHUNK // 10  # until it is known how large they are
    while most > 0:
        count = min(chunk, most)
        try:
            rows = await store.command("XRANGE", key, start, "+", "COUNT", str(count))
        except RedisReplyError as error:
            if error.code == "WRONGTYPE":  # a service may write what it likes at its own keys
                return
            raise
        size = 0
        for row in rows or ():
            fields = _named(row[1])
            size += sum([len(value) for value in fields.values()])
            yield text(row[0]), fields
        if not rows or len(rows) < count:
            return
        start = f"({text(rows[-1][0])}"
        most -= len(rows)
        chunk = max(1, min(CHUNK, CHUNK_BYTES * len(rows) // max(1, size)))


async def _why(store: Store, event_id: str, looked: int, last: str, scan: int) -> str:
    first = await store.command("XRANGE", EVENTS_STREAM, "-", "+", "COUNT", "1")
    if not first:
        return "the stream is empty: no event was accepted yet, or all were trimmed away"
    oldest, asked = stream_order(text(first[0][0]))[0], time_of(event_id)
    if asked < oldest - EARLY:
        return (
            f"its time is {_clock(asked)}, and the stream goes back to {_clock(oldest)}: it was trimmed away, "
            "front's setting EVENTS_KEEP says how many are kept"
        )
    if looked >= scan:
        return f"looked at {looked} entries up to {last}; after={last} goes on from there"
    return (
        f"its time is {_clock(asked)}; looked at all {looked} entries from then on. Either no event has this id, or it "
        "still lies in front's journal: GET /ask_state/front tells"
    )


def _named(fields: Any) -> Fields:
    """Return an entry's fields by name."""
    return dict(pairs(fields))


def _event(raw: bytes) -> Any:
    try:
        return decode(raw)
    except DecodingError:
        return text(raw)


def _object(raw: bytes) -> dict[str, Any] | None:
    value = _event(raw)
    return value if isinstance(value, dict) else None


def _number(raw: Any) -> float | None:
    try:
        return float(raw)
    except (TypeError, ValueError):
        return None


def _clock(milliseconds: int) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(milliseconds / 1000))
    except (OverflowError, ValueError, OSError):
        return f"{milliseconds} ms"
