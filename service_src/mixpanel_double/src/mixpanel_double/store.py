"""What the double has counted: unique by event + time + distinct_id + $insert_id, the newest version wins."""

import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

Key = tuple[str, Any, str, str]
MOST_EVENTS = 500_000
MOST_SHOWN = 20_000


class Store:
    """Unique events in memory. Whole records of the newest 20,000, the ids of half a million."""

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

    def add(self, records: Iterable[Mapping[str, Any]], project: str) -> None:
        """Count records that passed the rules."""
        for record in records:
            properties = record["properties"]
            key = (
                str(record["event"]),
                properties.get("time"),
                str(properties.get("distinct_id", "")),
                str(properties.get("$insert_id", "")),
            )
            self.received += 1
            times = self._seen.pop(key, 0)
            self.duplicates += bool(times)
            self._seen[key] = times + 1
            if len(self._seen) > MOST_EVENTS:
                self._seen.popitem(last=False)
                self.forgotten += 1
            if key[2]:
                self.users.add(key[2])
            self._shown.pop(key, None)
            self._shown[key] = {
                **record,
                "project": project,
                "received_at": int(time.time() * 1000),
                "times": times + 1,
            }
            if len(self._shown) > MOST_SHOWN:
                self._shown.popitem(last=False)

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
