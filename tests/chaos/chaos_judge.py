"""What a scenario's figures mean: pure functions, so that the judge is tested itself."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chaos_load import Sent


@dataclass(frozen=True)
class Row:
    """One line of the table. Times in seconds."""

    scenario: str
    sent: int
    accepted: int
    refused: int
    unanswered: int
    arrived: int
    lost: int
    doubled: int
    twice_in_stream: int
    out_of_order: int
    longest_gap: float
    whole_after: float

    @property
    def kept(self) -> bool:
        """Whether the promise held: nothing lost, nothing counted twice, order kept."""
        return self.accepted > 0 and not self.lost and not self.doubled and not self.out_of_order


def lost(accepted: Iterable[Sent], arrived: Iterable[str], marks: Sequence[str] = ("",)) -> list[Sent]:
    """Accepted events that the double has not counted from each listener; a listener's ids begin with its mark."""
    there = set(arrived)
    return [one for one in accepted if not all(f"{mark}{one.event_id}" in there for mark in marks)]


def doubled(arrived: Iterable[str]) -> int:
    """Events that are counted more than once: `arrived` has one id for each unique record."""
    return sum(times - 1 for times in Counter(arrived).values())


def out_of_order(accepted: Iterable[Sent], stream: Sequence[str]) -> int:
    """Events that stand in the stream behind a later one of the same visitor, by their first place in it.

    Only accepted ones count: after an answer that never came a visitor goes on, and both may arrive in any order.
    """
    place: dict[str, int] = {}
    for index, event_id in enumerate(stream):
        place.setdefault(event_id, index)
    wrong = 0
    newest: dict[int, int] = {}
    for one in sorted(accepted, key=lambda one: (one.user, one.number)):
        index = place.get(one.event_id, -1)
        if index < 0:
            continue
        wrong += index < newest.get(one.user, -1)
        newest[one.user] = max(index, newest.get(one.user, -1))
    return wrong


def longest_gap(accepted: Iterable[Sent], begin: float, end: float) -> float:
    """The longest time without any accepted event between two moments."""
    moments = [begin, *sorted(one.at for one in accepted if begin <= one.at <= end), end]
    return max(later - earlier for earlier, later in itertools.pairwise(moments))


HEADINGS = (
    "scenario", "sent", "accepted", "refused", "unanswered", "arrived", "lost", "doubled", "twice in stream",
    "out of order", "longest gap s", "recovered after s",
)  # fmt: skip


def table(rows: Iterable[Row]) -> str:
    """The rows as a Markdown table."""
    cells = [
        [
            row.scenario, row.sent, row.accepted, row.refused, row.unanswered, row.arrived, row.lost, row.doubled,
            row.twice_in_stream, row.out_of_order, f"{row.longest_gap:.1f}", f"{row.whole_after:.1f}",
        ]
        for row in rows
    ]  # fmt: skip
    lines = [HEADINGS, ["---"] + ["---:"] * (len(HEADINGS) - 1), *cells]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
