"""Values of a MaxMind DB's data section.

maxminddb was tried first. Its C reader (3.2.0) ends the process on damaged data: 34 of 3,000 files with one to four
bytes changed, SIGSEGV and SIGABRT. Its Python reader survives them and takes four times as long as this one, which can
only raise, and tells where a record lies, so that the places of records are made once.
``benchmarks/studies/mmdb_readers.py`` measures all three; ask it again when a newer maxminddb is out.
"""

from __future__ import annotations

import struct
from mmap import mmap
from typing import Any, Final

from geo.dataset import BadData

Buffer = bytes | mmap
POINTER, TEXT, DOUBLE, BYTES, UINT16, UINT32, MAP, INT32, UINT64, UINT128, ARRAY = range(1, 12)
BOOLEAN, FLOAT = 14, 15
_UNSIGNED: Final = {UINT16: 2, UINT32: 4, UINT64: 8, UINT128: 16}
_DOUBLE = struct.Struct(">d")
_FLOAT = struct.Struct(">f")
_POINTER_BASE = (0, 2048, 526_336)
_MISSING: Final = object()
_MAX_DEPTH = 32
_MAX_VALUES = 20_000
_MAX_CACHED = 20_000


class Decoder:
    """Reads values; those behind pointers, which records share, are remembered.

    Args:
        buffer: the file.
        start: where the section begins, to which pointers are relative.
        end: where it ends.
        languages: which keys of every ``names`` are read; None: all.
        ignored: which keys are passed over, at any depth.
    """

    def __init__(
        self,
        buffer: Buffer,
        start: int,
        end: int,
        languages: frozenset[str] | None = None,
        ignored: frozenset[str] = frozenset(),
    ) -> None:
        self._buffer, self._start, self._end = buffer, start, end
        self._languages, self._ignored = languages, ignored
        self._cache: dict[int, Any] = {}
        self._shared_names: dict[int, Any] = {}
        self._budget = 0

    def read(self, offset: int) -> Any:
        """Return the value at an offset in the section. It is shared with later answers: do not change it.

        Raises:
            BadData: what stands there is no value.
        """
        self._budget = _MAX_VALUES
        try:
            return self._value(self._start + offset, 0)[0]
        except (IndexError, struct.error, ValueError, TypeError) as error:
            raise BadData(f"damaged data at {offset}: {error}") from error

    def _value(self, at: int, depth: int) -> tuple[Any, int]:
        buffer = self._buffer
        control = buffer[at]
        if control >> 5 == POINTER:  # most of a record is pointers to what was read before: no call for those
            after = at + (control >> 3 & 3) + 2
            target = self._target(control, at + 1, after)
            known = self._cache.get(target, _MISSING)
            return (self._pointed(target, depth) if known is _MISSING else known), after
        kind, size, at = self._control(at)
        if kind == TEXT:
            return self._slice(at, size).decode(), at + size
        if kind == MAP:
            return self._map(at, size, depth, None)
        if kind == ARRAY:
            return self._array(at, size, depth)
        if kind == BOOLEAN:
            return self._scalar(kind, b"", size), at
        return self._scalar(kind, self._slice(at, size), size), at + size

    def _scalar(self, kind: int, raw: bytes, size: int) -> Any:
        if kind in _UNSIGNED and size <= _UNSIGNED[kind]:
            return int.from_bytes(raw, "big")
        if kind == DOUBLE and size == 8:
            return _DOUBLE.unpack(raw)[0]
        if kind == BOOLEAN and size < 2:
            return size == 1
        if kind == INT32 and size <= 4:
            return int.from_bytes(raw, "big", signed=size == 4)
        if kind == FLOAT and size == 4:
            return _FLOAT.unpack(raw)[0]
        if kind == BYTES:
            return raw
        raise ValueError(f"type {kind} with {size} bytes")

    def _map(self, at: int, size: int, depth: int, wanted: frozenset[str] | None) -> tuple[dict[str, Any], int]:
        if depth > _MAX_DEPTH:
            raise ValueError("nested too deeply")
        found: dict[str, Any] = {}
        ignored = self._ignored
        for _ in range(size):
            key, at = self._value(at, depth + 1)
            if not isinstance(key, str):
                raise TypeError(f"a key of type {type(key).__name__}")
            if key in ignored or (wanted is not None and key not in wanted):
                at = self._skip(at, depth + 1)
            elif key == "names" and self._languages is not None:
                found[key], at = self._names(at, depth + 1)
            else:
                found[key], at = self._value(at, depth + 1)
        return found, at

    def _names(self, at: int, depth: int) -> tuple[Any, int]:
        kind, size, after = self._control(at)
        if kind == POINTER:
            if size not in self._shared_names:
                if self._control(self._start + size)[0] == POINTER:
                    raise ValueError("a pointer to a pointer")
                self._shared_names[size] = self._names(self._start + size, depth + 1)[0]
            return self._shared_names[size], after
        if kind != MAP:
            return self._value(at, depth)
        return self._map(after, size, depth, self._languages)

    def _array(self, at: int, size: int, depth: int) -> tuple[list[Any], int]:
        if depth > _MAX_DEPTH:
            raise ValueError("nested too deeply")
        found = []
        for _ in range(size):
            value, at = self._value(at, depth + 1)
            found.append(value)
        return found, at

    def _pointed(self, target: int, depth: int) -> Any:
        kind, _size, _after = self._control(self._start + target)
        if kind == POINTER:
            raise ValueError("a pointer to a pointer")
        value = self._value(self._start + target, depth + 1)[0]
        if len(self._cache) >= _MAX_CACHED:
            self._cache.clear()
            self._shared_names.clear()
        self._cache[target] = value
        return value

    def _skip(self, at: int, depth: int) -> int:
        if depth > _MAX_DEPTH:
            raise ValueError("nested too deeply")
        kind, size, at = self._control(at)
        if kind in (POINTER, BOOLEAN):
            return at
        if kind in (MAP, ARRAY):
            for _ in range(size * 2 if kind == MAP else size):
                at = self._skip(at, depth + 1)
            return at
        return at + size

    def _control(self, at: int) -> tuple[int, int, int]:
        """Return type, size (of a pointer: its target) and the place of the payload."""
        self._budget -= 1
        if self._budget < 0 or not self._start <= at < self._end:
            raise ValueError("more values than a record can have" if self._budget < 0 else "beyond the section")
        buffer = self._buffer
        control = buffer[at]
        kind, size, at = control >> 5, control & 0x1F, at + 1
        if kind == POINTER:
            after = at + (size >> 3) + 1
            return kind, self._target(control, at, after), after
        if kind == 0:
            kind, at = buffer[at] + 7, at + 1
        if size >= 29:
            width = size - 28
            size = int.from_bytes(self._slice(at, width), "big") + (29, 285, 65_821)[width - 1]
            at += width
        return kind, size, at

    def _target(self, control: int, at: int, after: int) -> int:
        """Return where a pointer points, whose payload lies from ``at`` to ``after``."""
        self._budget -= 1
        if self._budget < 0 or at <= self._start or after > self._end:
            raise ValueError("more values than a record can have" if self._budget < 0 else "beyond the section")
        width = after - at
        raw = int.from_bytes(self._buffer[at:after], "big")
        return raw if width == 4 else ((control & 7) << 8 * width) + raw + _POINTER_BASE[width - 1]

    def _slice(self, at: int, size: int) -> bytes:
        if at + size > self._end:
            raise ValueError("beyond the section")
        return self._buffer[at : at + size]
