"""The data behind the address ``memory://NAME``: streams with consumer groups, hashes, and texts that expire.

It answers what band asks of a Redis 7.2 or later, in the form of RESP3, with the same errors. A test runs the same
histories on it and on a real Redis. Where Redis is free to do less (``MAXLEN ~``), it does exactly what was asked for.
"""

from __future__ import annotations

import bisect
import fnmatch
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

Id = tuple[int, int]
Fields = list[bytes]
_MAX: Final = 2**64 - 1
_ATTEMPTS: Final = 10
"""Entries that XAUTOCLAIM looks at for each one that it may return."""
_WRONG_TYPE: Final = "WRONGTYPE Operation against a key holding the wrong kind of value"


class Refused(Exception):
    """What Redis would answer with an error; the text is the whole reply."""


class Pending:
    """An entry that a consumer was given and did not acknowledge."""

    def __init__(self, consumer: str, at: int, count: int) -> None:
        self.consumer = consumer
        self.at = at
        self.count = count


class Group:
    """A consumer group: how far it has read, and what is pending."""

    def __init__(self, last: Id) -> None:
        self.last = last
        self.pending: dict[Id, Pending] = {}
        self.seen: dict[str, int] = {}

    def held(self, consumer: str = "", begin: Id = (0, 0)) -> list[Id]:
        """Return the pending ids of a consumer, or of all, from ``begin`` on."""
        return sorted(one for one, held in self.pending.items() if one >= begin and consumer in ("", held.consumer))


class Stream:
    """A stream: entries by id, in their order."""

    def __init__(self) -> None:
        self.ids: list[Id] = []
        self.entries: dict[Id, Fields] = {}
        self.last: Id = (0, 0)
        self.added = 0
        self.groups: dict[str, Group] = {}

    def between(self, begin: Id, end: Id) -> list[Id]:
        """Return the ids from ``begin`` to ``end``, both included."""
        return self.ids[bisect.bisect_left(self.ids, begin) : bisect.bisect_right(self.ids, end)]

    def remove(self, ids: Iterable[Id]) -> int:
        """Remove entries; returns how many there were."""
        gone = {one for one in ids if self.entries.pop(one, None) is not None}
        if gone:
            self.ids = [one for one in self.ids if one not in gone]
        return len(gone)

    def trim(self, words: Sequence[str]) -> int:
        """Remove the oldest as ``MAXLEN n`` or ``MINID id`` says; returns how many."""
        kind, *rest = words
        bound = rest[1] if rest[0] in "~=" else rest[0]
        if kind == "MAXLEN":
            return self.remove(self.ids[: max(0, len(self.ids) - int(bound))])
        return self.remove(self.ids[: bisect.bisect_left(self.ids, read_id(bound, 0))])

    def row(self, one: Id) -> list[Any]:
        """Return an entry as replies have it; None for the fields of one that was removed."""
        return [text_id(one), self.entries.get(one)]


class Store:
    """Keys and what they hold; ``answers`` has a function for each command that it knows."""

    def __init__(self) -> None:
        self._keys: dict[str, Any] = {}
        self._expires: dict[str, int] = {}
        self.answers: dict[str, Callable[..., Any]] = {
            name.removeprefix("do_").upper(): getattr(self, name) for name in dir(self) if name.startswith("do_")
        }

    def answer(self, parts: Sequence[Any]) -> Any:
        """Return the reply to a command.

        Raises:
            Refused: the reply is an error.
            KeyError: the command is unknown.
        """
        for key in [key for key, at in self._expires.items() if at <= now_ms()]:
            self._drop(key)
        name, *arguments = (_bytes(part) for part in parts)
        return self.answers[name.decode().upper()](*arguments)

    # --- texts and hashes

    def do_set(self, key: bytes, value: bytes, *options: bytes) -> bytes | None:
        """SET key value [NX] [PX milliseconds]."""
        name, words = key.decode(), [option.upper() for option in options]
        if b"NX" in words and name in self._keys:
            return None
        self._drop(name)
        self._keys[name] = value
        if b"PX" in words:
            self._expires[name] = now_ms() + int(words[words.index(b"PX") + 1])
        return b"OK"

    def do_get(self, key: bytes) -> bytes | None:
        """GET key."""
        return self._get(key, bytes, None)  # type: ignore[no-any-return]

    def do_eval(self, script: bytes, _keys: bytes, key: bytes, *arguments: bytes) -> int:
        """EVAL of band's own scripts: change a text if it is still ours."""
        if self.do_get(key) != arguments[0]:
            return 0
        if b"'pexpire'" in script:
            self._expires[key.decode()] = now_ms() + int(arguments[1])
        else:
            self._drop(key.decode())
        return 1

    def do_del(self, *keys: bytes) -> int:
        """DEL key …."""
        return sum(self._drop(key.decode()) for key in keys)

    def do_exists(self, *keys: bytes) -> int:
        """EXISTS key …."""
        return sum(key.decode() in self._keys for key in keys)

    def do_expire(self, key: bytes, seconds: bytes) -> int:
        """EXPIRE key seconds."""
        if key.decode() not in self._keys:
            return 0
        self._expires[key.decode()] = now_ms() + int(seconds) * 1000
        return 1

    def do_hset(self, key: bytes, *fields: bytes) -> int:
        """HSET key field value …."""
        there = self._get(key, dict, {})
        given = dict(zip(fields[::2], fields[1::2], strict=True))
        added = len(given.keys() - there.keys())
        self._keys[key.decode()] = {**there, **given}
        return added

    def do_hsetnx(self, key: bytes, field: bytes, value: bytes) -> int:
        """HSETNX key field value."""
        return 0 if field in self._get(key, dict, {}) else self.do_hset(key, field, value)

    def do_hmget(self, key: bytes, *fields: bytes) -> list[bytes | None]:
        """HMGET key field …."""
        there = self._get(key, dict, {})
        return [there.get(field) for field in fields]

    def do_hgetall(self, key: bytes) -> dict[bytes, bytes]:
        """HGETALL key."""
        return dict(self._get(key, dict, {}))

    def do_hdel(self, key: bytes, *fields: bytes) -> int:
        """HDEL key field …."""
        there = self._get(key, dict, {})
        gone = [there.pop(field) for field in fields if field in there]
        if not there:
            self._drop(key.decode())
        return len(gone)

    # --- streams

    def do_xadd(self, key: bytes, *arguments: bytes) -> bytes:
        """XADD key [MAXLEN|MINID [=|~] threshold [LIMIT count]] id|* field value …."""
        words, trim = list(arguments), []
        if words[0].upper() in (b"MAXLEN", b"MINID"):
            size = 3 if words[1] in (b"~", b"=") else 2
            size += 2 if words[size].upper() == b"LIMIT" else 0
            trim, words = [word.decode() for word in words[:size]], words[size:]
        stream = self._stream(key) or Stream()
        new = self._new_id(stream, words[0].decode())
        self._keys[key.decode()] = stream
        stream.ids.append(new)
        stream.entries[new] = words[1:]
        stream.last, stream.added = new, stream.added + 1
        if trim:
            stream.trim([trim[0].upper(), *trim[1:]])
        return text_id(new)

    @staticmethod
    def _new_id(stream: Stream, asked: str) -> Id:
        if asked == "*":
            return max((now_ms(), 0), (stream.last[0], stream.last[1] + 1))
        new = read_id(asked, 0)
        if new == (0, 0):
            raise Refused("ERR The ID specified in XADD must be greater than 0-0")
        if new <= stream.last:
            raise Refused("ERR The ID specified in XADD is equal or smaller than the target stream top item")
        return new

    def do_xlen(self, key: bytes) -> int:
        """XLEN key."""
        stream = self._stream(key)
        return len(stream.ids) if stream else 0

    def do_xrange(self, key: bytes, begin: bytes, end: bytes, *count: bytes) -> list[Any]:
        """XRANGE key start end [COUNT count]."""
        stream = self._stream(key)
        ids = stream.between(read_begin(begin), read_end(end)) if stream else []
        return [stream.row(one) for one in ids[: int(count[1]) if count else None]] if stream else []

    def do_xrevrange(self, key: bytes, end: bytes, begin: bytes, *count: bytes) -> list[Any]:
        """XREVRANGE key end start [COUNT count]."""
        rows = self.do_xrange(key, begin, end)[::-1]
        return rows[: int(count[1]) if count else None]

    def do_xdel(self, key: bytes, *ids: bytes) -> int:
        """XDEL key id …."""
        stream = self._stream(key)
        return stream.remove(read_id(one.decode(), 0) for one in ids) if stream else 0

    def do_xtrim(self, key: bytes, kind: bytes, *rest: bytes) -> int:
        """XTRIM key MAXLEN|MINID [=|~] threshold [LIMIT count]."""
        stream = self._stream(key)
        return stream.trim([kind.decode().upper(), *(one.decode() for one in rest)]) if stream else 0

    def do_memory(self, _usage: bytes, key: bytes, *_samples: bytes) -> int | None:
        """MEMORY USAGE key: the bytes of a stream's fields, and a little for each entry."""
        stream = self._stream(key)
        sizes = (sum(map(len, fields)) + 50 for fields in stream.entries.values()) if stream else ()
        return sum(sizes) if stream else None

    def do_xinfo(self, what: bytes, key: bytes, *more: bytes) -> Any:
        """XINFO STREAM key, XINFO GROUPS key, XINFO CONSUMERS key group."""
        stream = self._stream(key)
        if stream is None:
            raise Refused("ERR no such key")
        kind = what.upper()
        if kind == b"STREAM":
            return {
                b"length": len(stream.ids),
                b"last-generated-id": text_id(stream.last),
                b"entries-added": stream.added,
                b"groups": len(stream.groups),
            }
        if kind == b"GROUPS":
            return [
                {
                    b"name": name.encode(),
                    b"consumers": len(group.seen),
                    b"pending": len(group.pending),
                    b"last-delivered-id": text_id(group.last),
                    b"lag": len(stream.ids) - bisect.bisect_right(stream.ids, group.last),
                }
                for name, group in sorted(stream.groups.items())
            ]
        group = self._group(key, more[0], "NOGROUP No such consumer group '{group}' for key name '{key}'")[1]
        return [
            {b"name": name.encode(), b"pending": len(group.held(name)), b"idle": now_ms() - seen}
            for name, seen in sorted(group.seen.items())
        ]

    # --- consumer groups

    def do_xgroup(self, what: bytes, key: bytes, name: bytes, *more: bytes) -> Any:
        """XGROUP CREATE key group id|$ [MKSTREAM], XGROUP DESTROY key group, XGROUP DELCONSUMER key group consumer."""
        kind, group_name, stream = what.upper(), name.decode(), self._stream(key)
        if stream is None:
            if kind != b"CREATE" or b"MKSTREAM" not in [word.upper() for word in more]:
                raise Refused(
                    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the "
                    "MKSTREAM option to create an empty stream automatically."
                )
            stream = self._keys[key.decode()] = Stream()
        if kind == b"CREATE":
            if group_name in stream.groups:
                raise Refused("BUSYGROUP Consumer Group name already exists")
            stream.groups[group_name] = Group(stream.last if more[0] == b"$" else read_id(more[0].decode(), 0))
            return b"OK"
        if kind == b"DESTROY":
            return int(stream.groups.pop(group_name, None) is not None)
        group = self._group(key, name, "NOGROUP No such consumer group '{group}' for key name '{key}'")[1]
        gone = group.held(more[0].decode())
        group.seen.pop(more[0].decode(), None)
        for one in gone:
            del group.pending[one]
        return len(gone)

    def do_xreadgroup(self, _group: bytes, name: bytes, consumer: bytes, *options: bytes) -> Any:
        """XREADGROUP GROUP group consumer [COUNT count] [BLOCK milliseconds] STREAMS key id; None: nothing is new."""
        words = [option.upper() for option in options]
        at = words.index(b"STREAMS")
        key, after = options[at + 1], options[at + 2]
        count = int(options[words.index(b"COUNT") + 1]) if b"COUNT" in words[:at] else None
        stream, group = self._group(
            key, name, "NOGROUP No such key '{key}' or consumer group '{group}' in XREADGROUP with GROUP option"
        )
        who = consumer.decode()
        group.seen[who] = now_ms()
        if after == b">":
            ids = stream.between(_next(group.last), (_MAX, _MAX))[:count]
            for one in ids:
                group.pending[one] = Pending(who, now_ms(), 1)
                group.last = one
            return {key: [stream.row(one) for one in ids]} if ids else None
        ids = group.held(who, _next(read_id(after.decode(), 0)))[:count]
        for one in ids:
            if one in stream.entries:
                group.pending[one].at = now_ms()
                group.pending[one].count += 1
        return {key: [stream.row(one) for one in ids]}

    def do_xack(self, key: bytes, name: bytes, *ids: bytes) -> int:
        """XACK key group id …."""
        stream = self._stream(key)
        group = stream.groups.get(name.decode()) if stream else None
        if group is None:
            return 0
        return sum(group.pending.pop(read_id(one.decode(), 0), None) is not None for one in ids)

    def do_xpending(self, key: bytes, name: bytes, *more: bytes) -> list[Any]:
        """XPENDING key group [start end count [consumer]]."""
        _, group = self._group(key, name, "NOGROUP No such key '{key}' or consumer group '{group}'")
        if not more:
            ids = group.held()
            held = {who: len(group.held(who)) for who in sorted({one.consumer for one in group.pending.values()})}
            rows = [[who.encode(), str(number).encode()] for who, number in held.items()]
            return [len(ids), text_id(ids[0]), text_id(ids[-1]), rows] if ids else [0, None, None, None]
        begin, end, count, *consumer = more
        last = read_end(end)
        ids = [one for one in group.held(consumer[0].decode() if consumer else "", read_begin(begin)) if one <= last]
        return [
            [text_id(one), held.consumer.encode(), now_ms() - held.at, held.count]
            for one in ids[: int(count)]
            for held in [group.pending[one]]
        ]

    def do_xclaim(self, key: bytes, name: bytes, consumer: bytes, least: bytes, *more: bytes) -> list[Any]:
        """XCLAIM key group consumer min-idle id … [IDLE milliseconds] [RETRYCOUNT count] [JUSTID]."""
        stream, group = self._group(key, name, "NOGROUP No such key '{key}' or consumer group '{group}'")
        ids = [read_id(one.decode(), 0) for one in more if one[:1].isdigit() and b"-" in one]
        options = [one.upper() for one in more[len(ids) :]]
        idle = int(options[options.index(b"IDLE") + 1]) if b"IDLE" in options else 0
        count = int(options[options.index(b"RETRYCOUNT") + 1]) if b"RETRYCOUNT" in options else None
        claimed = []
        group.seen[consumer.decode()] = now_ms()
        for one in ids:
            held = group.pending.get(one)
            if held is None or not self._there(stream, group, one):
                continue
            if int(least) and now_ms() - held.at < int(least):  # without a least one, a clock set back does not matter
                continue
            held.consumer, held.at = consumer.decode(), now_ms() - idle
            held.count = count if count is not None else held.count + (b"JUSTID" not in options)
            claimed.append(one)
        return [text_id(one) if b"JUSTID" in options else stream.row(one) for one in claimed]

    def do_xautoclaim(
        self, key: bytes, name: bytes, consumer: bytes, least: bytes, begin: bytes, *more: bytes
    ) -> list[Any]:
        """XAUTOCLAIM key group consumer min-idle start [COUNT count]."""
        stream, group = self._group(key, name, "NOGROUP No such key '{key}' or consumer group '{group}'")
        room = int(more[1]) if more else 100
        attempts = room * _ATTEMPTS
        claimed, deleted = [], []
        who = consumer.decode()
        group.seen[who] = now_ms()
        waiting = iter(group.held(begin=read_begin(begin)))
        cursor = (0, 0)
        for one in waiting:
            if not room or not attempts:
                cursor = one
                break
            attempts -= 1
            held = group.pending[one]
            if not self._there(stream, group, one):
                deleted.append(one)
                room -= 1
            elif now_ms() - held.at >= int(least):
                held.consumer, held.at, held.count = who, now_ms(), held.count + 1
                claimed.append(one)
                room -= 1
        return [text_id(cursor), [stream.row(one) for one in claimed], [text_id(one) for one in deleted]]

    @staticmethod
    def _there(stream: Stream, group: Group, one: Id) -> bool:
        """Tell whether a pending entry still is in the stream; one that is not is pending no more."""
        if one in stream.entries:
            return True
        del group.pending[one]
        return False

    # --- keys

    def do_scan(self, _cursor: bytes, *options: bytes) -> list[Any]:
        """SCAN cursor [MATCH pattern] [COUNT n]: all keys at once."""
        words = [option.upper() for option in options]
        pattern = options[words.index(b"MATCH") + 1].decode() if b"MATCH" in words else "*"
        return [b"0", [key.encode() for key in self._keys if fnmatch.fnmatchcase(key, pattern)]]

    def _get(self, key: bytes, kind: type, missing: Any) -> Any:
        value = self._keys.get(key.decode(), missing)
        if value is not missing and not isinstance(value, kind):
            raise Refused(_WRONG_TYPE)
        return value

    def _stream(self, key: bytes) -> Stream | None:
        return self._get(key, Stream, None)  # type: ignore[no-any-return]

    def _group(self, key: bytes, name: bytes, refusal: str) -> tuple[Stream, Group]:
        stream = self._stream(key)
        group = stream.groups.get(name.decode()) if stream else None
        if stream is None or group is None:
            raise Refused(refusal.format(key=key.decode(), group=name.decode()))
        return stream, group

    def _drop(self, key: str) -> int:
        self._expires.pop(key, None)
        return int(self._keys.pop(key, None) is not None)


def now_ms() -> int:
    """Return the milliseconds since 1970, by the clock that tests may freeze."""
    return int(time.time() * 1000)


def text_id(one: Id) -> bytes:
    """Return an id as replies have it."""
    return b"%d-%d" % one


def read_id(text: str, number: int) -> Id:
    """Return an id; where it is only milliseconds, with ``number`` as its second part.

    Raises:
        Refused: it is none.
    """
    first, dash, second = text.partition("-")
    try:
        return int(first), int(second) if dash else number
    except ValueError:
        raise Refused("ERR Invalid stream ID specified as stream command argument") from None


def read_begin(text: bytes) -> Id:
    """Return where a range begins: ``-``, an id, or ``(`` and the id before."""
    if text == b"-":
        return 0, 0
    if text == b"+":
        return _MAX, _MAX
    word = text.decode()
    return _next(read_id(word[1:], 0)) if word[:1] == "(" else read_id(word, 0)


def read_end(text: bytes) -> Id:
    """Return where a range ends: ``+``, an id, or ``(`` and the id behind."""
    if text == b"+":
        return _MAX, _MAX
    if text == b"-":
        return 0, 0
    word = text.decode()
    if word[:1] != "(":
        return read_id(word, _MAX)
    first, second = read_id(word[1:], _MAX)
    return (first, second - 1) if second else (first - 1, _MAX)


def _next(one: Id) -> Id:
    return (one[0], one[1] + 1) if one[1] < _MAX else (one[0] + 1, 0)


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
