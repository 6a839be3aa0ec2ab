"""What a listener is given of a person: everything, nothing that names one, or nothing of those who objected.

Front marks an event whose sender objects (Global Privacy Control, or a refused consent) with a field ``privacy`` that
lists the reasons. A listener says with ``personal=`` what it is; docs/privacy.md says which to choose.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

MARK: Final = "privacy"
"""The field of an event that lists why its sender is not to be tracked: ``gpc``, ``consent``."""

_OF_EVENT: Final = frozenset({"uid", "td"})
_OF_DATA: Final = frozenset({"uid", "fpid", "stored"})
_OF_PLACE: Final = frozenset({"lat", "lon", "postal", "district_en"})


def objected(event: Mapping[str, Any]) -> bool:
    """Tell whether the sender of an event objects to being tracked."""
    return bool(event.get(MARK))


def impersonal(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event without what names a person or a device; the event itself stays as it is.

    The visitor's id, address, User-Agent and page before, the fingerprint and what is stored of the visitor are left
    out, and places end at the city. What a client itself writes into ``data`` under other names is not known to be
    personal and stays.
    """
    left = {key: value for key, value in event.items() if key not in _OF_EVENT}
    data = event.get("data")
    if isinstance(data, Mapping):
        left["data"] = {key: _coarse(value) for key, value in data.items() if key not in _OF_DATA}
    return left


def _coarse(value: Any) -> Any:
    if isinstance(value, Mapping) and "country_iso" in value:
        return {key: inner for key, inner in value.items() if key not in _OF_PLACE}
    return value


def allowed(events: list[dict[str, Any]], *, personal: bool) -> list[dict[str, Any]]:
    """Return what a listener may be given of ``events``.

    Args:
        events: as front accepted them.
        personal: what the listener declares. True: events of those who objected are withheld. False: it gets every
            event, with nothing personal in it.
    """
    if personal:
        return [event for event in events if not objected(event)]
    return [impersonal(event) for event in events]
