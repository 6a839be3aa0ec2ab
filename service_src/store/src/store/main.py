"""What the service offers: the listener, queries, figures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

import msgspec

from band import InvalidParams, Meta, Reject, Service
from band.platform import run_forever
from store.event_row import UnusableEvent
from store.options import Options
from store.warehouse import Warehouse

_EVERY_SECONDS: Final = 60.0
_NEVER: Final = 1_000_000_000
"""A disk that is full is no fault of the events, which wait in the stream."""


class Result(msgspec.Struct):
    """The answer to a query: names and types of the columns, and the rows as arrays."""

    columns: list[str]
    types: list[str]
    rows: list[list[Any]]
    truncated: bool
    """Whether there are more rows, or more bytes, than one answer may have."""


def make_service(options: Options) -> Service:
    """Return the service that stores events as the options say."""
    service = Service()

    @service.lifespan
    async def warehouse() -> AsyncIterator[Warehouse]:
        """Open the folder at the start; close it at the end."""
        made = Warehouse(options)
        await made.open()
        try:
            yield made
        finally:
            await made.close()

    # Acknowledged when it returns, so after the commit. What comes again after a crash is left out when it is loaded.
    @service.expose.listener(batch=options.batch_events, linger=options.linger, max_attempts=_NEVER)
    async def broadcast(warehouse: Warehouse, events: list[dict[str, Any]]) -> None:
        """Store a batch of events."""
        try:
            await warehouse.load(events)
        except UnusableEvent as error:
            raise Reject(str(error)[:300]) from None

    @service.worker
    async def look_after_days(warehouse: Warehouse) -> None:
        """Seal days that ended, and remove old ones, every minute."""
        await run_forever("look_after_days", warehouse.look_after_days, pause_seconds=_EVERY_SECONDS)

    # Named among the methods of which band refuses all but the director's calls: no other service may read all events.
    @service.expose(http=False)
    async def query_events(warehouse: Warehouse, sql: str, rows: Annotated[int, Meta(ge=0)] = 0) -> Result:
        """Run one SELECT over the table `events`; `rows` is the most that you want."""
        answer = await warehouse.query(sql, rows)
        if answer.error:
            raise InvalidParams(answer.error)
        return Result(answer.columns, answer.types, answer.rows, answer.truncated)

    @service.expose()
    async def stats(warehouse: Warehouse) -> dict[str, Any]:
        """Return how many events are stored, how many bytes they take, and which days are open."""
        return await warehouse.stats()

    return service
