"""The bench for authors: a stream in this process that acknowledges, retries, rejects, buries and replays."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import UTC, datetime

import msgspec
import pytest

from band import Event, Reject, Retry, settings, testing
from band.redis import in_memory
from band.service.lifecycle import Service


def numbered(*numbers):
    return [testing.make_event(n=number) for number in numbers]


async def test_events_are_delivered_and_acknowledged(make_shop):
    shop = make_shop()
    async with testing.running(subject=shop) as bench:
        await bench.append(*numbered(1, 2, 3))
        await bench.settled()
        assert shop.calls == [1, 2, 3]
        assert await bench.dead_letters() == []


async def test_failures_are_repeated_without_a_pause_and_end_as_dead_letters(make_shop):
    shop = make_shop({1: [OSError("away")] * 2, 2: [OSError("gone")] * 9}, max_attempts=3)
    async with testing.running(subject=shop) as bench:
        await bench.append(*numbered(1, 2))
        await bench.settled()
        assert shop.calls == [1, 1, 1, 2, 2, 2]
        (letter,) = await bench.dead_letters()
        assert letter["event"]["n"] == 2
        assert "gone" in letter["reason"]


@pytest.mark.parametrize("error", [ValueError("half \ud83d"), Reject("half \ud83d")])
async def test_a_reason_that_is_not_unicode_buries_the_event_too(make_shop, error):
    """A text from a visitor, cut in the middle of a character: its error must not stop the listener."""
    shop = make_shop({1: [error]}, max_attempts=1)
    async with testing.running(subject=shop) as bench:
        await bench.append(*numbered(1, 2))
        await bench.settled()
        assert shop.calls == [1, 2]
        (letter,) = await bench.dead_letters()
        assert "half \\ud83d" in letter["reason"]


async def test_rejected_events_are_replayed_when_the_cause_is_gone(make_shop):
    shop = make_shop({1: [Reject("no such project")]})
    async with testing.running(subject=shop) as bench:
        await bench.append(*numbered(1, 2))
        await bench.settled()
        assert [letter["reason"] for letter in await bench.dead_letters()] == ["no such project"]
        assert (await bench.replay_dead_letters())["replayed"] == 1
        assert shop.calls == [1, 2, 1]
        assert await bench.dead_letters() == []


async def test_a_frozen_clock_is_advanced_to_a_retry(make_shop):
    """An hour passes at once; a second before, nothing is delivered."""
    shop = make_shop({1: [Retry(after=3600)]})
    with testing.freeze("2026-11-27T09:30") as clock:
        async with testing.running(subject=shop) as bench:
            await bench.append(*numbered(1, 2))
            await bench.settled()
            clock.advance(3599)
            await bench.settled()
            assert shop.calls == [1, 2]
            clock.advance(1)
            await bench.settled()
            assert shop.calls == [1, 2, 1]


async def test_a_delay_outlives_the_service(make_shop):
    """The next life on the same bus waits for the rest of the hour."""
    first, second, keeper = make_shop({1: [Retry(after=3600)]}), make_shop(), Service()
    with testing.freeze("2026-11-27T09:30") as clock:
        async with testing.running(subject=keeper, name="keeper") as bus:
            async with testing.running(subject=first, name="shop", beside=bus) as bench:
                await bench.append(*numbered(1))
                await bench.settled()
            clock.advance(1800)
            async with testing.running(subject=second, name="shop", beside=bus) as bench:
                await bench.settled()
                assert second.calls == []
                clock.advance(1800)
                await bench.settled()
                assert second.calls == [1]


async def test_several_services_get_the_same_events_and_call_each_other(make_shop):
    first, second = make_shop(), make_shop(batch=10)

    @second.expose()
    async def ask(**params):
        return await second.rpc.call("first", "tell", {})

    @first.expose()
    async def tell(**params):
        return {"calls": len(first.calls)}

    async with (
        testing.running(subject=first, name="first") as one,
        testing.running(subject=second, name="second", beside=one) as two,
    ):
        await two.append(*numbered(1, 2))
        await one.settled()
        assert first.calls == [1, 2]
        assert [number for batch in second.calls for number in batch] == [1, 2]
        assert await two.call("ask") == {"calls": 2}


async def test_benches_share_nothing_and_leave_nothing(make_shop):
    shop, before = make_shop(backoff=1.0), dict(in_memory._buses)
    async with testing.running(subject=shop) as bench:
        await bench.append(*numbered(1))
        await bench.settled()
    async with testing.running(subject=shop) as bench:
        await bench.append(*numbered(2))
        await bench.settled()
    assert shop.calls == [1, 2]
    assert in_memory._buses == before
    assert shop.registry.methods["broadcast"].backoff == 1.0


async def test_a_wait_without_an_end_is_told():
    shop, begun = Service(), asyncio.Event()

    @shop.expose.listener()
    async def broadcast(**event):
        begun.set()
        await asyncio.sleep(60)

    async with testing.running(subject=shop, name="shop", stop_timeout=0.5) as bench:
        await bench.append(*numbered(1))
        async with asyncio.timeout(15):
            await begun.wait()
        with pytest.raises(TimeoutError, match=r"still busy after .* s: shop \(1 in progress\)"):
            await bench.settled(timeout=0.2)


NAIVE = datetime(2026, 11, 27, 9, 30)  # noqa: DTZ001 - taken for UTC


@pytest.mark.parametrize("at", ["2026-11-27T09:30", "2026-11-27T09:30+00:00", 1795771800, NAIVE])
def test_the_clock_stands_still(at):
    with testing.freeze(at) as clock:
        assert time.time() == 1795771800
        assert datetime.now(UTC) == datetime(2026, 11, 27, 9, 30, tzinfo=UTC)
        clock.advance(60)
        assert time.time() == 1795771860


class Purchase(msgspec.Struct):
    order: str


@pytest.mark.parametrize("batch", [0, 8])
async def test_a_listener_of_some_keys_gets_no_other_events(batch):
    """Others are acknowledged, whatever their data is; `listen` and a call leave them out too."""
    shop, orders = Service(), []

    if batch:

        @shop.expose.listener(keys=["in.gen.track.purchase", "in.gen.hook"], batch=batch)
        async def broadcast(events: list[Event[Purchase]]) -> None:
            orders.extend(event.data.order for event in events)
    else:

        @shop.expose.listener(keys=["in.gen.track.purchase", "in.gen.hook"])
        async def broadcast(event: Event[Purchase]) -> None:
            orders.append(event.data.order)

    keys = ["in.gen.track.page", "in.gen.track.purchase", "in.gen.track.purchases", "in.gen.hook.paid"]
    events = [testing.make_event(key) for key in keys[::2]]
    events += [testing.make_event(key, data={"order": key}) for key in keys[1::2]]
    async with testing.running(subject=shop) as bench:
        await bench.append(*events)
        await bench.settled()
        assert orders == [keys[1], keys[3]]
        assert await bench.dead_letters() == []
        await bench.listen(*events)
        assert orders == [keys[1], keys[3]] * 2
        if not batch:
            assert await bench.call("broadcast", **events[0]) is None
            await bench.call("broadcast", **events[-1])
            assert orders[4:] == [keys[3]]
        assert (await bench.call("__status"))["register"][0]["options"] == {}


@pytest.fixture
def limited(tmp_path, monkeypatch):
    """The folder of a service that reads a setting while it is imported, and another one later."""
    (tmp_path / "limited").mkdir()
    (tmp_path / "limited" / "__init__.py").write_text("")
    (tmp_path / "limited" / "handlers.py").write_text(
        "from band import Service, settings\n"
        "service, limit = Service(), settings.limit\n"
        "@service.expose()\n"
        "def told():\n"
        "    return [limit, settings.unit]\n"
    )
    (tmp_path / "config.yaml").write_text("limit: {{ LIMIT|default(3) }}\nunit: {{ UNIT|default('day') }}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "limited", raising=False)
    return tmp_path


async def test_a_module_is_imported_with_the_settings_of_its_folder(limited):
    """Each block has a service of its own; afterwards settings and modules are what they were."""
    before = dict(settings)
    with testing.imported("limited.handlers", limited) as first:
        async with testing.running(subject=first.service) as bench:
            assert await bench.call("told") == [3, "day"]
            with testing.imported("limited.handlers", limited, LIMIT="5", UNIT="week") as second:
                async with testing.running(subject=second.service) as other:
                    assert await other.call("told") == [5, "week"]
            assert await bench.call("told") == [3, "day"]
        assert second.service is not first.service
        assert sys.modules["limited.handlers"] is first
    assert settings == before
    assert "limited.handlers" not in sys.modules


def test_settings_come_back_after_an_import_that_fails(limited):
    before = dict(settings)
    (limited / "limited" / "handlers.py").write_text("1 / 0")
    with pytest.raises(ZeroDivisionError), testing.imported("limited.handlers", limited):
        pass
    assert settings == before


HISTORIES = {
    "all is well": ({}, {}, 5),
    "one fails twice": ({}, {2: [OSError("away"), OSError("away")]}, 4),
    "one never works": ({"max_attempts": 2}, {2: [OSError("no") for _ in range(9)]}, 4),
    "one is rejected": ({}, {1: [Reject("bad")], 4: [Reject("worse")]}, 4),
    "a batch with a culprit": ({"batch": 8, "max_attempts": 2}, {3: [ValueError("bad") for _ in range(99)]}, 8),
    "a batch with a rejected one": ({"batch": 8}, {3: [Reject("bad") for _ in range(99)]}, 8),
    "a retry": ({}, {2: [Retry("later", after=0.3)]}, 3),
    "a retry of a batch": ({"batch": 8}, {2: [Retry("later", after=0.3)]}, 8),
    "retries without an end": ({"max_attempts": 3}, {2: [Retry("later", after=0.3) for _ in range(9)]}, 3),
}


@pytest.mark.parametrize("history", HISTORIES)
async def test_a_listener_sees_the_same_on_the_bench_and_on_redis(make_shop, run_service, peer, eventually, history):
    """The same calls in the same order, and the same dead letters."""
    options, says, events = HISTORIES[history]
    options = {**options, "backoff": 0, "backoff_max": 0}
    copy = {number: list(answers) for number, answers in says.items()}
    ours, theirs = (
        make_shop(copy, **options),
        make_shop({number: list(answers) for number, answers in says.items()}, **options),
    )

    async with testing.running(subject=ours, name="listen", events_from="0") as bench:
        await bench.append(*numbered(*range(events)))
        await bench.settled()
        await eventually(lambda: not ours._listener._batches.owned())
        letters = [(letter["event"]["n"], letter["reason"]) for letter in await bench.dead_letters()]

    raw = await peer()
    for event in numbered(*range(events)):
        await raw.command("XADD", "events", "*", "event", json.dumps(event))
    service = await run_service(theirs, name="listen", events_from="0")
    await eventually(raw.all_done)
    found = await service._letters.dead_letters()

    if not options.get("batch"):
        assert ours.calls == theirs.calls
    assert sorted(set(flat(ours.calls))) == sorted(set(flat(theirs.calls))) == list(range(events))
    assert letters == [(letter["event"]["n"], letter["reason"]) for letter in reversed(found["letters"])]


def flat(calls):
    return [number for call in calls for number in (call if isinstance(call, list) else [call])]
