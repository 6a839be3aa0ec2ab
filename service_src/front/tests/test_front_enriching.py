"""Enriching with hand-made services: deadlines, silence, absence, what is stored."""

import asyncio
import json
from typing import Any

import pytest

from band.errors import RedisUnavailable, RpcRemoteError, RpcTimeout
from band.jsonrpc.client import Scatter
from front.enrichment.circuit_breaker import CircuitBreaker
from front.enrichment.enricher import Enricher
from front.enrichment.groups import field_of
from front.routing.enrichment_plan import EnrichPlan, read_enricher


def compile_plan(rows: Any) -> EnrichPlan:
    return EnrichPlan([read_enricher(service, options) for service, options in rows])


class Services:
    """Stands for `rpc`: every service answers at once, with an error, or never."""

    def __init__(self, results: dict[str, Any] | None = None, errors: tuple[str, ...] = ()) -> None:
        self.results = results or {}
        self.errors = errors
        self.service_groups: dict[str, str] = {}
        self.asked: list[set[str]] = []
        self.called: list[tuple[str, dict[str, Any] | None]] = []

    async def scatter(
        self, channel: str, method: str, params: dict[str, Any], *, expect: Any, timeout: float, raw: bool = False
    ) -> Scatter:
        self.asked.append(set(expect))
        answered = {name: value for name, value in self.results.items() if name in expect}
        errors = {name: RpcRemoteError(-32000, "Server error") for name in self.errors if name in expect}
        missing = set(expect) - set(answered) - set(errors)
        if missing:
            await asyncio.sleep(timeout)
        return Scatter(answered, errors, missing, {})

    async def call(self, to: str, method: str, params: dict[str, Any] | None = None, timeout: float = 1.0) -> Any:
        self.called.append((to, params))
        if to in self.errors:
            raise RpcRemoteError(-32602, "Invalid params")
        if to not in self.results:
            raise RpcTimeout("no answer")
        return self.results[to]


class Store:
    """Stands for `link`: one hash, an answer that never comes, or no connection; and for its watch over keys."""

    def __init__(self, stored: Any = None, *, connected: bool = True, active: bool = True) -> None:
        self.stored = stored
        self.connected = connected
        self.active = active
        self.asked: list[tuple[Any, ...]] = []
        self.replies: list[Any] = []

    @property
    def keys(self) -> "Store":
        return self

    def add(self, prefix: str, on_change: Any) -> None:
        self.change = on_change

    def send(self, *parts: Any, on_reply: Any, timeout: float = 5.0) -> None:
        self.asked.append(parts)
        if not self.connected:
            raise RedisUnavailable("away")
        if self.stored is None:
            self.replies.append(on_reply)
        else:
            on_reply(self.stored)


def event(name: str = "track", **data: Any) -> dict[str, Any]:
    return {"key": f"in.gen.{name}.page", "uid": "1234567890", "td": {"ip": "1.2.3.4", "ua": "UA"}, "data": data}


def plan(*names: str) -> EnrichPlan:
    return compile_plan([(name, {"keys": ["in.gen.track"], "props": {"ip": "td.ip"}}) for name in names])


def enricher(
    services: Services, store: Store, attendance: CircuitBreaker | None = None, timeout: float = 0.05
) -> Enricher:
    return Enricher(services, store, attendance or CircuitBreaker(), timeout=timeout)


async def test_results_are_stored_as_sent_and_overwrite_what_the_client_sent() -> None:
    """Null, text, list and typed responses as they came, then fpid, then stored; errors store nothing."""
    results = {"nil": None, "text": "t", "typed": {"type__": "error", "statusCode": 404}}
    message = event(text="client", fpid="client", other=1)
    store = Store({b"a": b'{"b":1}', b"c": b"[1]"})
    silent = await enricher(Services(results, ("bad",)), store).enrich(message, plan("nil", "text", "typed", "bad"))
    assert not silent
    assert store.asked == [("HGETALL", "s:1234567890")]
    assert list(message["data"]) == ["text", "fpid", "other", "nil", "typed", "stored"]
    assert message["data"]["text"] == "t"
    assert message["data"]["typed"] == {"type__": "error", "statusCode": 404}
    assert json.loads(bytes(message["data"]["stored"])) == {"a": {"b": 1}, "c": [1]}


async def test_only_track_events_get_fingerprint_and_stored_data() -> None:
    """Other services' events and visits without address or User-Agent keep what the client sent."""
    store = Store({b"a": b"1"})
    other = event("labsvc", fpid="client")
    await enricher(Services(), store).enrich(other, plan("ua"))
    assert other["data"] == {"fpid": "client"}
    assert store.asked == []
    bare = event()
    del bare["td"]["ua"]
    await enricher(Services(), Store({})).enrich(bare, plan())
    assert bare["data"] == {}


async def test_nothing_is_read_about_who_objects() -> None:
    """Also where the page sends the visitor's uid, and where what is stored about it is cached already."""
    store = Store({b"a": b"1"})
    asker = enricher(Services(), store)
    for objection in ({"privacy": ["consent"]}, {}, {"privacy": ["gpc"]}):
        message = event() | objection
        await asker.enrich(message, plan())
        assert set(message["data"]) == (set() if objection else {"fpid", "stored"})
    assert len(store.asked) == 1


@pytest.mark.parametrize("stored", [{b"a": b"1", b"b": b"{bad"}, {}, RedisUnavailable("away"), None])
async def test_bad_stored_data_harms_nothing(stored: Any) -> None:
    """One bad value, none, a lost connection or silence: nothing is stored, within the deadline."""
    message = event()
    began = asyncio.get_running_loop().time()
    await enricher(Services(), Store(stored)).enrich(message, plan())
    assert "stored" not in message["data"]
    assert asyncio.get_running_loop().time() - began < 0.2


async def test_a_lost_redis_only_takes_the_enrichment_away() -> None:
    """No exception, and nobody is called absent for it."""
    attendance = CircuitBreaker()
    message = event()
    silent = await enricher(Services(), Store(connected=False), attendance, 0.01).enrich(message, plan("ua"))
    assert silent == {"ua"}
    assert not attendance.absent
    assert message["data"]["fpid"]


async def test_partial_results_count() -> None:
    """Who answers in time is in the event, who does not is named."""
    message = event()
    silent = await enricher(Services({"ua": 1}), Store({})).enrich(message, plan("ua", "dead"))
    assert silent == {"dead"}
    assert message["data"]["ua"] == 1


async def test_an_absent_enricher_costs_no_time_until_it_answers_again() -> None:
    """After misses over half a second it is not waited for; a probe's answer, even an error, brings it back."""
    attendance = CircuitBreaker()
    services = Services({"ua": 1})
    for moment in (0.0, 0.2, 0.6):
        attendance.note(["ua"], {"dead"}, {"ip": "1.2.3.4"}, moment)
    assert attendance.absent == {"dead"}
    began = asyncio.get_running_loop().time()
    await enricher(services, Store({}), attendance, 1.0).enrich(event(), plan("ua", "dead"))
    assert asyncio.get_running_loop().time() - began < 0.5
    assert services.asked == [{"ua"}]
    await attendance.probe(services)
    assert attendance.absent == {"dead"}
    services.errors = ("dead",)
    await attendance.probe(services)
    assert not attendance.absent
    assert services.called == [("dead", {"ip": "1.2.3.4"})] * 2


async def test_when_all_are_absent_nobody_is_asked() -> None:
    """No request is sent that nobody would answer."""
    attendance = CircuitBreaker()
    for moment in (0.0, 0.2, 0.6):
        attendance.note([], {"dead"}, {}, moment)
    services = Services()
    assert await enricher(services, Store({}), attendance).enrich(event(), plan("dead")) == {"dead"}
    assert services.asked == []
    attendance.forget()
    assert not attendance.absent


def test_a_short_silence_is_no_absence() -> None:
    """Many misses at one moment, or misses with an answer between them, are a hiccup."""
    attendance = CircuitBreaker()
    for _ in range(50):
        attendance.note([], {"slow"}, {}, 1.0)
    assert not attendance.absent
    attendance.note(["slow"], set(), {}, 1.1)
    attendance.note([], {"slow"}, {}, 2.0)
    assert not attendance.absent


UAP = {"uap_1": "uap", "uap_2": "uap"}


@pytest.mark.parametrize(
    ("service", "group", "field"),
    [
        ("uap_1", "uap", "uap"),
        ("uap-blue", "uap", "uap"),
        ("uap2", "uap", "uap"),
        ("mmgeo.ru.1", "mmgeo.ru", "mmgeo.ru"),
        ("uap", "uap", "uap"),
        ("evil", "mmgeo", "evil"),
        ("mmgeology", "mmgeo", "mmgeology"),
        ("uap_1", "uap_1x", "uap_1"),
        ("uap_1", "", "uap_1"),
        ("page_1", "page", "page_1"),
        ("stored_1", "stored", "stored_1"),
        ("data2", "data", "data2"),
    ],
)
def test_a_group_is_the_beginning_of_its_services_names(service: str, group: str, field: str) -> None:
    """A service may shorten its own name; it takes neither another's nor one that clients or front write."""
    assert field_of(service, {service: group}, {service}) == field


def test_a_name_that_another_enricher_has_is_its_own() -> None:
    """A service called as the group keeps its field to itself, unless it says that it is of the group."""
    services = {"uap", "uap_1"}
    assert field_of("uap_1", {"uap_1": "uap"}, services) == "uap_1"
    assert field_of("uap_1", {"uap_1": "uap", "uap": "other"}, services) == "uap_1"
    assert field_of("uap_1", {"uap_1": "uap", "uap": "uap"}, services) == "uap"


async def test_the_first_registered_of_a_group_that_answers_counts() -> None:
    """Both fill one field: the first registration's answer, the other's where the first is silent."""
    services = Services({"uap_1": 1, "uap_2": 2, "geo": 3})
    services.service_groups.update(UAP)
    message = event(other=0)
    await enricher(services, Store({})).enrich(message, plan("uap_1", "geo", "uap_2"))
    assert message["data"] == {"other": 0, "uap": 1, "geo": 3, "fpid": message["data"]["fpid"]}
    del services.results["uap_1"]
    message = event()
    assert await enricher(services, Store({})).enrich(message, plan("uap_1", "uap_2")) == {"uap_1"}
    assert message["data"]["uap"] == 2


async def test_the_field_of_a_group_is_reserved_like_a_services() -> None:
    """Once a reply has named the group no client may write there, under new registrations neither."""
    services = Services({"uap_1": 1})
    services.service_groups.update(UAP)
    ours, known = enricher(services, Store({})), plan("uap_1")
    assert "uap" not in known.fields
    await ours.enrich(event(), known)
    assert "uap" in known.fields
    ours.use(following := plan("uap_1", "geo"))
    assert "uap" in following.fields
    assert services.service_groups == {"uap_1": "uap"}
    ours.use(gone := plan("geo"))
    assert "uap" not in gone.fields
    assert services.service_groups == {}


async def test_a_group_that_is_refused_is_logged_once(caplog: Any, monkeypatch: Any) -> None:
    """What a hostile service answers stands under its own name; the log says why, once."""
    told: list[str] = []
    monkeypatch.setattr("front.enrichment.enricher.logger.warning", lambda name, **_: told.append(name), raising=False)
    services = Services({"evil": {"city": "X"}, "mmgeo": {"city": "London"}})
    services.service_groups["evil"] = "mmgeo"
    ours = enricher(services, Store({}))
    for _ in range(3):
        message = event(page={"url": "u"})
        await ours.enrich(message, plan("mmgeo", "evil"))
        assert message["data"]["mmgeo"] == {"city": "London"}
        assert message["data"]["evil"] == {"city": "X"}
    assert told == ["service_group_refused"]
