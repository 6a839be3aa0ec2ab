"""What a listener says of an event: again later (Retry), never (Reject), and how long a call may take."""

from __future__ import annotations

import asyncio
import json
import socket
import time

import pytest

from band import Reject, Retry, blocking, testing
from band.errors import RegistrationError
from band.service.lifecycle import Service
from band.stream import listener as listener_module
from band.stream import retries as retries_module


async def add(raw, *numbers):
    for number in numbers:
        await raw.command("XADD", "events", "*", "event", json.dumps({"n": number}))


async def noted(raw):
    """Tell whether an entry is delayed, and that is noted in Redis."""
    return await raw.command("EXISTS", "events:retries:listen")


async def nothing_noted(raw):
    return not await noted(raw)


async def note(raw, number, due_ms):
    """Set when entry ``number`` of the stream (from 0) is due."""
    entry = (await raw.command("XRANGE", "events", "-", "+"))[number][0]
    await raw.command("HSET", "events:retries:listen", entry, f"{due_ms} 1")


async def letters(raw):
    """Return (n, reason) of the dead letters, oldest first."""
    found = []
    for _, fields in await raw.command("XRANGE", "dead:listen", "-", "+"):
        named = dict(zip(fields[::2], fields[1::2], strict=True))
        found.append((json.loads(named[b"event"])["n"], named[b"reason"].decode()))
    return found


async def run(run_service, service, **config):
    return await run_service(service, name="listen", **{"events_from": "0", **config})


async def test_a_retry_comes_later_and_holds_up_nobody(make_shop, run_service, raw, eventually):
    """The others are delivered meanwhile; the delayed one not before its time; then nothing is pending or noted."""
    service = make_shop({1: [Retry("not yet", after=0.5)]})
    await add(raw, 1, 2, 3)
    await run(run_service, service)
    await eventually(lambda: service.calls == [1, 2, 3, 1])
    first, second = service.at[1]
    assert second - first >= 0.5
    await eventually(raw.all_done)
    await eventually(lambda: nothing_noted(raw))


async def test_a_retry_without_a_delay_follows_the_listeners_backoff(make_shop, run_service, raw, eventually):
    """``raise Retry()`` waits as a failure does, at least half of ``backoff``."""
    service = make_shop({1: [Retry()]}, backoff=0.8, backoff_max=0.8)
    await add(raw, 1)
    await run(run_service, service)
    await eventually(lambda: service.calls == [1, 1])
    assert service.at[1][1] - service.at[1][0] >= 0.4


async def test_retries_are_bounded_by_the_attempts(make_shop, run_service, raw, eventually):
    """The last attempt that ends in a Retry makes a dead letter, with the listener's own reason."""
    service = make_shop({1: [Retry("full", after=0) for _ in range(9)]}, max_attempts=3)
    await add(raw, 1, 2)
    await run(run_service, service)
    await eventually(raw.all_done)
    assert service.calls.count(1) == 3
    assert await letters(raw) == [(1, "still Retry after 3 attempts: full")]
    await eventually(lambda: nothing_noted(raw))


async def test_a_batch_that_retries_too_often_is_halved_down_to_the_culprit(make_shop, run_service, raw, eventually):
    """The others of its batch are acknowledged."""
    service = make_shop({5: [Retry("full", after=0) for _ in range(99)]}, max_attempts=2, batch=8, linger=0.3)
    await add(raw, *range(8))
    await run(run_service, service)
    await eventually(lambda: letters(raw))
    await eventually(raw.all_done)
    assert await letters(raw) == [(5, "still Retry after 2 attempts: full")]
    await eventually(lambda: nothing_noted(raw))


async def test_failures_before_a_retry_count_too(make_shop, run_service, raw, eventually):
    """One failure, one Retry, and then only the third of three attempts is left."""
    service = make_shop(
        {1: [OSError("away"), Retry(after=0), OSError("away")]}, max_attempts=3, backoff=0, backoff_max=0
    )
    await add(raw, 1)
    await run(run_service, service)
    await eventually(raw.all_done)
    assert service.calls == [1, 1, 1]
    assert [number for number, _ in await letters(raw)] == [1]


async def test_a_delay_and_its_count_survive_a_restart(make_shop, run_service, raw, eventually):
    """The next life does not deliver it early, begins with others, and goes on counting."""
    first = make_shop({1: [Retry("later", after=3600)]}, max_attempts=2)
    await add(raw, 1)
    await run(run_service, first)
    await eventually(lambda: first.calls == [1])
    await eventually(lambda: noted(raw))
    await first.stop()
    second = make_shop(max_attempts=2)
    await add(raw, 2)
    await run(run_service, second)
    await eventually(lambda: second.calls == [2])
    assert second._listener.delayed == 1
    await second.stop()
    await note(raw, 0, 0)
    third = make_shop({1: [Retry("later again", after=0)]}, max_attempts=2)
    await run(run_service, third)
    await eventually(lambda: third.calls == [1])
    await eventually(raw.all_done)
    assert await letters(raw) == [(1, "still Retry after 2 attempts: later again")]


async def test_another_instance_takes_a_delay_over(make_shop, run_service, raw, eventually, monkeypatch):
    """Claimed from a consumer that is gone, it still waits for its time."""
    first = make_shop({1: [Retry(after=3600)]})
    await add(raw, 1)
    await run(run_service, first)
    await eventually(lambda: noted(raw))
    await first.stop()
    monkeypatch.setattr(listener_module, "CLAIM_AFTER_MS", 0)
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    second = make_shop()
    await run(run_service, second)
    await eventually(lambda: second._listener.delayed == 1)
    assert second.calls == []
    await second.stop()
    await note(raw, 0, 0)
    monkeypatch.setattr("socket.gethostname", lambda: "a third")
    third = make_shop()
    await run(run_service, third)
    await eventually(lambda: third.calls == [1])


async def test_restarts_while_it_waits_are_no_crashes(make_shop, run_service, raw, eventually):
    """However often the service is restarted meanwhile, the event is not taken for one that ends the process."""
    delayed = make_shop({1: [Retry(after=3600)]}, max_attempts=2)
    await add(raw, 1)
    await run(run_service, delayed)
    await eventually(lambda: noted(raw))
    await delayed.stop()
    for number in range(2, 9):
        service = make_shop(max_attempts=2)
        await add(raw, number)
        await run(run_service, service)
        await eventually(lambda service=service, number=number: service.calls == [number])
        await service.stop()
    assert await letters(raw) == []
    assert (await raw.command("XPENDING", "events", "listen", "-", "+", 9))[0][3] == 0


async def test_a_batch_is_retried_as_a_whole(make_shop, run_service, raw, eventually):
    service = make_shop({2: [Retry(after=0.2)]}, batch=10)
    await add(raw, 1, 2, 3)
    await run(run_service, service)
    await eventually(lambda: service.calls == [[1, 2, 3], [1, 2, 3]])
    await eventually(raw.all_done)


async def test_a_constant_retry_does_not_starve_new_events(run_service, raw, eventually):
    """Retry(after=0) is due at once, again and again; what is new has every other turn."""
    service = Service()
    calls = []

    @service.expose.listener(max_attempts=500)
    async def broadcast(n, **event):
        calls.append(n)
        if calls == [1] * 5:
            await add(raw, 2)
        if n == 1 and len(calls) < 400:
            raise Retry(after=0)

    await add(raw, 1)
    await run(run_service, service)
    await eventually(lambda: 2 in calls)
    assert calls.index(2) < 350


async def test_a_rejected_event_is_a_dead_letter_at_once(make_shop, run_service, raw, eventually):
    """With the reason as it was given; one call only."""
    service = make_shop({1: [Reject("no such project")]})
    await add(raw, 1, 2)
    await run(run_service, service)
    await eventually(lambda: service.calls == [1, 2])
    await eventually(raw.all_done)
    assert await letters(raw) == [(1, "no such project")]
    assert service.metrics.failures.check() is None


async def test_of_a_batch_only_what_is_rejected_alone_is_a_dead_letter(make_shop, run_service, raw, eventually):
    """The neighbours are acknowledged; one that fails meanwhile has its own attempts."""
    service = make_shop(
        {2: [Reject("bad") for _ in range(9)], 7: [OSError("away")]}, batch=10, backoff=0, backoff_max=0
    )
    await add(raw, *range(8))
    await run(run_service, service)
    await eventually(raw.all_done)
    assert await letters(raw) == [(2, "bad")]


async def test_a_call_that_takes_too_long_fails(run_service, raw, eventually):
    """The listener's timeout cancels it; it counts as an attempt, and the reason says what happened."""
    service = Service()
    ended = []

    @service.expose.listener(timeout=0.1, max_attempts=2, backoff=0, backoff_max=0)
    async def broadcast(n, **event):
        try:
            await asyncio.sleep(60 if n == 1 else 0)
        finally:
            ended.append(n)

    await add(raw, 1, 2)
    await run(run_service, service)
    await eventually(lambda: ended == [1, 1, 2])
    ((number, reason),) = await letters(raw)
    assert number == 1
    assert "took longer than 0.1 s" in reason


async def test_a_timeout_of_the_function_itself_is_its_own(make_shop, run_service, raw, eventually):
    service = make_shop({1: [TimeoutError("Mixpanel")]}, timeout=30, max_attempts=1)
    await add(raw, 1)
    await run(run_service, service)
    await eventually(raw.all_done)
    assert "Mixpanel" in (await letters(raw))[0][1]


async def test_too_many_delays_stop_the_reading(make_shop, run_service, raw, eventually, monkeypatch):
    """Nothing is lost: the service is degraded and says why, and goes on when they are done."""
    monkeypatch.setattr(retries_module, "MAX_DELAYED", 2)
    service = make_shop({number: [Retry("wait", after=3600)] for number in (1, 2)})
    await add(raw, 1, 2)
    await run(run_service, service)
    await eventually(lambda: service._listener.delayed == 2)
    health = service._listener.check()
    assert health["status"] == "degraded"
    assert "2 events wait for another delivery" in health["reason"]
    await add(raw, *range(3, 250))
    retries = service._listener._batches.retries
    retries.hasten(list(retries.waiting))
    await eventually(lambda: set(range(1, 250)) <= set(service.calls))
    await eventually(raw.all_done)
    assert service.calls.count(1) == service.calls.count(2) == 2


async def test_a_delayed_event_that_was_deleted_is_passed_over(make_shop, run_service, raw, eventually):
    """Long before it is due: nobody waits for what is not there."""
    service = make_shop({1: [Retry(after=3600)]})
    await add(raw, 1)
    await run(run_service, service)
    await eventually(lambda: noted(raw))
    await raw.command("XTRIM", "events", "MAXLEN", 0)
    await eventually(raw.all_done)
    await eventually(lambda: nothing_noted(raw))
    assert (service.calls, service._listener.delayed) == ([1], 0)


async def test_a_delayed_event_that_was_acknowledged_is_not_delivered(make_shop, run_service, raw, eventually):
    """By an operator, or an instance that had taken it over: it is not waited for, nor given when its time comes."""
    service = make_shop({1: [Retry(after=3600)]})
    await add(raw, 1)
    await run(run_service, service)
    await eventually(lambda: noted(raw))
    ((stream_id, _),) = await raw.command("XRANGE", "events", "-", "+")
    await raw.command("XACK", "events", "listen", stream_id)
    await eventually(lambda: service._listener.delayed == 0)
    await add(raw, 2)
    await eventually(lambda: service.calls == [1, 2])
    await eventually(lambda: nothing_noted(raw))


async def test_what_ends_the_process_is_found_behind_a_delayed_event(make_shop, run_service, raw, eventually):
    """The counter of the delayed one begins again with each life; that of the culprit is looked at all the same."""
    await raw.command("XGROUP", "CREATE", "events", "listen", "0", "MKSTREAM")
    await add(raw, 1, 2, 3)
    consumer = f"listen-{socket.gethostname()}"
    read = await raw.command("XREADGROUP", "GROUP", "listen", consumer, "COUNT", 2, "STREAMS", "events", ">")
    culprit = read[b"events"][1][0]
    await note(raw, 0, int((time.time() + 3600) * 1000))
    await raw.command("XCLAIM", "events", "listen", consumer, 0, culprit, "RETRYCOUNT", 7, "JUSTID")
    service = await run(run_service, make_shop(max_attempts=3))
    await eventually(lambda: service.calls == [3])
    assert await letters(raw) == [(2, "the service crashed 7 times while it processed this event")]
    assert service._listener.delayed == 1


async def test_a_clock_set_back_costs_no_days(make_shop, run_service, raw, eventually):
    """An entry that seems due in three days is due now, in this life and in the next one."""
    with testing.freeze("2026-11-27T09:30") as clock:
        async with testing.running(subject=make_shop({1: [Retry(after=1)], 2: [Retry(after=3600)]})) as bench:
            service = bench.service
            await bench.append(testing.make_event(n=1), testing.make_event(n=2))
            await bench.settled()
            clock.advance(-3 * 86_400)
            await bench.settled()
            assert service.calls == [1, 2, 1, 2]
    first = make_shop({1: [Retry(after=3600)]})
    await add(raw, 1)
    await run(run_service, first)
    await eventually(lambda: noted(raw))
    await first.stop()
    await note(raw, 0, int((time.time() + 3 * 86_400) * 1000))
    second = make_shop()
    await run(run_service, second)
    await eventually(lambda: second.calls == [1])


async def test_a_clock_that_is_adjusted_has_nothing_delivered_early(make_shop):
    """Not even what waits for as long as may be."""
    with testing.freeze("2026-11-27T09:30") as clock:
        async with testing.running(subject=make_shop({1: [Retry(after=86_400)]})) as bench:
            await bench.append(testing.make_event(n=1))
            await bench.settled()
            clock.advance(-60)
            await bench.settled()
            assert bench.service.calls == [1]
            clock.advance(86_460)
            await bench.settled()
            assert bench.service.calls == [1, 1]


async def test_a_group_that_is_made_again_brings_a_delayed_event_once(make_shop, run_service, raw, eventually):
    """It begins behind what waits, which comes as new: it is in hand already, and delivered when it is due."""
    service = make_shop({1: [Retry(after=3600)]})
    await add(raw, 1)
    await run(run_service, service)
    await eventually(lambda: noted(raw))
    reader, batches = service._listener._reader, service._listener._batches
    (stream_id,) = batches.retries.waiting
    found, _ = await batches._group.fetch([stream_id])

    async def read(*_args):
        return found, []

    reader._group = type("Again", (), {"read": staticmethod(read)})()
    assert await reader.own("0-0", single=False) == ([], [], stream_id)
    assert await reader._read_new(1, None) == ([], True)
    reader._group = batches._group
    batches.retries.hasten([stream_id])
    await eventually(lambda: service.calls == [1, 1])


async def test_two_delays_of_one_entry_are_one(make_shop, run_service):
    """What was noted twice is given once, by the later note."""
    service = await run(run_service, make_shop())
    retries = service._listener._batches.retries
    later = int((time.time() + 3600) * 1000)
    retries._wait_for({"1-0": retries_module.Delay(0, 1)})
    retries._wait_for({"1-0": retries_module.Delay(later, 1)})
    assert retries.pop_due(9) == []
    retries.hasten(["1-0"])
    assert retries.pop_due(9) == ["1-0"]
    assert retries.pop_due(9) == []


async def test_without_a_place_for_notes_a_retry_still_comes_later(make_shop, run_service, raw, eventually):
    """A Redis that refuses the note (full, or an old user) costs the delay of a restart, not the delivery."""
    await raw.command("SET", "events:retries:listen", "of another type")
    service = make_shop({1: [Retry(after=0.2)]})
    await add(raw, 1)
    await run(run_service, service)
    await eventually(lambda: service.calls == [1, 1])
    await eventually(raw.all_done)


@pytest.mark.parametrize("after", [-1, 86_401, float("nan")])
def test_a_delay_has_bounds(after):
    with pytest.raises(ValueError, match="a day"):
        Retry(after=after)


def test_a_function_in_a_thread_has_no_timeout():
    """Its thread would go on, and the next attempt begin beside it."""

    @blocking()
    def broadcast(**event):
        pass

    with pytest.raises(RegistrationError, match="broadcast is @blocking and has timeout=5"):
        Service().expose.listener(timeout=5)(broadcast)
    Service().expose.listener()(broadcast)


@pytest.mark.parametrize(
    "options", [{"max_attempts": 0}, {"timeout": -1}, {"backoff": 2, "backoff_max": 1}, {"backoff": -1}]
)
def test_a_policy_out_of_range_is_refused(options):
    with pytest.raises(RegistrationError, match="at least one attempt"):
        Service().expose.listener(**options)
