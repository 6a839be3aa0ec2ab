"""The director's settings: one frozen object read once from the environment, all mistakes reported together."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from band.config import parse_bool
from band.errors import SettingsError
from band.redis import RedisAddress, dsn_from_env
from band.typed_settings import load
from director.errors import ConfigError
from director.validation import IN_WORDS, MEMORY_PATTERN, NAMESPACE_PATTERN

OF_SERVICES = frozenset({"BAND_SERVICE", "BAND_CONTAINER"})
"""Variables that containers of services get, and a director that runs as one may have."""
NEAR = 0.8
"""How alike an unknown variable and a setting are, from which on it is taken for a misspelt one."""
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
    """What the director was told. Durations in seconds, `prune_age` in days, `no_events_minutes` in minutes."""

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=1, le=99_999)] = 10000
    redis_dsn: str
    service_redis_dsn: str
    redis_users: bool = False
    band_url: str | None = None
    images: Path | None = None
    builtin_images: Path | None = None
    service_src: Path | None = None
    namespace: str = "rockstat"
    network: str | None = None
    ports: tuple[int, int] = (8900, 8999)
    base_image: str = "rockstat/band-base-py:latest"
    token: str | None = None
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
    webhook_url: str | None = None
    no_events_minutes: AmountOrNever = 0.0
    prune_age: AmountOrNever = 14.0
    prune_disk: AmountOrNever = 85.0
    log_level: str = "INFO"
    json_logs: str = ""
    unknown: tuple[str, ...] = ()
    """Variables with the prefix BAND_ that are no setting, nor nearly one."""

    def __repr__(self) -> str:
        """Show no secret."""
        return f"DirectorSettings(namespace={self.namespace!r}, host={self.host!r}, port={self.port})"

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with values that are texts of a form."""
        for name, pattern in (("namespace", NAMESPACE_PATTERN), ("memory", MEMORY_PATTERN)):
            value = getattr(self, name)
            if not re.fullmatch(pattern, value):
                yield f"{_variable(name)}={value} is not {IN_WORDS[pattern]}"

    @classmethod
    def read(cls, env: Mapping[str, str]) -> DirectorSettings:
        """Read the environment.

        Raises:
            ConfigError: one or more variables are wrong; the message names them all.
        """
        reader = _Reader(env)
        home = builtin_home(Path(__file__))
        dsn = reader.redis_dsn()
        given: dict[str, Any] = {
            "redis_dsn": dsn,
            "service_redis_dsn": reader.text("BAND_SERVICE_REDIS_DSN") or dsn,
            "redis_users": reader.redis_users(dsn),
            "images": reader.path("BAND_IMAGES"),
            "builtin_images": home / "band_images" if home else None,
            "service_src": reader.path("BAND_SERVICE_SRC") or (home / "service_src" if home else None),
            "ports": reader.port_range("BAND_PORTS", (8900, 8999)),
            "token": reader.secret("BAND_TOKEN"),
            "allowed_hosts": frozenset((reader.text("BAND_ALLOWED_HOSTS") or "").replace(",", " ").lower().split()),
            "webhook_url": reader.url("BAND_WEBHOOK_URL"),
            "unknown": reader.unknown({field.encode_name for field in msgspec.structs.fields(cls)}),
        }
        try:
            return load(cls, env, problems=reader.problems, **given)
        except SettingsError as error:
            raise ConfigError(str(error)) from error


def builtin_home(package: Path) -> Path | None:
    """Return the folder that holds `band_images` and `service_src`: the repository of a checkout, else the image's."""
    candidates: Iterable[Path] = [*package.parents, Path("/usr/share/rockstat")]
    return next(
        (home for home in candidates if (home / "band_images").is_dir() and (home / "service_src").is_dir()), None
    )


class _Reader:
    """Reads variables one by one and collects what is wrong with them."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self.problems: list[str] = []
        self._read: set[str] = set()

    def unknown(self, fields: set[str]) -> tuple[str, ...]:
        """Return the variables with our prefix that are no setting; one that is nearly a setting is a problem."""
        known = self._read | fields
        strange = sorted(key for key in self._env if key.startswith("BAND_") and key not in known | OF_SERVICES)
        near = {key: difflib.get_close_matches(key, sorted(known), 1, NEAR) for key in strange}
        self.problems += [f"{key} is not a setting; did you mean {found[0]}?" for key, found in near.items() if found]
        return tuple(key for key, found in near.items() if not found)

    def text(self, key: str) -> str | None:
        self._read.add(key)
        return (self._env.get(key) or "").strip() or None

    def path(self, key: str) -> Path | None:
        value = self.text(key)
        if value is None:
            return None
        if not Path(value).is_dir():
            self.problems.append(f"{key}={value} is not a folder")
        return Path(value)

    def port_range(self, key: str, default: tuple[int, int]) -> tuple[int, int]:
        value = self.text(key)
        if value is None:
            return default
        match = re.fullmatch(r"(\d{1,5})-(\d{1,5})", value)
        if match is None or not 1 <= int(match[1]) <= int(match[2]) <= 65535:
            self.problems.append(f"{key}={value} is not a range such as 8900-8999")
            return default
        return int(match[1]), int(match[2])

    def secret(self, key: str) -> str | None:
        """Read a secret from the variable or from the file that `<key>_FILE` names."""
        file, value = self.text(f"{key}_FILE"), self.text(key)
        if file is None:
            return value
        try:
            return Path(file).read_text(encoding="utf-8").strip() or None
        except OSError as error:
            self.problems.append(f"{key}_FILE={file} cannot be read: {error.strerror}")
            return None

    def url(self, key: str) -> str | None:
        """Read a secret that is an http(s) address; it stands in no error."""
        value = self.secret(key)
        if value is not None and not value.startswith(("http://", "https://")):
            self.problems.append(f"{key} is not an http or https address")
        return value

    def redis_users(self, dsn: str) -> bool:
        """Read whether services get users of their own; then the director has to be a named user itself."""
        value = self.text("BAND_REDIS_USERS")
        try:
            wanted = value is not None and parse_bool(value)
        except ValueError as error:
            self.problems.append(f"BAND_REDIS_USERS={value} {error}")
            return False
        if wanted and dsn and not (RedisAddress.parse(dsn).username and RedisAddress.parse(dsn).password):
            self.problems.append(
                "BAND_REDIS_USERS needs REDIS_USER and REDIS_PASSWORD or REDIS_PASSWORD_FILE: a user of Redis that may "
                "make others (docs/director.md, Redis users)"
            )
        return wanted

    def redis_dsn(self) -> str:
        try:
            dsn = dsn_from_env(self._env)
            RedisAddress.parse(dsn)
        except SettingsError as error:
            self.problems.append(str(error))
            return ""
        return dsn
