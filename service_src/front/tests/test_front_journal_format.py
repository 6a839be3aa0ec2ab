"""The journal on disk: every way in which a file can be cut or spoilt, and what is read of it then."""

from __future__ import annotations

import pytest

from front.storage.journal.format import MAGIC, pack, scan

EVENTS = [
    (b'{"id":"1"}', b""),
    ('{"id":"2","text":"Ж"}'.encode(), b'{"at":1}'),
    (b"", b""),
    (b'{"id":"4","pad":"' + b"x" * 100 + b'"}', b'{"at":2,"enrichers":{}}'),
]


def file_of(events: list[tuple[bytes, bytes]]) -> tuple[bytes, list[int]]:
    """A segment, and the offsets behind each of its records."""
    data, ends = MAGIC, []
    for payload, trace in events:
        data += pack(payload, trace)
        ends.append(len(data))
    return data, ends


def texts(data: bytes) -> list[tuple[bytes, bytes]]:
    return [(entry.payload, entry.trace) for entry in scan(data).entries]


def test_what_is_written_is_read() -> None:
    """Events and traces come back in order, with the offset behind each."""
    data, ends = file_of(EVENTS)
    found = scan(data)
    assert [(entry.payload, entry.trace) for entry in found.entries] == EVENTS
    assert [entry.end for entry in found.entries] == ends
    assert (found.damaged, found.torn) == ([], 0)


def test_a_file_cut_at_any_length_gives_its_whole_records() -> None:
    """A crash may cut the file anywhere: the records before the cut are read, the rest is a torn tail, counted."""
    data, ends = file_of(EVENTS)
    for length in range(len(data) + 1):
        found = scan(data[:length])
        whole = sum(end <= length for end in ends)
        assert [(entry.payload, entry.trace) for entry in found.entries] == EVENTS[:whole], length
        good = max([len(MAGIC), *ends[:whole]]) if length >= len(MAGIC) else 0
        assert found.torn == length - good, length
        assert found.damaged == []


def test_any_spoilt_byte_costs_at_most_its_own_record() -> None:
    """One wrong byte anywhere: all other records are read, in order; none is read wrongly."""
    data, ends = file_of(EVENTS)
    begins = [len(MAGIC), *ends[:-1]]
    for place in range(len(MAGIC), len(data)):
        spoilt = data[:place] + bytes([data[place] ^ 0x41]) + data[place + 1 :]
        hit = next(index for index, end in enumerate(ends) if place < end)
        assert texts(spoilt) == EVENTS[:hit] + EVENTS[hit + 1 :], place
        found = scan(spoilt)
        if hit < len(EVENTS) - 1:
            assert (found.damaged, found.torn) == ([(begins[hit], ends[hit])], 0), place
        else:
            assert (found.damaged, found.torn) == ([], ends[hit] - begins[hit]), place


def test_pages_of_zeros_are_skipped() -> None:
    """What a file system leaves after a power cut, zeros in the middle or at the end, is no record."""
    data, ends = file_of(EVENTS)
    holed = data[: ends[0]] + bytes(4096) + data[ends[0] :]
    assert texts(holed) == EVENTS
    assert scan(holed).damaged == [(ends[0], ends[0] + 4096)]
    assert scan(data + bytes(4096)).torn == 4096


@pytest.mark.parametrize("data", [b"", MAGIC, b"\x00" * 50, b"\xff\xfe\xffR" * 20, b"not a journal at all"])
def test_what_is_no_journal_gives_nothing(data: bytes) -> None:
    """Empty files, lone magic, garbage: no event, no exception."""
    assert scan(data).entries == []


def test_an_event_that_holds_the_marker_is_one_event() -> None:
    """Bytes that look like a record inside an event do not end it."""
    inner = pack(b"{}", b"")
    data = MAGIC + pack(inner, b"") + pack(b"next", b"")
    assert texts(data) == [(inner, b""), (b"next", b"")]
