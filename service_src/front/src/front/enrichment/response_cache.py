"""Answers of enrichers that may be used again: their registration says for which parameters, and for how long.

An answer is kept as the JSON that came, so that a message that takes it up only copies bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from sys import getsizeof
from typing import Any, Final, NamedTuple

import msgspec

MOST_BYTES: Final = 24 * 1024 * 1024
"""What the answers and their keys may take together, about."""
MOST_ANSWERS: Final = 60_000
OVERHEAD: Final = 300
"""Bytes that Python itself needs for one answer beside its key's texts and its JSON, about."""
LONGEST_TTL_S: Final = 24 * 3600.0

_MISSING: Final = None

Key = tuple[str | None, ...]


class Rule(NamedTuple):
    """What an enricher's registration says of its answers: `options.cache`."""

    service: str
    props: tuple[str, ...]
    """The parameters that an answer depends on, and nothing else does."""
    ttl: float
    """Seconds."""

    @classmethod
    def read(cls, service: str, option: Any) -> Rule | None:
        """The rule of `{"props": ["ip"], "ttl": 300}`; None when there is none, or it makes no sense."""
        if not isinstance(option, Mapping):
            return None
        props, ttl = option.get("props"), option.get("ttl")
        if not isinstance(props, list) or not props or not all(isinstance(prop, str) for prop in props):
            return None
        if not isinstance(ttl, (int, float)) or isinstance(ttl, bool) or not ttl > 0:
            return None
        return cls(service, tuple(props), float(min(ttl, LONGEST_TTL_S)))

    def key(self, params: Mapping[str, Any]) -> Key | None:
        """What the answer to these parameters is kept under; None when it cannot be kept.

        A parameter that is missing is part of the key as such. Only text is compared: 1, 1.0 and true are not the
        same to an enricher, but they are to a dictionary.
        """
        if len(self.props) == 1:
            value = params.get(self.props[0])
            if type(value) is str:
                return (self.service, value)
        values = [params.get(prop, _MISSING) for prop in self.props]
        for prop, value in zip(self.props, values, strict=True):
            if type(value) is not str and (value is not None or prop in params):
                return None
        return (self.service, *values)


class _Kept(NamedTuple):
    """An answer, until when it may be used (seconds of a monotonic clock), and the bytes that it counts for."""

    until: float
    answer: msgspec.Raw
    size: int


class AnswerCache:
    """At most so many bytes and answers, in two generations.

    What was not used while one generation filled up is forgotten with the next: as good as a strict order of use for
    this, and it costs nothing to keep.
    """

    def __init__(self, most_bytes: int = MOST_BYTES, most_answers: int = MOST_ANSWERS) -> None:
        self._most_bytes = most_bytes // 2
        self._most_answers = max(1, most_answers // 2)
        self._young: dict[Key, _Kept] = {}
        self._old: dict[Key, _Kept] = {}
        self._young_bytes = self._old_bytes = 0
        self.epoch = 0
        """How often everything was forgotten: an answer that was asked for before is not kept after."""
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        """Number of answers that are kept."""
        return len(self._young) + len(self._old)

    @property
    def kept_bytes(self) -> int:
        """What the answers and their keys take together, about; those that stand in both generations count twice."""
        return self._young_bytes + self._old_bytes

    def get(self, key: Key, now: float) -> msgspec.Raw | None:
        """The answer for a key; None when there is none that is fresh. `now` in seconds of a monotonic clock."""
        found = self._young.get(key)
        if found is None:
            found = self._old.get(key)
            if found is not None and found.until > now:
                self._put(key, found)
        if found is not None and found.until > now:
            self.hits += 1
            return found.answer
        self.misses += 1
        return None

    def put(self, key: Key, answer: msgspec.Raw | bytes, ttl: float, now: float) -> None:
        """Keep an answer (JSON) for `ttl` seconds."""
        size = OVERHEAD + len(bytes(answer)) + sum([getsizeof(part) for part in key if part])
        self._put(key, _Kept(now + ttl, msgspec.Raw(answer), size))

    def clear(self) -> None:
        """Forget everything: what enrichers say of themselves has changed."""
        self.epoch += 1
        self._young = {}
        self._old = {}
        self._young_bytes = self._old_bytes = 0

    def _put(self, key: Key, kept: _Kept) -> None:
        replaced = self._young.get(key)
        self._young[key] = kept
        self._young_bytes += kept.size - (replaced.size if replaced is not None else 0)
        if self._young_bytes > self._most_bytes or len(self._young) >= self._most_answers:
            self._old, self._young = self._young, {}
            self._old_bytes, self._young_bytes = self._young_bytes, 0
