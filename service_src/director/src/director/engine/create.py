"""A pure function from a service's spec to the configuration that the Docker Engine gets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from director.engine.interface import (
    LABEL_CONFIG,
    LABEL_KIND,
    LABEL_MANAGED,
    LABEL_NAMESPACE,
    LABEL_POS,
    LABEL_SERVICE,
    LABEL_SPEC,
    LABEL_TITLE,
    Container,
)
from director.state.spec import HealthCheck, Spec, check_confined, memory_bytes

SERVICE_PORT = 8080
DEFAULT_PIDS = 256
LABEL_ENV_KEYS = "band.env_keys"


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """What the director adds to a spec: `ports` are host → container, `env` is what every service gets."""

    namespace: str
    ports: Mapping[int, int]
    env: Mapping[str, str]
    memory: str
    title: str = ""
    pos: str | None = None
    address: str = "127.0.0.1"


def container_config(spec: Spec, placement: Placement) -> dict[str, Any]:
    """Return the body of Docker's `POST /containers/create`.

    Raises:
        InvalidValue: the spec would reach out of its container.
    """
    check_confined(spec)
    exposed: dict[str, dict[str, str]] = {f"{inside}/tcp": {} for inside in placement.ports.values()}
    return {
        "Image": spec.image,
        "Hostname": spec.name,
        "Env": [f"{key}={value}" for key, value in sorted({**placement.env, **spec.env}.items())],
        "Labels": _labels(spec, placement),
        "ExposedPorts": exposed,
        "StopTimeout": int(spec.stop_timeout),
        **({"User": spec.user} if spec.user else {}),
        **({"Healthcheck": _health(spec.health)} if spec.health else {}),
        "HostConfig": _host_config(spec, placement),
        "NetworkingConfig": {"EndpointsConfig": {spec.network: {"Aliases": [spec.name]}}},
    }


def _host_config(spec: Spec, placement: Placement) -> dict[str, Any]:
    memory = memory_bytes(spec.limits.memory or placement.memory)
    bindings: dict[str, list[dict[str, str]]] = {}
    for outside, inside in placement.ports.items():
        bindings.setdefault(f"{inside}/tcp", []).append({"HostIp": placement.address, "HostPort": str(outside)})
    return {
        "AutoRemove": spec.auto_remove,
        # Until it has proved itself: a restart would wipe the exit code, and nobody wants a bad release to spin.
        "RestartPolicy": {"Name": "no"},
        "Init": True,  # reaps children, and SIGTERM works before the service has a handler for it
        "NetworkMode": spec.network,
        "PortBindings": bindings,
        "Mounts": [_mount(spec, placement, volume, path) for volume, path in sorted(spec.volumes.items())],
        "Memory": memory,
        "MemorySwap": memory,  # no swap: a service that outgrows its limit is ended, and does not slow the host
        "NanoCpus": int((spec.limits.cpus or 0) * 1e9),
        "PidsLimit": spec.limits.pids or DEFAULT_PIDS,
        "ReadonlyRootfs": spec.read_only,
        "Tmpfs": {"/tmp": "rw,nosuid,nodev,size=64m,mode=1777"},  # noqa: S108 - inside the container
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
    }


def _mount(spec: Spec, placement: Placement, volume: str, path: str) -> dict[str, Any]:
    labels = {LABEL_MANAGED: "true", LABEL_NAMESPACE: placement.namespace, LABEL_SERVICE: spec.name}
    # The engine makes the volume with these labels when it is not there, so that uninstall and backup know whose it is.
    return {
        "Type": "volume",
        "Source": f"{placement.namespace}-{spec.name}-{volume}",
        "Target": path,
        "VolumeOptions": {"Labels": labels},
    }


def _labels(spec: Spec, placement: Placement) -> dict[str, str]:
    # The spec without its env: labels are readable by everyone who can list containers.
    public = msgspec.structs.replace(spec, env={})
    return {
        LABEL_MANAGED: "true",
        LABEL_NAMESPACE: placement.namespace,
        LABEL_SERVICE: spec.name,
        LABEL_KIND: "service",
        LABEL_CONFIG: spec.hash(),
        LABEL_SPEC: msgspec.json.encode(public).decode(),
        LABEL_TITLE: placement.title,
        LABEL_POS: placement.pos or "",
        LABEL_ENV_KEYS: ",".join(sorted(spec.env)),
    }


def spec_of(container: Container) -> Spec | None:
    """Return the spec that a container was made from, out of its labels and environment; None when it has none."""
    raw = container.labels.get(LABEL_SPEC)
    if not raw:
        return None
    try:
        public = msgspec.json.decode(raw, type=Spec)
    except msgspec.DecodeError:
        return None
    keys = [key for key in container.labels.get(LABEL_ENV_KEYS, "").split(",") if key]
    return msgspec.structs.replace(public, env={key: container.env.get(key, "") for key in keys})


def _health(check: HealthCheck) -> dict[str, Any]:
    return {
        "Test": ["CMD", *check.command],
        "Interval": _nanoseconds(check.interval),
        "Timeout": _nanoseconds(check.timeout),
        "Retries": check.retries,
        "StartPeriod": _nanoseconds(check.start_period),
    }


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
