"""What services offer, how they are asked, and how locks keep requests apart."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from director.discovery.probe import Prober
from director.discovery.registrations import ACTIVE_FOR, Registrations, state_hash
from director.engine.docker_json import is_port_taken, timestamp
from director.engine.host import own_gateways, own_id
from director.locks import Locks
from director.state.event_stream import search

ROW = {"method": "enrich", "role": "enricher", "options": {"keys": ["in.gen.track"], "props": {"ua": "td.ua"}}}


def status(*rows: Any) -> dict[str, Any]:
    return {"name": "x", "app_state": "running", "register": list(rows)}


def test_rows_carry_their_service_and_leave_with_it() -> None:
    """A row is there while its service is heard of and has not ended."""
    found = Registrations()
    found.note("ua", status(ROW), 100.0)
    assert found.rows(100.0) == [{**ROW, "service": "ua"}]
    assert found.rows(100.0, ended={"ua": 99.0}) == [], "an answer that was on its way when it ended"
    assert found.rows(100.0, ended={"ua": 90.0}) == [{**ROW, "service": "ua"}], "somebody else goes by its name"
    assert found.rows(100.0 + ACTIVE_FOR + 1) == []
    found.drop("ua")
    assert found.rows(100.0) == []


def test_rows_that_are_no_rows_do_no_harm() -> None:
    """front answers 500 for a row without options, so each gets an object; nonsense is left out."""
    found = Registrations()
    found.note("odd", status({"method": "m", "role": "handler"}, None, {"role": "handler"}, "x", {"method": 1}), 1.0)
    found.note("worse", {"register": "nothing"}, 1.0)
    assert found.rows(1.0) == [{"method": "m", "role": "handler", "options": {}, "service": "odd"}]


def test_the_hash_is_a_signed_64_bit_integer_equal_in_every_process() -> None:
    """A fixed value for fixed rows, whatever the order of keys, and never 0."""
    assert state_hash([{"b": 1, "a": 2}]) == state_hash([{"a": 2, "b": 1}])
    assert state_hash([]) == 5716138445788391948
    assert state_hash([ROW]) != state_hash([ROW, ROW])


@given(st.lists(st.dictionaries(st.text(max_size=3), st.integers(), max_size=3), max_size=4))
def test_any_rows_hash_into_range(rows: list[dict[str, Any]]) -> None:
    """The hash fits into 64 signed bits and is truthy."""
    assert -(2**63) <= state_hash(rows) < 2**63
    assert state_hash(rows)


class FakeLink:
    """A publisher whose peers answer at once, in the order given, from `replies`."""

    def __init__(self, *replies: Any, receivers: int = 1) -> None:
        self.prober = Prober(self, "probe")
        self.sent: list[dict[str, Any]] = []
        self._replies = list(replies)
        self._receivers = receivers

    def publish(self, channel: str, payload: bytes, on_reply: Any = None, *, keep: bool = False) -> bool:
        message = msgspec.json.decode(payload)
        self.sent.append(message)
        loop = asyncio.get_running_loop()
        for reply in self._replies:
            answer = {"jsonrpc": "2.0", "id": message["id"], **reply}
            loop.call_soon(self.prober.on_message, "probe", msgspec.json.encode(answer))
        if on_reply is not None:
            loop.call_soon(on_reply, self._receivers)
        return True


async def test_the_new_container_is_told_from_the_old_one() -> None:
    """Both answer on one channel; only a status that is accepted ends the wait."""
    link = FakeLink({"result": {"app_started": 1}}, {"result": {"type__": "data", "data": {"app_started": 9}}})
    found = await link.prober.ask("one", timeout=1, interval=0.01, accept=lambda status: status["app_started"] > 5)
    assert found == {"app_started": 9}
    assert link.sent[0]["method"] == "one:__status:probe"
    assert link.sent[0]["params"] == {}


async def test_asking_goes_on_until_the_time_is_up() -> None:
    """With an interval the request is repeated; without an acceptable answer the outcome is None."""
    link = FakeLink({"result": {"app_started": 1}}, {"error": {"code": -1, "message": "x"}}, {"result": None})
    assert await link.prober.ask("one", timeout=0.1, interval=0.01, accept=lambda _: False) is None
    assert len(link.sent) > 3


async def test_nobody_listening_ends_at_once() -> None:
    """A single request that reached nobody does not wait for its time."""
    begun = asyncio.get_running_loop().time()
    assert await FakeLink(receivers=0).prober.ask("ghost", timeout=5) is None
    assert asyncio.get_running_loop().time() - begun < 1


async def test_null_is_fronts_way_to_say_as_before() -> None:
    """front answers null to a hash it has; where that is meant to be an answer, it is an empty status."""
    assert await FakeLink({"result": None}).prober.ask("front", timeout=1, null_is_answer=True) == {}


async def test_messages_that_are_no_answers_are_dropped() -> None:
    """Broken JSON, foreign ids and requests on the reply channel change nothing."""
    prober = Prober(FakeLink(), "probe")
    for payload in (b"{", b"[]", b"null", b'{"id": "77", "result": 1}', b'{"method": "x"}', b"\xff"):
        prober.on_message("probe", payload)


async def test_a_lock_serves_one_after_another_and_is_forgotten() -> None:
    """Two blocks of one name never overlap, other names do not wait, and nothing is kept of names that are done."""
    locks, trace = Locks(), list[str]()

    async def work(name: str) -> None:
        async with locks.hold(name):
            trace.append(f"+{name}")
            await asyncio.sleep(0.01)
            trace.append(f"-{name}")

    both = asyncio.gather(work("a"), work("a"), work("b"))
    await asyncio.sleep(0)
    assert locks.busy == {"a", "b"}
    await both
    only_a = [step for step in trace if step.endswith("a")]
    assert only_a == ["+a", "-a", "+a", "-a"]
    assert trace.index("+b") < trace.index("-a")
    assert locks.busy == frozenset()


async def test_events_come_newest_first_as_stored() -> None:
    """Entries of the stream become stream_id and event, in both forms of Redis replies; broken JSON stays text."""

    class Stream:
        async def command(self, *words: Any) -> Any:
            assert words == ("XREVRANGE", "events", "+", "-", "COUNT", "3")
            return [
                [b"2-0", [b"event", b'{"id": "2"}']], [b"1-1", {b"event": b'{"id": "1"}'}], [b"1-0", [b"event", b"{"]],
            ]  # fmt: skip

    assert msgspec.to_builtins((await search(Stream(), 3)).events) == [
        {"stream_id": "2-0", "event": {"id": "2"}},
        {"stream_id": "1-1", "event": {"id": "1"}},
        {"stream_id": "1-0", "event": "{"},
    ]


def test_the_own_container_is_found_in_the_mount_table(tmp_path: Path) -> None:
    """Whatever --hostname says, the mount of /etc/hostname names the container; on a host there is none."""
    found = "ab" * 32
    mounts = (
        f"10 1 254:1 /var/lib/docker/containers/{'cd' * 32}/x /mnt/backup rw - ext4 /dev/vda rw\n"
        f"11 1 254:1 /var/lib/docker/containers/{found}/hostname /etc/hostname rw - ext4 /dev/vda rw\n"
    )
    assert own_id(tmp_path) is None
    (tmp_path / "mountinfo").write_text("10 1 254:1 / / rw - ext4 /dev/vda rw\n")
    assert own_id(tmp_path) is None
    (tmp_path / "mountinfo").write_text(mounts)
    assert own_id(tmp_path) == found


def test_the_own_gateways_are_found_in_the_routing_tables(tmp_path: Path) -> None:
    """Those of default routes, of both protocols; a network without a way out, and a host without tables, have none."""
    assert own_gateways(tmp_path) == frozenset()
    head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
    attached = "eth0\t000012AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
    nothing = f"{'0' * 32} 00 {'0' * 32} 00 {'0' * 32} ffffffff 00000001 00000000 00200200       lo\n"
    (tmp_path / "route").write_text(head + attached)
    (tmp_path / "ipv6_route").write_text(nothing)
    assert own_gateways(tmp_path) == frozenset()
    (tmp_path / "route").write_text(f"{head}eth1\t00000000\t0180A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n{attached}")
    gateway = f"{'0' * 32} 00 {'0' * 32} 00 fd00000000000000000000000000000a 00000400 1 0 00000003     eth1\n"
    (tmp_path / "ipv6_route").write_text(nothing + gateway)
    assert own_gateways(tmp_path) == {"192.168.128.1", "fd00::a"}


def test_dockers_words_are_understood() -> None:
    """Times with nanoseconds, `never`, and the two ways of saying that a port is taken."""
    assert timestamp("2026-11-23T22:29:52.123456789Z") == timestamp("2026-11-23T22:29:52.123456Z") > 0
    assert timestamp("0001-01-01T00:00:00Z") == timestamp(None) == timestamp("") == 0.0
    assert is_port_taken("Bind for 127.0.0.1:8900 failed: port is already allocated")
    assert is_port_taken("listen tcp4 127.0.0.1:8900: bind: address already in use")
    assert not is_port_taken("no such image")
