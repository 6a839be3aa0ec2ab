"""Where a new listener begins, and how an existing one is given events of the past once more."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime

import pytest

from band import Reject, Retry, testing
from band.calls.positions import first_id, group_start, last_id
from band.errors import InvalidParams, RegistrationError, RpcRemoteError
from band.service.lifecycle import Service
from band.stream import replay as replay_module


async def add(raw, *ids, key="in.gen.track.page"):
    for number in ids:
        event = {"key": key, "n": number}
        await raw.command("XADD", "events", f"{number}000-0", "event", json.dumps(event))


async def run(run_service, service, name="listen", **config):
    return await run_service(service, name=name, **config)


async def ready(raw, eventually, service, calls, name="listen"):
    """Wait until the group has all events and holds none, then forget the calls."""
    await eventually(lambda: service.calls == calls)

    async def done():
        groups = {one[b"name"]: one for one in await raw.command("XINFO", "GROUPS", "events")}
        return groups[name.encode()][b"pending"] == 0

    await eventually(done)
    service.calls.clear()


async def finished(service, eventually):
    async def state():
        return (await service.replay())["state"] != "running"

    await eventually(state)
    return await service.replay()


PLACES = [
    ("beginning", "0-0", "0-0"),
    ("now", "$", "+"),
    ("1795771800000-3", "1795771800000-3", "1795771800000-3"),
    (f"5-{2**64 - 1}", f"5-{2**64 - 1}", f"5-{2**64 - 1}"),
    ("2026-11-27T09:30", "1795771800000-0", f"1795771800000-{2**64 - 1}"),
    ("2026-11-27T12:30+03:00", "1795771800000-0", f"1795771800000-{2**64 - 1}"),
    ("2026-11-27", "1795737600000-0", f"1795737600000-{2**64 - 1}"),
    (1795771800, "1795771800000-0", f"1795771800000-{2**64 - 1}"),
    (1795771800000, "1795771800000-0", f"1795771800000-{2**64 - 1}"),
    (datetime(2026, 11, 27, 9, 30, tzinfo=UTC), "1795771800000-0", f"1795771800000-{2**64 - 1}"),
]


@pytest.mark.parametrize(("given", "first", "last"), PLACES)
def test_places_in_the_stream(given, first, last):
    assert first_id(given) == first
    assert last_id(given) == last


@pytest.mark.parametrize(
    "given", ["", "yesterday", "12:30", "-1", "1-", "2026-13-01", "20261127", f"{2**64}-0", f"5-{2**64}"]
)
def test_what_is_no_place(given):
    with pytest.raises(ValueError, match="not a place in the stream"):
        first_id(given)
    with pytest.raises(RegistrationError, match="not a place in the stream"):
        Service().expose.listener(start=given)


def test_a_group_begins_behind_the_entry_before():
    assert group_start("beginning") == "0-0"
    assert group_start("now") == "$"
    assert group_start("5-0") == f"4-{2**64 - 1}"


@pytest.mark.parametrize(("start", "expected"), [("beginning", [1, 2, 3, 4]), ("2000-0", [2, 3, 4]), ("now", [4])])
async def test_a_new_listener_begins_where_it_says(make_shop, run_service, raw, eventually, start, expected):
    await add(raw, 1, 2, 3)
    service = await run(run_service, make_shop(start=start))

    async def joined():
        return await raw.command("XINFO", "GROUPS", "events")

    await eventually(joined)
    await add(raw, 4)
    await eventually(lambda: service.calls == expected)


async def test_one_that_ran_before_goes_on_where_it_was(make_shop, run_service, raw, eventually):
    first = make_shop(start="beginning")
    await add(raw, 1)
    await run(run_service, first)
    await ready(raw, eventually, first, [1])
    await first.stop()
    await add(raw, 2)
    second = await run(run_service, make_shop(start="beginning"))
    await eventually(lambda: second.calls == [2])


async def test_a_replay_gives_a_range_to_one_listener_only(make_shop, run_service, raw, eventually):
    """Both ends are in it; the other group, and what is pending, are as they were."""
    one, other = make_shop(start="beginning"), make_shop(start="beginning")
    await add(raw, 1, 2, 3, 4, 5)
    await run(run_service, one)
    await run(run_service, other, "other")
    await ready(raw, eventually, one, [1, 2, 3, 4, 5])
    await ready(raw, eventually, other, [1, 2, 3, 4, 5], "other")
    answer = await one.replay(start="2000-0", end="4000-0")
    assert answer["started"]
    last = await finished(one, eventually)
    assert (last["state"], last["replayed"]) == ("done", 3)
    assert one.calls == [2, 3, 4]
    await add(raw, 6)
    await eventually(lambda: one.calls == [2, 3, 4, 6])
    await eventually(lambda: other.calls == [6])


@pytest.mark.parametrize(("key", "expected"), [("in.gen.track", [1, 3]), ("in.gen.tr", []), ("in.gen.hook.x", [2])])
async def test_a_replay_by_key(make_shop, run_service, raw, eventually, key, expected):
    service = make_shop(start="beginning")
    await add(raw, 1)
    await add(raw, 2, key="in.gen.hook.x")
    await add(raw, 3)
    await run(run_service, service)
    await ready(raw, eventually, service, [1, 2, 3])
    await service.replay(start="beginning", key=key)
    last = await finished(service, eventually)
    assert service.calls == expected
    assert (last["replayed"], last["left_out"]) == (len(expected), 3 - len(expected))


async def test_a_replay_ends_with_what_was_delivered(make_shop, run_service, raw, eventually):
    """Its end is fixed when it begins: what the group has yet to be given is not given twice."""
    service = make_shop(start="beginning")
    await add(raw, 1, 2)
    await run(run_service, service)
    await ready(raw, eventually, service, [1, 2])
    for end in ("now", "2030-01-01"):
        answer = await service.replay(start="beginning", end=end)
        assert answer["end"] == "2000-0"
        await finished(service, eventually)


async def test_a_replay_in_batches(make_shop, run_service, raw, eventually):
    service = make_shop(start="beginning", batch=3)
    await add(raw, *range(1, 9))
    await run(run_service, service)
    await ready(raw, eventually, service, [[1, 2, 3], [4, 5, 6], [7, 8]])
    await service.replay(start="beginning")
    await finished(service, eventually)
    assert service.calls == [[1, 2, 3], [4, 5, 6], [7, 8]]


async def test_a_replay_has_the_listeners_attempts(make_shop, run_service, raw, eventually):
    """Failures are repeated, Retry is waited for, Reject makes a dead letter and goes on."""
    service = make_shop(start="beginning", backoff=0, backoff_max=0)
    await add(raw, 1, 2, 3, 4)
    await run(run_service, service)
    await ready(raw, eventually, service, [1, 2, 3, 4])
    service.says = {1: [OSError("away")], 2: [Retry(after=0.05)], 3: [Reject("bad")]}
    await service.replay(start="beginning")
    last = await finished(service, eventually)
    assert service.calls == [1, 1, 2, 2, 3, 4]
    assert (last["replayed"], last["rejected"]) == (3, 1)
    assert [letter["reason"] for letter in (await service._letters.dead_letters())["letters"]] == ["bad"]


async def test_a_replay_that_fails_stops_and_is_resumed(make_shop, run_service, raw, eventually):
    """It tells why and where; nothing behind is given; it goes on with that entry."""
    service = make_shop(start="beginning", max_attempts=2, backoff=0, backoff_max=0)
    await add(raw, 1, 2, 3)
    await run(run_service, service)
    await ready(raw, eventually, service, [1, 2, 3])
    service.says = {2: [OSError("away"), OSError("away")]}
    await service.replay(start="beginning")
    last = await finished(service, eventually)
    assert (last["state"], last["stopped_at"], last["replayed"]) == ("stopped", "2000-0", 1)
    assert "away" in last["reason"]
    await service.replay(resume=True)
    last = await finished(service, eventually)
    assert (last["state"], last["replayed"]) == ("done", 3)
    assert service.calls == [1, 2, 2, 2, 3]


async def test_a_replay_is_stopped_and_resumed_by_an_operator(make_shop, run_service, raw, eventually):
    service = make_shop(start="beginning")
    await add(raw, 1, 2, 3)
    await run(run_service, service)
    await ready(raw, eventually, service, [1, 2, 3])
    service.gate.clear()
    assert (await service.replay(start="beginning"))["state"] == "running"
    refused = await service.replay(start="beginning")
    assert (refused["started"], refused["why"]) == (False, "a replay is running; stop it first")
    await service.replay(stop=True)
    await eventually(lambda: service._replay._holding.done())
    service.gate.set()  # what it works on is not cut off
    last = await finished(service, eventually)
    assert (last["state"], last["reason"], last["position"]) == ("stopped", "stopped on request", "1000-0")
    assert service.calls == [1]
    await service.replay(resume=True)
    await finished(service, eventually)
    assert service.calls == [1, 2, 3]


async def test_a_stop_waits_for_no_retry(make_shop, run_service, raw, eventually):
    service = make_shop(start="beginning")
    await add(raw, 1, 2)
    await run(run_service, service)
    await ready(raw, eventually, service, [1, 2])
    service.says = {1: [Retry(after=3600)]}
    assert (await service.replay(start="beginning"))["state"] == "running"
    await service.replay(stop=True)
    assert (await finished(service, eventually))["reason"] == "stopped on request"
    assert service.calls == [1]


async def test_a_lost_lock_ends_a_replay_behind_the_batch(make_shop, run_service, raw, eventually, monkeypatch):
    """The listener's function is not cut off; nothing more is given while another instance has the lock."""
    monkeypatch.setattr(replay_module, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(replay_module, "LOCK_INTERVAL", 0.0)
    service = make_shop(start="beginning")
    await add(raw, 1, 2, 3)
    await run(run_service, service)
    await ready(raw, eventually, service, [1, 2, 3])
    service.gate.clear()
    assert (await service.replay(start="beginning"))["state"] == "running"
    await raw.command("SET", service._replay._lock.key, "another instance")
    await eventually(lambda: service._replay._holding.done())
    service.gate.set()
    await eventually(lambda: service._replay._ended.is_set())
    assert service.calls == [1]
    await raw.command("DEL", service._replay._lock.key)
    assert (await finished(service, eventually))["replayed"] == 3
    assert service.calls == [1, 2, 3]


async def replay_while_full(raw, eventually, service):
    """Replay the stream from its beginning while Redis has no memory to note how far it is."""
    service.gate.clear()
    assert (await service.replay(start="beginning"))["state"] == "running"
    await raw.command("CONFIG", "SET", "maxmemory", 1)
    try:
        service.gate.set()
        await eventually(lambda: service.calls)
        await eventually(lambda: service._replay._ended.is_set())
    finally:
        await raw.command("CONFIG", "SET", "maxmemory", 0)


async def test_a_full_redis_has_nothing_given_again(make_shop, run_service, raw, eventually, monkeypatch):
    """How far the replay is cannot be noted; this life knows it all the same."""
    monkeypatch.setattr(replay_module, "LOOK_SECONDS", 0.05)
    service = make_shop(start="beginning")
    await add(raw, 1, 2, 3)
    await run(run_service, service)
    await ready(raw, eventually, service, [1, 2, 3])
    await replay_while_full(raw, eventually, service)
    last = await finished(service, eventually)
    assert (last["state"], last["replayed"]) == ("done", 3)
    assert service.calls == [1, 2, 3]


async def test_an_end_that_was_not_noted_is_no_beginning(make_shop, run_service, raw, eventually, monkeypatch):
    """A replay that is done or stopped is not begun again because Redis refused to hear of it."""
    monkeypatch.setattr(replay_module, "LOOK_SECONDS", 0.05)
    service = make_shop(start="beginning", max_attempts=1)
    await add(raw, 1, 2, 3)
    await run(run_service, service)
    await ready(raw, eventually, service, [1, 2, 3])
    service.says = {1: [OSError("away")]}
    await replay_while_full(raw, eventually, service)

    async def stored():
        return b'"stopped"' in (await raw.command("HGET", "events:listener:listen", "replay"))

    await eventually(stored)
    assert service.calls == [1]


async def test_a_replay_ends_before_the_clean_up(make_shop, run_service, raw, eventually):
    """The function is given nothing once what it needs is closed."""
    service = make_shop(start="beginning", max_attempts=1_000_000, backoff=0.01, backoff_max=0.01)
    counts = []

    @service.cleanup()
    async def close():
        counts.append(len(service.calls))
        await asyncio.sleep(0.3)
        counts.append(len(service.calls))

    await add(raw, 1)
    await run(run_service, service)
    await ready(raw, eventually, service, [1])
    service.says = {1: [OSError("away") for _ in range(10_000)]}
    await service.replay(start="beginning")
    await eventually(lambda: len(service.calls) > 3)
    await service.stop()
    assert counts[0] == counts[1]


async def test_a_stop_between_two_halves_gives_the_first_once(make_shop, run_service, raw, eventually):
    """A batch with a rejected event is halved, the second half fails: resumed, the replay begins with that."""
    service = make_shop(start="beginning", batch=4, max_attempts=2, backoff=0, backoff_max=0)
    await add(raw, 1, 2, 3, 4)
    await run(run_service, service)
    await ready(raw, eventually, service, [[1, 2, 3, 4]])
    service.says = {1: [Reject("bad") for _ in range(3)], 3: [OSError("away"), OSError("away")]}
    await service.replay(start="beginning")
    last = await finished(service, eventually)
    assert (last["state"], last["stopped_at"], last["position"]) == ("stopped", "3000-0", "2000-0")
    await service.replay(resume=True)
    last = await finished(service, eventually)
    assert service.calls == [[1, 2, 3, 4], [1, 2], [1], [2], [3, 4], [3, 4], [3, 4]]
    assert (last["replayed"], last["rejected"]) == (3, 1)
    assert (await service._letters.dead_letters())["count"] == 1


async def test_only_parameters_that_do_not_fit_reject(make_shop, run_service, raw, eventually):
    """As in the stream: an InvalidParams of a call that the function made itself is a failure like others."""
    service = make_shop(start="beginning", max_attempts=2, backoff=0, backoff_max=0)
    await add(raw, 1, 2)
    await run(run_service, service)
    await ready(raw, eventually, service, [1, 2])
    service.says = {1: [InvalidParams("no price", path="$.price")], 2: [InvalidParams("a call of its own")]}
    await service.replay(start="beginning")
    last = await finished(service, eventually)
    assert (last["state"], last["rejected"], last["replayed"]) == ("done", 1, 1)
    assert service.calls == [1, 2, 2]
    (letter,) = (await service._letters.dead_letters())["letters"]
    assert letter["reason"] == "the event does not match its type: no price"


async def test_a_replay_goes_on_after_a_restart(make_shop, run_service, raw, eventually):
    """The next life goes on behind what was done, without being asked."""
    first = make_shop(start="beginning")
    await add(raw, *range(1, 6))
    await run(run_service, first)
    await ready(raw, eventually, first, [1, 2, 3, 4, 5])
    first.says = {3: [Retry(after=60)]}
    assert (await first.replay(start="beginning"))["state"] == "running"
    await eventually(lambda: first.calls == [1, 2, 3])
    await first.stop()
    second = await run(run_service, make_shop())
    second._replay._wanted.set()
    last = await finished(second, eventually)
    assert (last["state"], last["replayed"]) == ("done", 5)
    assert second.calls == [3, 4, 5]


async def test_what_was_replayed_is_noted_as_taken(make_shop, run_service, raw, eventually):
    service = make_shop(start="3000-0")
    await add(raw, 1, 2, 3)
    await run(run_service, service)
    await ready(raw, eventually, service, [3])
    assert dict(await began(raw)) == {b"began": f"2999-{2**64 - 1}".encode()}
    await service.replay(start="1000-0", end="2000-0")
    await finished(service, eventually)
    notes = [fields[1] for _, fields in await raw.command("XRANGE", "events:taken:listen", "-", "+")]
    assert {b"1000-0", b"2000-0"} <= set(b",".join(notes).split(b","))


async def began(raw):
    return await raw.command("HGETALL", "events:listener:listen")


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"start": "yesterday"}, "not a place in the stream"),
        ({"start": "now"}, "nothing between"),
        ({"start": "3000-0", "end": "2000-0"}, "nothing between"),
        ({"start": "9000-0"}, "events up to 3000-0 were delivered"),
        ({"resume": True}, "no stopped replay"),
        ({"start": "beginning", "group": "crm"}, "no listener of the group 'crm'; it has listen"),
    ],
)
async def test_what_cannot_be_replayed_is_told(make_shop, run_service, raw, eventually, params, said):
    service = make_shop(start="beginning")
    await add(raw, 1, 2, 3)
    await run(run_service, service)
    await ready(raw, eventually, service, [1, 2, 3])
    asking = await run_service(Service(), name="asking")
    with pytest.raises(RpcRemoteError, match=said) as caught:
        await asking.rpc.call("listen", "replay_events", params, timeout=10)
    assert caught.value.code == -32602


async def test_on_the_bench(make_shop, eventually):
    """The same in memory, over RPC, with a time in words."""
    shop = make_shop()
    with testing.freeze("2026-11-27T09:30") as clock:
        async with testing.running(subject=shop) as bench:
            await bench.append(testing.make_event(n=1))
            clock.advance(60)
            await bench.append(testing.make_event(n=2))
            await bench.settled()
            assert await bench.call("replay_events") == {"state": "none"}
            await bench.call("replay_events", start="2026-11-27T09:30:30")

            async def ended():
                found = await bench.call("replay_events")
                return found if found["state"] != "running" else None

            answer = await eventually(ended)
            assert (answer["state"], answer["replayed"]) == ("done", 1)
            assert answer["started_at"] == int(time.time() * 1000)
            assert shop.calls == [1, 2, 2]
