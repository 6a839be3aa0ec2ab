"""The event, typed: what listeners and handlers are given when they ask for ``event: Event[Purchase]``."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

D = TypeVar("D")


class Event(msgspec.Struct, Generic[D], kw_only=True, frozen=True):
    """One accepted event. ``Event[Purchase]`` also says what its ``data`` is; ``Event`` alone leaves ``data`` a dict.

    ::

        class Purchase(msgspec.Struct):
            sku: str
            price: float
            mmgeo: dict[str, Any] | None = None  # what an enricher added

        @service.expose.listener()
        async def broadcast(event: Event[Purchase]) -> None:
            ...

    Fields of ``data`` that ``Purchase`` does not name are left out. An event whose data does not fit is refused.

    Attributes:
        key: ``in.gen.<service>.<name>``.
        id: unique; a decimal text.
        time: milliseconds since 1970.
        data: what the client sent, with what each enricher added under its own name.
        service: the first part of the URL that the event came to.
        name: the second part.
        channel: ``http``, ``pixel`` or ``ws``.
        uid: the visitor. None where that is withheld (``expose.listener(personal=False)``).
        td: of the client: ``ip``, ``ua``, ``ref``, ``host``, as far as they are known.
        projectId: as the client sent it.
        project: the project whose key or rule accepted the event; None without projects.
        privacy: why the sender is not to be tracked (``gpc``, ``consent``); empty where nobody objects.
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
