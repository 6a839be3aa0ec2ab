"""The pages of front itself: the index page, the icon, the tracker script, the teapot."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib import resources
from typing import Any, Final

from front.event.hostnames import host_of
from front.event.url_path import URL_MARK
from front.pipeline.replies import JSON, HttpReply

_PLACEHOLDER: Final = b"https://THIS-HOST"
_AUTHORITY = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")

TRACKER: Final = "/lib.js"
PAGES: Final = frozenset({"/", "/favicon.ico", "/coffee"})
TRACKER_GLOBAL: Final = "rstat4"
"""The name of the tracker's function in the window of a page."""


def page(path: str, server: str) -> HttpReply | None:
    """Return the page for a path, or None when the path is an event's. `server` is how its reader calls this host."""
    if path == "/":
        index = _file("index.html")
        if server:
            index = index.replace(_PLACEHOLDER, server.encode())
        return HttpReply(200, index, "text/html; charset=utf-8")
    if path == "/favicon.ico":
        return HttpReply(200, _file("favicon.ico"), "image/x-icon")
    if path == "/coffee":
        return HttpReply(418, b'{"message":"I\'m a teapot"}', JSON, [("X-My-Name", "front")])
    return None


def tracker(uid: str, *, consent_required: bool) -> HttpReply:
    """Return the tracker, configured for one visitor; without one if `uid` is empty."""
    config: dict[str, Any] = {"initialUid": uid, "urlMark": URL_MARK}
    if consent_required:
        config["consentRequired"] = True
    text = json.dumps(config, separators=(",", ":"))
    script = f';window["{TRACKER_GLOBAL}"]&&window["{TRACKER_GLOBAL}"](\'configure\',{text});\n'
    return HttpReply(200, script.encode() + _file("tracker.js"), "application/javascript; charset=utf-8")


@cache
def _file(name: str) -> bytes:
    return (resources.files("front") / "static" / name).read_bytes()


def server_url(host: str, scheme: str | None) -> str:
    """Return the URL of a server from the requested `host` (`name:port`); empty if that is not a host.

    Without a `scheme` from a proxy it is https for a public name, http for a port, an address or a local name.
    """
    host = host.split(",", 1)[0].strip()
    if not _AUTHORITY.fullmatch(host):
        return ""
    if scheme not in ("http", "https"):
        scheme = "https" if host_of(host) == host.lower() else "http"
    return f"{scheme}://{host}"
