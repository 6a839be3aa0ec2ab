"""The framework's own settings of a service."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from band.config import first
from band.errors import SettingsError
from band.redis import RedisAddress, dsn_from_env
from band.service.cross_site import hostname, is_origin
from band.service.jobs import JOBS_LIMIT
from band.stream.dead_letter_limit import MAX_ENTRIES, MAX_MB
from band.typed_settings import load

STOP_TIMEOUT: Final = 8.0
"""Seconds from SIGTERM to the end; Docker kills after 10."""
_OF_ENVIRONMENT: Final = (
    "dead_letters_max", "dead_letters_max_mb", "allowed_hosts", "allowed_origins", "service_group",
)  # fmt: skip
DEFAULT_HOST: Final = "0.0.0.0"  # noqa: S104 - inside a container; the director publishes on loopback
DEFAULT_PORT: Final = 8080


OF_EVERY_SERVICE: Final = (
    "name", "env", "listen", "redis_dsn", "redis_params", "rpc_params", "jobs_limit", "http_prefix", "log_level",
    "json_logs", "events_from", "stop_timeout", *_OF_ENVIRONMENT,
)  # fmt: skip
"""The keys of config.yaml that the framework reads."""


class ServiceConfig(msgspec.Struct, frozen=True):
    """What the framework itself needs to know, read once at start.

    Attributes:
        name: the service's.
        host: the address on which the HTTP port listens.
        port: the port; 0: any free one.
        redis_dsn: the address of Redis, see :class:`band.platform.RedisAddress`.
        listen_all: the listener gets what is published on ``broadcast``, not the stream.
        listen_enrich: the service gets requests to all enrichers, even if it has no ``expose.enricher``.
        jobs_limit: background jobs that may run at once.
        http_prefix: stands before the framework's own paths: ``/health``, ``/metrics``, ``/__status``.
        log_level: a level name of the standard library.
        json_logs: one JSON object a line instead of text for people.
        events_from: where a new listener begins, instead of what its declaration says: the id behind which, ``0`` or
            ``$``.
        stop_timeout: seconds from SIGTERM to the end.
        dead_letters_max: dead letters that are kept.
        dead_letters_max_mb: megabytes of Redis' memory for them.
        allowed_hosts: further names under which the HTTP port is reached.
        allowed_origins: sites whose pages may call it; ``*``: all.
    """

    name: str
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    redis_dsn: str = ""
    listen_all: bool = msgspec.field(default=False, name="rpc_params.listen_all")
    listen_enrich: bool = msgspec.field(default=False, name="rpc_params.listen_enrich")
    service_group: str = ""
    """What replies give as their group: replicas ``uap_1`` and ``uap_2`` of the group ``uap`` fill ``data.uap``."""
    jobs_limit: int = JOBS_LIMIT
    http_prefix: str = ""
    log_level: str = "INFO"
    json_logs: bool = False
    events_from: str = ""
    stop_timeout: float = STOP_TIMEOUT
    dead_letters_max: int = MAX_ENTRIES
    dead_letters_max_mb: int = MAX_MB
    allowed_hosts: frozenset[str] = frozenset()
    allowed_origins: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        origins = frozenset(origin.lower().rstrip("/") for origin in self.allowed_origins)
        msgspec.structs.force_setattr(self, "allowed_origins", origins)

    @classmethod
    def read(cls, settings: Mapping[str, Any], env: Mapping[str, str]) -> ServiceConfig:
        """Return the configuration in ``settings`` (config.yaml) over ``env``.

        Raises:
            SettingsError: all problems together.
        """
        problems: list[str] = []
        rpc = settings.get("rpc_params") or settings.get("redis_params") or {}
        if not isinstance(rpc, Mapping):
            problems.append(f"rpc_params={rpc!r} is not a mapping; write rpc_params: {{listen_all: yes}}")
        host, port = _read_listen(settings.get("listen"), env, problems)
        name = str(first(settings.get("name"), env.get("NAME"), socket.gethostname()))
        wanted = env.get("BAND_SERVICE")
        if wanted and wanted != name:
            problems.append(
                f"config.yaml says `name: {name}`, but the director runs this folder as {wanted!r}; "
                f"write `name: {wanted}` there, or rename the folder"
            )
        return load(
            cls,
            {key.lower(): env.get(key) for key in ("LOG_LEVEL", "JSON_LOGS")},
            {**settings, "rpc_params": rpc},
            {key: env.get(key.upper()) for key in _OF_ENVIRONMENT},
            problems=problems,
            name=name,
            host=host,
            port=port,
            redis_dsn=str(first(settings.get("redis_dsn")) or dsn_from_env(env)),
        )

    def problems(self) -> Iterator[str]:
        """Yield the problems of values that have the right type."""
        try:
            RedisAddress.parse(self.redis_dsn)
        except SettingsError as error:
            yield str(error)
        if ":" in self.name or not self.name.strip():
            yield f"name={self.name!r} is not a valid service name: it must be a string without ':'"
        for name in sorted(self.allowed_hosts):
            if not hostname(name):
                yield f"allowed_hosts has {name!r}, which is not a host name"
        for origin in sorted(self.allowed_origins):
            if not is_origin(origin):
                yield f"allowed_origins has {origin!r}; write https://app.example, or * for every site"


def _read_listen(listen: Any, env: Mapping[str, str], problems: list[str]) -> tuple[str, int]:
    host, port = env.get("HOST") or DEFAULT_HOST, env.get("PORT") or str(DEFAULT_PORT)
    if isinstance(listen, str) and listen:
        given_host, _, given_port = listen.rpartition(":")
        host, port = given_host or host, given_port or port
    if not port.isdigit() or int(port) > 65535:
        problems.append(f"port {port!r} is not a number from 0 to 65535; check PORT and `listen`")
        return host, DEFAULT_PORT
    return host, int(port)
