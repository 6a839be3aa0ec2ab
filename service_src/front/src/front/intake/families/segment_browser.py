"""What Segment's snippet fetches before it sends events: the library itself, and its settings for a write key.

The library is the npm package @segment/analytics-next, unchanged, as its makers compressed it: `static/analytics-next`.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Final
from urllib.parse import urlsplit

from band.platform import encode
from front.errors import BadRequest
from front.intake.families.family import Draft, Family, Post
from front.pipeline.replies import JAVASCRIPT, HttpReply

_FILES: Final = resources.files("front") / "static" / "analytics-next"
_FIVE_MINUTES: Final = "public, max-age=300"
_FOR_EVER: Final = "public, max-age=31536000, immutable"
"""For parts of the library: their names change with what is in them."""
_ATTEMPTS: Final = {"maxRetryCount": 100}
"""How often the library sends an event again, instead of 10 times."""


def _settings(post: Post, _drafts: Sequence[Draft]) -> HttpReply:
    """Return settings with which every event comes to this front, and nothing else is loaded."""
    server = urlsplit(post.server)
    if not server.netloc:
        raise BadRequest("host", "the request has no valid Host header, so the library would not know where to send")
    destination = {
        "apiKey": post.path.split("/")[3],
        "apiHost": f"{server.netloc}{server.path}/v1",
        "protocol": server.scheme,
        "addBundledMetadata": True,
        "httpConfig": {"backoffConfig": _ATTEMPTS, "rateLimitConfig": _ATTEMPTS},
    }
    settings = {
        "integrations": {"Segment.io": destination},
        "enabledMiddleware": {},
        "metrics": {"sampleRate": 0},
        "middlewareSettings": {},
        "remotePlugins": [],
    }
    return HttpReply(200, encode(settings))


def _library(post: Post, _drafts: Sequence[Draft]) -> HttpReply:
    return _script(post, "standalone.js", _FIVE_MINUTES)


def _part(post: Post, _drafts: Sequence[Draft]) -> HttpReply:
    """Return a part of the library that it loads when it is needed."""
    name = post.last_segment
    if name not in _parts():
        raise BadRequest("unknown_path", "front's version of analytics.js has no such part", 404)
    return _script(post, name, _FOR_EVER)


def _script(post: Post, name: str, caching: str) -> HttpReply:
    headers = [("Cache-Control", caching), ("Vary", "Accept-Encoding")]
    if "gzip" in post.header(b"accept-encoding").lower():
        return HttpReply(200, _packed(name), JAVASCRIPT, [*headers, ("Content-Encoding", "gzip")], shared=True)
    return HttpReply(200, gzip.decompress(_packed(name)), JAVASCRIPT, headers, shared=True)


@cache
def _parts() -> frozenset[str]:
    return frozenset(file.name.removesuffix(".gz") for file in _FILES.iterdir() if ".bundle." in file.name)


@cache
def _packed(name: str) -> bytes:
    return (_FILES / f"{name}.gz").read_bytes()


def _nothing(_post: Post) -> Sequence[Draft]:
    return ()


SEGMENT_SETTINGS: Final = Family("Segment", _nothing, _settings)
SEGMENT_LIBRARY: Final = Family("Segment", _nothing, _library)
SEGMENT_PART: Final = Family("Segment", _nothing, _part)
