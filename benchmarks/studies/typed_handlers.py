"""What annotations cost a call, in this process: the same function with and without them, in turn.

.venv-dev/bin/python benchmarks/studies/typed_handlers.py
"""

# ruff: noqa: ARG001 - what is measured is the call
from __future__ import annotations

import statistics
import timeit
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from band.calls.event import Event
from band.calls.signature import Handler

CALLS, ROUNDS = 100_000, 15
EVENT = {
    "key": "in.gen.shop.buy", "channel": "http", "service": "shop", "name": "buy", "projectId": 0, "uid": "1",
    "id": "2", "td": {"ip": "2.125.160.216", "ua": "Mozilla/5.0"}, "data": {"sku": "x", "price": 9.5},
    "time": 1795468772451,
}  # fmt: skip


class Purchase(msgspec.Struct):
    sku: str
    price: float


def untyped(limit=10, name="", **params):
    return limit


def two_parameters(limit: Annotated[int, Meta(ge=1, le=100)] = 10, name: str = "") -> int:
    return limit


def two_and_rest(limit: Annotated[int, Meta(ge=1, le=100)] = 10, name: str = "", **params: Any) -> int:
    return limit


def untyped_event(key="", data=None, **event):
    return key


def typed_event(event: Event[Purchase]) -> str:
    return event.key


def cost(func: Any, params: dict[str, Any]) -> float:
    """Return the microseconds of one call."""
    handler = Handler(func)
    handler.prepare()
    return timeit.timeit(lambda: handler.call(params), number=CALLS) / CALLS * 1e6


def main() -> None:
    two = {"limit": 3, "name": "visits"}
    pairs = [("2 parameters", two_parameters, untyped, two), ("2 of **params", two_and_rest, untyped, two)]
    for title, typed, plain, params in [*pairs, ("Event[Purchase]", typed_event, untyped_event, EVENT)]:
        rounds = [(cost(plain, params), cost(typed, params)) for _ in range(ROUNDS)]
        more = statistics.median(after - before for before, after in rounds)
        print(f"{title:16} {statistics.median(before for before, _ in rounds):5.2f} µs, annotated {more:+5.2f} µs")


if __name__ == "__main__":
    main()
