"""Client hints: headers in which current browsers describe themselves, since their User-Agent says less and less."""

from __future__ import annotations

from front.http1.request import Request

_FIRST = b"sec-ch-ua"
_NAMES = {
    "ua": _FIRST,
    "mobile": b"sec-ch-ua-mobile",
    "platform": b"sec-ch-ua-platform",
    "platform_version": b"sec-ch-ua-platform-version",
    "model": b"sec-ch-ua-model",
    "full_version_list": b"sec-ch-ua-full-version-list",
}
_MAX_LENGTH = 512


def read_hints(request: Request) -> dict[str, str] | None:
    """Return the hints of a request as sent, by their short names; None without any. They come all or none."""
    if _FIRST not in request.headers:
        return None
    found = {short: request.header(name) for short, name in _NAMES.items()}
    return {short: value[:_MAX_LENGTH] for short, value in found.items() if value}
