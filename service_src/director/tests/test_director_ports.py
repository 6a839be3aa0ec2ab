"""The pool of host ports."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director.deploy.containers import QUARANTINE, PortPool, is_bindable
from director.errors import Conflict


def pool(first: int = 8900, last: int = 8904, taken: frozenset[int] = frozenset()) -> PortPool:
    return PortPool(first, last, bindable=lambda port: port not in taken)


@given(st.lists(st.tuples(st.sampled_from(["take", "release", "reject", "container", "gone"]), st.integers(0, 9))))
def test_no_port_is_given_twice_and_none_is_lost(steps: list[tuple[str, int]]) -> None:
    """Over any history a port given is in the range and nobody's; with everything given back, all can be had again."""
    ports, held, used, now = pool(8900, 8909), set[int](), set[int](), 0.0
    for verb, number in steps:
        now += 1
        port = 8900 + number
        if verb == "take":
            try:
                given_port = ports.take(used, now)
            except Conflict:
                continue
            assert 8900 <= given_port <= 8909
            assert given_port not in held | used
            held.add(given_port)
        elif verb == "container" and port in held:  # its container is seen: the container holds it now
            used.add(port)
            held.discard(port)
            ports.release(port)
        elif verb == "gone":
            used.discard(port)
        elif port in held:
            held.discard(port)
            (ports.release(port) if verb == "release" else ports.reject(port, now))
    for port in held:
        ports.release(port)
    assert {ports.take((), now + QUARANTINE + 1) for _ in range(10)} == set(range(8900, 8910))


def test_a_port_that_somebody_else_listens_on_is_passed_over() -> None:
    """A port that cannot be bound is not given."""
    assert pool(taken=frozenset({8900, 8901})).take((), 0) == 8902


def test_an_exhausted_pool_says_what_to_do() -> None:
    """With nothing left the error names the range and the way out."""
    ports = pool(8900, 8901)
    ports.take((), 0)
    with pytest.raises(Conflict, match="8900 and 8901") as caught:
        ports.take({8901}, 0)
    assert "BAND_PORTS" in caught.value.hint


def test_a_refused_port_rests_for_a_while() -> None:
    """A port that Docker could not bind is tried again only after the quarantine."""
    ports = pool(8900, 8900)
    ports.reject(ports.take((), 100.0), 100.0)
    with pytest.raises(Conflict):
        ports.take((), 101.0)
    assert ports.take((), 101.0 + QUARANTINE) == 8900


def test_bindable_sees_a_listener() -> None:
    """A port with a listener is not bindable, and is when it is closed."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert not is_bindable(port)
    assert is_bindable(port)
