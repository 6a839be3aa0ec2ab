"""Answers that are used again: of enrichers, and what is stored of visitors."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import aiohttp
import msgspec
import pytest
import redis.asyncio as aioredis

from band.jsonrpc.client import Scatter
from front.enrichment.circuit_breaker import CircuitBreaker
from front.enrichment.enricher import Enricher
from front.enrichment.response_cache import ResponseCache
from front.enrichment.visitor_store import MAX_BYTES, MAX_KEPT, VisitorStore
from front.event.trace import Trace
from front.routing.enrichment_plan import CacheRule, EnrichPlan, read_enricher
from front.routing.registrations import compile_table


def compile_plan(rows: Any) -> EnrichPlan:
    return EnrichPlan([read_enricher(service, options) for service, options in rows])


class Rpc:
    """Answers with the number of the question; or with errors, or not at all."""

    def __init__(self) -> None:
        self.service_groups: dict[str, str] = {}
        self.asked: list[tuple[set[str], dict[str, Any]]] = []
        self.failing: set[str] = set()
        self.silent: set[str] = set()

    async def scatter(
        self, channel: str, method: str, params: dict[str, Any], *, expect: Any, timeout: float, raw: bool = False
    ) -> Scatter:
        self.asked.append((set(expect), params))
        answered = set(expect) - self.failing - self.silent
        results = {name: msgspec.Raw(b'{"n":%d}' % len(self.asked)) for name in answered}
        errors = {name: ValueError() for name in set(expect) & self.failing}
        return Scatter(results, errors, set(expect) & self.silent, dict.fromkeys(answered, 1.5))  # type: ignore[arg-type]


class Link:
    """A connection whose watch over keys is told what to say; replies come when they are let out."""

    def __init__(self) -> None:
        self.connected = self.active = True
        self.waiting: list[tuple[tuple[Any, ...], Any]] = []

    @property
    def keys(self) -> Link:
        return self

    def add(self, prefix: str, on_change: Any) -> None:
        self.change = on_change

    def send(self, *parts: Any, on_reply: Any, timeout: float = 5.0) -> None:
        self.waiting.append((parts, on_reply))


def row(name: str, told: dict[str, str], **cache: Any) -> tuple[str, dict[str, Any]]:
    return name, {"keys": ["in.gen.track"], "props": told, **({"cache": cache} if cache else {})}


def event(ip: Any = "1.2.3.4", ua: Any = "UA") -> dict[str, Any]:
    td = {name: value for name, value in (("ip", ip), ("ua", ua)) if value is not None}
    return {"key": "in.gen.track.page", "uid": "1234567890", "td": td, "data": {}}


def enricher(rpc: Rpc) -> Enricher:
    return Enricher(rpc, Link(), CircuitBreaker(), timeout=0.05, stored=False, fingerprint=None)


GEO = row("mmgeo", {"ip": "td.ip"}, props=["ip"], ttl=300)
UA = row("uaparser", {"ua": "td.ua"}, props=["ua"], ttl=300)
PLAIN = row("old", {"key": "key"})


async def test_the_same_question_is_asked_once() -> None:
    """Only of services that say so, and for equal values of what the answer depends on."""
    rpc, plan = Rpc(), compile_plan([GEO, UA, PLAIN])
    ours = enricher(rpc)
    for message in (event(), event(), event(ip="5.6.7.8"), event(ua="other")):
        await ours.enrich(message, plan)
        assert list(message["data"]) == ["mmgeo", "uaparser", "old"]
    everybody = {"mmgeo", "uaparser", "old"}
    assert [names for names, _ in rpc.asked] == [everybody, {"old"}, {"mmgeo", "old"}, {"uaparser", "old"}]
    assert msgspec.json.encode(message["data"]) == b'{"mmgeo":{"n":1},"uaparser":{"n":4},"old":{"n":4}}'


async def test_who_means_something_else_by_a_name_is_asked_by_itself() -> None:
    """At the same time as the others; its answers are kept under its own values."""
    other = row("other", {"ip": "data.client"}, props=["ip"], ttl=300)
    rpc, plan = Rpc(), compile_plan([GEO, other, UA])
    ours = enricher(rpc)
    for ip, client in (("1.2.3.4", "a"), ("1.2.3.4", "b"), ("5.6.7.8", "b")):
        message = event(ip=ip)
        message["data"]["client"] = client
        await ours.enrich(message, plan)
        assert list(message["data"]) == ["client", "mmgeo", "other", "uaparser"]
    assert [(names, params["ip"]) for names, params in rpc.asked] == [
        ({"other"}, "a"), ({"mmgeo", "uaparser"}, "1.2.3.4"), ({"other"}, "b"), ({"mmgeo"}, "5.6.7.8"),
    ]  # fmt: skip


async def test_a_missing_parameter_is_a_value_of_its_own() -> None:
    """An event without User-Agent does not get the answer of one with an empty one."""
    rpc, plan = Rpc(), compile_plan([UA])
    ours = enricher(rpc)
    for ua in (None, "", None, "", 5, 5, True, ["x"]):
        await ours.enrich(event(ua=ua), plan)
    assert [params.get("ua") for _, params in rpc.asked] == [None, "", 5, 5, True, ["x"]]


async def test_errors_and_silence_are_not_kept() -> None:
    """The next event asks again."""
    rpc, plan = Rpc(), compile_plan([GEO, UA])
    ours = enricher(rpc)
    rpc.failing, rpc.silent = {"mmgeo"}, {"uaparser"}
    assert await ours.enrich(event(), plan) == {"uaparser"}
    rpc.failing = rpc.silent = set()
    message = event()
    await ours.enrich(message, plan)
    assert set(message["data"]) == {"mmgeo", "uaparser"}
    assert len(rpc.asked) == 2


async def test_what_was_asked_before_the_registrations_changed_is_not_kept() -> None:
    """An answer that comes after the cache was cleared is for its event only."""
    plan = compile_plan([GEO])

    class Slow(Rpc):
        async def scatter(self, *args: Any, **kwargs: Any) -> Scatter:
            await asyncio.sleep(0.01)
            return await super().scatter(*args, **kwargs)

    rpc = Slow()
    ours = enricher(rpc)
    asking = asyncio.create_task(ours.enrich(event(), plan))
    await asyncio.sleep(0)
    ours.cache.clear()
    await asking
    assert len(ours.cache) == 0
    await ours.enrich(event(), plan)
    await ours.enrich(event(), plan)
    assert len(rpc.asked) == 2


async def test_the_trace_says_how_each_did() -> None:
    """Milliseconds and ok, cached, error, timeout, absent; and the handler."""
    rpc, plan = Rpc(), compile_plan([GEO, UA, PLAIN, row("gone", {}), row('odd"name', {})])
    ours = enricher(rpc)
    rpc.failing, rpc.silent = {"old"}, {'odd"name'}
    ours._breaker.absent = frozenset({"gone"})
    await ours.enrich(event(), plan)
    trace = Trace(1700000000000)
    await ours.enrich(event(ua="other"), plan, trace)
    trace.handler = "labsvc"
    said = json.loads(trace.encode())
    assert list(said) == ["at", "ms", "enrichers", "handler"]
    assert (said["at"], said["handler"]) == (1700000000000, "labsvc")
    assert said["ms"] > 0
    assert {name: note["status"] for name, note in said["enrichers"].items()} == {
        "mmgeo": "cached", "uaparser": "ok", "old": "error", "gone": "absent", 'odd"name': "timeout",
    }  # fmt: skip
    assert said["enrichers"]["uaparser"]["ms"] == 1.5
    assert json.loads(Trace(5).encode())["handler"] is None


def test_answers_live_as_long_as_they_may() -> None:
    """Neither beyond their time nor beyond the room: what is used stays, what is not goes."""
    cache = ResponseCache(max_bytes=10**6, max_responses=100)
    cache.put(("s", "a"), b"1", 10.0, now=0.0)
    assert bytes(cache.get(("s", "a"), 9.9) or b"") == b"1"
    assert cache.get(("s", "a"), 10.1) is None
    for number in range(1000):
        cache.put(("s", str(number)), b"1", 10.0, now=0.0)
        assert cache.get(("s", "0"), 1.0) is not None
        assert len(cache) <= 101
    assert cache.get(("s", "5"), 1.0) is None
    small = ResponseCache(max_bytes=10_000)
    for number in range(1000):
        small.put(("s", str(number)), b"x" * 500, 10.0, now=0.0)
    assert len(small) < 20
    assert (cache.hits, cache.misses) == (1001, 2)


def test_a_key_that_is_written_again_counts_once() -> None:
    """A burst of one new key fills nothing: what was there before stays."""
    cache = ResponseCache(max_bytes=10_000)
    cache.put(("s", "first"), b"1", 10.0, now=0.0)
    for _ in range(1000):
        cache.put(("s", "again"), b"x" * 500, 10.0, now=0.0)
    assert len(cache) == 2
    assert cache.kept_bytes < 1500


def test_a_cache_counts_the_bytes_that_its_keys_take() -> None:
    """Four-byte letters take four bytes each: what is kept never takes more than it was given."""
    cache = ResponseCache(max_bytes=1_000_000)
    kept: dict[int, tuple[str, bytes]] = {}
    for number in range(1000):
        kept[number] = (f"{number}{chr(0x1F600) * 1000}", b"x" * 100)
        cache.put(("s", kept[number][0]), kept[number][1], 10.0, now=0.0)
    held = [kept[number] for number in kept if cache.get(("s", kept[number][0]), 1.0) is not None]
    assert 100 < len(held) < 300
    assert sum(sys.getsizeof(key) + sys.getsizeof(answer) for key, answer in held) < 1_000_000


@pytest.mark.parametrize(
    "option",
    [None, 5, {}, {"props": ["ip"]}, {"props": [], "ttl": 5}, {"props": "ip", "ttl": 5}, {"props": ["ip"], "ttl": 0},
     {"props": ["ip"], "ttl": True}, {"props": ["ip"], "ttl": "5"}, {"props": [5], "ttl": 5}],
)  # fmt: skip
def test_nonsense_in_a_registration_means_that_nothing_is_kept(option: Any) -> None:
    """As for services of the original, which say nothing of it."""
    assert CacheRule.read("s", option) is None
    rows = [{"service": "s", "method": "enrich", "role": "enricher", "options": {"keys": ["*"], "cache": option}}]
    assert compile_table(rows, 1).plan.rules("in.gen.a.b")[0].rule is None


async def test_what_is_stored_of_a_visitor_is_read_once() -> None:
    """Until Redis says that it changed, or the connection was lost; never while Redis does not tell."""
    link = Link()
    visitors = VisitorStore(link)

    async def read(reply: Any) -> Any:
        reading = visitors.read("77")
        link.waiting.pop()[1](reply)
        return await reading

    assert visitors.known("77") == (False, None)
    assert bytes(await read({b"a": b'{"b":1}'})) == b'{"a":{"b":1}}'
    known, stored = visitors.known("77")
    assert known
    assert stored is not None
    link.change([b"s:78", b"s:77"])
    assert visitors.known("77") == (False, None)
    assert await read({}) is None
    assert visitors.known("77") == (True, None)
    link.change(None)
    assert not visitors.known("77")[0]
    assert await read({b"a": b"no json"}) is None
    link.active = False
    link.change(None)
    assert await read({}) is None
    assert not visitors.known("77")[0]


async def test_a_change_during_the_reading_is_not_missed() -> None:
    """What was read before the change is used for its event, and not kept; the same for a lost connection."""
    link = Link()
    visitors = VisitorStore(link)
    first = visitors.read("77")
    link.change([b"s:77"])
    second = visitors.read("77")
    link.waiting[0][1]({b"a": b"1"})
    assert not visitors.known("77")[0]
    link.waiting[1][1]({b"a": b"2"})
    assert [bytes(await reading or b"") for reading in (first, second)] == [b'{"a":1}', b'{"a":2}']
    assert bytes(visitors.known("77")[1] or b"") == b'{"a":2}'


async def test_visitors_are_forgotten_when_there_are_too_many() -> None:
    """The ones that were seen longest ago."""
    link = Link()
    visitors = VisitorStore(link)
    for number in range(MAX_KEPT + 10):
        reading = visitors.read(str(number))
        link.waiting.pop()[1]({})
        await reading
        visitors.known("0")
    assert visitors.known("0")[0]
    assert not visitors.known("5")[0]


async def test_what_is_kept_of_visitors_is_bounded_in_bytes() -> None:
    """Large hashes push out earlier ones long before there are too many visitors."""
    link = Link()
    visitors = VisitorStore(link)
    for number in range(MAX_BYTES // 4000 + 100):
        reading = visitors.read(str(number))
        link.waiting.pop()[1]({b"a": b'"' + b"x" * 3900 + b'"'})
        await reading
    assert visitors.known(str(number))[0]
    assert not visitors.known("0")[0]
    assert MAX_BYTES // 2 < visitors.kept_bytes <= MAX_BYTES
    link.change([f"s:{number}".encode()])
    link.change(None)
    assert visitors.kept_bytes == 0


async def test_what_services_say_holds_no_half_characters() -> None:
    """Answers of enrichers and what is stored are laid into the event as JSON: there too half a pair is U+FFFD."""

    class Broken(Rpc):
        async def scatter(self, *args: Any, **kwargs: Any) -> Scatter:
            answers = await super().scatter(*args, **kwargs)
            results = {name: msgspec.Raw(rb'{"cut":"\ud83d"}' + b" " * 9) for name in answers.results}
            return msgspec.structs.replace(answers, results=results)

    rpc, link = Broken(), Link()
    ours = Enricher(rpc, link, CircuitBreaker(), timeout=5.0, fingerprint=None)
    message = event()
    enriching = asyncio.create_task(ours.enrich(message, compile_plan([GEO, PLAIN])))
    await asyncio.sleep(0)
    link.waiting.pop()[1]({b"a": rb'"\ud83d"', b"b": b'"\xff"'})
    await enriching
    written = msgspec.json.decode(msgspec.json.encode(message["data"]))
    assert written["mmgeo"] == written["old"] == {"cut": "\ufffd"}
    assert written["stored"] == {"a": "\ufffd", "b": "\ufffd"}


async def test_a_real_redis_tells_of_changes(front: Any, peers: Any) -> None:
    """What another service stores between two events of a visitor is in the second one, and in no time."""
    async with aiohttp.ClientSession() as session:

        async def stored() -> Any:
            async with session.get(f"{front.url}/track/page?uid=4444444444") as answer:
                assert answer.status == 200
            return (await peers.newest())["data"].get("stored")

        assert await stored() is None
        for number in range(20):
            await peers.redis.hset("s:4444444444", "n", number)
            assert await stored() == {"n": number}
        await peers.redis.delete("s:4444444444")
        assert await stored() is None
        before = (await peers.redis.info("commandstats")).get("cmdstat_hgetall", {"calls": 0})["calls"]
        for _ in range(5):
            await stored()
        assert (await peers.redis.info("commandstats"))["cmdstat_hgetall"]["calls"] == before


async def test_events_travel_twice_only_when_somebody_listens(front: Any, peers: Any) -> None:
    """Nobody subscribed: nothing is published. A listener that has just subscribed misses nothing."""

    async def published() -> int:
        return int((await peers.redis.info("commandstats")).get("cmdstat_publish", {"calls": 0})["calls"])

    async with aiohttp.ClientSession() as session:

        async def send() -> None:
            async with session.get(f"{front.url}/foo/bar") as answer:
                assert answer.status == 200

        before = await published()
        for _ in range(20):
            await send()
        assert await published() - before < 10  # heartbeats are published too
        client = aioredis.Redis.from_url(f"redis://127.0.0.1:{peers.redis.connection_pool.connection_kwargs['port']}")
        for _ in range(5):
            pubsub = client.pubsub()
            await pubsub.subscribe("broadcast")
            await pubsub.get_message(timeout=2)
            await send()
            assert await pubsub.get_message(timeout=2) is not None
            await pubsub.aclose()  # type: ignore[no-untyped-call]
        await client.aclose()


async def test_the_stream_keeps_a_trace_beside_each_event(front: Any, peers: Any) -> None:
    """Field `trace`: when it came, how long it took, who enriched it, who answered."""
    async with aiohttp.ClientSession() as session, session.get(f"{front.url}/track/page") as answer:
        assert answer.status == 200
    (_, fields) = (await peers.redis.xrevrange("events", count=1))[0]
    assert list(fields) == [b"event", b"trace"]
    event_, trace = json.loads(fields[b"event"]), json.loads(fields[b"trace"])
    assert trace["at"] == event_["time"]
    assert 0 < trace["ms"] < 5000
    assert (trace["enrichers"], trace["handler"]) == ({}, None)
