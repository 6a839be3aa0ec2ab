"""Personal data for listeners: all of it, none, or only that of visitors who did not object.

Front marks an event whose sender objects (Global Privacy Control, or a refused consent) with a field ``privacy`` that
lists the reasons. A listener says with ``personal=`` what it is; docs/privacy.md says which to choose.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

MARK: Final = "privacy"
"""The field of an event that lists why its sender is not to be tracked: ``gpc``, ``consent``."""
ASIDE: Final = "aside"
"""The field of an event that lists why it is set aside: ``bot``. Front sets it where the project says so."""

_OF_EVENT: Final = frozenset({"uid", "td"})
_OF_DATA: Final = frozenset({"alias", "context", "fpid", "stored", "uid", "user"})
"""`alias`, `context` and `user` are how libraries of other products name a visitor and a device."""
_OF_PLACE: Final = frozenset({"lat", "lon", "postal", "district_en"})


def objected(event: Mapping[str, Any]) -> bool:
    """Return whether the sender of an event objects to being tracked."""
    return bool(event.get(MARK))


def impersonal(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of an event without data that identifies a person or a device.

    It has no visitor id, address, User-Agent, referer, fingerprint, stored data, user or context, and places are no
    finer than a city. Other fields that the client puts into ``data`` are kept.
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
    """Return those of ``events`` that a listener may get, in the form that it may get.

    Args:
        events: as front accepted them.
        personal: the listener's declaration. True: events that are set aside, and those of visitors who objected, are
            withheld. False: it gets every event without personal data.
    """
    if personal:
        return [event for event in events if not (event.get(ASIDE) or objected(event))]
    return [impersonal(event) for event in events]
