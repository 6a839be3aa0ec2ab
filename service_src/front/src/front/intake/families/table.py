"""Which family a request belongs to, by its method, path and content type. All others are native.

A path whose first segment is the mark `band`, or a service with a handler of its own, is always native.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from front.errors import BadRequest
from front.event.message import Message
from front.intake.families.amplitude import AMPLITUDE
from front.intake.families.cloudevents import CLOUDEVENTS
from front.intake.families.family import Family
from front.intake.families.mixpanel import MIXPANEL, MIXPANEL_FLAGS, MIXPANEL_GROUPS, MIXPANEL_PEOPLE, is_mixpanel
from front.intake.families.plausible import PLAUSIBLE
from front.intake.families.posthog import POSTHOG, POSTHOG_CONFIG, POSTHOG_FLAGS
from front.intake.families.segment import BATCH, CALLS, SEGMENT, SHORT
from front.intake.families.segment_browser import SEGMENT_LIBRARY, SEGMENT_PART, SEGMENT_SETTINGS
from front.intake.families.umami import UMAMI
from front.intake.families.webhooks import WEBHOOKS

_JSON: Final = ("json", "text/plain")
"""Browsers send JSON as text/plain, which needs no preflight request."""
_ANY: Final = ("",)
"""RudderStack's library says that its gzip is a form."""


class Row(NamedTuple):
    """A row of the table. A request has its method, its path, and one of `content` in its content type."""

    method: str
    path: str
    """With or without a slash at the end; if the row has one, only with it. A `*` is any text."""
    content: tuple[str, ...]
    family: Family | str
    """A text: whose path it is that front does not accept."""


ROWS: Final = (
    *(Row("POST", f"/v1/{call}", _ANY, SEGMENT) for call in (BATCH, *CALLS, *SHORT)),
    Row("POST", "/v1/*", _JSON, "Segment"),
    Row("GET", "/v1/projects/*/settings", _ANY, SEGMENT_SETTINGS),
    Row("GET", "/analytics.js/v1/*/analytics.min.js", _ANY, SEGMENT_LIBRARY),
    Row("GET", "/analytics-next/bundles/*", _ANY, SEGMENT_PART),
    *(Row("GET", path, _ANY, "Segment") for path in ("/v1/projects/*", "/v1/pixel/*", "/analytics.js/*")),
    *(Row("POST", f"/api/s/{way}{call}", _JSON, SEGMENT) for call in CALLS for way in ("", "s2s/")),
    Row("POST", "/api/s/*", _JSON, "Jitsu"),
    Row("GET", "/api/s/*", _ANY, "Jitsu"),
    Row("POST", "/beacon/v1/*", _ANY, "RudderStack"),
    Row("POST", "/2/httpapi", _ANY, AMPLITUDE),
    Row("POST", "/2/*", _JSON, "Amplitude"),
    Row("POST", "/api/event", _ANY, PLAUSIBLE),
    Row("POST", "/api/send", _ANY, UMAMI),
    *(Row("POST", path, _ANY, "Umami") for path in ("/api/batch", "/api/heartbeat")),
    Row("POST", "/cloudevents", _ANY, CLOUDEVENTS),
    *(Row("POST", path, _ANY, POSTHOG) for path in ("/batch/", "/e/", "/i/v0/e/")),
    *(Row("POST", path, _ANY, POSTHOG_FLAGS) for path in ("/flags/", "/decide/")),
    Row("GET", "/array/*/config", _ANY, POSTHOG_CONFIG),
    Row("GET", "/array/*/config.js", _ANY, POSTHOG_CONFIG),
    Row("POST", "/i/v0/*", _ANY, "PostHog"),
    *(Row("GET", path, _ANY, "PostHog") for path in ("/array/*", "/static/*.js", "/api/feature_flag/*")),
    *(Row("GET", f"/api/{part}", _ANY, "PostHog") for part in ("early_access_features", "surveys", "web_experiments")),
    Row("POST", "/webhooks/*", _ANY, WEBHOOKS),
    Row("POST", "/engage", _ANY, MIXPANEL_PEOPLE),
    Row("POST", "/groups", _ANY, MIXPANEL_GROUPS),
    Row("POST", "/import", _ANY, MIXPANEL),
    Row("POST", "/record", _ANY, "Mixpanel"),
    *(Row(method, "/com.snowplowanalytics.snowplow/*", _ANY, "Snowplow") for method in ("GET", "POST")),
    *(Row(method, "/g/collect", _ANY, "Google Analytics") for method in ("GET", "POST")),
    *(Row(method, "/mp/collect", _ANY, "Google Analytics") for method in ("GET", "POST")),
)
"""The first row that fits counts."""
_UNNAMED: Final = {
    "/track": (MIXPANEL, "data"),
    "/import": (MIXPANEL, "data"),
    "/engage": (MIXPANEL_PEOPLE, "data"),
    "/groups": (MIXPANEL_GROUPS, "data"),
    "/flags": (MIXPANEL_FLAGS, "context"),
}
"""Paths of the native form too. Requests that name no event, and so are 404 in that form, are of these families.

Beside each is the field that its requests without a body have in their query.
"""
UNNAMED_PATHS: Final = frozenset(f"{path}{end}" for path in _UNNAMED for end in ("", "/"))


def _first_segment(path: str) -> str:
    return path.split("/", 2)[1]


FIRST_SEGMENTS: Final = frozenset(map(_first_segment, (row.path for row in ROWS)))
"""A path that begins with none of these is native."""


def _fits(pattern: str, path: str) -> bool:
    before, star, after = pattern.partition("*")
    if not star:
        return path in (pattern, f"{pattern}/")
    return path.startswith(before) and path.endswith(after) and len(path) >= len(before) + len(after)


def family_of(method: str, path: str, content_type: str) -> Family | None:
    """Return the family of a request, None for a native one. BadRequest (404) when front does not accept its path."""
    for row in ROWS:
        if row.method != method or not any(word in content_type for word in row.content):
            continue
        if not _fits(row.path, path):
            continue
        if isinstance(row.family, str):
            raise BadRequest(
                "unknown_path",
                f"{path[:100]} is a path of {row.family} that front does not accept; docs/families lists those it does",
                404,
            )
        return row.family
    return None


def unnamed_family_of(path: str, query: Message, body: bytes, content_type: str) -> Family | None:
    """Return the family of a request to one of `UNNAMED_PATHS`; None if it names an event, or is nobody's."""
    family, wanted = _UNNAMED[path.rstrip("/")]
    return family if is_mixpanel(query, body, content_type, wanted) else None
