"""The parts of an event that a request's path names: `/<service>/<name>/<projectId>`."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

URL_MARK = "band"
"""The path segment that requests the native response form; it may be anywhere and is not part of the route."""

SHORT_NAMES = {"away": "redir", "gif": "pixel", "t4k": "track"}
"""What a first path segment stands for (path only, not query or body)."""

CONTENT_TYPES = {
    "json": "application/json",
    "gif": "image/gif",
    "js": "application/javascript",
    "html": "text/html",
}
"""What the suffix of the last segment says about the request's content."""

_MAX_CACHED_LENGTH = 100


class EventPath(NamedTuple):
    """The parts that a path names; empty text where it names none."""

    service: str
    name: str
    project: str
    content_type: str
    native: bool


def read_path(path: str) -> EventPath:
    """Parse a path (without its query); frequent ones are cached."""
    return _remembered(path) if len(path) <= _MAX_CACHED_LENGTH else _read(path)


def _read(path: str) -> EventPath:
    segments = path[1:].rstrip("/").split("/") if path != "/" else [""]
    if path.startswith("//"):
        segments = path[1:].split("/")
    native = URL_MARK in segments
    last, content_type = _without_suffix(segments[-1])
    segments[-1] = last
    if not native and last == URL_MARK:
        native = True
    if native:
        segments = [segment for segment in segments if segment != URL_MARK]
    service, name, project = (*segments, "", "", "")[:3]
    return EventPath(SHORT_NAMES.get(service, service), name, project, content_type, native)


_remembered = lru_cache(maxsize=4096)(_read)


def _without_suffix(segment: str) -> tuple[str, str]:
    stem, dot, suffix = segment.rpartition(".")
    if not dot or not stem:
        return segment, ""
    return stem, CONTENT_TYPES.get(suffix, "")
