"""Records of the directories: a text in the file describes their fields, this turns it into readers."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from geo.dataset import BadData

Read = Callable[[bytes, int], tuple[Any, int]]
"""Reads one field at a place; returns its value and the place after it."""

_PLAIN = {"t": "<b", "T": "<B", "s": "<h", "S": "<H", "i": "<i", "I": "<I", "f": "<f", "d": "<d"}


class Pack:
    """The fields of one kind of record, e.g. ``T:id/c2:iso/n2:lat/b:name_ru``.

    Args:
        text: the description.
        encoding: the charset of texts.

    Raises:
        BadData: a field is of an unknown type.
    """

    def __init__(self, text: str, encoding: str) -> None:
        self._fields: list[tuple[str, Read]] = []
        self.empty: dict[str, Any] = {}
        for part in filter(None, text.split("/")):
            kind, _, name = part.partition(":")
            if not name:
                raise BadData(f"its record description has {part!r}, not type:name")
            self._fields.append((name, _reader(kind, encoding)))
            self.empty[name] = "" if kind[0] in "bc" else 0

    def read(self, data: bytes, at: int) -> dict[str, Any]:
        """Return the record at a place.

        Raises:
            BadData: it ends beyond the directory.
        """
        return self._read(data, at)[0]

    def skip(self, data: bytes, at: int) -> int:
        """Return the place after the record at a place; raises as ``read`` does."""
        return self._read(data, at)[1]

    def _read(self, data: bytes, at: int) -> tuple[dict[str, Any], int]:
        record = {}
        try:
            for name, read in self._fields:
                record[name], at = read(data, at)
        except (struct.error, ValueError, IndexError) as error:
            raise BadData(f"a record of the directory is damaged: {error}") from error
        return record, at


def split_packs(data: bytes) -> tuple[str, str, str]:
    """Return the descriptions of country, region and city; empty ones for a country-only file."""
    parts = data.rstrip(b"\0").decode("latin-1").split("\0") if data.strip(b"\0") else []
    country, region, city = (*parts, "", "", "")[:3]
    return country, region, city


def _reader(kind: str, encoding: str) -> Read:
    letter, number = kind[:1], kind[1:]
    if letter in _PLAIN and not number:
        return _plain(struct.Struct(_PLAIN[letter]))
    if letter in "mM" and not number and letter:
        return _int24(signed=letter == "m")
    if letter in "nN" and number.isdigit() and letter:
        return _decimal(struct.Struct("<h" if letter == "n" else "<i"), 10 ** int(number))
    if letter == "c" and number.isdigit():
        return _fixed(int(number), encoding)
    if kind == "b":
        return _text(encoding)
    raise BadData(f"its records have fields of the unknown type {kind!r}")


def _plain(form: struct.Struct) -> Read:
    size, unpack_from = form.size, form.unpack_from
    return lambda data, at: (unpack_from(data, at)[0], at + size)


def _int24(*, signed: bool) -> Read:
    def read(data: bytes, at: int) -> tuple[int, int]:
        _enough(data, at, 3)
        return int.from_bytes(data[at : at + 3], "little", signed=signed), at + 3

    return read


def _decimal(form: struct.Struct, scale: int) -> Read:
    size, unpack_from = form.size, form.unpack_from
    return lambda data, at: (unpack_from(data, at)[0] / scale, at + size)


def _fixed(length: int, encoding: str) -> Read:
    def read(data: bytes, at: int) -> tuple[str, int]:
        _enough(data, at, length)
        return data[at : at + length].decode(encoding).rstrip(" "), at + length

    return read


def _text(encoding: str) -> Read:
    def read(data: bytes, at: int) -> tuple[str, int]:
        end = data.index(0, at)
        return data[at:end].decode(encoding), end + 1

    return read


def _enough(data: bytes, at: int, length: int) -> None:
    if at + length > len(data):
        raise IndexError(f"{length} bytes at {at} of {len(data)}")
