"""The decoder of everything that comes out of Redis."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from band.errors import BandError, DecodingError
from band.json_codec import decode, decode_loosely


class Picky(msgspec.Struct):
    """A document with a rule of its own."""

    name: str
    count: int = 0

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError("count is below 0")


def test_a_document_is_read_as_its_type_or_as_plain_values():
    """Bytes and text are read; without a type, as dicts, lists and scalars."""
    assert decode(b'{"name": "a", "count": 2}', Picky) == Picky("a", 2)
    assert decode('{"name": "a"}', Picky) == Picky("a")
    assert decode(b"[1, 2]", list[int]) == [1, 2]
    assert decode(b'{"a": [null]}') == {"a": [None]}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"name": "\xff"}',
        b"\xff",
        b'{"name": 1}',
        b'{"count": 1}',
        b'{"name": "a", "count": -1}',
        b'{"name": "a", "count": 1e400}',
        b'{"name": "a", "count": ' + b"9" * 5000 + b"}",
        b'{"name": "\\ud800"}',
        b"[" * 100_000,
        b'{"x": ' * 100_000,
        b"null",
        b"NaN",
        None,
        7,
        ["{}"],
        OSError("a reply of Redis can be an error"),
    ],
    ids=repr,
)
def test_whatever_else_stands_there_is_one_kind_of_error(data):
    """Broken JSON, invalid UTF-8, another type, no bytes at all: always DecodingError, which band's root covers."""
    with pytest.raises(DecodingError):
        decode(data, Picky)
    assert issubclass(DecodingError, BandError)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_that_error(data):
    """No bytes raise anything else."""
    for kind in (object, Picky, dict[str, int], list[msgspec.Raw]):
        try:
            decode(data, kind)
        except DecodingError as error:
            assert str(error)


def test_a_type_that_cannot_be_read_is_a_mistake_of_the_program():
    """A wrong `type` is not taken for bad data."""
    with pytest.raises(TypeError):
        decode(b"{}", complex | bytes | str | int)


def test_what_original_peers_write_is_read_loosely():
    """NaN and half a surrogate pair are values; broken JSON, invalid UTF-8 and deep nesting are the one error."""
    assert decode_loosely(b'{"a": "\\ud800", "b": NaN}')["a"] == "\ud800"
    for data in (b"", b"{", b'"\xff"', b"[" * 100_000):
        with pytest.raises(DecodingError):
            decode_loosely(data)
