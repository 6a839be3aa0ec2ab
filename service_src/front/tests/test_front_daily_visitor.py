"""Visitors without a cookie are the same for a day, and nobody can find them out afterwards."""

from __future__ import annotations

import gc
from typing import Any

from front.event.daily_visitor import DailyVisitors
from front.event.visitor_id import valid_uid

DAY = 86_400
WHO = ("7", "192.0.2.1", "Firefox")


class Clock:
    def __init__(self) -> None:
        self.now = 20_780.0 * DAY

    def __call__(self) -> float:
        return self.now


def test_a_visitor_is_the_same_for_a_day() -> None:
    clock = Clock()
    visitors = DailyVisitors(clock)
    first = visitors.uid(*WHO)
    assert valid_uid(first)
    clock.now += DAY - 1
    assert visitors.uid(*WHO) == first
    clock.now += 1
    second = visitors.uid(*WHO)
    assert second != first
    clock.now += 3650 * DAY
    assert visitors.uid(*WHO) not in (first, second)


def test_another_site_address_or_browser_is_another_visitor() -> None:
    visitors = DailyVisitors(Clock())
    others = [
        ("8", *WHO[1:]),
        ("7", "192.0.2.2", "Firefox"),
        ("7", "192.0.2.1", "Chrome"),
        ("7", "192.0.2.1Fire", "fox"),
    ]
    assert len({visitors.uid(*who) for who in (WHO, *others)}) == 5
    assert DailyVisitors(Clock()).uid(*WHO) != visitors.uid(*WHO)


def test_a_worker_that_was_forked_yesterday_agrees_with_one_of_today() -> None:
    """The supervisor's copy moves on with the days, so a worker that starts later has the same key."""
    clock = Clock()
    old = DailyVisitors(clock)
    young = DailyVisitors(clock)
    young.__dict__.update(old.__dict__)
    clock.now += DAY
    young.forget()
    assert young.uid(*WHO) == old.uid(*WHO)


def test_a_clock_that_goes_back_changes_nothing() -> None:
    clock = Clock()
    visitors = DailyVisitors(clock)
    first = visitors.uid(*WHO)
    clock.now -= 3 * DAY
    assert visitors.uid(*WHO) == first


def test_the_key_of_a_day_that_is_over_is_nowhere() -> None:
    clock = Clock()
    visitors = DailyVisitors(clock)
    key = visitors._key
    clock.now += DAY
    visitors.forget()
    gc.collect()
    held: list[Any] = [value for value in visitors.__dict__.values() if value == key]
    assert not held
