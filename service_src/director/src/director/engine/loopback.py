"""Which ports of the host's loopback accept connections: tried there, also by a director in a container."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Mapping
from typing import Any

from director.engine.client import Connection
from director.errors import DockerRefused

ADDRESS = "127.0.0.1"
SECONDS = 2.0
"""For one connection; on loopback it takes a millisecond or is refused."""
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


def container_config(image: str, labels: Mapping[str, str], ports: Collection[int]) -> dict[str, Any]:
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
    """Run such a container under a name of its own and return the ports that it found closed."""
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
    await engine.found(engine.call(f"containers/{container}", "DELETE", params={"force": "1", "v": "1"}))
