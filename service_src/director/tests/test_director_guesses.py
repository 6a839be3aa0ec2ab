"""Wrong tokens: the guesser waits, the owner never; what is remembered and logged has bounds."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from director.api import throttle
from director.api.throttle import FREE, MAX_ADDRESSES, MAX_WAIT_SECONDS, TokenThrottle
from director.errors import TooManyGuesses

TOKEN = "canary-token-of-the-owner"


class Clock:
    """Time that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def waits(found: TokenThrottle, address: str, count: int) -> list[float]:
    return [found._take_turn(throttle._network(address)) for _ in range(count)]


def test_a_slip_is_answered_at_once_and_a_guesser_waits_longer_and_longer() -> None:
    """Each address by itself; one that was quiet for a while begins anew."""
    clock = Clock()
    found = TokenThrottle(clock)
    assert waits(found, "192.0.2.1", FREE + 3) == [0.0] * FREE + [1.0, 2.0, 3.0]
    assert waits(found, "192.0.2.2", 1) == [0.0]
    clock.now += 60
    assert waits(found, "192.0.2.1", 1) == [0.0]


def test_who_would_wait_for_long_is_refused_and_does_not_wait_the_longer_for_it() -> None:
    """At one guess a second for ever, however many are sent."""
    clock = Clock()
    found = TokenThrottle(clock)
    assert waits(found, "192.0.2.1", 1000)[-1] > MAX_WAIT_SECONDS
    clock.now += 1
    assert waits(found, "192.0.2.1", 1) == [MAX_WAIT_SECONDS]


def test_the_addresses_of_one_host_count_as_one() -> None:
    """An IPv6 host has a /64 to guess from, and an unknown address is an address."""
    found = TokenThrottle(Clock())
    assert waits(found, "2001:db8::1", FREE)[-1] == 0.0
    assert waits(found, "2001:db8::2", 1) == [1.0]
    assert waits(found, "2001:db8:0:1::2", 1) == [0.0]
    assert waits(found, "", FREE + 1)[-1] == 1.0


def test_what_is_remembered_has_a_bound() -> None:
    """More addresses than that count together; those that have been quiet make room."""
    clock = Clock()
    found = TokenThrottle(clock)
    for number in range(3 * MAX_ADDRESSES):
        found._take_turn(f"192.0.{number >> 8}.{number & 255}")
    assert len(found._free_at) <= MAX_ADDRESSES + 1
    assert waits(found, "198.51.100.1", 1)[0] > MAX_WAIT_SECONDS
    clock.now += 60
    assert waits(found, "198.51.100.1", 1) == [0.0]


async def test_not_more_than_so_many_wait_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """From however many addresses: one more is refused, and says when to come again."""
    monkeypatch.setattr(throttle, "MAX_WAITING", 3)
    found = TokenThrottle(Clock())
    for _ in range(FREE):
        await found.wrong("192.0.2.1")
    tasks = [asyncio.create_task(found.wrong("192.0.2.1")) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyGuesses) as caught:
        await found.wrong("192.0.2.1")
    assert caught.value.retry_after == 4
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert found._waiting == 0


@pytest.fixture(scope="module")
def guarded(make_director: Any) -> Any:
    """A director that wants a token, and counts as it does for users."""
    return make_director("t-guess", BAND_TOKEN=TOKEN)


def guess(director: Any, how: str, word: str = "wrong") -> tuple[int, str]:
    """Show a token by header or by the form."""
    if how == "form":
        body = f"token={word}&next=/".encode()
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        status, text = director.request("POST", "/dashboard/login", body, kind)
        return int(status), str(text)
    header = {"Authorization": f"Bearer {word}"} if how == "bearer" else {"X-Band-Token": word}
    status, text = director.request("GET", "/list", headers=header)
    return int(status), str(text)


def test_guesses_are_slowed_down_and_the_owner_is_not(guarded: Any) -> None:
    """By header and by the form, from the owner's own address, while forty guesses are under way: he gets in."""
    begun = time.monotonic()
    with ThreadPoolExecutor(48) as pool:
        wrong = [pool.submit(guess, guarded, how) for how in ("bearer", "header", "form", "bearer") for _ in range(10)]
        time.sleep(0.5)
        for how, status in (("bearer", 200), ("header", 200), ("form", 303)):
            own = time.monotonic()
            assert guess(guarded, how, TOKEN)[0] == status
            assert time.monotonic() - own < 1
        statuses = sorted(one.result()[0] for one in wrong)
    took = time.monotonic() - begun
    assert set(statuses) == {403, 429}
    assert statuses.count(403) <= FREE + took + 1
    assert took > MAX_WAIT_SECONDS - 1
    log = guarded.log.read_text()
    assert 1 <= log.count("token_wrong") <= 3
    assert TOKEN not in log


def test_a_guess_hides_behind_no_other_refusal(guarded: Any) -> None:
    """Where the right token would open and a wrong one is refused for another reason, it would be a silent oracle."""
    browser = {"User-Agent": "Mozilla/5.0", "X-Band-Token": "wrong"}
    status, text = guarded.request("GET", "/rm/x", headers=browser)
    assert status in {403, 429}
    assert "token_wrong" in text or "too_many_guesses" in text


def test_what_needs_no_token_is_not_held_up_by_a_wrong_one(guarded: Any) -> None:
    """The health check of a container, with a stale token or with none."""
    for headers in ({}, {"X-Band-Token": "wrong"}):
        begun = time.monotonic()
        assert guarded.request("GET", "/_band/health", headers=headers)[0] == 200
        assert time.monotonic() - begun < 1
