"""Registrations that nobody should send: one row never harms another, an event, or a front that starts."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from band.constants import REGISTRATIONS_KEY
from band.jsonrpc.client import Scatter
from front.enrichment.circuit_breaker import CircuitBreaker
from front.enrichment.enricher import Enricher
from front.event.trace import Trace
from front.routing.enrichment_plan import MAX_TTL_SECONDS, CacheRule
from front.routing.handlers import Remote
from front.routing.registrations import compile_table

HUGE = 10**400
GOOD = {
    "service": "mmgeo", "method": "enrich", "role": "enricher",
    "options": {"keys": ["in.gen.track"], "props": {"ip": "td.ip"}},
}  # fmt: skip
EVIL = {
    "service": "evil", "method": "enrich", "role": "enricher",
    "options": {"keys": ["in.gen.none"], "props": {"ip": "td.ip"}, "cache": {"props": ["ip"], "ttl": HUGE}},
}  # fmt: skip
SLOW = {"service": "slow", "method": "*", "role": "handler", "options": {"timeout": HUGE}}
LONG = {**SLOW, "service": "long", "options": {"alias": "a." * 100_000}}


def deep(levels: int) -> Any:
    """Lists in lists."""
    found: Any = []
    for _ in range(levels):
        found = [found]
    return found


ODD = st.sampled_from(
    [None, True, False, 0, -1, -HUGE, HUGE, 2**70, 0.0, math.nan, math.inf, -math.inf, 1e308, "", "*", ":", ".", "a..b",
     "\x00", "\ud800", "x" * 100_000, "a." * 50_000, [], {}, ["*"], ["in.gen.track"], deep(3000), {"a": deep(3000)},
     "in.gen.track", "td.ip", "data", "track", "mmgeo", "enrich", "handler"]
)  # fmt: skip


def is_text(value: Any) -> bool:
    """Whether JSON could have it as a key."""
    return isinstance(value, str)


ANY = st.recursive(
    ODD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ODD.filter(is_text), inner, max_size=3),
    max_leaves=6,
)
OPTIONS = st.fixed_dictionaries(
    {"keys": st.just(["in.gen.track"]) | ANY},
    optional={
        "props": st.dictionaries(ODD.filter(is_text), ODD, max_size=3) | ANY,
        "cache": st.fixed_dictionaries({"props": st.just(["ip"]) | ANY, "ttl": ODD}) | ANY,
        "alias": ANY,
        "timeout": ODD,
    },
)
ROW = ANY | st.fixed_dictionaries(
    {"service": st.just("evil") | ODD, "method": st.just("*") | ODD,
     "role": st.sampled_from(["enricher", "handler"]) | ODD, "options": OPTIONS | ANY}
)  # fmt: skip


class Rpc:
    """Nobody answers; what they were asked has to have a JSON form."""

    def __init__(self) -> None:
        self.service_groups: dict[str, str] = {}

    async def scatter(self, channel: str, method: str, params: Any, *, expect: Any, **_how: Any) -> Scatter:
        msgspec.json.encode([params, sorted(expect)])
        return Scatter({}, {}, set(expect), {})


class Link:
    """A connection that is up."""

    connected = True


@given(st.lists(ROW, max_size=4))
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
async def test_no_row_harms_another_or_an_event(rows: list[Any]) -> None:
    """Huge, negative, no numbers, deep, wrong types, long, not text: the good rows count and an event passes."""
    table = compile_table([*rows[:2], GOOD, *rows[2:]], 1)
    message = {"key": "in.gen.track.page", "uid": "1234567890", "td": {"ip": "1.2.3.4"}, "data": {"page": {"url": "x"}}}
    enricher = Enricher(Rpc(), Link(), CircuitBreaker(), timeout=0.05, stored=False, fingerprint=None)  # type: ignore[arg-type]
    trace = Trace(1)
    silent = await enricher.enrich(message, table.plan, trace)
    assert "mmgeo" in silent
    target = table.routes.find(message["key"])[0]
    if isinstance(target, Remote):
        assert 0 < target.timeout(0.2) <= 60
        (target.service + target.method).encode()
    assert json.loads(trace.encode())
    assert all(len(service) <= 200 and service.encode() for service in {*silent, *table.handlers, *table.unusable})


def test_a_number_of_any_size_is_bounded_before_it_is_converted() -> None:
    """Seconds that an answer may be used, milliseconds that a handler may take."""
    rule = CacheRule.read("s", {"props": ["ip"], "ttl": HUGE})
    assert rule is not None
    assert rule.ttl == MAX_TTL_SECONDS
    assert Remote("a", "b", {"timeout": HUGE}).timeout(0.2) == 60.0
    for odd in (-HUGE, math.nan, -math.inf):
        assert CacheRule.read("s", {"props": ["ip"], "ttl": odd}) is None
        assert Remote("a", "b", {"timeout": odd}).timeout(0.2) == 0.2


def test_a_row_that_cannot_be_used_leaves_itself_out_and_says_why() -> None:
    """Its service is named where it has a name."""
    nameless = {**SLOW, "service": "\ud800"}
    many = {**EVIL, "options": {"keys": ["*"], "props": {f"p{number}": "td.ip" for number in range(101)}}}
    table = compile_table([LONG, GOOD, nameless, many, SLOW], 1)
    assert set(table.unusable) == {"long", "(no usable name)", "evil"}
    assert (list(table.enrichers), list(table.handlers)) == (["mmgeo"], ["in.gen.slow"])
    assert "alias" in table.unusable["long"]


@pytest.mark.parametrize("restarted", [False, True], ids=["while-it-runs", "at-its-start"])
async def test_front_takes_events_whatever_is_registered(
    own_redis: Any, start_front: Any, speak: Any, tmp_path: Path, restarted: bool
) -> None:
    """It opens its port, routes by the good rows, and health names the service whose row was left out."""
    rows = [GOOD, EVIL, LONG, SLOW]
    peers = speak(own_redis.dsn)
    if restarted:
        await peers.redis.set(REGISTRATIONS_KEY, json.dumps({"register": rows, "state_hash": 5}))
    front = start_front(own_redis.dsn)
    if not restarted:
        await peers.register(*rows)
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{front.url}/track/page") as answer:
            assert answer.status == 200
        async with session.get(f"{front.url}/slow/call") as answer:
            assert (await answer.json())["message"] == "The service that answers this is not running"
        assert (await peers.newest())["key"] == "in.gen.slow.call"
        async with session.get(f"{front.url}/_band/health") as answer:
            check = (await answer.json())["checks"]["registrations"]
    assert (check["status"], check["services"]) == ("degraded", ["long"])
    assert "long: its `alias` is not a name" in check["reason"]
    assert front.log.read_text().count("registration_unusable") == 1
    assert set((await peers.call_front("enrichers", {}))["result"]) == {"mmgeo", "evil"}


async def test_an_enricher_of_the_original_is_answered_for_by_its_own_properties(
    own_redis: Any, start_front: Any, speak: Any
) -> None:
    """All hear all requests on the channel `enrich`; of each the answer to its own request counts."""
    front, peers = start_front(own_redis.dsn), speak(own_redis.dsn)
    other = {**GOOD, "service": "other", "options": {"keys": ["in.gen.track"], "props": {"ip": "data.client"}}}
    for name in ("mmgeo", "other"):
        await peers.service(name, lambda params: {"ip": params["ip"]}, enricher=True)
    for rows in ([GOOD, other], [other, GOOD]):
        await peers.register(*rows)
        headers = {"X-Real-IP": "81.2.69.142"}
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{front.url}/track/page?client=9.9.9.9", headers=headers) as answer:
                assert answer.status == 200
            async with session.get(f"{front.url}/_band/health") as answer:
                check = (await answer.json())["checks"]["enrichers"]
        data = (await peers.newest())["data"]
        assert (data["mmgeo"]["ip"], data["other"]["ip"]) == ("81.2.69.142", "9.9.9.9")
        assert check["told_apart"] == [rows[1]["service"]]
