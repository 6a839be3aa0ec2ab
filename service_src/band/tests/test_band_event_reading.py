"""How batches are put together on a real Redis: bounded in bytes, and complete when the group was lost."""

from __future__ import annotations

import asyncio
import json
import socket
import tracemalloc

import pytest

from band.calls.positions import before
from band.registry import BATCH_BYTES
from band.service.lifecycle import Service
from band.stream import consumer_group
from band.stream import listener as events_module
from band.stream.consumer_group import Delivery
from band.stream.reader import PORTION_ENTRIES, ReadSize, weight

CONSUMER = f"listen-{socket.gethostname()}"
LARGE = 50_000
"""Bytes of a large event; 40 of them are what one read is meant to bring."""


async def add(raw, numbers, size=0):
    for number in numbers:
        await raw.command("XADD", "events", "*", "event", json.dumps({"n": number, "pad": "x" * size}))


async def give(raw, consumer, count):
    """Give entries to a consumer that does nothing with them."""
    await raw.command("XREADGROUP", "GROUP", "listen", consumer, "COUNT", count, "STREAMS", "events", ">")


def listening(**options):
    """Return a service that remembers its batches, one after the other."""
    service = Service()
    service.got = []  # type: ignore[attr-defined]

    @service.expose.listener(**options)
    async def broadcast(events):
        service.got.append([event["n"] for event in events])

    return service


def flat(batches):
    return [number for batch in batches for number in batch]


async def all_acknowledged(raw):
    return (await raw.command("XPENDING", "events", "listen"))[0] == 0


def test_a_portion_is_smaller_the_larger_events_are():
    """Fifty small ones, two of a megabyte, always at least one; large ones are forgotten slowly."""
    portion = ReadSize()
    assert portion.count(2000) == 10, "the first may be those that ended the life before"
    portion.came([Delivery("1-0", None, b"x" * 1_000_000)])
    assert portion.count(2000) == 2
    portion.came([Delivery("1-0", None, b"x" * 9_000_000)])
    assert portion.count(2000) == 1
    for _ in range(60):
        portion.came([Delivery("2-0", None, b"x")])
    assert portion.count(2000) == PORTION_ENTRIES
    assert portion.count(7) == 7


@pytest.mark.parametrize("item", ['{"":' * 92 + "0" + "}" * 92, '{"":0}', "{}", "[]", "[0]"])
def test_what_takes_much_memory_when_decoded_weighs_more(item):
    """A visitor can write an event that takes 37 times its bytes; an ordinary one weighs what it is long."""
    raw = f"[{','.join([item] * (20_000 // len(item)))}]".encode()
    tracemalloc.start()
    decoded = json.loads(raw)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert decoded
    assert size < 6 * weight(raw)
    ordinary = json.dumps({"key": "in.gen.track.page", "td": {"ip": "81.2.69.0"}, "data": {"page": {"url": "x" * 300}}})
    assert weight(ordinary.encode()) == len(ordinary)


@pytest.mark.parametrize(("one", "is_behind"), [("5-3", "5-2"), ("5-0", f"4-{2**64 - 1}"), ("0-1", "0-0")])
def test_the_place_before_an_entry(one, is_behind):
    """A group that begins there is given that entry first."""
    assert before(one) == is_behind


async def test_small_events_still_come_in_full_batches(run_service, raw, eventually):
    """What is there is read on, portion by portion, without waiting: a batch is as large as it may be."""
    await add(raw, range(1500))
    service = await run_service(listening(batch=1000), name="listen", events_from="0")
    await eventually(lambda: len(flat(service.got)) == 1500)
    assert [len(batch) for batch in service.got] == [1000, 500]
    assert flat(service.got) == list(range(1500))


async def test_large_events_never_come_by_the_thousand(run_service, raw, eventually):
    """2,000 may be in a batch, but its bytes end it: a container of 350 MB lives on."""
    await add(raw, range(250), LARGE)
    service = await run_service(listening(batch=2000, batch_bytes=1_000_000), name="listen", events_from="0")
    await eventually(lambda: flat(service.got) == list(range(250)))
    sizes = [len(batch) for batch in service.got]
    assert sizes[0] <= PORTION_ENTRIES
    assert max(sizes[1:]) <= 40


async def test_a_batch_is_bounded_in_bytes_unless_the_listener_says_otherwise(run_service, raw, eventually):
    """200 events of 100 kB, in the hands of two calls and of the reader, would fill a container of 128 MB."""
    await add(raw, range(150), LARGE)
    service = await run_service(listening(batch=2000), name="listen", events_from="0")
    await eventually(lambda: flat(service.got) == list(range(150)))
    assert max(map(len, service.got)) <= BATCH_BYTES // LARGE + PORTION_ENTRIES
    endless = await run_service(listening(batch=2000, batch_bytes=0), name="endless", events_from="0")
    await eventually(lambda: len(flat(endless.got)) == 150)
    assert len(endless.got) == 1


async def test_what_an_earlier_life_left_is_bounded_too(run_service, raw, eventually):
    """A life that ended over too much memory is not followed by one that asks for the same at once."""
    await raw.command("XGROUP", "CREATE", "events", "listen", "0", "MKSTREAM")
    await add(raw, range(250), LARGE)
    await give(raw, CONSUMER, 250)
    service = await run_service(listening(batch=2000, batch_bytes=1_000_000), name="listen", events_from="0")
    await eventually(lambda: flat(service.got) == list(range(250)))
    assert max(map(len, service.got)) <= PORTION_ENTRIES
    await eventually(lambda: all_acknowledged(raw))


async def test_small_events_of_an_earlier_life_come_in_full_batches(run_service, raw, eventually):
    """Read again portion by portion, also over entries that the stream's hard bound took meanwhile."""
    await raw.command("XGROUP", "CREATE", "events", "listen", "0", "MKSTREAM")
    await add(raw, range(700))
    await give(raw, CONSUMER, 700)
    await raw.command("XTRIM", "events", "MAXLEN", 450)
    service = await run_service(listening(batch=300), name="listen", events_from="0")
    await eventually(lambda: flat(service.got) == list(range(250, 700)))
    assert [len(batch) for batch in service.got] == [300, 150]
    assert b"band_listener_trimmed_total 250.0" in service.metrics.render()
    await eventually(lambda: all_acknowledged(raw))


async def test_what_a_dead_consumer_held_is_claimed_by_the_batch(run_service, raw, eventually, monkeypatch):
    """However small the portions are, the next batch does not wait for the next look."""
    monkeypatch.setattr(events_module, "CLAIM_AFTER_MS", 200)
    monkeypatch.setattr(events_module, "BLOCK_MS", 100)
    await raw.command("XGROUP", "CREATE", "events", "listen", "0", "MKSTREAM")
    await add(raw, range(500))
    await give(raw, "dead", 500)
    await asyncio.sleep(0.25)
    service = await run_service(listening(batch=200), name="listen", events_from="0")
    await eventually(lambda: flat(service.got) == list(range(500)))
    assert [len(batch) for batch in service.got] == [200, 200, 100]
    await eventually(lambda: all_acknowledged(raw))


async def test_notes_of_what_was_taken_stay_small(run_service, raw, eventually, monkeypatch):
    """So many ids are kept, however large the batches are; in small ones, so many notes."""
    monkeypatch.setattr(consumer_group, "TAKEN_IDS_KEPT", 2_000)
    await raw.command("XGROUP", "CREATE", "events", "listen", "0", "MKSTREAM")
    for begin in range(0, 20_000, 1000):
        script = "for i = 1, 1000 do redis.call('XADD', 'events', '*', 'event', ARGV[1]) end"
        await raw.command("EVAL", script, 0, json.dumps({"n": begin}))
    service = await run_service(listening(batch=100), name="listen")
    await eventually(lambda: len(flat(service.got)) == 20_000)
    await eventually(lambda: all_acknowledged(raw))
    assert 100 <= await raw.command("XLEN", "events:taken:listen") <= 110
    group = consumer_group.StreamGroup("listen", "me", None, None)
    assert {group._notes_kept(1) for _ in range(50)} == {2_000}
    assert group._notes_kept(100) > 100


async def test_a_stream_that_was_lost_costs_no_later_event(run_service, raw, eventually):
    """Redis came back empty, and front's first events are there before the group: they are this listener's too.

    The group begins at "now" when it is made for the first time only.
    """
    service = await run_service(listening(batch=10), name="listen")
    await eventually(lambda: has_group(raw))
    await add(raw, [1])
    await eventually(lambda: flat(service.got) == [1])
    for number in (2, 3):
        script = "redis.call('DEL', 'events') return redis.call('XADD', 'events', '*', 'event', ARGV[1])"
        await asyncio.sleep(0.01)  # a Redis that was lost is not back within the millisecond of its last id
        await raw.command("EVAL", script, 0, json.dumps({"n": number}))
        await eventually(lambda number=number: flat(service.got)[-1] == number)
    assert flat(service.got) == [1, 2, 3]


async def test_a_stream_of_a_slower_clock_is_read_from_its_beginning(run_service, raw, eventually):
    """The new stream's ids are older than all that were seen: nothing of it is skipped for that."""
    service = await run_service(listening(batch=10), name="listen")
    await eventually(lambda: has_group(raw))
    await add(raw, [1])
    await eventually(lambda: flat(service.got) == [1])
    script = "redis.call('DEL', 'events') return redis.call('XADD', 'events', '5-1', 'event', ARGV[1])"
    await raw.command("EVAL", script, 0, json.dumps({"n": 2}))
    await eventually(lambda: flat(service.got) == [1, 2])


async def test_what_was_in_hand_when_the_group_went_is_delivered(run_service, raw, eventually):
    """Read, not handled yet, and nobody in Redis knows any more: the new group begins before it."""
    service = Service()
    got, release = [], asyncio.Event()

    @service.expose.listener(batch=1)
    async def broadcast(events):
        got.append(events[0]["n"])
        await release.wait()

    await raw.command("XGROUP", "CREATE", "events", "listen", "0", "MKSTREAM")
    await add(raw, range(4))
    await run_service(service, name="listen")
    await eventually(lambda: in_hand(raw, 2))
    await raw.command("XGROUP", "DESTROY", "events", "listen")
    release.set()
    await eventually(lambda: set(got) == {0, 1, 2, 3})


async def test_the_group_stands_again_while_work_goes_on(run_service, raw, eventually, monkeypatch):
    """The destination is away for hours, Redis lost its data meanwhile: trimming must know of this listener at once."""
    monkeypatch.setattr(events_module, "HOLD_INTERVAL", 0.1)
    service = Service()
    got, release = [], asyncio.Event()

    @service.expose.listener(batch=1)
    async def broadcast(events):
        got.append(events[0]["n"])
        await release.wait()

    await run_service(service, name="listen")
    await eventually(lambda: has_group(raw))
    for number in (1, 2):  # ids that no entry of the new stream has
        await raw.command("XADD", "events", f"{number}-0", "event", json.dumps({"n": number}))
    await eventually(lambda: in_hand(raw, 2))
    script = "redis.call('DEL', 'events') return redis.call('XADD', 'events', '*', 'event', ARGV[1])"
    await raw.command("EVAL", script, 0, json.dumps({"n": 3}))
    await eventually(lambda: has_group(raw))
    assert got == [1]
    await add(raw, [4])
    release.set()
    await eventually(lambda: set(got) >= {1, 3, 4})


async def has_group(raw):
    try:
        return bool(await raw.command("XINFO", "GROUPS", "events"))
    except Exception:  # noqa: BLE001 - no stream yet
        return False


async def in_hand(raw, count):
    return (await raw.command("XPENDING", "events", "listen"))[0] == count
