"""The stream of events: the newest of them, and the state of one event in each consumer group."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from band import DecodingError, RedisReplyError
from band.platform import DEAD_LETTERS, EVENTS_STREAM, LISTENER, RETRIES, decode
from director.errors import NotFound
from director.state.store import Store, pairs, stream_order, text

TAKEN = EVENTS_STREAM + ":taken:{name}"
"""What a group has acknowledged, one entry a batch: `ids` (joined by commas) and `ms`, the time it took."""
EARLY = 2_000
"""Milliseconds by which an entry may be older than its id says: many ids in one millisecond borrow from the next."""
CHUNK = 500
CHUNK_BYTES = 2 * 1024 * 1024
"""Approximate limit of one response of Redis: events may have 100 kB each, and the director has little memory."""
SCAN = 100_000
"""Entries searched before giving up: events from front's journal come later than their id says."""
RECORDS = 20_000
"""Records of a group looked at: it keeps about half as many."""

OLDER = "older than this listener"


def service_of(group: str) -> str:
    """Return the service that consumes as a group: `send_webhook.crm` is one of several of send_webhook."""
    return group.partition(".")[0]


Fields = dict[str, bytes]


class StoredEvent(msgspec.Struct, frozen=True):
    """An entry of the stream of events."""

    stream_id: str
    event: Any


class Page(msgspec.Struct, frozen=True):
    """Some events, and the entry before which the next ones are; None when there are no more."""

    events: list[StoredEvent]
    before: str | None


class Found(msgspec.Struct, frozen=True):
    """An event in the stream, and front's trace of it (None from a front without traces)."""

    stream_id: str
    event: dict[str, Any]
    trace: dict[str, Any] | None


def time_of(event_id: str) -> int:
    """Return the milliseconds since 1970 in an id that front drew (42 bits of time, then worker and sequence)."""
    return int(event_id) >> 22


async def find(store: Store, event_id: str, *, after: str | None = None, scan: int = SCAN) -> Found:
    """Return the entry of an event, searched from its time on, or after the entry `after`.

    Raises:
        NotFound: it was trimmed, is not in the stream yet, or never existed; the hint says which is likely.
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


async def search(
    store: Store,
    limit: int,
    *,
    start: str = "-",
    end: str = "+",
    before: str | None = None,
    key: str = "",
    uid: str = "",
    scan: int = SCAN,
) -> Page:
    """Return up to `limit` events, newest first; one that is no JSON stands there as text, and has no key or uid.

    Args:
        store: Redis.
        limit: at most so many.
        start: the id of the oldest entry; `$`: none.
        end: the id of the newest one.
        before: only entries before this one: where the page before ended.
        key: only events of this key, or below it.
        uid: only events of this visitor.
        scan: at most so many entries are looked at.
    """
    if start == "$":
        return Page([], None)
    if before is not None and (end == "+" or stream_order(before) <= stream_order(end)):
        end = f"({before}"
    found: list[StoredEvent] = []
    last = None
    mark = json.dumps(uid, ensure_ascii=False).encode()[1:-1]
    async for stream_id, fields in _entries(store, EVENTS_STREAM, end, scan if key or uid else limit, stop=start):
        last = stream_id
        raw = fields.get("event", b"null")
        if uid and mark not in raw:  # most are not: they need not be read
            continue
        event = _event(raw)
        if _is_wanted(event, key, uid):
            found.append(StoredEvent(stream_id, event))
        if len(found) >= limit:
            return Page(found, last)
    return Page(found, last if await _is_more(store, start, last) else None)


async def _is_more(store: Store, start: str, last: str | None) -> bool:
    """Return whether there are entries before the last one searched."""
    return last is not None and bool(await store.command("XREVRANGE", EVENTS_STREAM, f"({last}", start, "COUNT", "1"))


def _is_wanted(event: Any, key: str, uid: str) -> bool:
    if not key and not uid:
        return True
    if not isinstance(event, dict) or (uid and str(event.get("uid")) != uid):
        return False
    own = str(event.get("key", ""))
    return not key or own == key or own.startswith(f"{key}.")


async def groups(store: Store, stream_id: str, event_id: str = "") -> list[dict[str, Any]]:
    """Return the state of an entry in each listener's group, sorted by name.

    Dead letters of listeners with their own dead letters are found by the event's id instead of the entry's.

    `state` is `waiting` (not delivered yet), `pending` (delivered and not acknowledged, with `deliveries`; postponed
    with `retry_at` and `attempts`), `taken` (acknowledged, with `at` and `ms`), `dead_letter` (with `reason`), `older`
    (older than the group and never delivered to it; `reason` says since when the group exists) or `unknown` (one of
    the last three, without a record).
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
        return {"group": name, "state": "pending", **held, **await _delay(store, name, stream_id)}
    service = service_of(name)
    async for letter_id, fields in _entries(store, DEAD_LETTERS.format(name=service), stream_id, RECORDS):
        if text(fields.get("group", service.encode())) == name and _is_letter_of(fields, stream_id, event_id):
            reason = text(fields.get("reason", b""))
            return {"group": name, "state": "dead_letter", "at": stream_order(letter_id)[0], "reason": reason}
    async for record_id, fields in _entries(store, TAKEN.format(name=name), stream_id, RECORDS):
        if stream_id in text(fields.get("ids", b"")).split(","):
            took = _number(fields.get("ms"))
            return {"group": name, "state": "taken", "at": stream_order(record_id)[0], "ms": took}
    if began := text(await _remembered(store, LISTENER.format(group=name), "began") or b""):
        if stream_order(stream_id) > stream_order(began):
            return {"group": name, "state": "unknown"}
        since = f", which started at {_clock(stream_order(began)[0])}" if stream_order(began)[0] else ""
        return {"group": name, "state": "older", "reason": f"{OLDER}{since}"}
    if await _has_taken_all_else(store, facts, name):
        return {"group": name, "state": "older", "reason": OLDER}
    return {"group": name, "state": "unknown"}


async def _delay(store: Store, name: str, stream_id: str) -> dict[str, Any]:
    """Return until when a listener put an event off (Retry), and after how many attempts; nothing if it did not."""
    noted = text(await _remembered(store, RETRIES.format(group=name), stream_id) or b"").split()
    return {"retry_at": _whole(noted[0]), "attempts": _whole(noted[1])} if len(noted) == 2 else {}


async def _remembered(store: Store, key: str, field: str) -> bytes | None:
    """Return a field of a hash; None if it is missing, or the service uses the key for something else."""
    try:
        found = await store.command("HMGET", key, field)
    except RedisReplyError as error:
        if error.code in ("WRONGTYPE", "NOPERM"):  # NOPERM: the rules of the director's user are older than it
            return None
        raise
    value = found[0]
    return value if isinstance(value, bytes) else None


async def _has_taken_all_else(store: Store, facts: Fields, name: str) -> bool:
    """Return whether everything a group acknowledged is on record: an unrecorded entry is older than the group."""
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


async def _entries(
    store: Store, key: str, start: str, most: int, *, stop: str | None = None
) -> AsyncIterator[tuple[str, Fields]]:
    """Yield up to `most` entries of a stream from `start` on; nothing when the key is not there, or no stream.

    With `stop` they are yielded backwards, down to that id.
    """
    command, last = ("XRANGE", "+") if stop is None else ("XREVRANGE", stop)
    chunk = CHUNK // 10  # until it is known how large they are
    while most > 0:
        count = min(chunk, most)
        try:
            rows = await store.command(command, key, start, last, "COUNT", str(count))
        except RedisReplyError as error:
            if error.code == "WRONGTYPE" and key != EVENTS_STREAM:  # a service may write what it likes at its own keys
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
        return "the stream is empty: no event has been accepted yet, or all were trimmed"
    oldest, asked = stream_order(text(first[0][0]))[0], time_of(event_id)
    if asked < oldest - EARLY:
        return (
            f"its time is {_clock(asked)}, and the oldest event in the stream is of {_clock(oldest)}: it was trimmed; "
            "front's setting EVENTS_KEEP says how many are kept"
        )
    if looked >= scan:
        return f"searched {looked} entries up to {last}; after={last} continues from there"
    return (
        f"its time is {_clock(asked)}; searched all {looked} entries from then on. Either no event has this id, or it "
        "is still in front's journal: GET /ask_state/front shows that"
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


def _whole(raw: str) -> int:
    """Return a number that a service stored; 0 if it is not a number."""
    return int(raw) if raw.isascii() and raw.isdigit() else 0


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
