"""The shapes of the answers, for the OpenAPI document: one or more a handler. What services say themselves is open."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

State = Literal[
    "created", "running", "paused", "restarting", "removing", "exited", "dead", "missing", "removed", "external"
]
HealthWord = Literal["ok", "starting", "degraded", "failing", "crashing", "crashed", "stopped"]


class Brought(TypedDict):
    """A service that was run, started, stopped or restarted."""

    name: str
    short_id: str
    state: State


class Held(TypedDict):
    """A release that was rolled back, and is not asked for until the folder or the config changes."""

    id: str
    reason: str


class WouldRun(TypedDict):
    """What `/run` with `dry_run` would do; with `held` it is about the release that serves instead."""

    name: str
    would: Literal["nothing", "build", "restart", "start"]
    image: str
    held: NotRequired[Held]


class Removed(TypedDict):
    """A service that is no more."""

    name: str
    state: Literal["removed"]


class PortPair(TypedDict):
    """A port on the host's loopback, and the container's port behind it."""

    host: int
    container: int


class DataFacts(TypedDict):
    """What a geo service says of its database; its age is in days."""

    source: Any
    build_date: Any
    age_days: float
    warning: Any


class CrashFacts(TypedDict):
    """Why a service is not started any more; `at` is in seconds since 1970."""

    reason: str
    exit_code: int | None
    oom_killed: bool
    at: float
    last_lines: list[str]


class ServiceRow(TypedDict):
    """A service; times are in seconds, `app_uptime` in milliseconds, memory in bytes, CPU in percent of one CPU.

    `health_reason` says why it is not well and what to do; empty when it is.
    """

    name: str
    state: State
    short_id: str
    title: str
    pos: str | None
    ports: list[PortPair]
    uptime: float
    image: str
    restarts: int
    health: HealthWord
    health_reason: str
    dead_letters: int
    wanted: Literal["running", "stopped", "removed", "unknown"]
    crashes: int
    crash: CrashFacts | None
    rolled_back: dict[str, Any] | None
    release: str | None
    watch_until: float | None
    exit_code: int | None
    memory: int | None
    memory_limit: int | None
    cpu_percent: float | None
    data: DataFacts | None
    app_state: Any
    app_uptime: Any
    register: Any


class ServiceDetail(ServiceRow):
    """Everything about a service; secrets are masked."""

    id: str
    spec: dict[str, Any]
    spec_hash: str
    running_spec_hash: str
    env: dict[str, str]
    docker_health: str
    oom_killed: bool
    status: dict[str, Any]


class BuiltImage(TypedDict):
    """An image that is present; `created` is in seconds since 1970, `size` in bytes."""

    tag: str
    short_id: str
    size: int
    created: float


class ImageRow(TypedDict):
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


class Rebuilt(TypedDict):
    """What `/rebuild_all` made of one service."""

    name: str
    result: Literal["unchanged", "held", "rebuilt", "failed"]
    short_id: NotRequired[str]
    error: NotRequired[dict[str, Any]]


class ReleaseRow(TypedDict):
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


class ReleaseList(TypedDict):
    """The releases of a service, newest first; the images of `keep` of them are kept."""

    name: str
    keep: int
    releases: list[ReleaseRow]


class RolledBack(Brought):
    """A service that went back to an earlier release."""

    release: str


class WouldRollBack(TypedDict):
    """Where `/rollback` with `dry_run` would go."""

    name: str
    would: Literal["rollback"]
    release: str
    spec_hash: str


class Waste(TypedDict):
    """What may be removed, or was, when `applied`; then `failed` tells what the engine refused to remove, and why."""

    applied: bool
    images: list[dict[str, Any]]
    containers: list[dict[str, Any]]
    bytes: int
    failed: NotRequired[list[dict[str, str]]]


class RegistrationTable(TypedDict):
    """What all services offer together, and the hash that front knows it by."""

    register: list[dict[str, Any]]
    state_hash: int


class Placed(TypedDict):
    """A service and its place."""

    name: str
    pos: str


class StoredEvent(TypedDict):
    """An entry of the stream of events."""

    stream_id: str
    event: Any


class EventList(TypedDict):
    """The newest events, newest first."""

    events: list[StoredEvent]


class GroupTrace(TypedDict):
    """What became of an event in a listener's group; `at` is in milliseconds since 1970, `ms` the time it took."""

    group: str
    state: Literal["waiting", "pending", "taken", "dead_letter", "older", "unknown"]
    answer: Any
    at: NotRequired[int | None]
    ms: NotRequired[float | None]
    reason: NotRequired[str]
    consumer: NotRequired[str]
    idle_ms: NotRequired[int]
    deliveries: NotRequired[int]


class EventTrace(TypedDict):
    """The road of an event; `time` is in milliseconds since 1970, `trace` what front noted of its making."""

    id: str
    time: int
    stream_id: str
    event: dict[str, Any]
    trace: dict[str, Any] | None
    groups: list[GroupTrace]


class Part(TypedDict):
    """Whether a part of the platform is there."""

    status: Literal["ok", "away"]
    reason: NotRequired[str]


class RedisPart(TypedDict):
    """Redis, and whether what should run was read from it; `failing`: it answers and takes no writes."""

    status: Literal["ok", "away", "failing"]
    reason: NotRequired[str]
    desired_loaded: bool


class DirectorPart(TypedDict):
    """The director itself; `degraded` while one of its background loops fails."""

    status: Literal["ok", "degraded"]
    version: str
    reason: NotRequired[str]


class ServiceCounts(TypedDict):
    """How many services there are and run, which of those that are to run are not well, and why."""

    total: int
    running: int
    troubled: list[str]
    reasons: dict[str, str]


class HealthFacts(TypedDict):
    """How the director, Docker, Redis and the services are."""

    status: Literal["ok", "degraded", "failing"]
    director: DirectorPart
    docker: Part
    redis: RedisPart
    services: ServiceCounts


ANSWERS: dict[str, tuple[Any, ...]] = {
    "run": (Brought, WouldRun),
    "start": (Brought,),
    "stop": (Brought,),
    "restart": (Brought,),
    "rm": (Removed,),
    "rebuild_all": (list[Rebuilt],),
    "list_services": (list[ServiceRow],),
    "list_images": (list[ImageRow],),
    "state": (ServiceRow, dict[str, ServiceRow]),
    "show": (ServiceDetail,),
    "registrations": (RegistrationTable,),
    "ask_state": (dict[str, Any],),
    "call": (Any,),
    "set_pos": (Placed,),
    "configs_list": (list[str],),
    "get_config": (dict[str, Any],),
    "update_config": (dict[str, Any],),
    "logs": (str,),
    "events": (EventList,),
    "trace": (EventTrace,),
    "dead_letters": (Any,),
    "replay_dead_letters": (Any,),
    "delete_dead_letters": (Any,),
    "releases": (ReleaseList,),
    "rollback": (RolledBack, WouldRollBack),
    "prune": (Waste,),
    "health": (HealthFacts,),
    "metrics": (str,),
    "service_metrics": (str,),
    "openapi": (dict[str, Any],),
}
"""The shapes of each handler's answer; several are alternatives."""
