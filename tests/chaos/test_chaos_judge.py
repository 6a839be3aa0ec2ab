"""The judge of the chaos runs: it must see what is lost, doubled and out of order."""

from __future__ import annotations

from chaos_judge import Row, doubled, longest_gap, lost, out_of_order, table
from chaos_load import Sent


def sent(user: int, number: int, event_id: str, at: float = 0.0) -> Sent:
    return Sent(user, number, at, 200, event_id)


def test_an_accepted_event_that_is_not_counted_is_lost() -> None:
    """Only what was answered with 200 and is not at the double."""
    assert lost([sent(1, 1, "a"), sent(1, 2, "b")], ["b", "c"]) == [sent(1, 1, "a")]
    assert lost([sent(1, 1, "a"), sent(1, 2, "b")], ["b", "ts-b", "a"], ("", "ts-")) == [sent(1, 1, "a")]


def test_an_id_that_is_counted_twice_is_doubled() -> None:
    """The double lists one id for each unique record: the same id twice means two records of one event."""
    assert (doubled(["a", "b"]), doubled(["a", "b", "a", "a"])) == (0, 2)


def test_order_is_by_visitor_and_by_first_place() -> None:
    """A later event of one visitor before an earlier one is wrong; other visitors and repeats do not matter."""
    events = [sent(1, 1, "a"), sent(1, 2, "b"), sent(2, 1, "x"), sent(1, 3, "c")]
    assert out_of_order(events, ["a", "x", "b", "a", "c"]) == 0
    assert out_of_order(events, ["b", "a", "x", "c"]) == 1
    assert out_of_order(events, ["c", "b", "a"]) == 2


def test_the_longest_gap_counts_the_borders() -> None:
    """From the beginning to the first, between two, and from the last to the end."""
    events = [sent(1, 1, "a", 2.0), sent(1, 2, "b", 2.5), sent(1, 3, "c", 6.0)]
    assert longest_gap(events, 1.0, 7.0) == 3.5
    assert longest_gap(events, 1.0, 11.0) == 5.0
    assert longest_gap([], 1.0, 11.0) == 10.0


def test_a_row_is_good_only_when_everything_is() -> None:
    """Lost, doubled, out of order, or nothing accepted at all: the promise is broken."""
    good = Row("x", 10, 10, 0, 0, 10, 0, 0, 3, 0, 0.1, 0.0)
    assert good.kept
    for change in ({"lost": 1}, {"doubled": 1}, {"out_of_order": 1}, {"accepted": 0}):
        assert not Row(**{**good.__dict__, **change}).kept
    assert table([good]).splitlines()[2].startswith("| x | 10 | 10 | 0 |")
