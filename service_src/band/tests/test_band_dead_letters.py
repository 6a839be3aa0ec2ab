"""Dead letters of a listener: listed, replayed and deleted by the service itself, on a real Redis."""

from __future__ import annotations

import asyncio
import json

import pytest

from band import config
from band.constants import GRANTS_VARIABLE
from band.errors import Reject, RpcRemoteError
from band.service.lifecycle import Service
from band.stream import dead_letter_methods

METHODS = {"dead_letters", "replay_dead_letters", "delete_dead_letters", "replay_events"}


@pytest.fixture
async def ask(run_service):
    """Call a method of the service `listen` as the director does."""
    caller = await run_service(Service(), name="caller")

    async def call(method, **params):
        return await caller.rpc.request("listen", method, timeout=10, **params)

    return call


class Shop:
    """A listener that refuses what it is told to refuse."""

    def __init__(self, **options):
        self.service = Service()
        self.got = []
        self.bad = set()
        self.gate = asyncio.Event()
        self.gate.set()
        self.at_once = self.most_at_once = 0
        if options.get("batch"):

            @self.service.expose.listener(**options)
            async def broadcast(events):
                await self.take([event["n"] for event in events])
        else:

            @self.service.expose.listener(**options)
            async def broadcast(n, **event):
                await self.take([n])

    async def take(self, numbers):
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.gate.wait()
            if self.bad.intersection(numbers):
                raise ValueError("the shop is closed; see https://u:hunter2@h")
            self.got.append(numbers)
        finally:
            self.at_once -= 1


async def bury(raw, *numbers, text="Ж"):
    """Write letters as a listener's group does; returns their ids."""
    ids = []
    for number in numbers:
        event = json.dumps({"key": "in.gen.track.page", "n": number, "text": text}, ensure_ascii=False)
        letter = await raw.command(
            "XADD", "dead:listen", "*", "event", event, "reason", "no", "stream_id", f"17000000000{number:02}-0"
        )
        ids.append(letter.decode())
    return ids


async def left(raw):
    return [json.loads(fields[1])["n"] for _, fields in await raw.command("XRANGE", "dead:listen", "-", "+")]


async def test_a_listener_lists_what_it_could_not_take(run_service, raw, ask, eventually):
    """Newest first, with reason, the letter's own id, the event's id in the stream, and the event."""
    shop = Shop(max_attempts=1)
    shop.bad = {1, 2}
    await run_service(shop.service, name="listen", events_from="0")
    for number in (1, 2):
        await raw.command("XADD", "events", f"5-{number}", "event", json.dumps({"n": number}))
    await eventually(lambda: count_is(raw, 2))
    found = await ask("dead_letters", limit=1)
    assert found["count"] == 2
    assert "replay" not in found
    (shown,) = found["letters"]
    assert (shown["event"], shown["event_stream_id"]) == ({"n": 2}, "5-2")
    assert "the shop is closed" in shown["reason"]
    ((newest, _),) = await raw.command("XREVRANGE", "dead:listen", "+", "-", "COUNT", 1)
    assert shown["stream_id"] == newest.decode()


async def count_is(raw, number):
    return await raw.command("XLEN", "dead:listen") == number


@pytest.mark.parametrize(
    ("batch", "expected"), [(0, [[1], [2], [3], [4], [5]]), (2, [[1, 2], [3, 4], [5]]), (100, [[1, 2, 3, 4, 5]])]
)
async def test_replay_gives_letters_as_a_delivery_does(run_service, raw, ask, batch, expected):
    """Oldest first, one by one or as batches; what was taken is deleted, and noted for whoever traces it."""
    shop = Shop(batch=batch)
    await run_service(shop.service, name="listen")
    await bury(raw, 1, 2, 3, 4, 5)
    assert await ask("replay_dead_letters") == {"letters": 5, "started": True, "running": False, "replayed": 5}
    assert shop.got == expected
    assert await left(raw) == []
    rows = await raw.command("XRANGE", "events:taken:listen", "-", "+")
    noted = [fields[1].decode() for _, fields in rows]
    assert ",".join(noted) == ",".join(f"1700000000{number:03}-0" for number in (1, 2, 3, 4, 5))
    assert (await ask("dead_letters"))["replay"] == {"running": False, "replayed": 5}
    assert await raw.command("EXISTS", "dead:listen:replay") == 0


async def test_replay_takes_the_oldest_or_those_with_ids(run_service, raw, ask):
    """`limit` counts from the oldest; with ids, only these."""
    shop = Shop()
    await run_service(shop.service, name="listen")
    ids = await bury(raw, 1, 2, 3, 4)
    assert (await ask("replay_dead_letters", limit=1))["replayed"] == 1
    assert (await ask("replay_dead_letters", ids=f"{ids[3]},{ids[1]}"))["replayed"] == 2
    assert shop.got == [[1], [4], [2]]
    assert await left(raw) == [3]


@pytest.mark.parametrize(("batch", "kept", "replayed"), [(0, [3, 4], 2), (2, [3, 4], 2), (3, [1, 2, 3, 4], 0)])
async def test_replay_that_fails_loses_nothing(run_service, raw, ask, batch, kept, replayed):
    """It ends where the function raised: those letters and all behind them stay; the answer says why, and where."""
    shop = Shop(batch=batch)
    shop.bad = {3}
    await run_service(shop.service, name="listen")
    ids = await bury(raw, 1, 2, 3, 4)
    answer = await ask("replay_dead_letters")
    assert answer["started"]
    assert not answer["running"]
    assert answer.get("replayed", 0) == replayed
    assert answer["stopped"].startswith("ValueError: the shop is closed")
    assert "hunter2" not in answer["stopped"]
    assert answer["stopped_at"] == ids[4 - len(kept)]
    assert await left(raw) == kept
    shop.bad = set()
    assert (await ask("replay_dead_letters"))["replayed"] == len(kept)
    assert await left(raw) == []


async def test_replay_stops_at_the_rejected_letter_of_a_batch(run_service, raw, ask):
    """The batch is halved: the letters before the culprit are replayed, it and the later ones stay."""
    service = Service()
    got = []

    @service.expose.listener(batch=10)
    async def broadcast(events):
        if any(event["n"] == 6 for event in events):
            raise Reject("no sixes")
        got.extend(event["n"] for event in events)

    await run_service(service, name="listen")
    ids = await bury(raw, *range(1, 9))
    answer = await ask("replay_dead_letters")
    assert (answer["replayed"], answer["stopped_at"], answer["stopped"]) == (5, ids[5], "Reject: no sixes")
    assert got == [1, 2, 3, 4, 5]
    assert await left(raw) == [6, 7, 8]


async def test_letters_that_are_no_events_stay(run_service, raw, ask):
    """They cannot be given to anybody; their neighbours are, and they are shown and can be deleted."""
    shop = Shop(batch=10)
    await run_service(shop.service, name="listen")
    await raw.command("XADD", "dead:listen", "*", "event", "{half", "reason", "not JSON")
    await bury(raw, 1)
    answer = await ask("replay_dead_letters")
    assert (answer["left_out"], answer["replayed"]) == (1, 1)
    (shown,) = (await ask("dead_letters"))["letters"]
    assert shown["event"] == {"unreadable": "{half"}
    assert await ask("delete_dead_letters", ids=shown["stream_id"]) == {"deleted": 1}


async def test_large_letters_come_in_small_batches(run_service, raw, ask):
    """A batch of a replay is bounded in bytes too."""
    shop = Shop(batch=500)
    await run_service(shop.service, name="listen")
    await bury(raw, *range(20), text="x" * 400_000)
    assert (await ask("replay_dead_letters"))["replayed"] == 20
    assert [number for batch in shop.got for number in batch] == list(range(20))
    assert max(map(len, shop.got)) <= 10


async def test_one_replay_at_a_time(run_service, raw, ask, monkeypatch, eventually):
    """A long replay goes on in the background; another is refused, by this instance and by others."""
    monkeypatch.setattr(dead_letter_methods, "PATIENCE", 0.1)
    monkeypatch.setattr(dead_letter_methods, "LOCK_INTERVAL", 0.05)
    shop = Shop()
    shop.gate.clear()
    await run_service(shop.service, name="listen")
    await bury(raw, 1, 2)
    assert await ask("replay_dead_letters") == {"letters": 2, "replayed": 0, "started": True, "running": True}
    answer = await ask("replay_dead_letters")
    assert (answer["started"], answer["reason"]) == (False, "a replay is running")
    await raw.command("PEXPIRE", "dead:listen:replay", 2000)
    await eventually(lambda: held(raw, 10_000))
    shop.gate.set()
    await eventually(lambda: count_is(raw, 0))
    await eventually(lambda: held(raw, None))
    assert shop.got == [[1], [2]]
    await bury(raw, 3)
    await raw.command("SET", "dead:listen:replay", "another")
    answer = await ask("replay_dead_letters")
    assert answer == {"started": False, "reason": "a replay is running in another instance"}
    await raw.command("DEL", "dead:listen:replay")
    assert (await ask("replay_dead_letters"))["started"]
    await eventually(lambda: count_is(raw, 0))


async def held(raw, milliseconds):
    """Tell whether the lock has at least so long to live, or with None, is gone."""
    there = await raw.command("PTTL", "dead:listen:replay")
    return there == -2 if milliseconds is None else there > milliseconds


async def test_replay_ends_when_its_lock_is_lost(run_service, raw, ask, monkeypatch, eventually):
    """Somebody else may replay by now: it leaves the rest, and the other's lock, alone."""
    monkeypatch.setattr(dead_letter_methods, "PATIENCE", 0.05)
    monkeypatch.setattr(dead_letter_methods, "LOCK_INTERVAL", 0.02)
    shop = Shop(batch=1)
    shop.gate.clear()
    await run_service(shop.service, name="listen")
    await bury(raw, 1, 2)
    await ask("replay_dead_letters")
    await raw.command("SET", "dead:listen:replay", "another")
    await asyncio.sleep(0.3)
    shop.gate.set()
    await eventually(lambda: count_is(raw, 1))
    await asyncio.sleep(0.1)
    assert (await ask("dead_letters"))["replay"]["stopped"] == "another instance may have started a replay"
    assert await raw.command("GET", "dead:listen:replay") == b"another"
    assert await left(raw) == [2]


async def test_a_lock_that_ran_out_at_the_last_moment_is_not_taken_from_its_new_owner(run_service, raw, ask):
    """Whatever pause lies before the command that frees it: another instance's lock stays."""
    shop = Shop()
    service = await run_service(shop.service, name="listen")
    await bury(raw, 1)
    command = service.link.command

    async def paused(*parts, **options):
        if parts[0] in {"DEL", "EVAL"}:  # just before it is freed: the pause was too long
            await command("SET", "dead:listen:replay", "another")
        return await command(*parts, **options)

    service.link.command = paused
    assert (await ask("replay_dead_letters"))["replayed"] == 1
    assert await raw.command("GET", "dead:listen:replay") == b"another"


async def test_replay_of_a_service_that_stops_loses_nothing(run_service, raw, ask, monkeypatch):
    """What the function had in hand stays, and so does the rest; the next instance can replay at once."""
    monkeypatch.setattr(dead_letter_methods, "PATIENCE", 0.05)
    shop = Shop()
    shop.gate.clear()
    await run_service(shop.service, name="listen")
    await bury(raw, 1, 2)
    await ask("replay_dead_letters")
    await shop.service.stop()
    assert await left(raw) == [1, 2]
    assert await raw.command("EXISTS", "dead:listen:replay") == 0


async def test_replay_tells_what_redis_refuses(run_service, raw, ask):
    """A stream that cannot be read ends the replay with Redis' own words; the next one can begin."""
    shop = Shop()

    async def broken():
        await raw.command("SET", "dead:listen", "a text")

    shop.take = lambda numbers: broken()
    await run_service(shop.service, name="listen")
    await bury(raw, 1, 2)
    answer = await ask("replay_dead_letters")
    assert not answer["running"]
    assert "WRONGTYPE" in answer["stopped"]
    await raw.command("DEL", "dead:listen")
    assert (await ask("replay_dead_letters"))["started"]


async def test_replay_and_delivery_take_turns(run_service, raw, ask, monkeypatch, eventually):
    """A listener with one batch in flight is not called twice at once."""
    monkeypatch.setattr(dead_letter_methods, "PATIENCE", 0.05)
    shop = Shop()
    shop.gate.clear()
    await run_service(shop.service, name="listen", events_from="0")
    await bury(raw, 1)
    await raw.command("XADD", "events", "*", "event", json.dumps({"n": 2}))
    await eventually(lambda: shop.at_once == 1)
    await ask("replay_dead_letters")
    shop.gate.set()
    await eventually(lambda: sorted(shop.got) == [[1], [2]])
    assert shop.most_at_once == 1


async def test_letters_are_deleted_by_id_or_all(run_service, raw, ask):
    """Those with the ids, in a text or a list; without ids all, and none is no error."""
    await run_service(Shop().service, name="listen")
    ids = await bury(raw, 1, 2, 3, 4, 5)
    assert await ask("delete_dead_letters", ids=ids[0]) == {"deleted": 1}
    assert await ask("delete_dead_letters", ids=[ids[1], ids[2]]) == {"deleted": 2}
    assert await left(raw) == [4, 5]
    assert await ask("delete_dead_letters", ids="") == {"deleted": 2}
    assert await ask("delete_dead_letters") == {"deleted": 0}


@pytest.mark.parametrize("method", ["delete_dead_letters", "replay_dead_letters"])
@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ("nonsense", "'nonsense' is not the id of a dead letter"),
        ("{},5", "'5' is not the id"),
        (",", "there is no id in ids=','"),
        ([], "there is no id in ids=[]"),
        (f"5-{2**64 - 1}", f"there is no dead letter 5-{2**64 - 1}"),
        ("{},5-5,6-6", "there is no dead letter 5-5 and 1 more"),
        ("9999999999999999999-0", "there is no dead letter 9999999999999999999-0"),
    ],
)
async def test_ids_that_are_none_are_told(run_service, raw, ask, method, ids, said):
    """Malformed and unknown ids are errors of the call, and nothing is done."""
    shop = Shop()
    await run_service(shop.service, name="listen")
    (letter,) = await bury(raw, 1)
    with pytest.raises(RpcRemoteError) as caught:
        await ask(method, ids=ids.format(letter) if isinstance(ids, str) else ids)
    assert caught.value.code == -32602
    assert said in str(caught.value)
    assert (await left(raw), shop.got) == ([1], [])


async def test_methods_of_the_framework_are_told_but_registered_nowhere(run_service):
    """They stand among the methods, are no role rows, and are not on the HTTP port."""
    shop = Shop()
    await run_service(shop.service, name="listen")
    status = shop.service.status()
    assert set(status["methods"]) == {"broadcast", *METHODS}
    assert [row["method"] for row in status["register"]] == ["broadcast"]
    paths = {route.resource.canonical for route in shop.service.app.router.routes() if route.resource}
    assert not any("dead" in path for path in paths)


@pytest.mark.parametrize("http", [True, False])
async def test_a_services_own_methods_win(run_service, raw, ask, http):
    """What it defines itself is called; what it does not, the framework gives. Also when it is started again."""
    shop = Shop()

    @shop.service.expose(http=http)
    async def dead_letters(**_params):
        return {"count": 7, "letters": []}

    await run_service(shop.service, name="listen")
    assert await ask("dead_letters") == {"count": 7, "letters": []}
    assert await ask("delete_dead_letters") == {"deleted": 0}
    await shop.service.stop()
    await run_service(shop.service, name="listen")
    await bury(raw, 1)
    assert await ask("dead_letters") == {"count": 7, "letters": []}
    assert await ask("delete_dead_letters") == {"deleted": 1}


async def test_without_a_durable_listener_there_are_no_such_methods(run_service):
    """A service without listener, and one that listens to `broadcast` as in the original, have no dead letters."""
    plain, old = Service(), Shop()
    await run_service(plain, name="plain")
    await run_service(old.service, name="old", listen_all=True)
    assert not METHODS.intersection(plain.status()["methods"])
    assert not METHODS.intersection(old.service.status()["methods"])


async def test_where_the_director_grants_calls_nobody_else_is_answered(run_service, raw, ask, monkeypatch):
    """`from` can be forged; a grant cannot. It serves one call, of that method with those parameters."""
    monkeypatch.setitem(config.environ, GRANTS_VARIABLE, "ns:director:grants:listen")
    shop = Shop()
    await run_service(shop.service, name="listen")
    await bury(raw, 1, 2)
    asking = await run_service(Service(), name="director")

    async def granted(method, granted_method, granted_params, request_id, **params):
        grant = json.dumps({"method": granted_method, "params": granted_params})
        await raw.command("SET", f"ns:director:grants:listen:{request_id}", grant)
        return await asking.rpc.call("listen", method, params, request_id=request_id)

    for method in sorted(METHODS):
        with pytest.raises(RpcRemoteError, match=f"only the director may call {method}"):
            await asking.rpc.call("listen", method)
        with pytest.raises(RpcRemoteError, match="in a batch"):
            await asking.rpc.call_many("listen", method, [{}])
    for number, other in enumerate([("dead_letters", {}), ("delete_dead_letters", {"ids": "1-1"})]):
        with pytest.raises(RpcRemoteError, match="only the director"):
            await granted("delete_dead_letters", *other, f"a{number}", ids="")
    await raw.command("SET", "ns:director:grants:listen:b", "not json")
    await raw.command("RPUSH", "ns:director:grants:listen:c", "not text")
    for request_id in "bc":
        with pytest.raises(RpcRemoteError, match="only the director"):
            await asking.rpc.call("listen", "dead_letters", request_id=request_id)
    assert await left(raw) == [1, 2]
    assert (await granted("dead_letters", "dead_letters", {"limit": 1}, "d", limit=1))["count"] == 2
    with pytest.raises(RpcRemoteError, match="only the director"):
        await asking.rpc.call("listen", "dead_letters", {"limit": 1}, request_id="d")
    assert shop.service.metrics.failures.check() is None
