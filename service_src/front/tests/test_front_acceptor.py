"""Accepting into the stream, with a connection that answers when it is told to."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from typing import Any

import hiredis
import pytest

from band import RedisUnavailable
from front.errors import NotAccepted
from front.storage.stream_acceptor import StreamAcceptor

SOMEBODY_LISTENS = [b"broadcast", 1]
OOM = hiredis.ReplyError("OOM command not allowed")
ABORTED = hiredis.ReplyError("EXECABORT Transaction discarded because of previous errors.")


class Link:
    """A connection to a Redis that replies late: `reply` lets the oldest commands have their answers."""

    connected = True

    def __init__(self) -> None:
        self.waiting: deque[Callable[[Any], None]] = deque()
        self.told: list[int] = []

    def send_packed(self, packed: bytes, count: int, on_reply: Any, *, timeout: float = 5.0) -> None:
        self.waiting.extend([on_reply] * count)

    def publish(self, channel: str, payload: bytes) -> bool:
        self.told.append(json.loads(payload)["params"]["n"])
        return True

    def reply(self, *replies: Any) -> None:
        for reply in replies:
            self.waiting.popleft()(reply)


class Room:
    """Redis has room."""

    full = ""

    def take(self, size: int) -> None:
        """There is more than enough."""


def event(number: int) -> bytes:
    return b'{"n":%d}' % number


async def test_listeners_of_the_original_hear_of_each_accepted_event() -> None:
    """What Redis stored is told of; what it refused is not."""
    link = Link()
    acceptor = StreamAcceptor(link, Room(), 1.0)
    stored, refused = acceptor.accept(event(1)), acceptor.accept(event(2))
    await asyncio.sleep(0)
    link.reply(b"1-0", hiredis.ReplyError("OOM command not allowed"), SOMEBODY_LISTENS)
    assert await stored == b"1-0"
    with pytest.raises(NotAccepted):
        await refused
    assert link.told == [1]


async def test_a_full_redis_is_not_asked() -> None:
    """What is known to be full is a reason to refuse, or to go to the journal at once."""
    room = Room()
    acceptor = StreamAcceptor(Link(), room, 1.0)
    assert acceptor.refusal() == ""
    room.full = "Redis has used 99 of 100 MiB (maxmemory)"
    assert acceptor.refusal() == room.full


async def test_an_append_that_is_confirmed_too_late_is_left_to_the_replay() -> None:
    """Its caller was refused and has it in the journal; the replay finds it in the stream and tells of it, once."""
    link = Link()
    acceptor = StreamAcceptor(link, Room(), 0.05)
    with pytest.raises(NotAccepted):
        await acceptor.accept(event(1))
    link.reply(b"1-0", SOMEBODY_LISTENS)
    assert link.told == []


async def test_an_event_whose_client_went_away_is_told_of_all_the_same() -> None:
    """A request that was cancelled has nobody who tells of it later, and its event is in the stream."""
    link = Link()
    acceptor = StreamAcceptor(link, Room(), 1.0)
    gone = asyncio.ensure_future(acceptor.accept(event(1)))
    await asyncio.sleep(0)
    gone.cancel()
    link.reply(b"1-0", SOMEBODY_LISTENS)
    assert link.told == [1]


async def test_a_transaction_is_accepted_with_single_events_around_it() -> None:
    """All are told to the original's listeners in their order."""
    link = Link()
    acceptor = StreamAcceptor(link, Room(), 1.0)
    first, both, last = (
        acceptor.accept(event(1)), acceptor.accept_all([(event(2), b""), (event(3), b"{}")]), acceptor.accept(event(4)),
    )  # fmt: skip
    await asyncio.sleep(0)
    link.reply(b"1-0", b"OK", b"QUEUED", b"QUEUED", [b"2-0", b"3-0"], b"4-0", SOMEBODY_LISTENS)
    assert (await first, await both, await last) == (b"1-0", [b"2-0", b"3-0"], b"4-0")
    assert link.told == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("replies", "cause"),
    [
        ([b"OK", b"QUEUED", OOM, ABORTED], OOM),
        ([b"OK", b"QUEUED", b"QUEUED", [b"1-0", OOM]], OOM),
        ([RedisUnavailable("gone")] * 4, None),
    ],
)
async def test_a_transaction_that_redis_refuses_is_refused_for_its_reason(replies: list[Any], cause: Any) -> None:
    """Nobody hears of its events; the next transaction of the turn is another matter."""
    link = Link()
    acceptor = StreamAcceptor(link, Room(), 1.0)
    refused = acceptor.accept_all([(event(1), b""), (event(2), b"")])
    accepted = acceptor.accept_all([(event(3), b"")])
    await asyncio.sleep(0)
    link.reply(*replies, b"OK", b"QUEUED", [b"3-0"], SOMEBODY_LISTENS)
    with pytest.raises(NotAccepted) as refusal:
        await refused
    assert refusal.value.__cause__ is (cause or replies[0])
    assert await accepted == [b"3-0"]
    assert link.told == [3]
