"""Annotated functions: parameters converted and checked over RPC, HTTP and the stream; events typed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

import aiohttp
import msgspec
import pytest
from msgspec import Meta

from band import json_codec, testing
from band.calls.event import Event
from band.calls.signature import Handler
from band.errors import InvalidParams, RegistrationError, RpcRemoteError
from band.registry import Exposed
from band.service import lifecycle
from band.service.lifecycle import Service
from band.telemetry.logs import ensure_logs


class Row(msgspec.Struct):
    uid: str
    events: int


class Purchase(msgspec.Struct):
    sku: str
    price: float


class Database:
    """What no JSON can become."""


async def top(limit: Annotated[int, Meta(ge=1, le=100)] = 10) -> list[Row]:
    return [Row("a", limit)]


@pytest.fixture
async def lab():
    """A service with a function of each kind, and what its listener was given."""
    service, seen = Service(), []
    service.expose()(top)

    @service.expose()
    async def tagged(tag: list[str], *, sort: bool = False) -> list[str]:
        return sorted(tag) if sort else tag

    @service.expose()
    async def rest(number: int, **params: Any) -> dict[str, Any]:
        return {"number": number, **params}

    @service.expose()
    async def nothing() -> str:
        return "ok"

    @service.expose()
    async def untyped(limit=10):
        return limit

    @service.expose.handler(name="buy")
    async def buy(event: Event[Purchase], key: str) -> dict[str, Any]:
        return {"price": event.data.price, "key": key}

    @service.expose.listener()
    async def broadcast(event: Event[Purchase]) -> None:
        seen.append(event)

    async with testing.running(subject=service) as bench:
        bench.seen = seen
        yield bench


async def get(lab, path, **options):
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{lab.service.port}") as session,
        session.request(options.pop("method", "GET"), path, **options) as answer,
    ):
        return answer.status, await answer.json()


async def test_a_text_becomes_the_number_that_is_asked_for(lab) -> None:
    """Over RPC and HTTP alike, and what the function returns may be a Struct."""
    assert await lab.call("top", limit="3") == [{"uid": "a", "events": 3}]
    assert await lab.call("top") == [{"uid": "a", "events": 10}]
    assert await get(lab, "/top?limit=3") == (200, [{"uid": "a", "events": 3}])
    assert await get(lab, "/top", method="POST", json={"limit": 4}) == (200, [{"uid": "a", "events": 4}])
    assert await get(lab, "/top", method="POST", data={"limit": "5"}) == (200, [{"uid": "a", "events": 5}])


async def test_what_does_not_fit_is_refused_with_its_path(lab) -> None:
    """RPC: -32602. HTTP: 422. Both name the parameter."""
    with pytest.raises(RpcRemoteError) as raised:
        await lab.call("top", limit=101)
    assert (raised.value.code, raised.value.data) == (
        -32602, {"message": "limit: expected `int` <= 100", "path": "$.limit"},
    )  # fmt: skip
    assert await get(lab, "/top?limit=many") == (
        422, {"message": "Invalid params: limit: expected `int`, got `str`", "path": "$.limit"},
    )  # fmt: skip
    status, answer = await get(lab, "/rest")
    assert (status, answer["message"]) == (422, "Invalid params: missing the required field `number`")


async def test_parameters_that_nobody_asked_for_are_ignored(lab) -> None:
    """Unless the function takes them with ``**params``."""
    assert await lab.call("top", limit=1, other=2) == [{"uid": "a", "events": 1}]
    assert await lab.call("nothing", other=2) == "ok"
    assert await lab.call("rest", number="1", other="2") == {"number": 1, "other": "2"}


async def test_a_list_is_collected_from_the_query(lab) -> None:
    assert await get(lab, "/tagged?tag=b&tag=a&sort=true") == (200, ["a", "b"])
    assert await get(lab, "/tagged?tag=b") == (200, ["b"])


async def test_without_annotations_all_is_as_before(lab) -> None:
    """Nothing is converted, and an unknown parameter is an error."""
    assert await lab.call("untyped", limit="3") == "3"
    with pytest.raises(RpcRemoteError, match="unexpected keyword argument 'other'"):
        await lab.call("untyped", other=1)
    assert (await get(lab, "/untyped?other=1"))[0] == 400


async def test_events_are_typed(lab) -> None:
    """A listener and a handler get the event as a Struct; one that does not fit is an error."""
    event = testing.make_event("in.gen.shop.buy", data={"sku": "x", "price": "9.5", "mmgeo": {"city": "Boxford"}})
    await lab.listen(event)
    assert lab.seen[0].data == Purchase("x", 9.5)
    assert (lab.seen[0].key, lab.seen[0].uid, lab.seen[0].td["ip"]) == (event["key"], event["uid"], "2.125.160.216")
    assert await lab.call("buy", **event) == {"price": 9.5, "key": "in.gen.shop.buy"}
    with pytest.raises(InvalidParams, match="data: missing the required field `price`"):
        await lab.listen({**event, "data": {"sku": "x"}})


async def test_batches_are_typed() -> None:
    service, seen = Service(), []

    @service.expose.listener(batch=10)
    async def broadcast(events: list[Event[Purchase]]) -> None:
        seen.extend(event.data.price for event in events)

    async with testing.running(subject=service) as bench:
        await bench.listen(*(testing.make_event(data={"sku": "x", "price": n}) for n in (1, 2)))
    assert seen == [1.0, 2.0]


async def test_an_event_of_any_data_is_a_dict() -> None:
    async def any_event(event: Event) -> Any:
        return event.data

    assert await Handler(any_event).call(testing.make_event(data={"a": 1})) == {"a": 1}


def test_defaults_are_taken_as_they_are() -> None:
    """``x: int = None`` means that there may be none; a mutable default is the function's own."""
    found = []

    def one(x: int = None, many: list[int] = found) -> Any:  # type: ignore[assignment]  # noqa: RUF013
        return x, many

    assert Handler(one).call({})[1] is found
    assert Handler(one).call({"x": None}) == (None, found)
    assert Handler(one).call({"x": "7", "many": ["1"]}) == (7, [1])


def test_only_any_costs_nothing() -> None:
    """A function that takes everything as it comes is called as if it had no annotations."""

    def one(ip: Any = None, **params: Any) -> Any:
        return ip, params

    handler = Handler(one)
    assert handler.call({"ip": 1, "b": 2}) == (1, {"b": 2})
    assert handler.call.__qualname__.startswith("_plain")


def test_a_class_that_is_no_data_is_passed_as_it_came() -> None:
    """Services of the original platform annotate with classes of theirs; it never meant more than a comment."""

    def one(database: Database, x: int = 1) -> Any:
        return database, x

    assert Handler(one).call({"database": {"a": 1}, "x": "2"}) == ({"a": 1}, 2)

    def many(databases: list[Database], by_name: dict[str, Database] | None = None) -> Any:
        return databases, by_name

    assert Handler(many).call({"databases": [1]}) == ([1], None)


def test_a_class_with_a_default_need_not_be_yielded() -> None:
    """Also when lifespans yield something else."""

    def one(database: Database | None = None) -> Any:
        return database

    handler = Handler(one)
    handler.prepare([object()])
    assert handler.call({}) is None


@pytest.mark.parametrize("annotation", ["ip address", "Nowhere", "msgspec.Nothing", "{}[1]"])
def test_annotations_that_cannot_be_read_are_comments(annotation: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As in services of the original: the function is called with what came, and the log tells."""
    ensure_logs()

    def one(x):
        return x

    one.__annotations__["x"] = annotation
    handler = Handler(one)
    handler.prepare([object()])
    assert (handler.call({"x": "1"}), handler.typed) == ("1", False)
    assert "annotations_unreadable" in capsys.readouterr().out


def test_an_event_may_be_optional() -> None:
    """``event: Event | None = None`` is an event, and so is each of a list."""

    def one(event: Event[Purchase] | None = None) -> Any:
        return event and event.data.sku

    def many(events: list[Event[Purchase]] | None = None) -> Any:
        return [event.data.sku for event in events or []]

    event = testing.make_event(data={"sku": "x", "price": 1})
    assert Handler(one).call(event) == "x"
    assert Handler(many, batch=True).call_batch([event]) == ["x"]

    def more(events: list[Event[Purchase]], dry: bool = False) -> Any:
        return events[0].data.sku, dry

    assert Handler(more, batch=True).call_batch([event]) == ("x", False)


def test_a_batch_is_a_list_of_events() -> None:
    """What would never be converted is refused at the start."""

    def purchases(events: list[Purchase]) -> None:
        """The data alone."""

    def single(event: Event[Purchase]) -> None:
        """One of many."""

    for func in (purchases, single):
        with pytest.raises(RegistrationError, match=r"write list\[Event\["):
            Handler(func, batch=True).prepare()

    def rows(events: list[dict[str, Any]]) -> Any:
        return events

    assert Handler(rows, batch=True).call_batch([{"a": 1}]) == [{"a": 1}]


def test_annotations_that_cannot_be_used_are_told() -> None:
    """At the start of the service, with the function's and the parameter's names."""

    def union(x: Row | Purchase) -> None:
        """What msgspec cannot tell apart."""

    def asks(x: Database) -> None:
        """Nobody yields one."""

    def many(many: list[Database]) -> None:
        """Nobody yields a list of them either."""

    def events(first: Event, second: Event) -> None:
        """Two of what there is one of."""

    def sequence(some: Sequence[Event]) -> None:
        """A batch is a list."""

    def pair(some: tuple[Event[Purchase], ...]) -> None:
        """A batch is a list."""

    def positional(x: int, /, *, y: int = 1) -> None:
        """Parameters come by name."""

    for func, text in (
        (union, "union: its annotations"), (asks, "x asks for Database"), (many, "many asks for list"),
        (events, "several event parameters"), (sequence, "some is Sequence"), (pair, "some is tuple"),
        (positional, "x is positional-only"),
    ):  # fmt: skip
        with pytest.raises(RegistrationError, match=text):
            Handler(func).prepare([object()])


async def test_handlers_ask_for_what_a_lifespan_yields() -> None:
    """By type, in functions of every kind; the end of the generator runs when the service stops."""
    service, told = Service(), []

    @service.lifespan
    async def database() -> AsyncIterator[Database]:
        told.append("open")
        yield Database()
        told.append("closed")

    @service.lifespan
    async def cache(database: Database) -> AsyncIterator[dict[str, int]]:
        told.append(type(database).__name__)
        yield {"size": 1}

    @service.setup
    async def load(database: Database) -> None:
        told.append("setup")

    @service.expose()
    async def ask(database: Database, limit: int = 1, *, again: Database | None = None) -> Any:
        return [type(database).__name__, database is again, limit]

    async with testing.running(subject=service) as bench:
        assert await bench.call("ask", limit="2") == ["Database", True, 2]
        assert await bench.call("ask", database="mine") == ["Database", True, 1]
        assert told == ["open", "Database", "setup"]
    assert told[-1] == "closed"


async def test_health_functions_ask_for_what_a_lifespan_yields() -> None:
    """As all others do; one that asks for what nobody yields keeps the service from starting."""
    service = Service()

    @service.lifespan
    async def database() -> AsyncIterator[Database]:
        yield Database()

    @service.health
    async def pool(database: Database) -> dict[str, str]:
        return {"status": "degraded", "reason": type(database).__name__}

    async with testing.running(subject=service) as bench:
        status, health = await get(bench, "/health")
        assert (status, health["checks"]["pool"]) == (200, {"status": "degraded", "reason": "Database"})

    @service.health
    async def other(row: Handler) -> None:
        """Nobody yields one."""

    with pytest.raises(RegistrationError, match="other: row asks for Handler"):
        async with testing.running(subject=service):
            pass


async def test_the_port_closes_before_what_a_lifespan_yields(run_service, eventually) -> None:
    """A request in progress is answered with a database that is still open; the end has all the time that is left."""
    service, told, allowed = Service(), [], []
    end = service._end_lifespans

    async def end_within(seconds: float) -> None:
        allowed.append(seconds)
        await end(seconds)

    service._end_lifespans = end_within  # type: ignore[method-assign]

    @service.lifespan
    async def database() -> AsyncIterator[Database]:
        yield Database()
        told.append("closed")

    @service.expose()
    async def slow(database: Database) -> bool:
        told.append("asked")
        await eventually(lambda: service.state == "stopping")
        await asyncio.sleep(0.1)
        told.append("answered")
        return True

    await run_service(service, stop_timeout=40.0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{service.port}") as session:
        asked = asyncio.create_task(session.get("/slow"))
        await eventually(lambda: told)
        await service.stop()
        assert (await asked).status == 200
    assert told == ["asked", "answered", "closed"]
    assert 10 < allowed[0] <= 40


async def test_a_lifespan_that_does_not_begin_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "SETUP_TIMEOUT", 0.05)
    service = Service()

    @service.lifespan
    async def database() -> AsyncIterator[Database]:
        await asyncio.sleep(600)
        yield Database()

    with pytest.raises(TimeoutError, match=r"the lifespan database did not begin within 0\.05 s"):
        async with testing.running(subject=service):
            pass


async def test_a_lifespan_that_fails_keeps_the_service_from_starting() -> None:
    service = Service()

    @service.lifespan
    async def database() -> AsyncIterator[Database]:
        raise OSError("no such host")
        yield Database()

    with pytest.raises(OSError, match="no such host"):
        async with testing.running(subject=service):
            pass


def test_a_registration_keeps_its_function() -> None:
    assert Exposed("top", top, "/top").func is top


async def test_an_event_that_does_not_fit_becomes_a_dead_letter_at_once(run_service, eventually) -> None:
    """Another delivery would not mend it, and it is no sign of a broken listener."""
    service, seen = Service(), []

    @service.expose.listener()
    async def broadcast(event: Event[Purchase]) -> None:
        seen.append(event.data.sku)

    await run_service(service, "shop", events_from="0")
    for data in ({"sku": "a"}, {"sku": "b", "price": 1}):
        event = json_codec.encode(testing.make_event(data=data))
        await service.link.command("XADD", "events", "*", "event", event)
    await eventually(lambda: seen == ["b"])
    assert await service.link.command("XLEN", "dead:shop") == 1
    assert service.metrics.failures.check() is None
