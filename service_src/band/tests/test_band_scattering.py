"""Requests of one turn of the loop to services of ours: sent together, answered one by one."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec
import pytest

from band import json_codec
from band.jsonrpc.fan_out import ChannelFanOut, FanOut
from band.jsonrpc.messages import SERVER_ERROR, Envelope, decode, failure, success
from band.service.lifecycle import Service

BOTH = frozenset({"good", "odd"})


def enricher(answer):
    """A service whose `enrich` is the given function."""
    service = Service()

    @service.expose.enricher(keys=["*"])
    def enrich(**params):
        return answer(**params)

    return service


@pytest.fixture
async def caller(run_service, eventually):
    """A caller and two enrichers that it knows: one is always right, one fails for odd numbers."""

    def odd(n):
        if n % 2:
            raise ValueError("odd")
        return {"n": n, "x": float("nan") if n == 4 else n, "y": 1 << 70 if n == 6 else 0}

    await run_service(enricher(lambda n: {"n": n, "город": "Ё"}), name="good", listen_enrich=True)
    await run_service(enricher(odd), name="odd", listen_enrich=True)
    caller = await run_service(Service(), name="caller")
    await eventually(lambda: all(map(caller.presence.knows, sorted(BOTH))))
    return caller


async def test_each_request_gets_its_own_answers(caller):
    """A thousand at once, more than one message holds: results and errors stand where they belong."""
    found = await asyncio.gather(
        *(caller.rpc.scatter("enrich", "enrich", {"n": n}, expect=BOTH, timeout=20) for n in range(1100))
    )
    for n, one in enumerate(found):
        assert one.results["good"] == {"n": n, "город": "Ё"}
        assert one.missing == set()
        if n % 2:
            assert "ValueError: odd" in str(one.errors["odd"])
        else:
            assert one.results["odd"]["n"] == n
    assert found[4].results["odd"]["x"] is None or found[4].results["odd"]["x"] != found[4].results["odd"]["x"]
    assert found[6].results["odd"]["y"] == 1 << 70
    assert caller.rpc.waiting == 0


async def test_raw_results_stay_json(caller):
    """Who only passes results on gets the text, which goes into further JSON as it is."""
    one = await caller.rpc.scatter("enrich", "enrich", {"n": 2}, expect=BOTH, timeout=20, raw=True)
    assert all(type(result) is msgspec.Raw for result in one.results.values())
    assert json_codec.decode_loosely(json_codec.encode({"data": one.results})) == {
        "data": {"good": {"n": 2, "город": "Ё"}, "odd": {"n": 2, "x": 2, "y": 0}}
    }
    # A number that only Python's writer can write: the raw result beside it is still written.
    assert json_codec.decode_loosely(json_codec.encode({"big": 1 << 70, **one.results}))["good"]["n"] == 2


async def test_who_leaves_takes_nobody_along(caller):
    """A request that is cancelled harms none of those that were sent with it."""
    first = asyncio.ensure_future(caller.rpc.scatter("enrich", "enrich", {"n": 0}, expect=BOTH, timeout=20))
    second = asyncio.ensure_future(caller.rpc.scatter("enrich", "enrich", {"n": 2}, expect=BOTH, timeout=20))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).results["good"]["n"] == 2
    with contextlib.suppress(asyncio.CancelledError):
        await first


async def test_the_deadline_tells_what_has_come() -> None:
    """At the deadline the answered stand in results, the silent in missing; what comes later changes nothing."""
    turn = FanOut("enrich", BOTH, raw=False)
    asked = [turn.ask(asyncio.get_running_loop(), b"{}") for _ in range(2)]
    turn.take_result("good", msgspec.Raw(b'{"results":[1,2],"errors":{}}'), None)
    turn.finish()
    turn.take_result("odd", msgspec.Raw(b'{"results":[3,4]}'), None)
    told = [await one for one in asked]
    assert [one.results for one in told] == [{"good": 1}, {"good": 2}]
    assert all(one.missing == {"odd"} and set(one.elapsed_ms) == {"good"} for one in told)


@pytest.mark.parametrize(
    "answer",
    [
        b"null",
        b"[]",
        b"{}",
        b'{"results":{}}',
        b'{"results":[NaN],"errors":[]}',
        b'{"results":[1],"errors":7}',
        b"x",
        b'{"results":[1],"errors":{"0":"\xff"}}',
        b'{"results":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    ],
)
async def test_what_is_no_answer_is_everybodys_error(answer: bytes) -> None:
    """A peer that answers a batch with something else harms nobody: each request gets an error."""
    turn = FanOut("enrich", frozenset({"odd"}), raw=False)
    asked = [turn.ask(asyncio.get_running_loop(), b"{}") for _ in range(2)]
    turn.take_result("odd", msgspec.Raw(answer), None)
    for one in asked:
        assert set((await one).errors) == {"odd"}


async def test_too_few_answers_are_an_error_for_the_rest() -> None:
    """Answers are matched by place; who has none is told so."""
    turn = FanOut("enrich", frozenset({"odd"}), raw=False)
    asked = [turn.ask(asyncio.get_running_loop(), b"{}") for _ in range(2)]
    turn.take_result("odd", msgspec.Raw(b'{"results":[1]}'), None)
    assert (await asked[0]).results == {"odd": 1}
    assert "fewer answers" in str((await asked[1]).errors["odd"])


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize(
    ("bad", "told"),
    [(b'"\xff"', None), (b'{"x":"\\ud800"}', {"x": "\ufffd"}), (b"[NaN]", [None])],
    ids=["no UTF-8", "half a pair", "NaN"],
)  # fmt: skip
async def test_one_odd_result_of_many_harms_no_other(raw: bool, bad: bytes, told: object) -> None:
    """What cannot be read is the error of its own request; what can somehow be read is made valid JSON."""
    turn = FanOut("enrich", frozenset({"odd"}), raw=raw)
    asked = [turn.ask(asyncio.get_running_loop(), b"{}") for _ in range(3)]
    turn.take_result("odd", msgspec.Raw(b'{"results":[1,%b,3],"errors":{}}' % bad), None)
    first, odd, last = [await one for one in asked]
    assert [json_codec.decode_loosely(json_codec.encode(one.results)) for one in (first, last)] == [
        {"odd": 1},
        {"odd": 3},
    ]
    if told is None:
        assert "cannot be read" in str(odd.errors["odd"])
    elif raw:
        assert msgspec.json.decode(odd.results["odd"]) == told
    else:
        assert set(odd.results) == {"odd"}


@pytest.mark.parametrize("answer", [b'"\xff"', b'{"x":"\\ud800"}', b"[NaN]", b'"\xd0\x9f"'])
async def test_raw_results_from_a_channel_are_valid_utf8(answer: bytes) -> None:
    """Who passes a result on does not check it again: what services of the original say is written anew."""
    gather = ChannelFanOut("enrich", frozenset({"odd"}), {}, raw=True)
    asked = gather.ask(asyncio.get_running_loop(), b"")
    assert gather.take(Envelope(sender="odd", id="1", result=msgspec.Raw(answer)))
    told = await asked
    assert set(told.results) != set(told.errors)
    for result in told.results.values():
        msgspec.json.decode(bytes(result).decode())


async def test_replies_name_the_service_group(run_service, eventually):
    """A group of the settings is in each reply, batch or not, and who asks several services hears of it."""
    replica = await run_service(enricher(lambda n: n), name="uap_1", service_group="uap")
    caller = await run_service(Service(), name="caller")
    alone = await caller.rpc.scatter("enrich", "enrich", {"n": 1}, expect={"uap_1", "gone"}, timeout=0.3)
    assert alone.results == {"uap_1": 1}
    assert caller.rpc.service_groups == {"uap_1": "uap"}
    caller.rpc.service_groups.clear()
    await eventually(lambda: caller.presence.knows("uap_1"))
    together = await caller.rpc.scatter("enrich", "enrich", {"n": 2}, expect={"uap_1"}, timeout=20)
    assert together.results == {"uap_1": 2}
    assert caller.rpc.service_groups == {"uap_1": "uap"}
    replica.server.group = ""
    await caller.rpc.scatter("enrich", "enrich", {"n": 2}, expect={"uap_1"}, timeout=20)
    assert caller.rpc.service_groups == {}


@pytest.mark.parametrize("group", [7, "", [], {"a": 1}, "u" * 201])
async def test_a_group_that_is_no_name_is_none(group: object) -> None:
    """Whatever else a reply says there is as if it said nothing."""
    groups: dict[str, str] = {"odd": "o"}
    gather = ChannelFanOut("enrich", frozenset({"odd"}), groups, raw=True)
    gather.ask(asyncio.get_running_loop(), b"")
    gather.take(Envelope(sender="odd", id="1", result=msgspec.Raw(b"1"), service_group=group))
    assert groups == {}


def test_a_reply_without_a_group_is_what_it_was() -> None:
    """The bytes of replies: the group stands last, and only where there is one."""
    assert success(1, "7", "uap_1", "front") == b'{"jsonrpc":"2.0","result":1,"id":"7","from":"uap_1","to":"front"}'
    assert success(1, "7", "uap_1", "front", "uap").endswith(b'"to":"front","service_group":"uap"}')
    assert failure(SERVER_ERROR, None, "7", "uap_1", "front", group="uap").endswith(b',"service_group":"uap"}')


def test_results_that_only_python_reads_are_kept() -> None:
    """An envelope with NaN, as Python peers send them, still carries its result."""
    (reply,) = decode(b'{"jsonrpc":"2.0","id":"1","from":"a","result":{"x":NaN}}')
    value = json_codec.decode_loosely(reply.result)
    assert value["x"] != value["x"]
