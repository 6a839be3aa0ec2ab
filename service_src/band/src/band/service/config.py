"""What the framework itself reads from a service's settings."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from band.config import Truth, first, words
from band.errors import SettingsError
from band.redis import RedisAddress, dsn_from_env
from band.service.cross_site import hostname, is_origin
from band.service.jobs import JOBS_LIMIT
from band.stream.dead_letter_limit import MAX_ENTRIES, MAX_MB

STOP_TIMEOUT: Final = 8.0
"""Seconds from SIGTERM to the end; Docker kills after 10."""
DEFAULT_HOST: Final = "0.0.0.0"  # noqa: S104 - inside a container; the director publishes on loopback
DEFAULT_PORT: Final = 8080


class ServiceConfig(msgspec.Struct, frozen=True):
    """What the framework itself needs to know, read once at start."""

    name: str
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    redis_dsn: str = ""
    listen_all: bool = False
    listen_enrich: bool = False
    jobs_limit: int = JOBS_LIMIT
    http_prefix: str = ""
    log_level: str = "INFO"
    json_logs: bool = False
    events_from: str = "$"
    stop_timeout: float = STOP_TIMEOUT
    dead_letters_max: int = MAX_ENTRIES
    dead_letters_max_mb: int = MAX_MB
    allowed_hosts: frozenset[str] = frozenset()
    allowed_origins: frozenset[str] = frozenset()

    @classmethod
    def read(cls, settings: Mapping[str, Any], env: Mapping[str, str]) -> ServiceConfig:
        """Return the configuration in ``settings`` (config.yaml) over ``env``.

        Raises:
            SettingsError: all that is wrong, together.
        """
        problems: list[str] = []
        rpc = settings.get("rpc_params") or settings.get("redis_params") or {}
        if not isinstance(rpc, Mapping):
            problems.append(f"rpc_params={rpc!r} is not a mapping; write rpc_params: {{listen_all: yes}}")
            rpc = {}
        host, port = _read_listen(settings.get("listen"), env, problems)

        def truth(value: Any, name: str) -> bool:
            try:
                return Truth.read(value, name)
            except SettingsError as error:
                problems.append(str(error))
                return False

        def of(name: str) -> Any:
            return first(settings.get(name), env.get(name.upper()))

        def number(value: Any, name: str, default: float) -> float:
            try:
                return default if value is None or value == "" else float(value)
            except (TypeError, ValueError):
                problems.append(f"{name}={value!r} is not a number")
                return default

        read = cls(
            name=str(first(settings.get("name"), env.get("NAME"), socket.gethostname())),
            host=host,
            port=port,
            redis_dsn=str(first(settings.get("redis_dsn")) or dsn_from_env(env)),
            listen_all=truth(rpc.get("listen_all"), "rpc_params.listen_all"),
            listen_enrich=truth(rpc.get("listen_enrich"), "rpc_params.listen_enrich"),
            jobs_limit=int(number(settings.get("jobs_limit"), "jobs_limit", JOBS_LIMIT)),
            http_prefix=str(settings.get("http_prefix") or ""),
            log_level=str(first(env.get("LOG_LEVEL"), settings.get("log_level"), "INFO")),
            json_logs=truth(first(env.get("JSON_LOGS"), settings.get("json_logs")), "JSON_LOGS"),
            events_from=str(first(settings.get("events_from"), "$")),
            stop_timeout=number(settings.get("stop_timeout"), "stop_timeout", STOP_TIMEOUT),
            dead_letters_max=int(number(of("dead_letters_max"), "dead_letters_max", MAX_ENTRIES)),
            dead_letters_max_mb=int(number(of("dead_letters_max_mb"), "dead_letters_max_mb", MAX_MB)),
            allowed_hosts=_read_hosts(of("allowed_hosts"), problems),
            allowed_origins=_read_origins(of("allowed_origins"), problems),
        )
        try:
            RedisAddress.parse(read.redis_dsn)
        except SettingsError as error:
            problems.append(str(error))
        wanted = env.get("BAND_SERVICE")
        if wanted and wanted != read.name:
            problems.append(
                f"config.yaml says `name: {read.name}`, but the director runs this folder as {wanted!r}; "
                f"write `name: {wanted}` there, or rename the folder"
            )
        if ":" in read.name or not read.name.strip():
            problems.append(f"name={read.name!r} cannot be a service's name: it must be a text without ':'")
        if problems:
            raise SettingsError("The settings cannot be used: " + "; ".join(problems))
        return read


def _read_listen(listen: Any, env: Mapping[str, str], problems: list[str]) -> tuple[str, int]:
    host, port = env.get("HOST") or DEFAULT_HOST, env.get("PORT") or str(DEFAULT_PORT)
    if isinstance(listen, str) and listen:
        given_host, _, given_port = listen.rpartition(":")
        host, port = given_host or host, given_port or port
    if not port.isdigit() or int(port) > 65535:
        problems.append(f"port {port!r} is not a number from 0 to 65535; check PORT and `listen`")
        return host, DEFAULT_PORT
    return host, int(port)


def _read_words(value: Any, name: str, problems: list[str]) -> list[str]:
    if value is None or isinstance(value, str | list):
        return words(value)
    problems.append(f"{name}={value!r} is neither a text nor a list")
    return []


def _read_hosts(value: Any, problems: list[str]) -> frozenset[str]:
    wanted = _read_words(value, "allowed_hosts", problems)
    problems += [f"allowed_hosts has {name!r}, which is no host name" for name in wanted if not hostname(name)]
    return frozenset(wanted)


def _read_origins(value: Any, problems: list[str]) -> frozenset[str]:
    wanted = [origin.lower().rstrip("/") for origin in _read_words(value, "allowed_origins", problems)]
    problems += [
        f"allowed_origins has {origin!r}; write https://app.example, or * for every site"
        for origin in wanted
        if not is_origin(origin)
    ]
    return frozenset(wanted)
