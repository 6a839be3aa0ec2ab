"""`/trace` and the dead letters: over a real Redis, with entries as front, listeners and their groups write them."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import msgspec
import pytest

from band.config import environ
from band.errors import RpcRemoteError, RpcTimeout
from band.platform import GRANTS_VARIABLE
from band.redis import RedisLink
from band.service.config import ServiceConfig
from band.service.lifecycle import Service
from director.api import params
from director.api.handlers.events import EventHandlers
from director.discovery.registrations import Registrations
from director.discovery.rpc import Rpc
from director.errors import BadParameter, Conflict, DirectorError, InvalidValue, NotFound, TimedOut
from director.redis.users import RedisUsers
from director.state import event_stream

NOW = 1_795_470_000_000
MADE = {"at": NOW, "ms": 3.5, "enrichers": {"mmgeo": {"ms": 1.2, "status": "ok"}}, "handler": None}


def flake(ms: int, sequence: int = 0) -> str:
    """Return an event's id as front draws it."""
    return str(ms << 22 | sequence)


async def accept(store: RedisLink, event_id: str, at: int, *, made: Any = MADE) -> str:
    """Append an event as front does, at a time of the test's choice; returns the entry's id."""
    event = json.dumps({"id": event_id, "key": "in.gen.track.page", "data": {"seen": event_id}}).encode()
    more = ["trace", json.dumps(made)] if made else []
    return (await store.command("XADD", "events", f"{at}-*", "event", event, *more)).decode()


async def group(store: RedisLink, name: str, take: int = 0, *, acknowledge: bool = True) -> None:
    """Make a listener's group that was given the first `take` entries."""
    await store.command("XGROUP", "CREATE", "events", name, "0", "MKSTREAM")
    if not take:
        return
    reply = await store.command("XREADGROUP", "GROUP", name, "c1", "COUNT", str(take), "STREAMS", "events", ">")
    rows = reply[b"events"] if isinstance(reply, dict) else reply[0][1]
    if acknowledge:
        await store.command("XACK", "events", name, *(row[0] for row in rows))


async def test_an_event_is_found_by_its_id_with_what_front_noted(store: RedisLink) -> None:
    """The entry, its event and the enrichers' times; another event that only mentions the id is not it."""
    wanted = flake(NOW)
    for number in range(50):
        await accept(store, flake(NOW - 100, number), NOW - 100)
    await store.command("XADD", "events", f"{NOW}-*", "event", json.dumps({"id": "1", "data": {"ref": wanted}}))
    entry = await accept(store, wanted, NOW + 4)
    found = await event_stream.find(store, wanted)
    assert (found.stream_id, found.event["id"], found.trace) == (entry, wanted, MADE)
    plain = flake(NOW, 9)
    await accept(store, plain, NOW + 5, made=None)
    assert (await event_stream.find(store, plain)).trace is None


async def test_an_event_that_lay_in_the_journal_is_found_later_and_only_so_far(store: RedisLink) -> None:
    """The search goes on behind the id's own time, up to its bound, and says where to go on."""
    wanted = flake(NOW)
    for number in range(1200):
        await accept(store, flake(NOW + 1000, number), NOW + 1000 + number, made=None)
    await accept(store, wanted, NOW + 3_600_000)
    assert (await event_stream.find(store, wanted)).event["id"] == wanted
    with pytest.raises(NotFound) as caught:
        await event_stream.find(store, wanted, scan=700)
    last = f"{NOW + 1000 + 699}-0"
    assert f"after={last}" in caught.value.hint
    assert (await event_stream.find(store, wanted, after=last, scan=700)).event["id"] == wanted


async def test_an_event_drawn_after_the_clock_was_set_back_is_found(store: RedisLink) -> None:
    """Its id is ahead of every entry: the whole stream is searched."""
    await accept(store, flake(NOW), NOW)
    wanted = flake(NOW + 3 * 86_400_000)
    entry = await accept(store, wanted, NOW + 5)
    assert (await event_stream.find(store, wanted)).stream_id == entry


async def test_an_event_that_is_not_there_says_why(store: RedisLink) -> None:
    """Nothing accepted yet, trimmed away, or unknown: each has its own hint."""
    for ask, hint in (
        (flake(NOW), "empty"),
        (flake(NOW - 86_400_000), "it was trimmed; front's setting EVENTS_KEEP"),
        (flake(NOW), "no event has this id"),
    ):
        with pytest.raises(NotFound) as caught:
            await event_stream.find(store, ask)
        assert hint in caught.value.hint
        await accept(store, flake(NOW, 7), NOW)
    with pytest.raises(NotFound):
        await event_stream.find(store, "9" * 20)


async def test_each_group_says_what_became_of_the_entry(store: RedisLink) -> None:
    """Not yet given, given and pending, acknowledged with its record, acknowledged without, given up."""
    first = await accept(store, flake(NOW), NOW)
    second = await accept(store, flake(NOW, 1), NOW + 1)
    await group(store, "waits")
    await group(store, "holds", 2, acknowledge=False)
    await group(store, "took", 2)
    await group(store, "quiet", 2)
    await group(store, "buried", 2)
    await store.command("XADD", "events:taken:took", f"{NOW + 40}-0", "ids", f"{first},{second}", "ms", "12.5")
    await store.command("XADD", "dead:buried", f"{NOW + 90}-0", "event", "{}", "reason", "boom", "stream_id", first)
    found = {item["group"]: item for item in await event_stream.groups(store, first)}
    assert found["waits"] == {"group": "waits", "state": "waiting"}
    assert (found["holds"]["state"], found["holds"]["consumer"], found["holds"]["deliveries"]) == ("pending", "c1", 1)
    assert found["took"] == {"group": "took", "state": "taken", "at": NOW + 40, "ms": 12.5}
    assert found["quiet"] == {"group": "quiet", "state": "unknown"}
    assert found["buried"] == {"group": "buried", "state": "dead_letter", "at": NOW + 90, "reason": "boom"}
    assert list(found) == sorted(found)
    other = {item["group"]: item for item in await event_stream.groups(store, second)}
    assert (other["took"]["state"], other["buried"]["state"]) == ("taken", "unknown")


async def test_a_service_that_spoils_its_own_keys_spoils_its_own_part(store: RedisLink) -> None:
    """A record of what was taken, or dead letters, that is no stream: nothing is known of that group, all of others."""
    entry = await accept(store, flake(NOW), NOW)
    for name in ("both", "letters", "record", "well"):
        await group(store, name, 1)
    for name in ("letters", "well"):
        await store.command("XADD", f"events:taken:{name}", f"{NOW + 40}-0", "ids", entry, "ms", "1")
    for key in ("events:taken:both", "dead:both", "dead:letters", "events:taken:record"):
        await store.command("SET", key, "x")
    found = {item["group"]: item["state"] for item in await event_stream.groups(store, entry)}
    assert found == {"both": "unknown", "letters": "taken", "record": "unknown", "well": "taken"}


async def test_the_groups_of_one_service_are_told_apart(store: RedisLink) -> None:
    """Several groups share the dead letters of their service; a letter says whose it is."""
    entry = await accept(store, flake(NOW), NOW)
    for name in ("hook", "hook.crm", "hook.lake"):
        await group(store, name, take=1)
    letter = ("event", "{}", "reason", "refused", "stream_id", entry, "group", "hook.crm")
    await store.command("XADD", "dead:hook", f"{NOW + 9}-0", *letter)
    await store.command("XADD", "events:taken:hook.lake", "*", "ids", entry, "ms", "1.5")
    await store.command("XADD", "events:taken:hook", "*", "ids", entry, "ms", "2.5")
    found = {item["group"]: item["state"] for item in await event_stream.groups(store, entry)}
    assert found == {"hook": "taken", "hook.crm": "dead_letter", "hook.lake": "taken"}


async def test_an_event_older_than_a_listener_was_not_taken_by_it(store: RedisLink) -> None:
    """One that has read nothing yet, and one whose records go back to its beginning; where they do not, who knows."""
    old = await accept(store, flake(NOW), NOW)
    for name in ("new", "busy", "long"):
        await store.command("XGROUP", "CREATE", "events", name, "$")
    for number in range(1, 4):
        await accept(store, flake(NOW, number), NOW + number)
    for name in ("busy", "long"):
        reply = await store.command("XREADGROUP", "GROUP", name, "c1", "COUNT", "10", "STREAMS", "events", ">")
        rows = reply[b"events"] if isinstance(reply, dict) else reply[0][1]
        for row in rows:
            await store.command("XACK", "events", name, row[0])
            await store.command("XADD", f"events:taken:{name}", "*", "ids", row[0], "ms", "1")
    await store.command("XTRIM", "events:taken:long", "MAXLEN", "1")
    found = {item["group"]: item["state"] for item in await event_stream.groups(store, old)}
    assert found == {"new": "older", "busy": "older", "long": "unknown"}


async def test_a_listener_that_noted_its_beginning_is_exact(store: RedisLink) -> None:
    """An older event says since when the listener is; one that it was given and has no record of is unknown."""
    old = await accept(store, flake(NOW), NOW)
    await store.command("XGROUP", "CREATE", "events", "late", "$")
    await store.command("HSET", "events:listener:late", "began", old)
    new = await accept(store, flake(NOW, 1), NOW + 1)
    reply = await store.command("XREADGROUP", "GROUP", "late", "c1", "COUNT", "10", "STREAMS", "events", ">")
    assert reply
    await store.command("XACK", "events", "late", new)
    (found,) = await event_stream.groups(store, old)
    assert found["state"] == "older"
    assert found["reason"] == "older than this listener, which started at 2026-11-23 21:40:00 UTC"
    assert [one["state"] for one in await event_stream.groups(store, new)] == ["unknown"]


async def test_an_event_that_was_put_off_says_until_when(store: RedisLink) -> None:
    """What a service wrote into the hash is not trusted: half a note is none."""
    entries = [await accept(store, flake(NOW, number), NOW + number) for number in range(3)]
    await group(store, "late", 3, acknowledge=False)
    await store.command(
        "HSET", "events:retries:late", entries[0], f"{NOW + 60_000} 2", entries[1], "soon", entries[2], "² x"
    )
    (found,) = await event_stream.groups(store, entries[0])
    assert (found["state"], found["retry_at"], found["attempts"]) == ("pending", NOW + 60_000, 2)
    assert "retry_at" not in (await event_stream.groups(store, entries[1]))[0]
    assert (await event_stream.groups(store, entries[2]))[0]["retry_at"] == 0
    await store.command("SET", "events:retries:late", "x")
    assert "retry_at" not in (await event_stream.groups(store, entries[2]))[0]


async def put(store: RedisLink, at: int, key: str, uid: str) -> None:
    event = json.dumps({"id": flake(at), "key": key, "uid": uid})
    await store.command("XADD", "events", f"{at}-0", "event", event)


async def events_of(store: RedisLink, **given: Any) -> list[list[int]]:
    """Return the seconds behind NOW of each page's events, until there are no more."""
    pages = []
    while True:
        page = await handlers(FakeRpc(), store).events(msgspec.convert(given, params.EventsParams))
        pages.append([(int(one.stream_id.split("-")[0]) - NOW) // 1000 for one in page.events])
        if page.before is None:
            return pages
        given["before"] = page.before


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, [[6, 5, 4, 3, 2, 1]]),
        ({"limit": 4}, [[6, 5, 4, 3], [2, 1]]),
        ({"key": "in.gen.track"}, [[6, 4, 2]]),
        ({"key": "in.gen.tr"}, []),
        ({"key": "in.gen.track", "limit": 2}, [[6, 4], [2]]),
        ({"uid": "ann"}, [[6, 3]]),
        ({"uid": "ann", "key": "in.gen.track"}, [[6]]),
        ({"from": "2026-11-23T21:40:02", "to": "2026-11-23T21:40:04"}, [[4, 3, 2]]),
        ({"from": f"{NOW + 5000}-0"}, [[6, 5]]),
        ({"from": "now"}, []),
        ({"uid": "ann", "scan": 2}, [[6], [3]]),
    ],
)
async def test_events_are_found_by_key_visitor_and_time_and_paged(
    store: RedisLink, given: dict[str, Any], expected: list[list[int]]
) -> None:
    """Newest first; what is no JSON belongs to nobody; `scan` bounds what one request looks at."""
    for second in range(1, 7):
        key = "in.gen.hook.x" if second % 2 else "in.gen.track.page"
        await put(store, NOW + second * 1000, key, "ann" if second % 3 == 0 else "bob")
    found = await events_of(store, **given)
    assert [page for page in found if page] == [page for page in expected if page]


async def test_a_place_that_is_none_is_told(store: RedisLink) -> None:
    with pytest.raises(InvalidValue, match="not a place in the stream"):
        await handlers(FakeRpc(), store).events(msgspec.convert({"from": "2026-13-01"}, params.EventsParams))


async def test_a_replay_is_the_services_own() -> None:
    """Its range and what is to be done become arguments of the service's method."""
    rpc = FakeRpc(one={"replay_events": {"state": "none"}})
    found = handlers(rpc, FakeLink())
    for given in (
        {},
        {"from": "beginning", "key": "in.gen"},
        {"from": "2026-11-27", "to": "2026-11-28"},
        {"stop": True},
        {"resume": True, "group": "crm"},
    ):
        await found.replay(msgspec.convert({"name": "one", **given}, params.ReplayEventsParams))
    no = {"resume": False, "stop": False}
    assert [given for _, _, given in rpc.calls] == [
        no,
        {**no, "start": "beginning", "end": "now", "key": "in.gen"},
        {**no, "start": "2026-11-27", "end": "2026-11-28", "key": ""},
        {**no, "stop": True},
        {**no, "resume": True, "group": "crm"},
    ]
    with pytest.raises(InvalidValue, match="cannot be combined"):
        await found.replay(params.ReplayEventsParams(name="one", resume=True, stop=True))


async def test_why_nothing_is_replayed_is_told_in_words_of_replays() -> None:
    """Whoever asks for a replay need not know which method of the service does it."""
    rpc = FakeRpc(one={"replay_events": RpcRemoteError(-32602, "Invalid params: there is no stopped replay")}, front={})
    found = handlers(rpc, FakeLink())
    with pytest.raises(BadParameter, match=r"^there is no stopped replay$"):
        await found.replay(params.ReplayEventsParams(name="one", resume=True))
    with pytest.raises(NotFound, match="'front' has no listener"):
        await found.replay(params.ReplayEventsParams(name="front"))
    with pytest.raises(NotFound, match="'front' has no listener"):
        await found.dead_letters(params.LettersParams(name="front"))


async def test_a_listener_that_buries_events_itself_is_believed(store: RedisLink) -> None:
    """A dead letter without an entry's id belongs to the event that it holds; one that only mentions it does not."""
    event_id, other_id = flake(NOW), flake(NOW, 1)
    entry = await accept(store, event_id, NOW)
    await group(store, "sender", 1)
    mention = f'{{"id": "{other_id}", "data": {{"seen": "{event_id}"}}}}'
    await store.command("XADD", "dead:sender", f"{NOW + 80}-0", "event", mention, "reason", "another one")
    assert [item["state"] for item in await event_stream.groups(store, entry, event_id)] == ["unknown"]
    await store.command("XADD", "dead:sender", f"{NOW + 90}-0", "event", f'{{"id": "{event_id}"}}', "reason", "too old")
    (found,) = await event_stream.groups(store, entry, event_id)
    assert found == {"group": "sender", "state": "dead_letter", "at": NOW + 90, "reason": "too old"}


async def test_a_search_through_large_events_asks_for_few_at_once(store: RedisLink, monkeypatch: Any) -> None:
    """Entries of 100 kB are read in portions that fit the director's memory, and all of them are looked at."""
    monkeypatch.setattr(event_stream, "CHUNK_BYTES", 300_000)
    for number in range(130):
        await store.command("XADD", "events", f"{NOW + number}-0", "event", f'{{"id": "1", "x": "{"x" * 100_000}"}}')
    wanted = await accept(store, flake(NOW), NOW + 500)
    asked: list[int] = []

    class Watched:
        async def command(self, *parts: Any) -> Any:
            if parts[0] == "XRANGE":
                asked.append(int(parts[-1]))
            return await store.command(*parts)

    assert (await event_stream.find(Watched(), flake(NOW))).stream_id == wanted  # type: ignore[arg-type]
    assert set(asked[1:]) <= {2, 3, 4}


async def test_a_real_listener_leaves_the_record_that_is_read_here(store: RedisLink, redis_dsn: str) -> None:
    """A service of the framework takes the event; the trace says when, and how long that took."""
    service = Service()

    @service.expose.listener()
    async def listen(**_event: Any) -> None:
        await asyncio.sleep(0.01)

    await service.start(ServiceConfig(name="keeper", host="127.0.0.1", redis_dsn=redis_dsn, port=0, events_from="0"))
    try:
        now = int(time.time() * 1000)
        entry = await accept(store, flake(now), now)
        for _ in range(300):
            await asyncio.sleep(0.05)
            found = await event_stream.groups(store, entry)
            if found and found[0].get("at"):
                break
    finally:
        await service.stop()
    assert (found[0]["group"], found[0]["state"], found[0]["ms"] >= 10) == ("keeper", "taken", True)
    assert found[0]["at"] >= now


async def test_without_a_stream_there_are_no_groups(store: RedisLink) -> None:
    """A platform that has not taken an event yet has nobody to ask."""
    assert await event_stream.groups(store, f"{NOW}-0") == []


class FakeRpc:
    """Services by name, each a table of methods; an exception is raised, everything else is the answer."""

    def __init__(self, **services: dict[str, Any]) -> None:
        self.services = services
        self.calls: list[tuple[str, str, dict[str, Any]]] = []

    async def call(self, to: str, method: str, given: dict[str, Any], _timeout: float, *, request_id: str) -> Any:
        assert not request_id
        self.calls.append((to, method, given))
        if method not in self.services[to]:
            raise RpcRemoteError(-32601, "Method not found")
        answer = self.services[to][method]
        if isinstance(answer, Exception):
            raise answer
        return answer


class FakeBoard:
    """The names of the services there are."""

    def __init__(self, *names: str) -> None:
        self._names = list(names)

    def names(self) -> list[str]:
        return self._names

    def values(self, _name: str) -> tuple[str, ...]:
        return ()


def handlers(rpc: FakeRpc, link: Any, registrations: Registrations | None = None) -> EventHandlers:
    client: Any = rpc
    board: Any = FakeBoard(*rpc.services)
    known = registrations or Registrations()
    calls = Rpc(client=client, link=link, registrations=known, secrets=board)
    return EventHandlers(rpc=calls, link=link, board=board, registrations=known)


async def test_a_listener_that_knows_more_is_asked(store: RedisLink) -> None:
    """Mixpanel's answer stands beside the group; one that says it has no `trace`, or does not answer, has none."""
    wanted = flake(NOW)
    await accept(store, wanted, NOW)
    for name in ("send_mixpanel", "plain", "silent", "gone"):
        await group(store, name, 1)
    said = {"outcome": "accepted", "answer": "1 record imported"}
    rpc = FakeRpc(send_mixpanel={"trace": said}, plain={}, silent={"trace": RpcTimeout("late")})
    registrations = Registrations()
    registrations.note("plain", {"methods": ["listen"]}, 0.0)
    answer = await handlers(rpc, store, registrations).trace(params.TraceParams(id=wanted))
    assert {item.group: item.answer for item in answer.groups} == {
        "send_mixpanel": said,
        "plain": None,
        "silent": None,
        "gone": None,
    }
    assert {to for to, _, _ in rpc.calls} == {"send_mixpanel", "silent"}
    assert (answer.time, answer.event["id"], answer.trace) == (NOW, wanted, MADE)


class FakeLink:
    """A link that is connected."""

    connected = True


async def test_dead_letters_are_the_services_own() -> None:
    """List, replay and delete become calls of the service's methods with the arguments it knows."""
    rpc = FakeRpc(
        one={
            "dead_letters": {"count": 0, "letters": []},
            "replay_dead_letters": {},
            "delete_dead_letters": {"deleted": 2},
        }
    )
    found = handlers(rpc, FakeLink())
    assert await found.dead_letters(params.LettersParams(name="one", limit=5)) == {"count": 0, "letters": []}
    await found.replay_dead_letters(params.ReplayParams(name="one"))
    await found.replay_dead_letters(params.ReplayParams(name="one", id="1-0"))
    await found.delete_dead_letters(params.DeleteLettersParams(name="one", id="1-0,2-0"))
    await found.delete_dead_letters(params.DeleteLettersParams(name="one", all=True))
    assert [(method, given) for _, method, given in rpc.calls] == [
        ("dead_letters", {"limit": 5}),
        ("replay_dead_letters", {}),
        ("replay_dead_letters", {"ids": "1-0"}),
        ("delete_dead_letters", {"ids": "1-0,2-0"}),
        ("delete_dead_letters", {"ids": ""}),
    ]


@pytest.mark.parametrize("given", [{}, {"id": "1-0", "all": True}])
async def test_deleting_needs_to_be_told_what(given: dict[str, Any]) -> None:
    """Neither a name nor `all`, or both, deletes nothing."""
    rpc = FakeRpc(one={"delete_dead_letters": {"deleted": 1}})
    with pytest.raises(InvalidValue):
        await handlers(rpc, FakeLink()).delete_dead_letters(params.DeleteLettersParams(name="one", **given))
    assert rpc.calls == []


@pytest.mark.parametrize(("table", "expected"), [({}, NotFound), ({"dead_letters": RpcTimeout("late")}, TimedOut)])
async def test_a_service_without_dead_letters_is_a_404(table: dict[str, Any], expected: type[DirectorError]) -> None:
    """One that has no such method is 404 and says which it has, one that is silent 504."""
    registrations = Registrations()
    registrations.note("one", {"methods": ["dead_letter", "stats"]}, 0.0)
    with pytest.raises(expected) as caught:
        await handlers(FakeRpc(one=table), FakeLink(), registrations).dead_letters(params.LettersParams(name="one"))
    assert not isinstance(caught.value, Conflict)
    if expected is NotFound:
        assert caught.value.facts["methods"] == ["dead_letter", "stats"]
        assert "no listener of the stream" in caught.value.message


async def test_a_real_listener_shows_its_dead_letters_to_the_director_alone(
    store: RedisLink, redis_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The grant that the director writes is the one that a service of the framework looks for."""
    users = RedisUsers(store, redis_dsn, redis_dsn, "t")
    monkeypatch.setitem(environ, GRANTS_VARIABLE, users.grants("keeper"))
    service, asking = Service(), Service()
    service.expose.listener()(lambda **_event: None)
    for one, name in ((service, "keeper"), (asking, "director")):
        await one.start(ServiceConfig(name=name, host="127.0.0.1", redis_dsn=redis_dsn, port=0))
        await one.link.ready(15)
    board: Any = FakeBoard()
    rpc = Rpc(client=asking.rpc, link=store, registrations=Registrations(), secrets=board, users=users)
    try:
        answer = await rpc.call("keeper", "dead_letters", {"limit": 3}, timeout=5, known=True)
        with pytest.raises(RpcRemoteError, match="only the director"):
            await asking.rpc.call("keeper", "dead_letters", {"limit": 3})
        assert await rpc.call("keeper", "replay_events", {}, timeout=5, known=True) == {"state": "none"}
    finally:
        await asking.stop()
        await service.stop()
    assert answer == {"count": 0, "letters": []}
