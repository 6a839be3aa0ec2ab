"""The HTTP face as a table: one row an endpoint. Routing, validation and the OpenAPI document all come from it."""

from __future__ import annotations

import msgspec

from director.api import params


class Endpoint(msgspec.Struct, frozen=True):
    """One path, answered to GET and POST alike by the handler method named `handler`."""

    path: str
    handler: str
    params: type[msgspec.Struct]
    summary: str
    answer: str
    errors: tuple[int, ...] = ()
    text: bool = False


READING = frozenset({
    "", "list", "list_images", "state", "show", "registrations", "ask_state", "configs_list", "get_config", "logs",
    "events", "trace", "dead_letters", "releases", "health", "metrics", "openapi.json", "dashboard", "favicon.ico",
})  # fmt: skip
"""First words of the paths that change nothing, the page's among them; everything else may."""

_SERVICE = (404, 409, 422, 502)

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "/run/{name}",
        "run",
        params.RunParams,
        "Build if the contents changed, (re)start, wait until it answers",
        'exactly `{"name", "short_id", "state"}`; with dry_run `{"name", "would", "image"}`, `held` after a rollback',
        (*_SERVICE, 504),
    ),
    Endpoint(
        "/start/{name}",
        "start",
        params.ServiceParams,
        "Start a service that was stopped",
        "name, short_id, state",
        (*_SERVICE, 504),
    ),
    Endpoint(
        "/stop/{name}",
        "stop",
        params.ServiceParams,
        "Stop a service until somebody starts it",
        "name, short_id, state",
        _SERVICE,
    ),
    Endpoint(
        "/restart/{name}",
        "restart",
        params.ServiceParams,
        "Put a fresh container of the same image in place",
        "name, short_id, state",
        (*_SERVICE, 504),
    ),
    Endpoint(
        "/rm/{name}",
        "rm",
        params.ServiceParams,
        "Remove a service and its config; volumes stay",
        "name, state",
        _SERVICE,
    ),
    Endpoint(
        "/rebuild_all",
        "rebuild_all",
        params.RebuildParams,
        "Run every service whose contents changed",
        "a list of results",
        (502,),
    ),
    Endpoint(
        "/releases/{name}",
        "releases",
        params.ServiceParams,
        "What was deployed of a service, newest first; secrets masked",
        '`{"name", "keep", "releases": [{"id", "image", "spec_hash", "at", "state", "reason", …}]}`',
        (404, 422, 502),
    ),
    Endpoint(
        "/rollback/{name}",
        "rollback",
        params.RollbackParams,
        "Go back to an earlier release; without `to` to the last good one before the current",
        "name, short_id, state, release; with dry_run name, would, release, spec_hash",
        (*_SERVICE, 504),
    ),
    Endpoint(
        "/prune",
        "prune",
        params.PruneParams,
        "What may be thrown away; with `apply` it is",
        '`{"applied", "images", "containers", "bytes"}`',
        (409, 422, 502),
    ),
    Endpoint("/list", "list_services", params.Nothing, "All services", "a list of services"),
    Endpoint(
        "/list_images",
        "list_images",
        params.Nothing,
        "All image folders and the images built from them",
        "a list",
        (502,),
    ),
    Endpoint(
        "/state", "state", params.StateParams, "States of all services by name, or of one", "an object", (404, 422)
    ),
    Endpoint(
        "/show/{name}",
        "show",
        params.ServiceParams,
        "Everything about a service; secrets masked",
        "an object",
        (404, 422),
    ),
    Endpoint(
        "/registrations",
        "registrations",
        params.Nothing,
        "What the services offer, as front is told",
        "register, state_hash",
    ),
    Endpoint(
        "/ask_state/{name}",
        "ask_state",
        params.ServiceParams,
        "Ask a service for its status now",
        "its status",
        (404, 422, 502, 504),
    ),
    Endpoint(
        "/call/{name}/{method}",
        "call",
        params.CallParams,
        "Call a method of a service over RPC; other parameters are its arguments",
        "what the method returns",
        (404, 409, 422, 502, 504),
    ),
    Endpoint(
        "/set_pos/{name}",
        "set_pos",
        params.SetPosParams,
        "Put a service at another place of the grid",
        "name, pos",
        (404, 409, 422, 502),
    ),
    Endpoint(
        "/configs_list",
        "configs_list",
        params.Nothing,
        "Names of the services that have a config",
        "a list of names",
        (502,),
    ),
    Endpoint(
        "/get_config/{name}",
        "get_config",
        params.ServiceParams,
        "The config of a service; secrets masked",
        "an object",
        (404, 422, 502),
    ),
    Endpoint(
        "/update_config/{name}",
        "update_config",
        params.ConfigParams,
        "Change a service's config: dotted keys (env.TZ), an empty value removes; shapes the next run",
        "the config",
        (404, 409, 422, 502),
    ),
    Endpoint(
        "/logs/{name}", "logs", params.LogsParams, "The output of a service as text", "text", (404, 422, 502), text=True
    ),
    Endpoint(
        "/events",
        "events",
        params.EventsParams,
        "The newest events, newest first",
        '`{"events": [{"stream_id", "event"}]}`',
        (422, 502),
    ),
    Endpoint(
        "/trace/{id}",
        "trace",
        params.TraceParams,
        "The road of an event: as it came, what each enricher took, which listener took it when, what that one said",
        '`{"id", "time", "stream_id", "event", "trace", "groups": [{"group", "state", "at", "ms", "answer"}]}`',
        (404, 422, 502),
    ),
    Endpoint(
        "/dead_letters/{name}",
        "dead_letters",
        params.LettersParams,
        "Events that a service could not deliver, newest first, each with the reason",
        '`{"count", "letters"}`',
        (404, 409, 422, 502, 504),
    ),
    Endpoint(
        "/replay_dead_letters/{name}",
        "replay_dead_letters",
        params.ReplayParams,
        "Send dead letters again: those named, else the oldest",
        "what the service says",
        (404, 409, 422, 502, 504),
    ),
    Endpoint(
        "/delete_dead_letters/{name}",
        "delete_dead_letters",
        params.DeleteLettersParams,
        "Throw dead letters away: those named, or all of them",
        '`{"deleted"}`',
        (404, 409, 422, 502, 504),
    ),
    Endpoint(
        "/health", "health", params.Nothing, "How the director, Docker, Redis and the services are", "an object", (503,)
    ),
    Endpoint(
        "/metrics", "metrics", params.Nothing, "Figures of services and director for Prometheus", "text", text=True
    ),
    Endpoint(
        "/metrics/{name}",
        "service_metrics",
        params.ServiceParams,
        "Figures of one service for Prometheus, as the service itself shows them: `/metrics/front`",
        "text",
        (404, 409, 422, 502, 504),
        text=True,
    ),
    Endpoint("/openapi.json", "openapi", params.Nothing, "This description", "an OpenAPI document"),
)
