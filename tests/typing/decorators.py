"""What type checkers see through band's decorators; ``bin/test lint`` runs mypy and pyright over it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, assert_type

import msgspec

from band import Event, Meta, Service, crontab, expose, health, rpc, setup, start_server

service = Service()


class Row(msgspec.Struct):
    """What a method returns."""

    uid: str


@service.expose()
async def top(limit: Annotated[int, Meta(ge=1)] = 10) -> list[Row]:
    """Return rows."""
    return [Row("a")] * limit


@service.expose.handler(name="*", alias="go")
def go(event: Event[Row], **more: Any) -> str:
    """Return a text."""
    return event.data.uid


@service.expose.enricher(keys=["in.gen"], props={"uid": "uid"})
async def enrich(uid: str = "") -> Row:
    """Return a row."""
    return Row(uid)


@service.expose.listener(batch=10)
async def broadcast(events: list[Event[Row]]) -> None:
    """Take events."""


@service.lifespan
async def rows() -> AsyncIterator[Row]:
    """Yield a row."""
    yield Row("a")


@expose()
async def short(limit: int) -> int:
    """Return a number."""
    return limit


@setup
async def load() -> int:
    """Return a number."""
    return 1


@health("memory")
def memory() -> dict[str, str]:
    """Return facts."""
    return {}


async def check() -> None:
    """Hold the types that the decorators leave to those that were written."""
    assert_type(await top(limit=3), list[Row])
    assert_type(go(Event(key="", id="", time=0, data=Row("a"))), str)
    assert_type(await enrich(), Row)
    assert_type(await broadcast([]), None)
    assert_type(rows(), AsyncIterator[Row])
    assert_type(await short(1), int)
    assert_type(await load(), int)
    assert_type(memory(), dict[str, str])
    assert_type(await rpc.call("visits", "top", {"limit": 1}), Any)
    crontab("* * * * *")
    start_server(service, name="visits")
