"""The typed event: what listeners and handlers get for ``event: Event[Purchase]``."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

D = TypeVar("D")


class Event(msgspec.Struct, Generic[D], kw_only=True, frozen=True):
    """One accepted event. ``Event[Purchase]`` also types its ``data``; with ``Event`` alone, ``data`` is a dict.

    ::

        class Purchase(msgspec.Struct):
            sku: str
            price: float
            mmgeo: dict[str, Any] | None = None  # what an enricher added

        @service.expose.listener()
        async def broadcast(event: Event[Purchase]) -> None:
            ...

    Fields of ``data`` that ``Purchase`` does not have are ignored. An event with other data becomes a dead letter.

    Attributes:
        key: ``in.gen.<service>.<name>``.
        id: unique; a decimal string.
        time: milliseconds since 1970.
        data: what the client sent, with what each enricher added under its own name.
        service: the first segment of the event's URL.
        name: the second segment.
        channel: ``http``, ``pixel`` or ``ws``.
        uid: the visitor. None if that is withheld (``expose.listener(personal=False)``).
        td: the client's ``ip``, ``ua``, ``ref`` and ``host``, if known.
        projectId: as the client sent it.
        project: the project whose key or rule accepted the event; None without projects.
        privacy: why the sender must not be tracked (``gpc``, ``consent``); empty if nobody objects.
    """

    key: str
    id: str
    time: int
    data: D
    service: str = ""
    name: str = ""
    channel: str = ""
    uid: str | int | None = None
    td: dict[str, Any] = {}
    projectId: int | float | str | None = None  # noqa: N815 - the name on the wire
    project: str | int | None = None
    privacy: list[str] = []
