"""What the double has counted: unique by event + time + distinct_id + $insert_id in a project, the newest wins."""

import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import msgspec

from mixpanel_double.rules import seconds

Key = tuple[str, float | None, str, str, str]
MOST_EVENTS = 200_000
MOST_SHOWN = 20_000
MOST_SHOWN_BYTES = 32_000_000
MAX_TEXT = 255
"""Mixpanel cuts longer texts."""


class Store:
    """Unique events in memory. Whole records of the newest 20,000 or 32 MB, the ids and users of 200,000."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.requests: dict[int, int] = {}
        self.received = 0
        self.duplicates = 0
        self.refused = 0
        self.forgotten = 0
        self.bytes_unpacked = 0
        self.biggest_batch = 0
        self.biggest_body = 0
        self.users: set[str] = set()
        self._seen: OrderedDict[Key, int] = OrderedDict()
        self._shown: OrderedDict[Key, dict[str, Any]] = OrderedDict()
        self._sizes: dict[Key, int] = {}
        self._shown_bytes = 0

    def add(self, records: Iterable[Mapping[str, Any]], project: str) -> None:
        """Count records that passed the rules."""
        for record in records:
            properties = record["properties"]
            key = _key(record["event"], properties, project)
            self.received += 1
            times = self._seen.pop(key, 0)
            self.duplicates += bool(times)
            self._seen[key] = times + 1
            if len(self._seen) > MOST_EVENTS:
                self._seen.popitem(last=False)
                self.forgotten += 1
            if key[2] and len(self.users) < MOST_EVENTS:
                self.users.add(key[2])
            kept = {"event": record["event"], "properties": _cut_all(properties), "project": project}
            self._show(key, {**kept, "received_at": int(time.time() * 1000), "times": times + 1})

    def _show(self, key: Key, record: dict[str, Any]) -> None:
        self._forget_shown(key)
        self._shown[key] = record
        self._sizes[key] = len(msgspec.json.encode(record))
        self._shown_bytes += self._sizes[key]
        while len(self._shown) > MOST_SHOWN or self._shown_bytes > MOST_SHOWN_BYTES:
            self._forget_shown(next(iter(self._shown)))

    def _forget_shown(self, key: Key) -> None:
        if self._shown.pop(key, None) is not None:
            self._shown_bytes -= self._sizes.pop(key)

    def count_request(self, status: int) -> None:
        """Count one answer by its status; 0 for a connection that was cut."""
        self.requests[status] = self.requests.get(status, 0) + 1

    def newest(self, limit: int) -> list[dict[str, Any]]:
        """The newest records first, as they came, with `project`, `received_at` and how many `times`."""
        return list(islice(reversed(self._shown.values()), limit))

    def ids(self) -> list[str]:
        """Every unique event's $insert_id, oldest first."""
        return [key[3] for key in self._seen]

    def stats(self) -> dict[str, Any]:
        """Figures since the start or the last reset."""
        return {
            "unique": len(self._seen) + self.forgotten,
            "received": self.received,
            "duplicates": self.duplicates,
            "refused": self.refused,
            "users": len(self.users),
            "requests": {str(status): count for status, count in sorted(self.requests.items())},
            "bytes_unpacked": self.bytes_unpacked,
            "biggest_batch": self.biggest_batch,
            "biggest_body": self.biggest_body,
        }


def _key(event: Any, properties: Mapping[str, Any], project: str) -> Key:
    """What makes two records one, with the time in seconds whichever unit it came in."""
    at = properties.get("time")
    moment = seconds(at) if isinstance(at, int | float) else None
    return str(event), moment, str(properties.get("distinct_id", "")), str(properties.get("$insert_id", "")), project


def _cut_all(properties: Mapping[str, Any]) -> Mapping[str, Any]:
    # Most records have nothing to cut, and looking is cheap: benchmarks deliver to this double.
    for value in properties.values():
        if len(value) > MAX_TEXT if type(value) is str else isinstance(value, list | dict):
            return {name: _cut(inner) for name, inner in properties.items()}
    return properties


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return value[:MAX_TEXT]
    if isinstance(value, list):
        return [_cut(inner) for inner in value]
    if isinstance(value, Mapping):
        return {name: _cut(inner) for name, inner in value.items()}
    return value
