"""The desired state of services: specs, limits, configs, and their checks."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

import msgspec

from band import DecodingError
from band.platform import decode
from director.errors import Conflict, InvalidValue, shown_key
from director.state.store import RedisHash, Store, pairs
from director.validation import ENV_KEY_PATTERN, MEMORY_PATTERN, NAME_PATTERN, POS_PATTERN, REDIS_KEY_PATTERN

ENV_VALUE_LENGTH = 100_000
MAX_ENV_KEYS = 1000
MAX_ENV_CHARACTERS = 256 * 1024
"""Names and values of a service together. Names are a label of its container: 200,000 stopped the director for good,
because each list of the containers and each event of Docker has them."""
"""Characters of one value; Linux starts no program with a longer one than 128 KiB."""
VOLUME_PATTERN = r"[a-z0-9][a-z0-9_.]{0,62}"
"""No dash: with one, `my` + `svc-data` and `my-svc` + `data` would be one volume."""
FIRST_PORT = 1024
"""The first host port that an image folder may ask for."""
_SYSTEM_FOLDERS = frozenset({"/bin", "/dev", "/etc", "/lib", "/lib64", "/proc", "/sbin", "/sys", "/tmp", "/usr"})  # noqa: S108
_KERNEL_FOLDERS = ("/dev/", "/proc/", "/sys/")
RESERVED = frozenset({"base", "base_original", "base_ts", "base_ts_build", "director", "redis", "enrich", "broadcast"})
"""Names that are not services: images of the platform itself, and channels of the wire."""
OWN_ENV = frozenset(
    {
        "HOST", "PORT", "NAME", "BAND_SERVICE", "BAND_CONTAINER", "BAND_GRANTS", "BAND_MASKED", "BAND_URL",
        "REDIS_DSN",
    }
)  # fmt: skip
"""Environment variables that only the director sets; LOG_LEVEL and JSON_LOGS may differ by service."""

Name = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN, description="name of a service or image folder")]
Pos = Annotated[str, msgspec.Meta(pattern=POS_PATTERN, description="place on the dashboard's grid, column x row")]
Memory = Annotated[str, msgspec.Meta(pattern=MEMORY_PATTERN, description="bytes, or with a suffix k, m, g")]
RedisKey = Annotated[
    str, msgspec.Meta(pattern=REDIS_KEY_PATTERN, description="name of a Redis key, or a prefix and a *")
]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
StopTimeout = Annotated[float, msgspec.Meta(ge=0, le=600)]
SMALLEST_MEMORY, LARGEST_MEMORY = 6 * 1024**2, 10**6 * 1024**3
SMALLEST_CPUS = 0.01
_UNITS = {"b": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


Document = dict[str, Any]


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a service may use; None means the director's default."""

    memory: Memory | None = None
    cpus: Annotated[float, msgspec.Meta(ge=0.01, le=1024)] | None = None
    pids: Annotated[int, msgspec.Meta(ge=4, le=1_000_000)] | None = None


PYTHON_CHECK = ("python", "-m", "band", "check")
TYPESCRIPT_CHECK = ("rockme", "check")
"""The frameworks' own health checks: they ask the service for its status."""


class HealthCheck(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Docker's health check of a service, durations in seconds."""

    interval: Annotated[float, msgspec.Meta(ge=0.5, le=86_400)] = 30.0
    timeout: Annotated[float, msgspec.Meta(ge=0.1, le=86_400)] = 5.0
    retries: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 3
    start_period: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 20.0
    command: list[str] = msgspec.field(default_factory=lambda: [*PYTHON_CHECK])


class Spec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything that shapes a container; two equal specs give equal containers.

    `platform` is a hash over the platform settings (the DSN of Redis …). `redis_keys` are Redis keys that it may use
    besides its own (see `director.redis.users`); None: it was deployed before there were users.
    """

    name: Name
    image: str
    env: dict[str, str] = {}
    secrets: tuple[str, ...] = ()
    ports: dict[str, Port] = {}
    volumes: dict[str, str] = {}
    limits: Limits = Limits()
    health: HealthCheck | None = None
    read_only: bool = True
    user: str | None = None
    network: str
    stop_timeout: StopTimeout = 10.0
    auto_remove: bool = False
    redis_keys: tuple[str, ...] | None = None
    platform: str = ""

    def hash(self) -> str:
        """Return 16 hex digits that change whenever the container would."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()[:16]


def check_name(name: str) -> str:
    """Return `name`; raise InvalidValue if it is not valid in a path or a tag."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise InvalidValue(
            f"{name[:80]!r} is not a valid service name", "names are a-z, 0-9, _ and -, beginning with a letter"
        )
    return name


def memory_bytes(text: str) -> int:
    """Return `350m`, `1.5g` or `1048576` in bytes."""
    number, unit = (text[:-1], text[-1].lower()) if text[-1:].lower() in _UNITS else (text, "b")
    return int(float(number) * _UNITS[unit])


def check_confined(spec: Spec) -> Spec:
    """Return `spec`; raise InvalidValue if it could escape from its container.

    The desired state is read from Redis, where every service can write: a forged document must not lead to the host.
    """
    if spec.name in RESERVED:
        raise InvalidValue(f"{spec.name} is reserved for the platform", "give it another name")
    if spec.network == "host" or ":" in spec.network:  # "container:…" and "ns:…" belong to others
        raise InvalidValue(f"{spec.name}: network {spec.network!r} is not one of the platform's", "set BAND_NETWORK")
    for volume, path in spec.volumes.items():
        check_volume(spec.name, volume, path)
    for port in spec.ports:
        check_port(spec.name, port)
    return spec


def check_port(service: str, port: str, taken: Collection[int] = ()) -> None:
    """Raise InvalidValue if a service may not have this fixed host port. `taken` are the platform's own."""
    if not (port.isascii() and port.isdigit()) or not 1 <= int(port) <= 65535:
        raise InvalidValue(f"{service}: {port[:20]!r} is not a host port", 'write ports: {"10001": 8080}')
    if int(port) < FIRST_PORT:
        what = f"{service}: host port {port} is reserved for the host's own services, as are all below {FIRST_PORT}"
        raise InvalidValue(what, "choose a higher one; a proxy in front of it can listen on 80 and 443 (docs/tls.md)")
    if int(port) in taken:
        raise InvalidValue(f"{service}: host port {port} is the director's own", "choose another one")


def check_volume(service: str, volume: str, path: str) -> None:
    """Raise InvalidValue unless a volume is a named one, mounted at a plain path."""
    plain = path.startswith("/") and ".." not in path.split("/") and path.strip("/") and path.isprintable()
    if not re.fullmatch(VOLUME_PATTERN, volume) or not plain or ":" in path or "," in path:
        # A path of the host, or of the Docker socket, would hand the host over to whoever writes image folders.
        raise InvalidValue(
            f"{service}: volume {volume[:80]!r}: {path[:80]!r} is not a named volume",
            "write volumes: {data: /data}; names consist of a-z, 0-9, _ and .",
        )
    place = posixpath.normpath("/" + path.strip("/"))
    if place in _SYSTEM_FOLDERS or place.startswith(_KERNEL_FOLDERS):
        what = f"{service}: a volume cannot be mounted at {path[:80]!r}: the system itself needs that folder"
        raise InvalidValue(what, "write volumes: {data: /data}")


def check_limits(limits: Limits) -> Limits:
    """Return `limits`; raise InvalidValue if Docker would refuse them."""
    if limits.memory is not None and not SMALLEST_MEMORY <= memory_bytes(limits.memory) <= LARGEST_MEMORY:
        raise InvalidValue(
            f"limits.memory: {limits.memory} is out of range",
            "give 6m (Docker's minimum) to 1000000g; services here need about 60m",
        )
    if limits.cpus is not None and limits.cpus < SMALLEST_CPUS:
        raise InvalidValue(f"limits.cpus: {limits.cpus} is out of range", f"give at least {SMALLEST_CPUS}")
    return limits


def check_env(env: dict[str, Any]) -> dict[str, str]:
    """Return an env object with string values; raise InvalidValue for a bad key or a value that is not a scalar."""
    result = {}
    for key, value in env.items():
        if not re.fullmatch(ENV_KEY_PATTERN, key):
            raise InvalidValue(
                f"env key {shown_key(key)} is not a valid name for an environment variable", "use letters, digits and _"
            )
        if key in OWN_ENV:
            raise InvalidValue(
                f"env key {key} is set by the director", f"leave {', '.join(sorted(OWN_ENV))} out of env"
            )
        if isinstance(value, bool):
            result[key] = "true" if value else "false"
        elif isinstance(value, str | int | float):
            result[key] = str(value)
        else:
            raise InvalidValue(
                f"env key {key} has a value that is not a string or a number", "give a string, a number or true/false"
            )
        if len(result[key]) > ENV_VALUE_LENGTH:
            raise InvalidValue(
                f"env key {key} has a value of {len(result[key])} characters",
                f"give at most {ENV_VALUE_LENGTH}; put larger data into a volume or an image",
            )
        if "\x00" in result[key]:
            raise InvalidValue(f"env key {key} contains a NUL character", "an environment variable cannot contain it")
    size = sum(len(key) + len(value) for key, value in result.items())
    if len(result) > MAX_ENV_KEYS or size > MAX_ENV_CHARACTERS:
        raise InvalidValue(
            f"env has {len(result)} variables of {size} characters",
            f"give at most {MAX_ENV_KEYS} of {MAX_ENV_CHARACTERS} characters together; put larger data into a volume",
        )
    return result


State = Literal["running", "stopped", "removed"]


class DesiredService(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The desired state of one service. `removed` is kept only until its containers are gone.

    `watch`: seconds for which a new release is watched, None for the director's own setting.
    """

    spec: Spec
    state: State = "running"
    title: str = ""
    pos: str | None = None
    since: float = 0.0
    watch: float | None = None


class Desired(RedisHash[DesiredService]):
    """The hash `<namespace>:director:desired`; `loaded` is False until Redis has been read once."""

    def __init__(self, store: Store, namespace: str) -> None:
        super().__init__(store, f"{namespace}:director:desired", DesiredService, _is_valid)

    async def put(self, wanted: DesiredService) -> None:
        """Store the desired state of a service."""
        await self.write(wanted.spec.name, wanted)

    def stopped(self) -> frozenset[str]:
        """Return the services that should not run."""
        return frozenset(name for name, wanted in self.all().items() if wanted.state != "running")


def _is_valid(name: str, wanted: DesiredService) -> bool:
    return wanted.spec.name == name and name not in RESERVED


class Configs:
    """The hash `<namespace>:director:configs`."""

    def __init__(self, store: Store, namespace: str) -> None:
        self._store = store
        self._key = f"{namespace}:director:configs"

    async def names(self) -> list[str]:
        return sorted(name for name, _ in pairs(await self._store.command("HGETALL", self._key)))

    async def get(self, name: str) -> Document:
        """Return the config of a service.

        Raises:
            Conflict: the stored config cannot be read; without it, something else would run.
        """
        raw = await self._store.command("HGET", self._key, name)
        try:
            return decode(raw, dict[str, Any]) if raw else {}
        except DecodingError as error:
            raise Conflict(
                f"the stored config of {name!r} cannot be read: {error}",
                f"GET /rm/{name} removes the service with its config; then run it with the env that it needs",
                service=name,
            ) from error

    async def put(self, name: str, document: Mapping[str, Any]) -> None:
        """Store the config of a service; an empty one is removed."""
        if document:
            await self._store.command("HSET", self._key, name, msgspec.json.encode(document))
        else:
            await self._store.command("HDEL", self._key, name)
