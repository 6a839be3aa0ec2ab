"""Whatever stands in Redis: one bad document or event spoils itself only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from band.redis import RedisLink
from director.discovery.probe import Prober
from director.errors import Conflict
from director.state.crash_log import CrashLog, CrashRecord, ExitRecord
from director.state.desired import Configs, Desired, DesiredService, Spec
from director.state.event_stream import search
from director.state.history import Release, Releases

DEEP = b"[" * 100_000
SPOILED = [b"", b"{", b"\xff", b'{"title": "\xff", "ends": "\xff"}', b"null", b"7", b'{"spec": 1, "ends": 2}', DEEP]


def spec(name: str) -> Spec:
    return Spec(name=name, image=f"ns/{name}:a", network="net")


GOOD = {
    "desired": msgspec.json.encode(DesiredService(spec=spec("good"))),
    "releases": msgspec.json.encode([Release(spec=spec("good"), at=1.0)]),
    "crashes": msgspec.json.encode(CrashRecord(ends=(ExitRecord(5.0),))),
}


async def fill(store: RedisLink, namespace: str) -> None:
    """Write one good document into each of the director's hashes, and every bad one that we know."""
    for kind, document in GOOD.items():
        key = f"{namespace}:director:{kind}"
        await store.command("HSET", key, "good", document)
        for number, raw in enumerate(SPOILED):
            await store.command("HSET", key, f"bad{number}", raw)
        await store.command("HSET", key, b"\xff\xfe", document)


@pytest.mark.parametrize("kind", [Desired, Releases, CrashLog])
async def test_a_document_that_cannot_be_read_is_left_out_and_told(
    store: RedisLink, kind: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Invalid UTF-8, other types, broken and bottomless JSON: the others are loaded, and it is left as it was."""
    await fill(store, "ns")
    found = kind(store, "ns")
    await found.load()
    assert set(found.all()) - {"\ufffd\ufffd"} == {"good"}
    told = [line for line in capsys.readouterr().out.splitlines() if "document_unreadable" in line]
    assert len(told) == len(SPOILED)
    assert all("field=bad" in line for line in told)
    assert await store.command("HGET", found._key, "bad2") == b"\xff"


async def test_a_config_that_cannot_be_read_is_a_conflict_with_the_way_out(store: RedisLink) -> None:
    """To run a service without its settings would be to run something else; those of others are read."""
    configs = Configs(store, "ns")
    await configs.put("good", {"env": {"A": "b"}})
    for raw in (b"{", b"\xff", b"7", DEEP):
        await store.command("HSET", "ns:director:configs", "bad", raw)
        with pytest.raises(Conflict, match="'bad' cannot be read") as caught:
            await configs.get("bad")
        assert "/rm/bad" in caught.value.hint
    assert await configs.get("good") == {"env": {"A": "b"}}
    assert await configs.names() == ["bad", "good"]


async def test_events_that_cannot_be_read_stand_there_as_text(store: RedisLink) -> None:
    """The newest come all the same, in their order."""
    for raw in (b'{"id": "1"}', b"\xff", DEEP, b""):
        await store.command("XADD", "events", "*", "event", raw)
    await store.command("XADD", "events", "*", b"\xff", b"\xfe")
    found = [row.event for row in (await search(store, 10)).events]
    assert found == [None, "", DEEP.decode(), "\ufffd", {"id": "1"}]


class Link:
    """A publisher that reaches one receiver, who says nothing."""

    def publish(self, _channel: str, _payload: bytes, on_reply: Any = None, *, keep: bool = False) -> bool:
        return True


async def test_an_answer_that_cannot_be_read_does_not_take_the_next_one_along() -> None:
    """It is dropped where it comes in, so that the connection of all answers is kept."""
    prober = Prober(Link(), "probe")
    asking = asyncio.create_task(prober.ask("one", timeout=5))
    await asyncio.sleep(0)
    for payload in (b"\xff", b'{"id": "1", "result": "\xff"}', DEEP, b'{"id": [], "result": {}}'):
        prober.on_message("probe", payload)
    prober.on_message("probe", b'{"id": "1", "result": {"name": "one"}}')
    assert await asking == {"name": "one"}


async def test_a_director_with_spoiled_documents_begins_and_answers(
    redis_dsn: str, store: RedisLink, make_director: Callable[..., Any]
) -> None:
    """What should run is loaded, a service can be run, and events, traces and the page are shown."""
    await fill(store, "t-spoiled")
    await store.command("HSET", "t-spoiled:director:configs", "one", b"\xff")
    number = str(1_795_470_000_000 << 22)
    await store.command("XADD", "events", "1795470000000-0", "event", b"\xff" + number.encode(), "trace", b"\xff")
    await store.command("XADD", "events", "1795470000000-1", "event", f'{{"id": "{number}"}}', "trace", b"\xff")
    director = await asyncio.to_thread(make_director, "t-spoiled")
    get = lambda path: asyncio.to_thread(director.get, path)  # noqa: E731 - the tests' client blocks
    assert (await get("/health"))[1]["redis"]["desired_loaded"] is True
    director.image("two")
    assert (await get("/run/two"))[0] == 200
    assert [row["event"] == {"id": number} for row in (await get("/events?limit=2"))[1]["events"]] == [True, False]
    assert (await get(f"/trace/{number}"))[1]["stream_id"] == "1795470000000-1"
    assert (await asyncio.to_thread(director.request, "GET", "/"))[0] == 200
    director.image("one")
    status, body = await get("/run/one")
    assert (status, "/rm/one" in body["error"]["hint"]) == (409, True)


async def test_a_foreign_key_in_the_streams_place_is_told_and_ends_nothing(
    redis_dsn: str, store: RedisLink, make_director: Callable[..., Any]
) -> None:
    """A text under the name of the stream: the API says that Redis refused, the page shows all the rest."""
    await store.command("SET", "events", "not a stream")
    director = await asyncio.to_thread(make_director, "t-foreign")
    status, text = await asyncio.to_thread(director.request, "GET", "/events")
    assert (status, "WRONGTYPE" in text) == (502, True)
    assert (await asyncio.to_thread(director.request, "GET", "/"))[0] == 200
    assert (await asyncio.to_thread(director.request, "GET", "/dashboard/trace/7530784427379523585"))[0] in {404, 502}


async def test_ids_that_redis_cannot_have_are_refused_as_impossible(
    store: RedisLink, make_director: Callable[..., Any]
) -> None:
    """Numbers of 65 bits, and what is before the first of all ids; the largest id is fine."""
    director = await asyncio.to_thread(make_director, "t-ids")
    for words in ("from=18446744073709551616-0", "to=0-18446744073709551616", "before=0-0"):
        status, body = await asyncio.to_thread(director.get, f"/events?{words}")
        assert (status, bool(body["error"]["hint"])) == (422, True), body
    largest = "18446744073709551615-0"
    assert (await asyncio.to_thread(director.get, f"/events?from={largest}&to={largest}"))[0] == 200
