"""Streams of dead letters, against an in-memory Redis that can be away."""

from typing import Any

import pytest

from band.redis.in_memory_store import Store
from band.stream import dead_letters
from band.stream.dead_letters import LetterStream


class Away(Exception):
    """Redis is away."""


class FakeLink:
    """The in-memory Redis; every call whose number is in `failing` finds it away."""

    def __init__(self, failing: set[int], rows: list[tuple[str, list[bytes]]] | None = None) -> None:
        self.calls = 0
        self.failing = failing
        self.store = Store()
        for stream_id, fields in rows or []:
            self.store.answer(("XADD", "dead:x", stream_id, *fields))

    async def command(self, *parts: Any) -> Any:
        self.calls += 1
        if self.calls in self.failing:
            raise Away("no connection")
        return self.store.answer(parts)


async def test_band_letters_outlast_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Letters that could not be written are tried again, those that were are not written twice."""
    monkeypatch.setattr(dead_letters, "RETRY_SECONDS", 0.01)
    link = FakeLink(failing={2, 3, 5})
    stream = LetterStream(link, "dead:x", 100, (Away,))
    await stream.add([({"id": str(number)}, {"reason": f"r{number}"}) for number in range(4)])
    found = await stream.read(10)
    assert sorted(letter.event["id"] for letter in found) == ["0", "1", "2", "3"]
    assert all(letter.facts["reason"] == f"r{letter.event['id']}" for letter in found)
    assert all(int(letter.facts["at"]) > 1_700_000_000_000 for letter in found)


async def test_band_letters_do_not_hide_other_errors() -> None:
    """An error that waiting does not cure is raised, so that the batch stays in the stream."""
    stream = LetterStream(FakeLink(failing={1}), "dead:x", 100, (KeyError,))
    with pytest.raises(Away):
        await stream.add([({"id": "1"}, {"reason": "r"})])


async def test_band_letters_shows_what_is_unreadable() -> None:
    """An entry that is no event (band itself buries such) is shown as it is."""
    link = FakeLink(set(), [("1-0", [b"event", b"{half", b"reason", b"not JSON"]), ("2-0", [b"event", b"[1]"])])
    found = await LetterStream(link, "dead:x").read(10)
    assert [letter.event for letter in found] == [{"unreadable": "{half"}, {"unreadable": [1]}]
    assert found[0].shown()["reason"] == "not JSON"


@pytest.mark.parametrize(("size", "count", "found"), [(10, 120, 120), (10, 500, 300), (50_000, 300, 80)])
async def test_band_letters_are_read_by_bytes_too(size: int, count: int, found: int) -> None:
    """As many as are asked for or are there; large ones only up to about 4 MB, oldest or newest first, none twice."""
    link = FakeLink(set(), [(f"{number}-0", [b"event", b'"' + b"x" * size + b'"']) for number in range(1, 301)])
    stream = LetterStream(link, "dead:x")
    oldest = [letter.stream_id for letter in await stream.read(count)]
    assert oldest == [f"{number}-0" for number in range(1, found + 1)]
    assert [letter.stream_id for letter in await stream.newest(count)] == [f"{300 - n}-0" for n in range(found)]
    following = await stream.read(10, after=oldest[-1])
    assert [letter.stream_id for letter in following] == [f"{found + n}-0" for n in range(1, 11) if found + n <= 300]
