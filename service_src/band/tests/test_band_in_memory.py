"""The in-memory Redis against a real one: the same commands in the same order have the same replies."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import hiredis
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from band.errors import RedisReplyError, RedisUnavailable
from band.redis import RedisAddress, RedisLink, in_memory
from band.redis.in_memory_store import Refused, Store

LET = "return redis.call('get', KEYS[1]) == ARGV[1] and redis.call('del', KEYS[1]) or 0"
HOLD = "return redis.call('get', KEYS[1]) == ARGV[1] and redis.call('pexpire', KEYS[1], ARGV[2]) or 0"

keys = st.sampled_from(["events"] * 7 + ["other"])
groups = st.sampled_from(["one"] * 5 + ["two"])
consumers = st.sampled_from(["a", "b"])
ids = st.builds("{}-{}".format, st.sampled_from([1, 1, 1, 2, 3]), st.integers(0, 6))
begins = st.one_of(st.just("-"), ids, ids.map("({}".format), st.integers(1, 3).map(str))
ends = st.one_of(st.just("+"), ids, ids.map("({}".format), st.integers(1, 3).map(str))
counts = st.integers(1, 4)
fields = st.sampled_from([("event", "{}"), ("event", "x" * 40, "trace", "{}")])
some_ids = st.lists(ids, min_size=1, max_size=4)


def command(*parts: Any) -> st.SearchStrategy[tuple[Any, ...]]:
    """Return a strategy for commands: words as they are, strategies drawn, tuples and lists spread."""
    drawn = [part if isinstance(part, st.SearchStrategy) else st.just(part) for part in parts]
    return st.tuples(*drawn).map(
        lambda words: tuple(one for word in words for one in (word if isinstance(word, list | tuple) else [word]))
    )


COMMANDS = st.one_of(
    command("XADD", keys, ids, fields),
    command("XADD", "events", "MAXLEN", "=", counts, ids, fields),
    command("XLEN", keys),
    command("XRANGE", keys, begins, ends),
    command("XRANGE", keys, begins, ends, "COUNT", counts),
    command("XREVRANGE", keys, ends, begins, "COUNT", counts),
    command("XDEL", keys, some_ids),
    command("XTRIM", keys, "MAXLEN", counts),
    command("XTRIM", keys, "MINID", ids),
    command("XGROUP", "CREATE", keys, groups, st.sampled_from(["0", "$", "2-1"])),
    command("XGROUP", "CREATE", keys, groups, ids, "MKSTREAM"),
    command("XGROUP", "DESTROY", keys, st.just("two")),
    command("XGROUP", "DELCONSUMER", keys, groups, consumers),
    command("XREADGROUP", "GROUP", groups, consumers, "COUNT", counts, "STREAMS", "events", st.just(">") | ids),
    command("XREADGROUP", "GROUP", groups, consumers, "COUNT", counts, "STREAMS", "events", ">"),
    command("XACK", keys, groups, some_ids),
    command("XPENDING", keys, groups),
    command("XPENDING", keys, groups, begins, ends, counts),
    command("XPENDING", keys, groups, begins, ends, counts, consumers),
    command("XCLAIM", keys, groups, consumers, 0, some_ids),
    command("XCLAIM", keys, groups, consumers, 0, some_ids, "JUSTID"),
    command("XCLAIM", keys, groups, consumers, 0, some_ids, "IDLE", 3_600_000, "JUSTID"),
    command("XCLAIM", keys, groups, consumers, 0, some_ids, "RETRYCOUNT", 0, "JUSTID"),
    command("XCLAIM", keys, groups, consumers, 1_800_000, some_ids),
    command("XAUTOCLAIM", keys, groups, consumers, st.sampled_from([0, 1_800_000]), "0", "COUNT", counts),
    command("XAUTOCLAIM", "events", "one", consumers, 0, st.just("0") | ids, "COUNT", counts),
    command("XDEL", "events", ids),
    command("XINFO", "STREAM", keys),
    command("XINFO", "GROUPS", keys),
    command("XINFO", "CONSUMERS", keys, groups),
    command("DEL", st.sampled_from(["events", "other", "hash", "text"])),
    command("HSET", st.sampled_from(["hash", "events"]), st.sampled_from(["f", "g"]), counts),
    command("HSETNX", "hash", st.sampled_from(["f", "g"]), counts),
    command("HMGET", "hash", "f", "g"),
    command("HGETALL", "hash"),
    command("HDEL", "hash", st.lists(st.sampled_from(["f", "g"]), min_size=1, max_size=2)),
    command("EXISTS", keys, "hash", "text"),
    command("EXPIRE", st.sampled_from(["hash", "text"]), 1000),
    command("SET", "text", st.sampled_from(["a", "b"]), "NX", "PX", 100_000),
    command("GET", st.sampled_from(["text", "events"])),
    command("SCAN", 0, "MATCH", st.sampled_from(["*", "e*", "hash"]), "COUNT", 1000),
    command("EVAL", LET, 1, "text", st.sampled_from(["a", "b"])),
    command("EVAL", HOLD, 1, "text", st.sampled_from(["a", "b"]), 100_000),
)


READ_ONE = ("XREADGROUP", "GROUP", "one", "a", "COUNT")
BEGINNING: list[tuple[Any, ...]] = [
    *(("XADD", "events", f"1-{number}", "event", "{}") for number in range(1, 7)),
    ("XGROUP", "CREATE", "events", "one", "0"),
    (*READ_ONE, 4, "STREAMS", "events", ">"),
    ("XDEL", "events", "1-2"),
]
"""Without it most histories would end before anything is pending."""


class Real:
    """A plain client of a real Redis."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.reader = hiredis.Reader()
        self.ask("HELLO", 3)

    def ask(self, *parts: Any) -> Any:
        self.socket.sendall(hiredis.pack_command(parts))
        while (reply := self.reader.gets()) is False:
            self.reader.feed(self.socket.recv(65536))
        return reply


@pytest.fixture
def real(redis):
    client = Real(redis.port)
    yield client
    client.socket.close()


KEPT = (b"length", b"last-generated-id", b"entries-added", b"name", b"pending", b"last-delivered-id")


def plain(parts: tuple[Any, ...], reply: Any) -> Any:
    """Leave out what depends on the time, and what only Redis itself knows."""
    if isinstance(reply, Exception):
        return str(reply)
    if parts[0] == "XINFO":
        rows = reply if isinstance(reply, list) else [reply]
        return [{key: row[key] for key in KEPT if key in row} for row in rows]
    if parts[0] == "SCAN":
        return [reply[0], sorted(reply[1])]
    if parts[0] == "XPENDING" and len(parts) > 3:
        return [[*row[:2], row[3]] for row in reply]
    return reply


@settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(history=st.lists(COMMANDS, min_size=25, max_size=50))
def test_the_same_history_has_the_same_replies(real: Real, history: list[tuple[Any, ...]]) -> None:
    """Whatever listeners, replays and operators ask of streams, groups, hashes and locks, in any order."""
    real.ask("FLUSHALL")
    store = Store()
    for at, parts in enumerate([*BEGINNING, *history]):
        try:
            ours = store.answer(parts)
        except Refused as error:
            ours = error
        assert plain(parts, ours) == plain(parts, real.ask(*parts)), (at, parts)


async def link_to(bus):
    link = RedisLink("test")
    link.start(RedisAddress.parse(f"memory://{bus}"))
    await link.ready(5)
    return link


@pytest.fixture
async def link():
    made = await link_to("in-memory-test")
    yield made
    await made.close()
    in_memory.forget("in-memory-test")


READ = ("XREADGROUP", "GROUP", "g", "c", "COUNT", 10, "BLOCK")


async def test_a_blocked_read_ends_with_the_next_entry(link):
    await link.command("XGROUP", "CREATE", "events", "g", "$", "MKSTREAM")
    reading = link.ask(*READ, 60_000, "STREAMS", "events", ">")
    await asyncio.sleep(0.05)
    assert not reading.done()
    added = await link.command("XADD", "events", "*", "event", "{}")
    assert await reading == {b"events": [[added, [b"event", b"{}"]]]}


async def test_a_blocked_read_ends_with_its_time(link):
    await link.command("XGROUP", "CREATE", "events", "g", "$", "MKSTREAM")
    assert await link.command(*READ, 20, "STREAMS", "events", ">") is None


async def test_a_blocked_read_ends_with_its_group(link):
    await link.command("XGROUP", "CREATE", "events", "g", "$", "MKSTREAM")
    reading = link.ask(*READ, 60_000, "STREAMS", "events", ">")
    await link.command("DEL", "events")
    with pytest.raises(RedisReplyError, match="NOGROUP"):
        await reading


async def test_a_blocked_read_ends_with_its_connection(link):
    await link.command("XGROUP", "CREATE", "events", "g", "$", "MKSTREAM")
    reading = link.ask(*READ, 60_000, "STREAMS", "events", ">")
    await link.close()
    with pytest.raises(RedisUnavailable):
        await reading


async def test_texts_and_hashes_expire(link):
    await link.command("SET", "lock", "a", "NX", "PX", 1)
    await link.command("HSET", "hash", "f", "1")
    await link.command("EXPIRE", "hash", 0)
    await asyncio.sleep(0.01)
    assert await link.command("GET", "lock") is None
    assert await link.command("HGETALL", "hash") == {}


async def test_what_it_does_not_know_is_refused(link):
    with pytest.raises(RedisReplyError, match="needs a real Redis"):
        await link.command("GEOADD", "places", 1, 2, "x")
