"""What visitors may hold: who gives way when it is too much, and who does not."""

from __future__ import annotations

import asyncio
import socket

import pytest

from front.errors import Overloaded
from front.event.client_address import ClientAddresses
from front.http1.limits import KERNEL_IN_BYTES, KERNEL_OUT_BYTES, MAX_LEAVING, MIN_WAIT_SECONDS, Bounds, Limits
from front.http1.server import listening_socket
from front.intake import admission
from front.intake.admission import Admission
from front.settings import FrontSettings

LIMITS = Limits(
    connections=4, connections_per_address=2, websockets=2, websockets_per_address=1, held_bytes=1000,
    held_bytes_per_address=600,
)  # fmt: skip
LATER = 1000.0


class Guest:
    """A connection that waits since a moment, or is being answered; gives way as it is told."""

    def __init__(self, bounds: Bounds, address: str = "", waits_since: float | None = 0.0) -> None:
        self.bounds = bounds
        self.address = address
        self.waits_since = waits_since
        self.held = 0
        self.held_since = 0.0
        self.gave_way = self.aborted = False

    def shed(self) -> None:
        self.gave_way = True
        self.bounds.leave(self)

    def check_timeouts(self, now: float) -> None: ...

    def finish(self) -> None: ...

    def abort(self) -> None:
        self.aborted = True


def bounds(limits: Limits = LIMITS) -> Bounds:
    return Bounds(limits, lambda peer: peer)


async def test_beyond_the_bound_the_longest_idle_gives_way() -> None:
    """The newcomer is let in; who is being answered, or has only just come, is left alone."""
    ours = bounds()
    guests = [Guest(ours, waits_since=since) for since in (5.0, 3.0, None, LATER)]
    assert all(ours.connections.admit(guest, LATER) for guest in guests)
    newcomer = Guest(ours, waits_since=LATER)
    assert ours.connections.admit(newcomer, LATER)
    assert [guest.gave_way for guest in guests] == [False, True, False, False]
    assert ours.connections.guests == {guests[0], guests[2], guests[3], newcomer}
    assert +ours.refusals == {"connections": 1}


async def test_where_nobody_can_give_way_the_newcomer_is_refused() -> None:
    """All are being answered, or came within the last second."""
    ours = bounds()
    for since in (None, None, LATER, LATER - MIN_WAIT_SECONDS / 2):
        assert ours.connections.admit(Guest(ours, waits_since=since), LATER)
    assert not ours.connections.admit(Guest(ours), LATER)
    assert len(ours.connections.guests) == 4


async def test_an_address_has_a_bound_of_its_own() -> None:
    """Its own longest idle connection gives way, others' never; a proxy of ours, which counts as nobody, has none."""
    ours = bounds()
    other = Guest(ours, "192.0.2.1", waits_since=1.0)
    first, second = Guest(ours, "192.0.2.2", waits_since=2.0), Guest(ours, "192.0.2.2", waits_since=3.0)
    for guest in (other, first, second):
        assert ours.connections.admit(guest, LATER)
    assert ours.connections.admit(Guest(ours, "192.0.2.2", waits_since=LATER), LATER)
    assert (other.gave_way, first.gave_way, second.gave_way) == (False, True, False)
    assert +ours.refusals == {"connections_per_address": 1}
    behind = bounds(LIMITS._replace(connections=50))
    assert all(behind.connections.admit(Guest(behind, waits_since=None), LATER) for _ in range(50))


async def test_websockets_give_way_only_after_a_minute() -> None:
    """They are meant to stay: a newcomer is refused while all of them were used lately."""
    ours = bounds()
    first, second = Guest(ours, waits_since=LATER - 50), Guest(ours, waits_since=LATER - 70)
    assert ours.websockets.admit(first, LATER - 20)
    assert ours.websockets.admit(second, LATER - 20)
    assert not ours.websockets.admit(Guest(ours), LATER - 20)
    assert ours.websockets.admit(Guest(ours), LATER)
    assert (first.gave_way, second.gave_way) == (False, True)


async def test_of_bytes_whoever_held_most_for_longest_gives_way() -> None:
    """An ordinary client that is a little slow holds a little for a moment, and is not the one."""
    ours = bounds()
    hoarders = [Guest(ours) for _ in range(3)]
    ordinary = Guest(ours)
    for guest in (*hoarders, ordinary):
        ours.connections.admit(guest, 0.0)
    for guest in hoarders:
        ours.hold(guest, 290)
    await asyncio.sleep(0.05)
    ours.hold(ordinary, 60)
    assert not ordinary.gave_way
    ours.hold(ordinary, 150)
    assert (ordinary.gave_way, sum(guest.gave_way for guest in hoarders)) == (False, 1)
    assert ours.held == 150 + 2 * 290
    assert +ours.refusals == {"held_bytes": 1}


async def test_the_bytes_of_an_address_are_bounded_by_themselves() -> None:
    """It is its own connections that give way; when all are gone nothing is counted any more."""
    ours = bounds()
    other, first, second = Guest(ours, "192.0.2.1"), Guest(ours, "192.0.2.2"), Guest(ours, "192.0.2.2")
    for guest in (other, first, second):
        ours.connections.admit(guest, 0.0)
    ours.hold(other, 100)
    ours.hold(first, 400)
    await asyncio.sleep(0.01)
    ours.hold(second, 300)
    assert (other.gave_way, first.gave_way, second.gave_way) == (False, True, False)
    assert +ours.refusals == {"held_bytes_per_address": 1}
    for guest in (other, first, second):
        ours.forget(guest)
    assert (ours.held, ours.guests(), dict(ours._held_by_address)) == (0, [], {})


async def test_those_that_leave_are_few() -> None:
    """A connection that is over, but whose client does not go, makes room for the next that is."""
    ours = bounds()
    leaving = [Guest(ours) for _ in range(MAX_LEAVING + 5)]
    for guest in leaving:
        ours.leave(guest)
    assert [guest.aborted for guest in leaving] == [True] * 5 + [False] * MAX_LEAVING
    assert len(ours.guests()) == MAX_LEAVING


def test_refusals_are_logged_once_a_minute_and_name_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    """The bound's name and how often it was met."""
    ours = bounds()
    ours.log_refusals()
    assert not "".join(capsys.readouterr())
    ours.refusals["websockets"] += 3
    ours.log_refusals()
    logged = "".join(capsys.readouterr())
    assert "connections_refused" in logged
    assert "'websockets': 3" in logged
    ours.refusals["websockets"] += 1
    ours.log_refusals()
    assert not "".join(capsys.readouterr())


def test_an_address_counts_as_its_network_and_a_proxy_as_nobody() -> None:
    """Of IPv6 the /64 that one customer has; proxies of ours bring everybody."""
    settings = FrontSettings.read({"trusted_proxies": "127.0.0.0/8,172.16.0.0/12,fc00::/7"})
    key_of = ClientAddresses(settings.trusted_proxies).bound_key
    assert key_of("203.0.113.7") == "203.0.113.7"
    assert key_of("2001:db8:1:2:aaaa::1") == key_of("2001:db8:1:2:bbbb::9") == "2001:db8:1:2::"
    assert [key_of(address) for address in ("127.0.0.1", "172.17.0.1", "fc00::1", "", "garbage:")] == [
        "", "", "", "", "garbage:",
    ]  # fmt: skip


def test_the_kernel_keeps_little_of_a_connection() -> None:
    """What is not read on either side is the container's memory too; each connection inherits it from the port."""
    with listening_socket("127.0.0.1", 0) as port, socket.create_connection(port.getsockname()):
        port.setblocking(True)
        with port.accept()[0] as connection:
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == KERNEL_IN_BYTES
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == KERNEL_OUT_BYTES


def test_each_worker_has_its_share_of_the_bounds() -> None:
    """The settings are for all of them together, as the container's memory is."""
    two = FrontSettings.read({"workers": 2}).limits
    assert two == Limits(750, 100, 500, 50, 16 << 20, 4 << 20)
    assert FrontSettings.read({"workers": 1}).limits.connections == 1500
    assert FrontSettings.read({"workers": 64, "max_websockets": 10}).limits.websockets == 1


# --- large events


async def nothing() -> None:
    pass


async def test_large_events_wait_for_each_other() -> None:
    """As many at once as there is room for, in their order; one that is larger than all the room is let in alone."""
    gate, inside, most = Admission(at_once=100, waiting=1000), [0], [0]
    order: list[int] = []

    async def event(number: int, size: int) -> int:
        order.append(number)
        inside[0] += size
        most[0] = max(most[0], inside[0])
        await asyncio.sleep(0.001)
        inside[0] -= size
        return number

    sizes = [40] * 10 + [150, 10]
    done = await asyncio.gather(*(gate.run(size, event(number, size)) for number, size in enumerate(sizes)))
    assert done == order == list(range(12))
    assert (most[0], gate.waiting_bytes) == (150, 0)


async def test_in_one_turn_of_the_loop_only_so_much_is_let_in() -> None:
    """Small requests have their turn between large ones, however many of those come at once."""
    gate, done = Admission(), [0]
    seen: list[int] = []

    async def event() -> None:
        done[0] += 1

    size = admission.MAX_A_TURN_BYTES // 2
    events = [asyncio.create_task(gate.run(size, event())) for _ in range(10)]
    while done[0] < 10:
        await asyncio.sleep(0)
        seen.append(done[0])
    await asyncio.gather(*events)
    assert max(after - before for before, after in zip([0, *seen], seen, strict=False)) == 2


async def test_one_that_is_cancelled_as_it_is_let_in_takes_no_room() -> None:
    """Its room goes to the next."""
    gate, leave = Admission(at_once=100, waiting=1000), asyncio.Event()
    inside = asyncio.create_task(gate.run(80, leave.wait()))
    await asyncio.sleep(0)
    first, second = [asyncio.create_task(gate.run(80, nothing())) for _ in range(2)]
    await asyncio.sleep(0)
    leave.set()
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(inside, first, second, return_exceptions=True)
    assert (first.cancelled(), second.cancelled(), gate._inside) == (True, False, 0)


async def test_too_many_large_events_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """When too much waits, or for too long; those inside go on, and the next are let in."""
    gate, leave = Admission(at_once=100, waiting=100), asyncio.Event()
    staying = asyncio.create_task(gate.run(100, leave.wait()))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(gate.run(80, nothing()))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="large events"):
        await gate.run(30, nothing())
    monkeypatch.setattr(admission, "MAX_WAIT_SECONDS", 0.01)
    with pytest.raises(Overloaded, match="large events"):
        await gate.run(20, nothing())
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert gate.waiting_bytes == 0
    leave.set()
    await staying
    await gate.run(100, nothing())
    assert gate._inside == 0
