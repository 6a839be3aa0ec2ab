"""Docker's JSON: what the engine gets for a service, and what it says, as values of the director. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
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
    Event,
    ImageInfo,
    Sample,
)
from director.state.desired import HealthCheck, Spec, check_confined, memory_bytes

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
    """Return the body of `POST /containers/create`; raises InvalidValue for a spec that is not confined."""
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
        **({"Healthcheck": _health_check(spec.health)} if spec.health else {}),
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
        # Until it is ready: a restart would erase the exit code, and a bad release would restart endlessly.
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
    """Return the spec of a container from its labels and environment; None if it has none."""
    raw = container.labels.get(LABEL_SPEC)
    if not raw:
        return None
    try:
        public = msgspec.json.decode(raw, type=Spec)
    except msgspec.DecodeError:
        return None
    keys = [key for key in container.labels.get(LABEL_ENV_KEYS, "").split(",") if key]
    return msgspec.structs.replace(public, env={key: container.env.get(key, "") for key in keys})


def _health_check(check: HealthCheck) -> dict[str, Any]:
    return {
        "Test": ["CMD", *check.command],
        "Interval": _nanoseconds(check.interval),
        "Timeout": _nanoseconds(check.timeout),
        "Retries": check.retries,
        "StartPeriod": _nanoseconds(check.start_period),
    }


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)


_NEVER = "0001-01-01"
_NETWORKLESS = {"default", "bridge", "host", "none"}


def timestamp(text: str | int | None) -> float:
    """Return Docker's time (`2026-11-23T22:29:52.123456789Z`) as seconds since 1970; 0 for never."""
    if isinstance(text, int):
        return float(text)
    if not text or text.startswith(_NEVER):
        return 0.0
    text = re.sub(r"\.(\d{1,6})\d*", r".\1", text)  # nanoseconds are more than Python reads
    return datetime.fromisoformat(text).timestamp()


def made_by_director(labels: Mapping[str, str] | None) -> bool:
    """Return whether a container has its own labels: with `docker run` of a service's image it inherits the image's.

    Core containers (Redis, the director) have their own from Ansible; no image has their namespace.
    """
    labels = labels or {}
    return bool(labels.get(LABEL_CONFIG)) or labels.get(LABEL_KIND) == "core"


def observed(details: Mapping[str, Any]) -> Container:
    """Return a container from `GET /containers/<id>/json`."""
    state, config, host = details["State"], details["Config"], details["HostConfig"]
    labels: dict[str, str] = config.get("Labels") or {}
    return Container(
        id=details["Id"],
        name=details["Name"].lstrip("/"),
        service=labels.get(LABEL_SERVICE) or details["Name"].lstrip("/"),
        kind="core" if labels.get(LABEL_KIND) == "core" else "service",
        state=state["Status"],
        config=labels.get(LABEL_CONFIG, ""),
        image=config.get("Image", ""),
        created_at=timestamp(details.get("Created")),
        started_at=timestamp(state.get("StartedAt")),
        finished_at=timestamp(state.get("FinishedAt")),
        exit_code=int(state.get("ExitCode") or 0),
        oom_killed=bool(state.get("OOMKilled")),
        restarts=int(details.get("RestartCount") or 0),
        health=_health(state),
        restart_policy=str((host.get("RestartPolicy") or {}).get("Name") or "no"),
        ports=published_ports(host.get("PortBindings") or {}),
        open_ports=_open_ports(host.get("PortBindings") or {}),
        labels=labels,
        env=dict(item.partition("=")[::2] for item in config.get("Env") or []),
        auto_remove=bool(host.get("AutoRemove")),
        stop_timeout=float(config.get("StopTimeout") or 10),
        cut_off_from=cut_off_from(details),
    )


def cut_off_from(details: Mapping[str, Any]) -> str:
    """Return the network that a container was made for and is not connected to; empty if there is none.

    Reads both `GET /containers/<id>/json` and a row of the listing.
    """
    mode = str((details.get("HostConfig") or {}).get("NetworkMode") or "default")
    networks = (details.get("NetworkSettings") or {}).get("Networks")
    if networks is None or mode in _NETWORKLESS or mode.startswith("container:"):
        return ""
    ids = [str((network or {}).get("NetworkID") or "") for network in networks.values()]
    return "" if mode in networks or any(known.startswith(mode) for known in ids) else mode


def image_info(details: Mapping[str, Any]) -> ImageInfo:
    """Return an image from `GET /images/<name>/json` or a row of `GET /images/json`."""
    labels = (details.get("Config") or {}).get("Labels") or details.get("Labels") or {}
    return ImageInfo(
        id=details["Id"],
        tags=[tag for tag in details.get("RepoTags") or [] if tag != "<none>:<none>"],
        labels=labels,
        size=int(details.get("Size") or 0),
        shared=max(0, int(details.get("SharedSize") or 0)),  # -1: not found out
        created=timestamp(details.get("Created")),
    )


def usage_sample(details: Mapping[str, Any]) -> Sample | None:
    """Return a container's usage from `GET /containers/<id>/stats`; None if it does not run.

    Memory excludes the page cache that the kernel reclaims first, as in `docker stats`. The cache is called
    `total_inactive_file` in cgroup v1 and `inactive_file` in v2.
    """
    memory = details.get("memory_stats") or {}
    used = memory.get("usage")
    cpu = ((details.get("cpu_stats") or {}).get("cpu_usage") or {}).get("total_usage")
    if not isinstance(used, int) or not isinstance(cpu, int):
        return None
    facts = memory.get("stats") or {}
    cache = int(facts.get("total_inactive_file", facts.get("inactive_file", 0)))
    return Sample(
        at=timestamp(details.get("read")),
        cpu_seconds=cpu / 1e9,
        memory=used - cache if cache < used else used,
        memory_limit=memory.get("limit"),
    )


def event_of(data: Mapping[str, Any]) -> Event:
    """Return an event from a line of `GET /events`."""
    actor = data.get("Actor") or {}
    attributes = actor.get("Attributes") or {}
    code, signal = attributes.get("exitCode"), str(attributes.get("signal") or "")
    return Event(
        action=str(data.get("Action") or data.get("status") or ""),
        container=str(actor.get("ID") or data.get("id") or ""),
        service=str(attributes.get(LABEL_SERVICE) or ""),
        exit_code=int(code) if code is not None else None,
        time=float(data.get("timeNano", 0)) / 1e9 or float(data.get("time", 0)),
        signal=int(signal) if signal.isdigit() else None,
        name=str(attributes.get("name") or ""),
    )


def is_port_taken(message: str) -> bool:
    """Return whether Docker's error text means that a host port cannot be bound."""
    return "port is already allocated" in message or "address already in use" in message


def _health(state: Mapping[str, Any]) -> str:
    word = (state.get("Health") or {}).get("Status", "")
    return "" if word == "none" else str(word)


def published_ports(bindings: Mapping[str, Any]) -> dict[int, int]:
    """Return host port → container port from `HostConfig.PortBindings`."""
    return {port: inside for port, inside, _ in _published(bindings)}


def _open_ports(bindings: Mapping[str, Any]) -> dict[int, str]:
    """Return the ports that are published beyond loopback, with their address; an empty one means all."""
    found = ((port, address or "0.0.0.0") for port, _, address in _published(bindings))  # noqa: S104 - Docker's default
    return {port: address for port, address in found if not _is_loopback(address)}


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _published(bindings: Mapping[str, Any]) -> Iterator[tuple[int, int, str]]:
    """Yield host port, container port and host address of each published port."""
    for inside, group in bindings.items():
        for item in group or []:
            if str(item.get("HostPort") or "0").isdigit() and int(item.get("HostPort") or 0):
                yield int(item["HostPort"]), int(inside.split("/")[0]), str(item.get("HostIp") or "")
