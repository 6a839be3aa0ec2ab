"""The durable stream as listeners consume it, on a real Redis."""

from __future__ import annotations

import asyncio
import json
import re
import socket

import pytest

from band.errors import RedisUnavailable, SettingsError
from band.service.lifecycle import Service
from band.stream import consumer_group
from band.stream import listener as events_module


async def add(raw, *numbers, key="in.gen.track.page"):
    for number in numbers:
        event = {"key": key, "n": number, "data": {"text": "Ж"}}
        await raw.command("XADD", "events", "*", "event", json.dumps(event, ensure_ascii=False))


async def pending(raw, group="listen"):
    return (await raw.command("XPENDING", "events", group))[0]


def flat(batches):
    return [number for batch in batches for number in batch]


def listening(**options):
    """Return a service that remembers what its listener got."""
    service = Service()
    service.got = []  # type: ignore[attr-defined]

    if options.get("batch"):

        @service.expose.listener(**options)
        async def broadcast(events):
            service.got.append([event["n"] for event in events])
    else:

        @service.expose.listener(**options)
        async def broadcast(key, n, data, **event):
            service.got.append(n)

    return service


async def run_listener(run_service, service, **config):
    return await run_service(service, name="listen", **{"events_from": "0", **config})


async def test_events_arrive_one_by_one_as_keyword_arguments(run_service, raw, eventually):
    """In order, each once, acknowledged when the function returned."""
    service = await run_listener(run_service, listening())
    await add(raw, 1, 2, 3)
    await eventually(lambda: service.got == [1, 2, 3])
    await eventually(lambda: pending_is(raw, 0))


async def pending_is(raw, count):
    return await pending(raw) == count


async def test_group_is_the_service_and_begins_at_now(run_service, raw, eventually):
    """A new service gets what comes from now on; two services each get everything."""
    await add(raw, 0)
    first, second = listening(), listening()
    await run_service(first, name="one")
    await run_service(second, name="two")
    await eventually(lambda: groups_are(raw, {b"one", b"two"}))
    await add(raw, 1)
    await eventually(lambda: first.got == second.got == [1])


async def groups_are(raw, names):
    return {group[b"name"] for group in await raw.command("XINFO", "GROUPS", "events")} == names


async def test_batches_are_bounded_and_filled(run_service, raw, eventually):
    """With batch=4 the function gets lists of at most four; a linger lets a batch fill."""
    await add(raw, *range(10))
    service = await run_listener(run_service, listening(batch=4))
    await eventually(lambda: flat(service.got) == list(range(10)))
    assert [len(batch) for batch in service.got] == [4, 4, 2]


async def test_linger_joins_what_comes_a_little_later(run_service, raw, eventually):
    """Events that come within the linger are in one batch; a full batch does not wait."""
    service = await run_listener(run_service, listening(batch=3, linger=20.0))
    await add(raw, 1)
    await asyncio.sleep(0.3)
    assert service.got == []
    await add(raw, 2, 3)
    await eventually(lambda: service.got == [[1, 2, 3]])


async def test_linger_ends(run_service, raw, eventually):
    """A batch that does not fill is delivered after the linger."""
    service = await run_listener(run_service, listening(batch=100, linger=0.3))
    await add(raw, 1, 2)
    await eventually(lambda: service.got == [[1, 2]])


async def test_listener_that_raises_gets_its_events_again(run_service, raw, eventually):
    """At least once: the events stay pending until the function returns."""
    service = Service()
    tries = []

    @service.expose.listener(batch=10)
    async def broadcast(events):
        tries.append([event["n"] for event in events])
        if len(tries) == 1:
            raise RuntimeError("Mixpanel is away")

    await add(raw, 1, 2)
    await run_listener(run_service, service)
    await eventually(lambda: tries == [[1, 2], [1, 2]])
    await eventually(lambda: pending_is(raw, 0))


async def test_events_that_keep_failing_become_dead_letters_and_the_rest_goes_on(run_service, raw, eventually):
    """After max_attempts the event stands in `dead:<service>` with the reason and its id; later events follow."""
    service = Service()
    got = []

    @service.expose.listener(max_attempts=2)
    async def broadcast(n, **event):
        if n == 1:
            raise ValueError("cannot be sent: token at https://u:hunter2@h")
        got.append(n)

    await add(raw, 1, 2)
    await run_listener(run_service, service)
    await eventually(lambda: got == [2])
    ((_, fields),) = await raw.command("XRANGE", "dead:listen", "-", "+")
    named = dict(zip(fields[::2], fields[1::2], strict=True))
    assert json.loads(named[b"event"])["n"] == 1
    assert b"ValueError: cannot be sent" in named[b"reason"]
    assert b"hunter2" not in named[b"reason"]
    assert b"-" in named[b"stream_id"]
    await eventually(lambda: pending_is(raw, 0))
    assert b"band_listener_dead_letters_total 1.0" in service.metrics.render()


@pytest.mark.parametrize("bad", [{0}, {99}, {41, 42}, {7, 63}, set(range(100))], ids=len)
async def test_events_that_cannot_be_taken_bury_no_neighbour(run_service, raw, eventually, bad):
    """A batch that failed max_attempts times is halved down to the culprits, in order; all others are acknowledged."""
    service = Service()
    calls, got = [], []

    @service.expose.listener(batch=100, max_attempts=1)
    async def broadcast(events):
        numbers = [event["n"] for event in events]
        calls.append(numbers)
        for number in bad.intersection(numbers):
            raise ValueError(f"{number} cannot be taken")
        got.extend(numbers)

    await add(raw, *range(100))
    await run_listener(run_service, service)
    await eventually(lambda: dead_are(raw, len(bad)))
    await eventually(lambda: pending_is(raw, 0))
    assert got == [number for number in range(100) if number not in bad]
    letters = [json.loads(fields[1])["n"] for _, fields in await raw.command("XRANGE", "dead:listen", "-", "+")]
    assert sorted(letters) == sorted(bad)
    for _, fields in await raw.command("XRANGE", "dead:listen", "-", "+"):
        named = dict(zip(fields[::2], fields[1::2], strict=True))
        assert f"{json.loads(named[b'event'])['n']} cannot be taken" in named[b"reason"].decode()
    assert len(calls) <= 1 + 2 * 7 * len(bad), "each culprit costs two calls a halving"
    assert await raw.command("XINFO", "GROUPS", "events")


async def test_a_reason_says_where_it_was_raised(run_service, raw, eventually):
    """A dead letter names file and line of the listener's own code."""
    service = Service()

    @service.expose.listener(max_attempts=1)
    async def broadcast(n, **event):
        raise ValueError("no")

    await add(raw, 1)
    await run_listener(run_service, service)
    await eventually(lambda: dead_are(raw, 1))
    ((_, fields),) = await raw.command("XRANGE", "dead:listen", "-", "+")
    assert re.search(rb"ValueError: no \(tests/test_band_events\.py:\d+\)", fields[fields.index(b"reason") + 1])


async def test_a_stop_in_the_middle_of_a_hunt_leaves_the_rest_pending(run_service, raw, eventually):
    """What was not tried yet when the service stops is delivered again, not buried."""
    service = Service()
    calls = []

    @service.expose.listener(batch=8, max_attempts=1)
    async def broadcast(events):
        calls.append(len(events))
        if len(events) == 4:
            service._listener._stopping.set()
        raise ValueError("no")

    await add(raw, *range(8))
    await run_listener(run_service, service)
    await eventually(lambda: calls == [8, 4])
    await service.stop()
    assert calls == [8, 4]
    assert await pending(raw) == 8
    assert await raw.command("XLEN", "dead:listen") == 0


async def test_entries_that_are_no_event_become_dead_letters(run_service, raw, eventually):
    """Broken JSON, a list, an entry without the field: put aside, never delivered, never lost silently."""
    for fields in [("event", b"{oops"), ("event", b"[1]"), ("other", b"{}"), ("event", b"[" * 5000)]:
        await raw.command("XADD", "events", "*", *fields)
    await add(raw, 5)
    service = await run_listener(run_service, listening())
    await eventually(lambda: service.got == [5])
    assert await raw.command("XLEN", "dead:listen") == 4


async def test_arguments_that_do_not_fit_are_failures_not_silence(run_service, raw, eventually):
    """A listener that lacks a parameter fails like one that raises."""
    service = Service()

    @service.expose.listener(max_attempts=1)
    async def broadcast(key):
        return key

    await add(raw, 1)
    await run_listener(run_service, service)
    await eventually(lambda: dead_are(raw, 1))


async def dead_are(raw, count):
    return await raw.command("XLEN", "dead:listen") == count


async def test_what_an_earlier_life_left_is_delivered_first(run_service, raw, eventually):
    """Events given to this consumer before a crash come again at the start, without waiting for a claim."""
    await raw.command("XGROUP", "CREATE", "events", "listen", "0", "MKSTREAM")
    await add(raw, *range(250))
    consumer = f"listen-{socket.gethostname()}"
    await raw.command("XREADGROUP", "GROUP", "listen", consumer, "COUNT", 250, "STREAMS", "events", ">")
    await add(raw, 250)
    service = await run_listener(run_service, listening())
    await eventually(lambda: service.got == list(range(251)))
    await eventually(lambda: pending_is(raw, 0))


async def test_messages_of_a_dead_consumer_are_claimed(run_service, raw, eventually, monkeypatch):
    """What another instance took and never finished is taken over after it has been silent for a while."""
    monkeypatch.setattr(events_module, "CLAIM_AFTER_MS", 200)
    monkeypatch.setattr(events_module, "BLOCK_MS", 100)
    await raw.command("XGROUP", "CREATE", "events", "listen", "0", "MKSTREAM")
    await add(raw, 1, 2)
    await raw.command("XREADGROUP", "GROUP", "listen", "listen-dead", "STREAMS", "events", ">")
    service = await run_listener(run_service, listening(batch=10))
    await eventually(lambda: service.got == [[1, 2]])
    await eventually(lambda: pending_is(raw, 0))


async def test_what_is_worked_on_is_not_claimed_by_another(run_service, raw, eventually, monkeypatch):
    """A slow listener shows that it still works: its events are not given to the other instance meanwhile."""
    monkeypatch.setattr(events_module, "CLAIM_AFTER_MS", 600)
    monkeypatch.setattr(events_module, "BLOCK_MS", 100)
    monkeypatch.setattr(events_module, "HOLD_INTERVAL", 0.1)
    calls = []
    release = asyncio.Event()

    def slow(which):
        service = Service()

        @service.expose.listener()
        async def broadcast(n, **event):
            calls.append((which, n))
            await release.wait()

        return service

    await raw.command("XGROUP", "CREATE", "events", "listen", "0", "MKSTREAM")
    await run_listener(run_service, slow("a"))
    await add(raw, 1)
    await eventually(lambda: calls == [("a", 1)])
    monkeypatch.setattr(socket, "gethostname", lambda: "other-host")
    await run_listener(run_service, slow("b"))
    await asyncio.sleep(1.5)
    assert calls == [("a", 1)]
    release.set()
    await eventually(lambda: pending_is(raw, 0))


async def test_trimmed_entries_are_counted_and_do_not_block(run_service, raw, eventually):
    """Pending entries that were cut from the stream are told, and the rest is delivered."""
    await raw.command("XGROUP", "CREATE", "events", "listen", "0", "MKSTREAM")
    await add(raw, *range(250))
    consumer = f"listen-{socket.gethostname()}"
    await raw.command("XREADGROUP", "GROUP", "listen", consumer, "COUNT", 250, "STREAMS", "events", ">")
    await raw.command("XTRIM", "events", "MAXLEN", 10)
    service = await run_listener(run_service, listening())
    await eventually(lambda: service.got == list(range(240, 250)))
    await eventually(lambda: pending_is(raw, 0))
    assert b"band_listener_trimmed_total 240.0" in service.metrics.render()


async def test_stop_lets_the_batch_in_progress_end(run_service, raw, eventually):
    """A stop waits for the function, which is then acknowledged; nothing is delivered twice."""
    service = Service()
    done = []

    @service.expose.listener()
    async def broadcast(n, **event):
        service.begun = True  # type: ignore[attr-defined]
        await asyncio.sleep(0.3)
        done.append(n)

    await run_listener(run_service, service)
    await add(raw, 1)
    await eventually(lambda: getattr(service, "begun", False))
    await service.stop()
    assert done == [1]
    assert await pending(raw) == 0


async def test_stop_delivers_a_batch_that_was_still_filling(run_service, raw, eventually):
    """A batch that waits for its linger is delivered at the stop instead of lying until somebody claims it."""
    service = await run_listener(run_service, listening(batch=100, linger=60.0), stop_timeout=6.0)
    await add(raw, 1, 2)
    await eventually(lambda: pending_is(raw, 2))
    await service.stop()
    assert flat(service.got) == [1, 2]
    assert await pending(raw) == 0


async def test_stop_does_not_wait_for_a_retry(run_service, raw, eventually, capsys):
    """A listener that fails and waits for its next try is stopped at once; its events stay pending."""
    service = Service()
    tries = []

    @service.expose.listener()
    async def broadcast(n, **event):
        tries.append(n)
        raise RuntimeError("never")

    await run_listener(run_service, service, stop_timeout=20.0)
    await add(raw, 1)
    await eventually(lambda: len(tries) >= 2)
    async with asyncio.timeout(5):
        await service.stop()
    assert await pending(raw) == 1
    assert "listener_cut_off=False" in capsys.readouterr().out


async def test_group_that_vanishes_is_made_again(run_service, raw, eventually):
    """FLUSHALL, or a stream that somebody deleted: the listener makes its group again and goes on."""
    service = await run_listener(run_service, listening())
    await add(raw, 1)
    await eventually(lambda: service.got == [1])
    await raw.command("FLUSHALL")
    await add(raw, 2)
    await eventually(lambda: service.got == [1, 2])


async def test_listen_all_uses_the_channel_as_the_original_does(run_service, raw, eventually):
    """With rpc_params.listen_all a listener gets what is published on `broadcast`, and touches no stream."""
    service = await run_listener(run_service, listening(), listen_all=True)
    message = {"jsonrpc": "2.0", "from": "front", "to": "broadcast", "method": "broadcast:broadcast:front"}
    assert (
        await raw.publish("broadcast", {**message, "params": {"key": "in.gen.a.b", "n": 9, "data": {}, "id": "1"}}) == 1
    )
    await eventually(lambda: service.got == [9])
    assert await raw.command("EXISTS", "events") == 0


async def test_a_service_is_one_listener(run_service):
    """Two listener functions on the stream are a mistake that is told at the start."""
    service = Service()

    @service.expose.listener()
    async def one(**event):
        return event

    @service.expose.listener()
    async def two(**event):
        return event

    with pytest.raises(SettingsError, match="one, two"):
        await run_listener(run_service, service, connected=False)


async def test_plain_functions_can_listen(run_service, raw, eventually):
    """A listener may be a plain function."""
    service = Service()
    got = []
    service.expose.listener(name="broadcast", batch=5)(lambda events: got.append(len(events)))
    await add(raw, 1, 2)
    await run_listener(run_service, service)
    await eventually(lambda: sum(got) == 2)


async def test_the_next_batch_is_read_while_this_one_is_worked_on(run_service, raw, eventually):
    """A slow listener does not keep the next events in Redis: they are in hand when it is done, and not before."""
    service = Service()
    got, release = [], asyncio.Event()

    @service.expose.listener(batch=2)
    async def broadcast(events):
        got.append([event["n"] for event in events])
        await release.wait()

    await add(raw, *range(6))
    await run_listener(run_service, service)
    await eventually(lambda: got == [[0, 1]])
    await eventually(lambda: pending_is(raw, 4))
    assert got == [[0, 1]]
    release.set()
    await eventually(lambda: got == [[0, 1], [2, 3], [4, 5]])
    await eventually(lambda: pending_is(raw, 0))


async def test_what_was_taken_is_noted_beside_the_acknowledgement(run_service, raw, eventually):
    """`events:taken:<group>` tells the ids of each batch and how long it took."""
    service = await run_listener(run_service, listening(batch=2))
    await add(raw, 1, 2, 3)
    await eventually(lambda: flat(service.got) == [1, 2, 3])
    await eventually(lambda: pending_is(raw, 0))
    ids = [entry[0] for entry in await raw.command("XRANGE", "events", "-", "+")]
    notes = [
        dict(zip(fields[::2], fields[1::2], strict=True))
        for _, fields in await raw.command("XRANGE", "events:taken:listen", "-", "+")
    ]
    assert b",".join(note[b"ids"] for note in notes) == b",".join(ids)
    assert all(float(note[b"ms"]) >= 0 for note in notes)


async def test_a_full_redis_does_not_keep_listeners_from_emptying_it(run_service, raw, eventually):
    """Out of memory: events are still delivered and acknowledged, only the note of it is missing."""
    service = await run_listener(run_service, listening())
    await add(raw, 1)
    await eventually(lambda: service.got == [1])
    await raw.command("CONFIG", "SET", "appendonly", "no")
    await add(raw, 2, 3)
    await raw.command("CONFIG", "SET", "maxmemory", "1")
    try:
        await eventually(lambda: service.got == [1, 2, 3])
        await eventually(lambda: pending_is(raw, 0))
    finally:
        await raw.command("CONFIG", "SET", "maxmemory", "0")


async def test_an_event_that_ends_the_process_each_time_is_given_up(run_service, raw, eventually):
    """Delivered to many lives of a service that all ended over it: a dead letter; its neighbours are delivered."""
    await raw.command("XGROUP", "CREATE", "events", "listen", "0", "MKSTREAM")
    await add(raw, 1, 2)
    consumer = f"listen-{socket.gethostname()}"
    reading = ("XREADGROUP", "GROUP", "listen", consumer, "COUNT", 1, "STREAMS", "events")
    await raw.command(*reading, ">")
    for _ in range(3):
        await raw.command(*reading, "0")
    service = await run_listener(run_service, listening())
    await eventually(lambda: service.got == [2])
    ((_, fields),) = await raw.command("XRANGE", "dead:listen", "-", "+")
    assert b"the service crashed 4 times" in fields[3]


async def test_suspects_come_one_by_one(run_service, raw, eventually):
    """A batch over which several lives ended is taken apart, so that one bad event does not take all along."""
    await raw.command("XGROUP", "CREATE", "events", "listen", "0", "MKSTREAM")
    await add(raw, *range(4))
    consumer = f"listen-{socket.gethostname()}"
    await raw.command("XREADGROUP", "GROUP", "listen", consumer, "STREAMS", "events", ">")
    for _ in range(events_module.SUSPECT_AFTER - 1):
        await raw.command("XREADGROUP", "GROUP", "listen", consumer, "STREAMS", "events", "0")
    service = await run_listener(run_service, listening(batch=100))
    await eventually(lambda: service.got == [[0], [1], [2], [3]])


async def delivery_counts(raw) -> list[int]:
    return [row[3] for row in await raw.command("XPENDING", "events", "listen", "-", "+", 9)]


async def test_a_connection_that_ends_is_no_crash(run_service, raw, eventually):
    """Redis may come and go while an event is retried: its deliveries count as crashes only if the process crashed."""
    service, attempts = Service(), []

    @service.expose.listener(max_attempts=1000, backoff=0.05, backoff_max=0.05)
    async def broadcast(n, **event):
        attempts.append(n)
        raise ValueError("no")

    await run_listener(run_service, service)
    await add(raw, 1)
    for _ in range(events_module.CONVICTED_AFTER):
        made = len(attempts)
        await eventually(lambda made=made: len(attempts) > made + 1)
        await raw.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    made = len(attempts)
    await eventually(lambda: len(attempts) > made + 3)
    assert (await delivery_counts(raw))[0] < events_module.SUSPECT_AFTER


async def test_a_stop_in_the_middle_of_slow_work_is_no_crash(run_service, raw, eventually):
    """Restarted as often as one likes: an event that takes longer than a stop may wait is no dead letter."""
    service = Service()

    @service.expose.listener()
    async def broadcast(n, **event):
        await asyncio.sleep(60)

    await add(raw, 1)
    await raw.command("XGROUP", "CREATE", "events", "listen", "0")
    await run_listener(run_service, service, stop_timeout=0.2)
    await eventually(lambda: pending_is(raw, 1))
    await service.stop()
    assert await delivery_counts(raw) == [0]


async def test_a_stop_lets_others_have_what_it_could_not_finish(run_service, raw, eventually, monkeypatch):
    """What is in hand at the stop and cannot end is claimed by the next instance at once, not after a silence."""
    service = Service()

    @service.expose.listener()
    async def broadcast(n, **event):
        await asyncio.sleep(60)

    await run_listener(run_service, service, stop_timeout=0.6)
    await add(raw, 1)
    await eventually(lambda: pending_is(raw, 1))
    await service.stop()
    monkeypatch.setattr(socket, "gethostname", lambda: "other-host")
    following = await run_listener(run_service, listening())
    await eventually(lambda: following.got == [1])


async def test_consumers_of_long_ago_are_forgotten(run_service, raw, eventually, monkeypatch):
    """Containers that are gone and hold nothing do not stay in the group for ever."""
    monkeypatch.setattr(consumer_group, "_FORGET_CONSUMERS_MS", 50)
    await raw.command("XGROUP", "CREATE", "events", "listen", "0", "MKSTREAM")
    await add(raw, 1)
    for name in ("empty", "busy"):
        await raw.command("XGROUP", "CREATECONSUMER", "events", "listen", name)
    await raw.command("XREADGROUP", "GROUP", "listen", "busy", "STREAMS", "events", ">")
    await asyncio.sleep(0.1)
    await run_listener(run_service, listening())
    await eventually(lambda: consumers_are(raw, {"busy", f"listen-{socket.gethostname()}"}))


async def consumers_are(raw, names):
    return {row[b"name"].decode() for row in await raw.command("XINFO", "CONSUMERS", "events", "listen")} == names


async def test_several_batches_may_be_in_work_at_once(run_service, raw, eventually):
    """With in_flight=2 a second batch is begun while the first one waits, a third is not."""
    service = Service()
    begun, release = [], asyncio.Event()

    @service.expose.listener(batch=2, in_flight=2)
    async def broadcast(events):
        begun.append([event["n"] for event in events])
        await release.wait()

    await add(raw, *range(8))
    await run_listener(run_service, service)
    await eventually(lambda: begun == [[0, 1], [2, 3]])
    await eventually(lambda: pending_is(raw, 6))
    assert begun == [[0, 1], [2, 3]]
    release.set()
    await eventually(lambda: flat(begun) == list(range(8)))
    await eventually(lambda: pending_is(raw, 0))


async def test_a_batch_that_has_its_bytes_waits_no_longer(run_service, raw, eventually):
    """batch_bytes: large events leave at once, however long the linger is and however many would fit."""
    service = await run_listener(run_service, listening(batch=1000, batch_bytes=200, linger=60.0))
    await add(raw, 1)
    await asyncio.sleep(0.3)
    assert service.got == []
    await add(raw, *range(2, 6))
    await eventually(lambda: flat(service.got)[:3] == [1, 2, 3])


async def test_what_was_handled_when_redis_went_is_only_acknowledged(run_service, raw, eventually, monkeypatch):
    """The function ended well, the acknowledgement did not go through: the events are not given to it again."""
    await add(raw, 0)
    service = await run_listener(run_service, listening(batch=10))
    await eventually(lambda: service.got == [[0]])
    await eventually(lambda: pending_is(raw, 0))
    group = service._listener._group
    acknowledge = group.acknowledge
    failed = []

    async def fails_once(ids, took_ms=None):
        if not failed:
            failed.append(list(ids))
            raise RedisUnavailable("the connection was lost")
        await acknowledge(ids, took_ms)

    monkeypatch.setattr(group, "acknowledge", fails_once)
    await add(raw, 1, 2)
    await eventually(lambda: failed)
    await eventually(lambda: pending_is(raw, 0))
    await add(raw, 3)
    await eventually(lambda: flat(service.got) == [0, 1, 2, 3])


async def test_each_outage_begins_with_a_short_pause(run_service, raw, eventually):
    """However often the group vanished before, the listener is back quickly."""
    service = await run_listener(run_service, listening())
    for number in range(6):
        await raw.command("FLUSHALL")
        await add(raw, number)
        begun = asyncio.get_running_loop().time()
        await eventually(lambda number=number: number in service.got)
        assert asyncio.get_running_loop().time() - begun < 3
        assert service._listener._backoff.attempts == 0


async def test_a_foreign_group_with_a_broken_name_stops_no_listener(run_service, raw, eventually):
    """Somebody made a group and a consumer whose names are no UTF-8: they are not ours, and that is all."""
    for group in (b"\xff\xfe", b"listen"):
        await raw.command("XGROUP", "CREATE", "events", group, "0", "MKSTREAM")
        await raw.command("XGROUP", "CREATECONSUMER", "events", group, b"\xff")
    await raw.command("XADD", "events", "*", "event", b'{"n": "\xff"}')
    await add(raw, 1)
    service = await run_listener(run_service, listening())
    await eventually(lambda: service.got == [1])
    assert await raw.command("XLEN", "dead:listen") == 1
