"""Pure readers of what the Docker Engine answers."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from director.engine.interface import (
    LABEL_CONFIG,
    LABEL_KIND,
    LABEL_SERVICE,
    Container,
    Event,
    ImageInfo,
    OwnContainer,
    Sample,
)

_OWN_ID = re.compile(r"/containers/([0-9a-f]{64})/")
_NEVER = "0001-01-01"


def timestamp(text: str | int | None) -> float:
    """Return Docker's time (`2026-11-23T22:29:52.123456789Z`) as seconds since 1970; 0 for never."""
    if isinstance(text, int):
        return float(text)
    if not text or text.startswith(_NEVER):
        return 0.0
    text = re.sub(r"\.(\d{1,6})\d*", r".\1", text)  # nanoseconds are more than Python reads
    return datetime.fromisoformat(text).timestamp()


def made_by_director(labels: Mapping[str, str] | None) -> bool:
    """Whether a container's labels were given when it was made: `docker run` of a service's image brings the image's.

    Core containers (Redis, the director) have their own from Ansible; no image has their namespace.
    """
    labels = labels or {}
    return bool(labels.get(LABEL_CONFIG)) or labels.get(LABEL_KIND) == "core"


def observed(details: Mapping[str, Any]) -> Container:
    """Return a container out of `GET /containers/<id>/json`."""
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
        ports=_ports(host.get("PortBindings") or {}),
        open_ports=_open_ports(host.get("PortBindings") or {}),
        labels=labels,
        env=dict(item.partition("=")[::2] for item in config.get("Env") or []),
        auto_remove=bool(host.get("AutoRemove")),
        stop_timeout=float(config.get("StopTimeout") or 10),
    )


def image_info(details: Mapping[str, Any]) -> ImageInfo:
    """Return an image out of `GET /images/<name>/json` or one row of `GET /images/json`."""
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
    """Return what a container uses out of `GET /containers/<id>/stats`; None when it does not run.

    Memory is without the page cache that the kernel gives back first, as `docker stats` counts it: the cache has
    another name in cgroup v1 (`total_inactive_file`) than in v2 (`inactive_file`).
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
    """Return what happened, out of one line of `GET /events`."""
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


def own_container(details: Mapping[str, Any]) -> OwnContainer:
    """Return the director's own container out of `GET /containers/<id>/json`."""
    bindings = (details["HostConfig"].get("PortBindings") or {}).values()
    binds = [item for item in details.get("Mounts") or [] if item.get("Type") == "bind"]
    return OwnContainer(
        id=details["Id"],
        name=details["Name"].lstrip("/"),
        networks=tuple((details.get("NetworkSettings") or {}).get("Networks") or {}),
        published=tuple(str(item.get("HostIp") or "0.0.0.0") for group in bindings for item in group or []),  # noqa: S104
        host_network=details["HostConfig"].get("NetworkMode") == "host",
        image=str(details.get("Image") or ""),
        ports=tuple(_ports(details["HostConfig"].get("PortBindings") or {})),
        mounts={str(item["Destination"]): str(item["Source"]) for item in binds},
    )


def own_id(proc: Path = Path("/proc/self")) -> str | None:
    """Return the id of the container this process runs in; None on a host.

    Docker mounts /etc/hostname out of the container's own folder, so the mount table names it whatever `--hostname`.
    """
    try:
        mounts = (proc / "mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    for line in mounts.splitlines():
        fields = line.split()
        match = _OWN_ID.search(line)
        if match and len(fields) > 4 and fields[4] in {"/etc/hostname", "/etc/hosts", "/etc/resolv.conf"}:
            return match[1]
    return None


def own_gateways(proc: Path = Path("/proc/net")) -> frozenset[str]:
    """Return the gateways of this container, where connections to its published ports come from.

    Docker's user-space proxy, and the host's rules where there is none, connect from there. Read from the kernel: the
    default route moves while the container runs when it joins another network, and published ports with it.
    """
    routes = [line.split() for line in _lines(proc / "route")[1:]]
    found = [bytes.fromhex(row[2])[::-1] for row in routes if row[1] == row[7] == "00000000"]
    routes = [line.split() for line in _lines(proc / "ipv6_route")]
    found += [bytes.fromhex(row[4]) for row in routes if row[0] == "0" * 32 and row[1] == "00"]
    return frozenset(str(ipaddress.ip_address(gateway)) for gateway in found if any(gateway))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except OSError:  # the kernel has no IPv6
        return []


def is_port_taken(message: str) -> bool:
    """Tell whether Docker's error text means that a host port cannot be bound."""
    return "port is already allocated" in message or "address already in use" in message


def _health(state: Mapping[str, Any]) -> str:
    word = (state.get("Health") or {}).get("Status", "")
    return "" if word == "none" else str(word)


def _ports(bindings: Mapping[str, Any]) -> dict[int, int]:
    return {port: inside for port, inside, _ in _published(bindings)}


def _open_ports(bindings: Mapping[str, Any]) -> dict[int, str]:
    """Return the ports that are published beyond loopback, with their address; an empty one means all."""
    found = ((port, address or "0.0.0.0") for port, _, address in _published(bindings))  # noqa: S104 - Docker's default
    return {port: address for port, address in found if not ipaddress.ip_address(address).is_loopback}


def _published(bindings: Mapping[str, Any]) -> Iterator[tuple[int, int, str]]:
    """Yield host port, container port and host address of each published port."""
    for inside, group in bindings.items():
        for item in group or []:
            if str(item.get("HostPort") or "0").isdigit() and int(item.get("HostPort") or 0):
                yield int(item["HostPort"]), int(inside.split("/")[0]), str(item.get("HostIp") or "")
