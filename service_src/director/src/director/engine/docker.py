"""The Docker Engine behind the runtime interface, over aiodocker; the API version is negotiated."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from contextlib import aclosing
from typing import Any, cast

import aiohttp
import msgspec

from band import logger
from director.engine import interface
from director.engine.client import CALL, ENDLESS, Connection
from director.engine.loopback import closed_here, closed_on_host, container_config
from director.engine.parse import (
    event_of,
    image_info,
    is_port_taken,
    made_by_director,
    observed,
    own_container,
    own_id,
    usage_sample,
)
from director.errors import DockerRefused, PortTaken

LONGEST = 64 * 1024
"""Characters of a line without an end that are kept; a program that prints no line ends must not fill the memory."""
_ATTRIBUTES = (
    "die",
    "start",
    "stop",
    "kill",
    "oom",
    "destroy",
    "create",
    "rename",
    "health_status",
    "pause",
    "unpause",
)


class DockerRuntime:
    """One namespace of one Docker Engine. Each call may connect anew, so an engine may come and go."""

    def __init__(self, namespace: str, url: str | None = None) -> None:
        self._namespace = namespace
        self._engine = Connection(url)
        self._seen: dict[str, interface.Observed] = {}
        self._asked: dict[str, float] = {}  # containers that were told to end, and when; kept until they are gone
        self._listing = asyncio.Lock()
        self._own: interface.OwnContainer | None = None

    @property
    def _filters(self) -> str:
        return json.dumps(
            {"label": [f"{interface.LABEL_MANAGED}=true", f"{interface.LABEL_NAMESPACE}={self._namespace}"]}
        )

    async def ping(self) -> str:
        """Return the engine's version."""
        return await self._engine.ping()

    async def containers(self, *, fresh: bool = False) -> list[interface.Observed]:
        """Return the containers of this namespace; without `fresh` only those that look changed are inspected."""
        async with self._listing:
            found = await self._engine.json("containers/json", params={"all": "1", "filters": self._filters})
            listed = [item for item in found if made_by_director(item.get("Labels"))]
            kept = {item["Id"]: self._seen[item["Id"]] for item in listed if not fresh and self._unchanged(item)}
            details = await asyncio.gather(*(self._inspect(item["Id"]) for item in listed if item["Id"] not in kept))
            self._seen = {**kept, **{item.id: item for item in details if item is not None}}
            return list(self._seen.values())

    def _unchanged(self, item: Mapping[str, Any]) -> bool:
        known = self._seen.get(item["Id"])
        if known is None or known.state != item["State"] or known.state != "running":
            return False
        status = str(item.get("Status", ""))
        word = "healthy" if "(healthy)" in status else "unhealthy" if "(unhealthy)" in status else "starting"
        return f"/{known.name}" in item["Names"] and known.health in {"", word}

    async def inspect(self, container: str) -> interface.Observed | None:
        """Return one container of this namespace, None when there is none."""
        found = await self._inspect(container)
        if found is None or found.labels.get(interface.LABEL_NAMESPACE) != self._namespace:
            return None
        if not made_by_director(found.labels):
            return None
        self._seen[found.id] = found
        return found

    async def _inspect(self, container: str) -> interface.Observed | None:
        details = await self._engine.found(self._engine.json(f"containers/{container}/json"))
        return None if details is None else observed(details)

    async def used_ports(self) -> set[int]:
        """Return the host ports of all containers of the host, running or made to run."""
        listed = await self._engine.json("containers/json", params={"all": "0"})
        ports = {int(port["PublicPort"]) for item in listed for port in item.get("Ports", []) if port.get("PublicPort")}
        return ports | {port for item in self._seen.values() for port in item.ports}

    async def closed_ports(self, ports: Collection[int]) -> set[int]:
        """Return those of the ports of the host's loopback that accept no connection; none where that is far away."""
        own = self._own
        if own is None or own.host_network:
            return await closed_here(ports) if self._engine.is_local else set()
        labels = {
            interface.LABEL_MANAGED: "true",
            interface.LABEL_NAMESPACE: self._namespace,
            interface.LABEL_KIND: "port-check",
        }
        name = f"{self._namespace}-port-check"
        return await closed_on_host(self._engine, name, container_config(own.image, labels, ports))

    async def port_holder(self, port: int) -> str:
        """Return who of the host's running containers has a host port, in words; nothing when none has."""
        for item in await self._engine.json("containers/json", params={"all": "0"}):
            if port in {public.get("PublicPort") for public in item.get("Ports", [])}:
                service = (item.get("Labels") or {}).get(interface.LABEL_SERVICE)
                ours = (item.get("Labels") or {}).get(interface.LABEL_NAMESPACE) == self._namespace
                return f"service {service}" if service and ours else f"container {item['Names'][0].lstrip('/')}"
        return ""

    async def create(self, name: str, config: Mapping[str, Any]) -> str:
        """Create a container and return its id; a stale one of that name is the caller's to remove."""
        response = await self._engine.json("containers/create", "POST", params={"name": name}, data=json.dumps(config))
        return str(response["Id"])

    async def start(self, container: str) -> None:
        """Start a container; raises PortTaken when its host port is taken."""
        try:
            await self._engine.empty(f"containers/{container}/start", "POST")
        except DockerRefused as error:
            if is_port_taken(error.message):
                hint = "free the port, or let the pool choose one"
                raise PortTaken(error.message, hint, engine_status=error.engine_status) from error
            raise

    async def stop(self, container: str, timeout: float) -> None:
        """Stop a container: SIGTERM, `timeout` seconds, SIGKILL. One that is gone is stopped."""
        self._asked[container] = time.time()
        limit = aiohttp.ClientTimeout(total=timeout + 15, sock_connect=5)
        params = {"t": str(int(timeout))}
        await self._engine.found(
            self._engine.empty(f"containers/{container}/stop", "POST", params=params, timeout=limit)
        )

    async def remove(self, container: str) -> None:
        """Remove a container with its anonymous volumes, running or not. One that is gone is removed."""
        self._asked[container] = time.time()
        params = {"force": "1", "v": "1"}
        try:
            await self._engine.found(self._engine.empty(f"containers/{container}", "DELETE", params=params))
        except DockerRefused as error:
            if "already in progress" not in error.message:
                raise

    async def rename(self, container: str, name: str) -> None:
        """Give a container another name."""
        await self._engine.empty(f"containers/{container}/rename", "POST", params={"name": name})

    async def keep_running(self, container: str, *, on: bool = True) -> None:
        """Have the engine start a container again whenever it ends, also after the engine itself was away; or not."""
        body = json.dumps({"RestartPolicy": {"Name": "unless-stopped" if on else "no"}})
        self._seen.pop(container, None)
        await self._engine.json(f"containers/{container}/update", "POST", data=body)

    async def logs(self, container: str, tail: int) -> list[str]:
        """Return the last lines of a container's output; nothing when it is gone."""
        lines = await self._engine.found(self._collect_logs(container, tail))
        return lines or []

    async def _collect_logs(self, container: str, tail: int) -> list[str]:
        chunks = await self._engine.guard(
            self._engine.client()
            .containers.container(container)
            .log(stdout=True, stderr=True, follow=False, tail=str(tail), timeout=CALL)
        )
        return "".join(chunks).splitlines()[-tail:] if tail else []

    async def follow(self, container: str, tail: int) -> AsyncGenerator[str, None]:
        """Yield a container's output, line by line, as it comes."""
        source = self._engine.client().containers.container(container)
        lines = source.log(stdout=True, stderr=True, follow=True, tail=str(tail), timeout=ENDLESS)
        stream = cast("AsyncGenerator[str, None]", lines)
        rest = ""
        async with aclosing(stream):
            while True:
                try:
                    chunk = await self._engine.guard(anext(stream))
                except StopAsyncIteration:
                    break
                *whole, rest = (rest + chunk).split("\n")
                if len(rest) > LONGEST:
                    whole, rest = [*whole, rest], ""
                for line in whole:
                    yield line
        if rest:
            yield rest

    async def events(self) -> AsyncIterator[interface.Event]:
        """Yield what happens to containers of this namespace, until the stream ends or breaks."""
        filters = {**json.loads(self._filters), "type": ["container"], "event": list(_ATTRIBUTES)}
        await self._forget_ended()
        response = await self._engine.open("events", params={"filters": json.dumps(filters)}, timeout=ENDLESS)
        try:
            while True:
                line = await self._engine.guard(response.content.readline())
                if not line:
                    return
                read = _read_event(line)
                if read is None:
                    continue
                event = self._mine(read)
                self._seen.pop(event.container, None)  # look into it anew at the next listing
                yield event
        finally:
            response.close()

    async def _forget_ended(self) -> None:
        """Forget the stops whose end was missed, before the events are listened to again: no event of it will come."""
        for container, since in list(self._asked.items()):
            seen = await self._inspect(container)
            if seen is None or seen.started_at > since:
                self._asked.pop(container, None)

    async def sample(self, container: str) -> interface.Sample | None:
        """Return what a container uses, read once (two readings take the engine a second); None when it is gone."""
        params = {"stream": "0", "one-shot": "1"}
        details = await self._engine.found(self._engine.json(f"containers/{container}/stats", params=params))
        return None if details is None else usage_sample(details)

    def _mine(self, event: interface.Event) -> interface.Event:
        """Return an event with the mark of an end that this director asked for."""
        asked = event.container in self._asked
        if event.action in {"start", "destroy"}:
            self._asked.pop(event.container, None)
        return msgspec.structs.replace(event, asked=asked)

    async def image(self, reference: str) -> interface.ImageInfo | None:
        """Return an image that is present, else None."""
        details = await self._engine.found(self._engine.json(f"images/{reference}/json"))
        return None if details is None else image_info(details)

    async def images(self, *, sizes: bool = False) -> list[interface.ImageInfo]:
        """Return the images of this namespace; `sizes` has the engine find out what they share."""
        listed = await self._engine.json(
            "images/json", params={"filters": self._filters, "shared-size": str(int(sizes))}
        )
        return [image_info(item) for item in listed]

    async def used_images(self) -> frozenset[str]:
        """Return the ids of the images of all containers of the host, whoever they belong to."""
        listed = await self._engine.json("containers/json", params={"all": "1"})
        return frozenset(str(item["ImageID"]) for item in listed)

    async def remove_image(self, reference: str) -> None:
        """Remove a tag, or an image that has none. One that is gone is removed; one in use is refused."""
        await self._engine.found(self._engine.json(f"images/{reference}", "DELETE"))

    async def ensure_network(self, name: str) -> None:
        """Make a bridge network unless it is there."""
        if await self._engine.found(self._engine.json(f"networks/{name}")) is not None:
            return
        labels = {interface.LABEL_MANAGED: "true", interface.LABEL_NAMESPACE: self._namespace}
        body = json.dumps({"Name": name, "Driver": "bridge", "CheckDuplicate": True, "Labels": labels})
        await self._engine.json("networks/create", "POST", data=body)

    async def own_container(self) -> interface.OwnContainer | None:
        """Return the container this process runs in; None on a host."""
        container = own_id()
        if container is None:
            return None
        details = await self._engine.found(self._engine.json(f"containers/{container}/json"))
        self._own = None if details is None else own_container(details)
        return self._own

    async def open(
        self, path: str, *, params: Mapping[str, str], timeout: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        """Begin a response that comes bit by bit; the caller closes it."""
        return await self._engine.open(path, params=params, timeout=timeout)

    async def close(self) -> None:
        """Let go of the engine."""
        await self._engine.close()


def _read_event(line: bytes) -> interface.Event | None:
    """Return an event of ours; None for somebody else's, and for a line that cannot be read."""
    try:
        data = json.loads(line)
        ours = made_by_director((data.get("Actor") or {}).get("Attributes"))
        return event_of(data) if ours else None
    except (ValueError, TypeError, AttributeError) as error:
        logger.warning("docker_event_unreadable", reason=str(error), bytes=len(line))
        return None
