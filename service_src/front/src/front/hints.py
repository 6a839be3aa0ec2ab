"""Client hints: what browsers of today say of themselves in headers, since their User-Agent says less and less."""

from __future__ import annotations

from collections.abc import Mapping

from multidict import istr

from front.message import clean

_FIRST = istr("Sec-CH-UA")
_NAMES = {
    "ua": _FIRST,
    "mobile": istr("Sec-CH-UA-Mobile"),
    "platform": istr("Sec-CH-UA-Platform"),
    "platform_version": istr("Sec-CH-UA-Platform-Version"),
    "model": istr("Sec-CH-UA-Model"),
    "full_version_list": istr("Sec-CH-UA-Full-Version-List"),
}
_LONGEST = 512


def read_hints(headers: Mapping[str, str]) -> dict[str, str] | None:
    """The hints of a request as sent, by their short names; None without any. They come all or none."""
    if _FIRST not in headers:
        return None
    found = {short: headers.get(name) for short, name in _NAMES.items()}
    return {short: clean(value[:_LONGEST]) for short, value in found.items() if value}
