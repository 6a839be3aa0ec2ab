"""Names that the original platform's peers rely on (wire protocol, sections 1 to 3)."""

from __future__ import annotations

from typing import Final

DIRECTOR_SERVICE: Final = "director"
FRONTIER_SERVICE: Final = "front"
"""The name of the service that takes events over HTTP."""
ENRICH: Final = "enrich"
"""The channel on which front asks all enrichers at once."""
BROADCAST: Final = "broadcast"
"""The channel on which accepted events are published, at most once, for listeners of the original platform."""

REQUEST_STATUS: Final = "__status"
REQUEST_METRICS: Final = "__metrics"
"""The method that returns a service's metrics in Prometheus' text format."""
NOTIFY_ALIVE: Final = "__iamalive"
"""The notification by which a service tells the director every five seconds that it runs."""

INSTANCE_SEPARATOR: Final = "#"
"""Separates service and instance in the name of an instance's own channel."""

OK: Final = "o-o-ok"
"""The original's response without data."""

STATUS_STARTING: Final = "starting"
STATUS_RUNNING: Final = "running"
STATUS_STOPPING: Final = "stopping"

ROLE_HANDLER: Final = "handler"
ROLE_ENRICHER: Final = "enricher"
ROLE_LISTENER: Final = "listener"

RPC_TIMEOUT: Final = 2.0
"""Default timeout of a call in seconds (as in the original)."""

EVENTS_STREAM: Final = "events"
"""The key of the stream of accepted events; each entry has the event as JSON in its field ``event``."""
DEAD_LETTERS: Final = "dead:{name}"
"""The key of the stream of a service's dead letters; ``name`` is the service's."""
DIRECTOR_METHODS: Final = frozenset(
    {"dead_letters", "delete_dead_letters", "query_events", "replay_dead_letters", "replay_events"}
)
"""The methods that serve only calls which the director has granted, where it gives services ``GRANTS_VARIABLE``."""
GRANTS_VARIABLE: Final = "BAND_GRANTS"
"""The variable with the beginning of the keys of grants, before a colon and the id of the request. Each is JSON with
the ``method`` and ``params`` of that request, and serves one call. Of all services only the called one reaches it.
"""
REGISTRATIONS_KEY: Final = "front:registrations"
"""The registrations for front, as JSON: ``register`` (rows) and ``state_hash``. The director writes it."""
PROJECTS_KEY: Final = "front:projects"
"""The hash of the projects for front, as JSON: keys, origins and limits of each by its id. The director writes it."""

UNSHOWABLE: Final = frozenset(
    code
    for span in ((0, 9), (11, 32), (127, 160), (0x061C, 0x061D), (0x200E, 0x2010), (0x2028, 0x202F), (0x2066, 0x206A))
    for code in range(*span)
)
"""Code points of control characters (C0, C1), separators of lines and characters that turn the direction of text."""
