"""The director's settings: one frozen object read once from the environment, all mistakes reported together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from band import Secret, SettingsError
from band.platform import RedisAddress, dsn_from_env, is_link, load_settings, not_a_setting, unknown_keys
from director.errors import ConfigError
from director.validation import IN_WORDS, MEMORY_PATTERN, NAMESPACE_PATTERN

OF_SERVICES = frozenset({"BAND_SERVICE", "BAND_CONTAINER", "BAND_GRANTS", "BAND_MASKED"})
"""Variables that containers of services get, and a director that runs as one may have."""
_NAMES = {
    "band_url": "BAND_URL", "host": "HOST", "port": "PORT", "docker_url": "DOCKER_HOST",
    "log_level": "LOG_LEVEL", "json_logs": "JSON_LOGS",
}  # fmt: skip
"""Variables that are not called `BAND_` and the name of the setting."""
Amount = Annotated[float, msgspec.Meta(ge=1e-9, le=99_999)]
AmountOrNever = Annotated[float, msgspec.Meta(ge=0, le=99_999)]
Count = Annotated[int, msgspec.Meta(ge=1, le=99_999)]


def _variable(field: str) -> str:
    return _NAMES.get(field, f"BAND_{field.upper()}")


class DirectorSettings(msgspec.Struct, frozen=True, kw_only=True, rename=_variable):
    """The director's settings. Durations in seconds, `prune_age` in days, `no_events_minutes` in minutes."""

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=1, le=99_999)] = 10000
    redis_dsn: Secret
    service_redis_dsn: Secret
    redis_users: bool = False
    redis_anonymous: bool = False
    band_url: str | None = None
    images: Path | None = None
    builtin_images: Path | None = None
    service_src: Path | None = None
    namespace: str = "rockstat"
    network: str | None = None
    ports: tuple[int, int]
    front_port: Annotated[int, msgspec.Meta(ge=1, le=65535)] | None = None
    """Host port of front; None: that of its band.yml."""
    base_image: str = "rockstat/band-base-py:latest"
    base_ts_image: str = ""
    rootfs_image: str = "rockstat/rootfs:trixie"
    npm_registry: str = ""
    token: Secret | None = None
    allowed_hosts: frozenset[str] = frozenset()
    memory: str = "350m"
    docker_url: str | None = None
    build_timeout: Amount = 900.0
    ready_timeout: Amount = 60.0
    keep_releases: Count = 5
    watch: AmountOrNever = 60.0
    renew_after: AmountOrNever = 600.0
    crashes: Count = 5
    crash_window: Amount = 300.0
    crash_cooldown: AmountOrNever = 1800.0
    port_check: AmountOrNever = 60.0
    webhook_url: Secret | None = None
    no_events_minutes: AmountOrNever = 0.0
    prune_age: AmountOrNever = 14.0
    prune_disk: AmountOrNever = 85.0
    log_level: str = "INFO"
    json_logs: str = ""
    unknown: tuple[str, ...] = ()
    """Variables with the prefix BAND_ that are no setting, nor nearly one."""

    def problems(self) -> Iterator[str]:
        """Yield the problems of values that have the right type."""
        for name, pattern in (("namespace", NAMESPACE_PATTERN), ("memory", MEMORY_PATTERN)):
            value = getattr(self, name)
            if not re.fullmatch(pattern, value):
                yield f"{_variable(name)}={value} is not {IN_WORDS[pattern]}"
        for name in ("images", "service_src"):
            folder = getattr(self, name)
            if folder is not None and not folder.is_dir():
                yield f"{_variable(name)}={folder} is not a folder"
        if self.npm_registry and not re.fullmatch(r"https?://[^\s@]+", self.npm_registry):
            yield "BAND_NPM_REGISTRY is not an http or https URL without a user and password: it ends up in images"
        if self.webhook_url and not self.webhook_url.reveal().startswith(("http://", "https://")):
            yield "BAND_WEBHOOK_URL is not an http or https URL"
        dsn = self.redis_dsn.reveal()
        if self.redis_users and dsn and not (RedisAddress.parse(dsn).username and RedisAddress.parse(dsn).password):
            yield (
                "BAND_REDIS_USERS needs REDIS_USER and REDIS_PASSWORD or REDIS_PASSWORD_FILE: a Redis user that may "
                "create others (docs/director.md, Redis users)"
            )

        if self.redis_anonymous and not self.redis_users:
            yield "BAND_REDIS_ANONYMOUS needs BAND_REDIS_USERS (docs/director.md, Redis users)"

    @classmethod
    def read(cls, env: Mapping[str, str]) -> DirectorSettings:
        """Read the environment.

        Raises:
            ConfigError: one or more variables are wrong; the message names them all.
        """
        strange = _unknown(cls, env)
        problems = [not_a_setting(key, near) for key, near in strange.items() if near]
        home, dsn = builtin_home(Path(__file__)), _redis_dsn(env, problems)
        given: dict[str, Any] = {
            "redis_dsn": Secret(dsn),
            "service_redis_dsn": Secret(env.get("BAND_SERVICE_REDIS_DSN") or dsn),
            "builtin_images": home / "band_images" if home else None,
            "ports": _port_range(env, problems),
            "unknown": tuple(key for key, near in strange.items() if not near),
        }
        if home and not env.get("BAND_SERVICE_SRC"):
            given["service_src"] = home / "service_src"
        try:
            return load_settings(cls, env, problems=problems, **given)
        except SettingsError as error:
            raise ConfigError(str(error)) from error


def _unknown(kind: type[DirectorSettings], env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with our prefix that are no setting, and what each may mean; other programs use it too."""
    known = {field.encode_name for field in msgspec.structs.fields(kind)} | OF_SERVICES
    known |= {"BAND_TOKEN_FILE", "BAND_WEBHOOK_URL_FILE"}
    ours = (key for key, value in env.items() if key.startswith("BAND_") and not is_link(key, value))
    return unknown_keys(ours, known)


def _port_range(env: Mapping[str, str], problems: list[str]) -> tuple[int, int]:
    value = env.get("BAND_PORTS", "").strip() or "8900-8999"
    match = re.fullmatch(r"(\d{1,5})-(\d{1,5})", value)
    if match is None or not 1 <= int(match[1]) <= int(match[2]) <= 65535:
        problems.append(f"BAND_PORTS={value} is not a range such as 8900-8999")
        return 8900, 8999
    return int(match[1]), int(match[2])


def _redis_dsn(env: Mapping[str, str], problems: list[str]) -> str:
    try:
        dsn = dsn_from_env(env)
        RedisAddress.parse(dsn)
    except SettingsError as error:
        problems.append(str(error))
        return ""
    return dsn


def builtin_home(package: Path) -> Path | None:
    """Return the folder with `band_images` and `service_src`: that of a checkout, else the image's."""
    candidates: Iterable[Path] = [*package.parents, Path("/usr/share/rockstat")]
    return next(
        (home for home in candidates if (home / "band_images").is_dir() and (home / "service_src").is_dir()), None
    )
