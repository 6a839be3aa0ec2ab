"""What became of the last events, for whoever traces one."""

import time
from collections import OrderedDict
from typing import Any

MOST = 20_000


class History:
    """The outcome of the newest 20,000 events by id, in memory: an aid for looking, not a record to rely on."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._outcomes: OrderedDict[str, tuple[float, str, str]] = OrderedDict()

    def note(self, event_id: Any, outcome: str, answer: str = "") -> None:
        """Remember what became of one event; the newest word counts."""
        key = str(event_id)
        self._outcomes[key] = (time.time(), outcome, answer)
        self._outcomes.move_to_end(key)
        if len(self._outcomes) > self._most:
            self._outcomes.popitem(last=False)

    def find(self, event_id: Any) -> dict[str, Any] | None:
        """`{"outcome", "at" (ms), "answer"}`, or None when it is not remembered."""
        found = self._outcomes.get(str(event_id))
        if found is None:
            return None
        at, outcome, answer = found
        return {"outcome": outcome, "at": int(at * 1000), "answer": answer}
