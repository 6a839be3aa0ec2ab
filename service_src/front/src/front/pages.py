"""The few answers that are no events: the index page, the icon, the tracker script, the teapot."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any, Final

from front.answers import JSON, Rendered
from front.urls import URL_MARK

_FILES = resources.files("front") / "static"
_INDEX: Final = (_FILES / "index.html").read_bytes()
_ICON: Final = (_FILES / "favicon.ico").read_bytes()
_TRACKER: Final = (_FILES / "tracker.js").read_text(encoding="utf-8")

TRACKER_GLOBAL: Final = "rstat4"
"""The name of the tracker's function in the window of a page."""


def page(path: str, uid: Any) -> Rendered | None:
    """The page for a path, or None when the path is an event's."""
    if path == "/":
        return Rendered(200, _INDEX, "text/html; charset=utf-8")
    if path == "/lib.js":
        return Rendered(200, tracker_script(str(uid)).encode(), "application/javascript; charset=utf-8")
    if path == "/favicon.ico":
        return Rendered(200, _ICON, "image/x-icon")
    if path == "/coffee":
        return Rendered(418, b'{"message":"I\'m a teapot"}', JSON, [("X-My-Name", "front")])
    return None


def tracker_script(uid: str) -> str:
    """The tracker, configured for one visitor."""
    config = json.dumps({"initialUid": uid, "urlMark": URL_MARK}, separators=(",", ":"))
    return f';window["{TRACKER_GLOBAL}"]&&window["{TRACKER_GLOBAL}"](\'configure\',{config});\n{_TRACKER}'
