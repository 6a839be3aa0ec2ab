"""Profiles of people and groups in memory, changed as Mixpanel documents it."""

from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Any

from mixpanel_double.rules import REFUSED, Complaint

MOST_PROFILES = 20_000
MOST_CHANGES = 20_000
PEOPLE, GROUPS = "engage", "groups"
OPERATIONS = frozenset({"$set", "$set_once", "$add", "$union", "$append", "$remove", "$unset", "$delete"})
_ABOUT = {PEOPLE: ("$distinct_id",), GROUPS: ("$group_key", "$group_id")}

Key = tuple[str, ...]
"""The project, then the distinct_id of a person, or the key and the id of a group."""


def change_complaint(change: Any, endpoint: str) -> Complaint | None:
    """Why Mixpanel refuses a change of a profile; None when it takes it."""
    if not isinstance(change, Mapping):
        return "", "must be an object"
    for name in ("$token", *_ABOUT[endpoint]):
        value = change.get(name)
        if not isinstance(value, str) or not value or (name == "$distinct_id" and value.lower() in REFUSED):
            return name, f"{name!r} is required and must be a string that Mixpanel allows"
    operations = OPERATIONS & change.keys()
    if not operations:
        return "", f"none of {', '.join(sorted(OPERATIONS))}"
    for name in sorted(operations - {"$unset", "$delete"}):
        if not isinstance(change[name], Mapping):
            return name, f"{name!r} must be an object"
    return None


class Profiles:
    """The newest 20,000 profiles of each kind, and the newest 20,000 changes in the order in which they came."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.taken = 0
        self.changes: deque[dict[str, Any]] = deque(maxlen=MOST_CHANGES)
        self._profiles: dict[str, OrderedDict[Key, dict[str, Any]]] = {PEOPLE: OrderedDict(), GROUPS: OrderedDict()}

    def change(self, change: Mapping[str, Any], endpoint: str) -> None:
        """Apply a change that has no complaint."""
        self.taken += 1
        self.changes.append({"endpoint": endpoint, **change})
        profiles = self._profiles[endpoint]
        key = (change["$token"], *(change[name] for name in _ABOUT[endpoint]))
        profile = profiles.setdefault(key, {})
        profiles.move_to_end(key)
        if len(profiles) > MOST_PROFILES:
            profiles.popitem(last=False)
        for operation in OPERATIONS & change.keys():
            if operation == "$delete":
                profiles.pop(key, None)
            else:
                _apply(profile, operation, change[operation])

    def listed(self, endpoint: str, limit: int) -> list[dict[str, Any]]:
        """The profiles that were changed last, newest first."""
        newest = list(reversed(self._profiles[endpoint].items()))[:limit]
        return [{"project": key[0], "id": "/".join(key[1:]), "properties": profile} for key, profile in newest]


def _apply(profile: dict[str, Any], operation: str, given: Any) -> None:
    if operation == "$unset":
        for name in given if isinstance(given, list) else []:
            profile.pop(name, None)
        return
    for name, value in given.items():
        known = profile.get(name)
        if operation == "$set" or (operation == "$set_once" and name not in profile):
            profile[name] = value
        elif operation == "$add":
            profile[name] = _number(known) + _number(value)
        elif operation == "$append":
            profile[name] = [*_list(known), value]
        elif operation == "$union":
            profile[name] = [*_list(known), *(one for one in _list(value) if one not in _list(known))]
        elif operation == "$remove":
            profile[name] = [one for one in _list(known) if one != value]


def _number(value: Any) -> float:
    return value if isinstance(value, int | float) else 0


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
