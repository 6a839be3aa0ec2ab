"""Which ports of the host's loopback accept connections: tried there, also by a director in a container."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from director.engine.client import Connection
from director.engine.docker_json import published_ports
from director.engine.interface import OwnContainer
from director.errors import DockerRefused

_OWN_ID = re.compile(r"/containers/([0-9a-f]{64})/")
ADDRESS = "127.0.0.1"
SECONDS = 2.0
"""Limit for one connection; on loopback it takes a millisecond or is refused."""
_PROGRAM = f"""
import socket, sys
for port in sys.argv[1:]:
    try:
        socket.create_connection(("{ADDRESS}", int(port)), {SECONDS}).close()
    except OSError:
        print(port)
"""


async def closed_here(ports: Collection[int]) -> set[int]:
    """Return the ports of this machine's loopback that accept no connection."""
    found = await asyncio.gather(*(_accepts(port) for port in ports))
    return {port for port, accepts in zip(ports, found, strict=True) if not accepts}


async def _accepts(port: int) -> bool:
    try:
        async with asyncio.timeout(SECONDS):
            _, writer = await asyncio.open_connection(ADDRESS, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


def port_check_config(image: str, labels: Mapping[str, str], ports: Collection[int]) -> dict[str, Any]:
    """Return the body of `POST /containers/create` for a container that tries the ports in the host's network."""
    return {
        "Image": image,
        "Entrypoint": ["python", "-I", "-S", "-c", _PROGRAM],
        "Cmd": [str(port) for port in sorted(ports)],
        "User": "10001:10001",
        "Labels": dict(labels),
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            "NetworkMode": "host",
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "Memory": 64 * 1024**2,
            "PidsLimit": 16,
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "100k", "max-file": "1"}},
        },
    }


async def closed_on_host(engine: Connection, name: str, config: Mapping[str, Any]) -> set[int]:
    """Run that container and return the ports that it found closed."""
    container = await _create(engine, name, config)
    try:
        await engine.call(f"containers/{container}/start", "POST")
        await engine.call(f"containers/{container}/wait", "POST")
        source = engine.client().containers.container(container)
        lines = await engine.guard(source.log(stdout=True, follow=False))
        return {int(word) for word in "".join(lines).split()}
    finally:
        await _remove(engine, container)


async def _create(engine: Connection, name: str, config: Mapping[str, Any]) -> str:
    data = json.dumps(config)
    try:
        return str((await engine.call("containers/create", "POST", params={"name": name}, data=data))["Id"])
    except DockerRefused as error:
        if error.engine_status != 409:
            raise
    await _remove(engine, name)  # of a director that was killed in between
    return str((await engine.call("containers/create", "POST", params={"name": name}, data=data))["Id"])


async def _remove(engine: Connection, container: str) -> None:
    await engine.call(f"containers/{container}", "DELETE", params={"force": "1", "v": "1"}, missing_ok=True)


def own_container(details: Mapping[str, Any]) -> OwnContainer:
    """Return the director's own container from `GET /containers/<id>/json`."""
    bindings = (details["HostConfig"].get("PortBindings") or {}).values()
    binds = [item for item in details.get("Mounts") or [] if item.get("Type") == "bind"]
    return OwnContainer(
        id=details["Id"],
        name=details["Name"].lstrip("/"),
        networks=tuple((details.get("NetworkSettings") or {}).get("Networks") or {}),
        published=tuple(str(item.get("HostIp") or "0.0.0.0") for group in bindings for item in group or []),  # noqa: S104
        host_network=details["HostConfig"].get("NetworkMode") == "host",
        image=str(details.get("Image") or ""),
        ports=tuple(published_ports(details["HostConfig"].get("PortBindings") or {})),
        mounts={str(item["Destination"]): str(item["Source"]) for item in binds},
    )


def own_id(proc: Path = Path("/proc/self")) -> str | None:
    """Return the id of the container this process runs in; None on a host.

    Docker mounts /etc/hostname from the container's own folder, so the mount table has the id, whatever `--hostname`.
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

    Docker's user-space proxy, or the host's rules without one, connect from there. Read from the kernel each time: if
    the container joins another network, its default route may move, and published ports with it.
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
