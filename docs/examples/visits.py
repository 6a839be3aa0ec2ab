"""Count the events of each visitor."""

from collections import Counter
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec

from band import Event, Meta, Reject, Service, logger, settings

service = Service()


class Visit(msgspec.Struct):
    """What is stored in the event as data.visits."""

    number: int
    regular: bool


class Page(msgspec.Struct):
    """What the listener reads of an event's data; all other fields are ignored."""

    title: str = ""
    visits: Visit | None = None


class Row(msgspec.Struct):
    """A visitor and the number of events."""

    uid: str
    events: int


class Visitors(Counter[str]):
    """The events of each visitor."""


@service.lifespan
async def visitors() -> AsyncIterator[Visitors]:
    """Yield the value for parameters of type `Visitors`; code after the `yield` runs when the service stops."""
    yield Visitors()


@service.expose.enricher(keys=["in.gen.track"], props={"uid": "uid"})
async def enrich(seen: Visitors, uid: str = "") -> Visit:
    """Count an event."""
    seen[uid] += 1
    return Visit(seen[uid], seen[uid] >= settings.regular_after)


@service.expose()
async def top(seen: Visitors, limit: Annotated[int, Meta(ge=1, le=100)] = 10) -> list[Row]:
    """Return the busiest visitors. Through the director: /call/visits/top?limit=3."""
    return [Row(uid, number) for uid, number in seen.most_common(limit)]


@service.expose.listener()
async def broadcast(event: Event[Page]) -> None:
    """Process every accepted event, at least once. Returning acknowledges it; an exception has it delivered again."""
    if event.data.title == "draft":
        raise Reject("drafts are not counted")
    logger.info("visit", key=event.key, title=event.data.title)


@service.health
async def memory(seen: Visitors) -> dict[str, Any]:
    """Appears in /health of the service, and in /show/visits of the director."""
    return {"status": "degraded" if len(seen) > 100_000 else "ok", "visitors": len(seen)}


from band import Call, InvalidParams, Next


@service.middleware
async def only_known_callers(call: Call, following: Next) -> Any:
    """Refuse RPC calls that do not name their sender."""
    if call.transport == "rpc" and not call.sender:
        raise InvalidParams("say who you are")
    return await following(call)
