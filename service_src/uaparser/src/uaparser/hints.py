"""Client hints laid over what the User-Agent says: browsers freeze the latter (`Windows NT 10.0`, `Android 10; K`)."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from uaparser.versions import Version, version

_PAIR = re.compile(r'"((?:[^"\\]|\\.)*)"\s*;\s*v="([^"]*)"')
# A made-up brand that changes its spelling all the time, so that nobody counts on the list: `Not/A)Brand`.
_GREASE = re.compile(r"not.{0,3}a.{0,3}brand", re.IGNORECASE)
_FAMILIES = {"Google Chrome": "Chrome", "Microsoft Edge": "Edge", "YaBrowser": "Yandex Browser"}
_NOT_A_BROWSER = frozenset({"Chromium", "Android WebView"})
_SYSTEMS = {
    "Windows": "Windows", "macOS": "Mac OS X", "Android": "Android", "Chrome OS": "Chrome OS",
    "Chromium OS": "Chrome OS",
}  # fmt: skip
_WINDOWS_11 = 13
"""From this platform version on it is Windows 11; the numbers are those of an API contract."""
_LONGEST = 100


class Hints(NamedTuple):
    """The values of `Sec-CH-UA-…`, as sent; empty where not sent."""

    ua: str = ""
    mobile: str = ""
    platform: str = ""
    platform_version: str = ""
    model: str = ""
    full_version_list: str = ""

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> "Hints":
        """Those among the parameters of a call, `ch_ua` to `ch_full_version_list`; what is no text is left out."""
        return cls(*(value if isinstance(value := params.get(f"ch_{name}"), str) else "" for name in cls._fields))


PROPS = {f"ch_{name}": f"td.ch.{name}" for name in Hints._fields}
"""Where front has them. Each is a text of its own: enrichers of the original cannot take objects."""


def changes(hints: Hints, system: str, browser: str, flags: tuple[int, int, int]) -> dict[str, Any]:
    """What to change in an answer.

    Args:
        hints: the hints of the request.
        system: the system's family by the User-Agent.
        browser: the browser's family by the User-Agent.
        flags: its verdicts (is_tablet, is_mob, is_pc).
    """
    changed = _browser(hints, browser)
    platform = _unquoted(hints.platform)
    found = _system_version(platform, _unquoted(hints.platform_version))
    if found and _SYSTEMS.get(platform) == system:
        changed["os_version"] = found
    model = _unquoted(hints.model)[:_LONGEST]
    if model:
        changed["device_family"] = changed["device_model"] = model
    return changed | _flags(hints.mobile, platform, flags)


def _browser(hints: Hints, family: str) -> dict[str, Any]:
    """Name and version from the brands: `"Google Chrome";v="120.0.6099.109"`."""
    for name, text in _PAIR.findall(hints.full_version_list or hints.ua):
        if name in _NOT_A_BROWSER or _GREASE.search(name):
            continue
        found = version(*text.split(".")[:3])
        named = _FAMILIES.get(name, name)[:_LONGEST]
        changed: dict[str, Any] = {}
        if named not in family:  # `Chrome Mobile` says more than `Chrome`; `Brave` says what `Chrome` hides
            changed["browser_family"] = named
        if hints.full_version_list or named not in family:
            changed["browser_version"] = found
        return changed
    return {}


def _system_version(platform: str, text: str) -> Version:
    parts = version(*text.split(".")[:3]) if text else []
    if platform != "Windows":
        while len(parts) > 1 and parts[-1] == 0:
            parts.pop()
        return parts
    return [11] if parts and isinstance(parts[0], int) and parts[0] >= _WINDOWS_11 else []


def _flags(mobile: str, platform: str, flags: tuple[int, int, int]) -> dict[str, int]:
    """Flags by `Sec-CH-UA-Mobile`: on Android a tablet says `?0`, whose User-Agent may be a computer's."""
    tablet, phone, computer = flags
    if mobile == "?1" and computer:
        phone, computer = 1, 0
    elif mobile == "?0" and platform == "Android" and (phone or computer):
        tablet, phone, computer = 1, 0, 0
    if (tablet, phone, computer) == flags:
        return {}
    return {"is_tables": tablet, "is_mob": phone, "is_pc": computer, "is_tablet": tablet}


def _unquoted(text: str) -> str:
    return text[1:-1].replace('\\"', '"') if len(text) > 1 and text[0] == text[-1] == '"' else text
