"""The responses, as they are written and as the OpenAPI document describes them. What services say is open."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from director.discovery.health import HealthWord
from director.state.crash_log import CrashLoop, RollbackRecord
from director.state.event_stream import StoredEvent
from director.supervise.status import DirectorPart, Part, RedisPart, State


class Brought(msgspec.Struct, frozen=True):
    """A service that was run, started, stopped or restarted."""

    name: str
    short_id: str
    state: State


class Removed(msgspec.Struct, frozen=True):
    """A service that is no more."""

    name: str
    state: Literal["removed"] = "removed"


class PortPair(msgspec.Struct, frozen=True):
    """A port on the host's loopback, and the container's port behind it."""

    host: int
    container: int


class DataFacts(msgspec.Struct, frozen=True):
    """What a geo service says of its database; its age is in days."""

    source: Any
    build_date: Any
    age_days: float
    warning: Any


class ServiceRow(msgspec.Struct, frozen=True, kw_only=True):
    """A service; times are in seconds, `app_uptime` in milliseconds, memory in bytes, CPU in percent of one CPU.

    `health_reason` says why it is not well and what to do; empty when it is. Memory and CPU are null while nothing
    runs.
    """

    name: str
    state: State
    short_id: str = ""
    title: str = ""
    pos: str | None = None
    ports: list[PortPair] = []
    uptime: float = 0.0
    image: str = ""
    restarts: int = 0
    health: HealthWord
    health_reason: str = ""
    dead_letters: int = 0
    wanted: Literal["running", "stopped", "removed", "unknown"] = "unknown"
    crashes: int = 0
    crash: CrashLoop | None = None
    rolled_back: RollbackRecord | None = None
    release: str | None = None
    watch_until: float | None = None
    exit_code: int | None = None
    memory: int | None = None
    memory_limit: int | None = None
    cpu_percent: float | None = None
    data: DataFacts | None = None
    app_state: Any = None
    app_uptime: Any = None
    register: Any = []


class ServiceDetail(ServiceRow, frozen=True, kw_only=True):
    """Everything about a service; secrets are masked."""

    id: str = ""
    spec: dict[str, Any] = {}
    spec_hash: str = ""
    running_spec_hash: str = ""
    env: dict[str, str] = {}
    docker_health: str = ""
    oom_killed: bool = False
    status: dict[str, Any] = {}


class BuiltImage(msgspec.Struct, frozen=True):
    """An image that is present; `created` is in seconds since 1970, `size` in bytes."""

    tag: str
    short_id: str
    size: int
    created: float


class ImageRow(msgspec.Struct, frozen=True, kw_only=True):
    """An image folder; `problem` says why it cannot be run."""

    name: str
    title: str
    pos: str | None
    collection: str
    path: str
    role: str | None
    runnable: bool
    problem: str
    secrets: list[str]
    images: list[BuiltImage]


class ReleaseRow(msgspec.Struct, frozen=True, kw_only=True):
    """A release; times are in seconds since 1970, secrets masked."""

    id: str
    image: str
    spec_hash: str
    at: float
    since: float | None
    by: str
    state: Literal["current", "good", "failed", "rolled_back"]
    reason: str
    exit_code: int | None
    watch_until: float | None
    images_present: bool
    env: dict[str, str]

    @property
    def choosable(self) -> bool:
        """Whether a rollback can return to it."""
        return self.images_present and self.state in {"good", "rolled_back"}


class ReleaseList(msgspec.Struct, frozen=True):
    """The releases of a service, newest first; the images of `keep` of them are kept."""

    name: str
    keep: int
    releases: list[ReleaseRow]


class RolledBack(Brought, frozen=True):
    """A service that went back to an earlier release."""

    release: str


class WouldRollBack(msgspec.Struct, frozen=True, kw_only=True):
    """Where `/rollback` with `dry_run` would go."""

    name: str
    would: Literal["rollback"] = "rollback"
    release: str
    spec_hash: str


class UnusedImageRow(msgspec.Struct, frozen=True):
    """An image that no release needs; `created` is in seconds since 1970."""

    image: str
    id: str
    service: str
    bytes: int
    created: float


class Waste(msgspec.Struct, frozen=True, kw_only=True):
    """What can be removed, or was removed if `applied`; `failed` lists what the engine refused to remove, and why.

    `containers` is always empty.
    """

    applied: bool
    images: list[UnusedImageRow]
    containers: list[Any] = []
    bytes: int
    failed: list[dict[str, str]] | msgspec.UnsetType = msgspec.UNSET


class RegistrationTable(msgspec.Struct, frozen=True):
    """What all services offer together, and the hash that front knows it by."""

    register: list[dict[str, Any]]
    state_hash: int


class Placed(msgspec.Struct, frozen=True):
    """A service and its place."""

    name: str
    pos: str


class EventList(msgspec.Struct, frozen=True):
    """The newest events, newest first; `before` is the parameter for the next page, null on the last one."""

    events: list[StoredEvent]
    before: str | None = None


class GroupTrace(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an event in a listener's group; `at` is in milliseconds since 1970, `ms` the time it took.

    `retry_at` (milliseconds since 1970) and `attempts`: the listener put it off until then (Retry).
    """

    group: str
    state: Literal["waiting", "pending", "taken", "dead_letter", "older", "unknown"]
    at: int | msgspec.UnsetType | None = msgspec.UNSET
    ms: float | msgspec.UnsetType | None = msgspec.UNSET
    reason: str | msgspec.UnsetType = msgspec.UNSET
    consumer: str | msgspec.UnsetType = msgspec.UNSET
    idle_ms: int | msgspec.UnsetType = msgspec.UNSET
    deliveries: int | msgspec.UnsetType = msgspec.UNSET
    retry_at: int | msgspec.UnsetType = msgspec.UNSET
    attempts: int | msgspec.UnsetType = msgspec.UNSET
    answer: Any


class EventTrace(msgspec.Struct, frozen=True):
    """The path of an event; `time` is in milliseconds since 1970, `trace` is front's record of the processing."""

    id: str
    time: int
    stream_id: str
    event: dict[str, Any]
    trace: dict[str, Any] | None
    groups: list[GroupTrace]


class ServiceCounts(msgspec.Struct, frozen=True):
    """How many services there are and run, which of those that are to run are not well, and why."""

    total: int
    running: int
    troubled: list[str]
    reasons: dict[str, str]


class HealthFacts(msgspec.Struct, frozen=True):
    """How the director, Docker, Redis and the services are."""

    status: Literal["ok", "degraded", "failing"]
    director: DirectorPart
    docker: Part
    redis: RedisPart
    services: ServiceCounts

    @property
    def http_status(self) -> int:
        """The status of the response: 503 without Docker."""
        return 503 if self.status == "failing" else 200
