"""The Docker Engine behind the interface, over aiodocker; the API version is negotiated."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from typing import Any

import aiohttp
import msgspec

from band import logger
from director.engine.client import CALL, ENDLESS, Connection
from director.engine.docker_json import (
    cut_off_from,
    event_of,
    image_info,
    is_port_taken,
    made_by_director,
    observed,
    usage_sample,
)
from director.engine.host import closed_here, closed_on_host, own_container, own_id, port_check_config
from director.engine.interface import (
    LABEL_KIND,
    LABEL_MANAGED,
    LABEL_NAMESPACE,
    LABEL_SERVICE,
    Container,
    Event,
    ImageInfo,
    OwnContainer,
    Printed,
    Sample,
)
from director.engine.logs import read_output
from director.errors import DockerRefused, PortTaken

RENAME_PAUSES = (0.2, 0.5, 1.0)
"""Seconds between attempts to rename a container that starts or exits: Docker cannot change its network then (500)."""

_ACTIONS = (
    "die", "start", "stop", "kill", "oom", "destroy", "create", "rename", "health_status", "pause", "unpause",
)  # fmt: skip

_NETWORK_ID = re.compile(r"[0-9a-f]{12,64}")


class DockerEngine:
    """One namespace of one Docker Engine. Each call may connect anew, so the engine may be restarted."""

    def __init__(self, namespace: str, url: str | None = None) -> None:
        self._namespace = namespace
        self._labels = {LABEL_MANAGED: "true", LABEL_NAMESPACE: namespace}
        self._engine = Connection(url)
        self._asked: dict[str, float] = {}  # containers that were stopped by us, and when; kept until they are gone
        self._own: OwnContainer | None = None

    @property
    def _filters(self) -> str:
        return json.dumps({"label": [f"{key}={value}" for key, value in self._labels.items()]})

    async def ping(self) -> str:
        return await self._engine.ping()

    async def containers(self, known: Collection[Container] = ()) -> list[Container]:
        found = await self._engine.call("containers/json", params={"all": "1", "filters": self._filters})
        listed = {item["Id"]: item for item in found if made_by_director(item.get("Labels"))}
        kept = [item for item in known if item.id in listed and _is_unchanged(item, listed[item.id])]
        changed = listed.keys() - {item.id for item in kept}
        details = await asyncio.gather(*(self._inspect(container) for container in listed if container in changed))
        return [*kept, *(item for item in details if item is not None)]

    async def inspect(self, container: str) -> Container | None:
        found = await self._inspect(container)
        ours = found is not None and found.labels.get(LABEL_NAMESPACE) == self._namespace
        return found if found is not None and ours and made_by_director(found.labels) else None

    async def _inspect(self, container: str) -> Container | None:
        details = await self._engine.call(f"containers/{container}/json", missing_ok=True)
        return None if details is None else observed(details)

    async def used_ports(self) -> set[int]:
        listed = await self._engine.call("containers/json", params={"all": "0"})
        return {int(port["PublicPort"]) for item in listed for port in item.get("Ports", []) if port.get("PublicPort")}

    async def closed_ports(self, ports: Collection[int]) -> set[int]:
        own = self._own
        if own is None or own.host_network:
            return await closed_here(ports) if self._engine.is_local else set()
        labels = {**self._labels, LABEL_KIND: "port-check"}
        name = f"{self._namespace}-port-check"
        return await closed_on_host(self._engine, name, port_check_config(own.image, labels, ports))

    async def port_holder(self, port: int) -> str:
        for item in await self._engine.call("containers/json", params={"all": "0"}):
            if port in {public.get("PublicPort") for public in item.get("Ports", [])}:
                service = (item.get("Labels") or {}).get(LABEL_SERVICE)
                ours = (item.get("Labels") or {}).get(LABEL_NAMESPACE) == self._namespace
                return f"service {service}" if service and ours else f"container {item['Names'][0].lstrip('/')}"
        return ""

    async def create(self, name: str, config: Mapping[str, Any]) -> str:
        response = await self._engine.call("containers/create", "POST", params={"name": name}, data=json.dumps(config))
        return str(response["Id"])

    async def start(self, container: str) -> None:
        try:
            await self._engine.call(f"containers/{container}/start", "POST")
        except DockerRefused as error:
            if is_port_taken(error.message):
                hint = "free the port, or let the pool choose one"
                raise PortTaken(error.message, hint, engine_status=error.engine_status) from error
            raise

    async def stop(self, container: str, timeout: float) -> None:
        self._asked[container] = time.time()
        limit = aiohttp.ClientTimeout(total=timeout + 15, sock_connect=5)
        params = {"t": str(int(timeout))}
        await self._engine.call(f"containers/{container}/stop", "POST", params=params, timeout=limit, missing_ok=True)

    async def remove(self, container: str) -> None:
        self._asked[container] = time.time()
        params = {"force": "1", "v": "1"}
        try:
            await self._engine.call(f"containers/{container}", "DELETE", params=params, missing_ok=True)
        except DockerRefused as error:
            if "already in progress" not in error.message:
                raise

    async def rename(self, container: str, name: str) -> None:
        for pause in (*RENAME_PAUSES, None):
            try:
                await self._engine.call(f"containers/{container}/rename", "POST", params={"name": name})
            except DockerRefused as error:
                if error.engine_status != 500 or pause is None:
                    raise
                await asyncio.sleep(pause)
            else:
                return

    async def set_restart_policy(self, container: str, *, on: bool) -> None:
        body = json.dumps({"RestartPolicy": {"Name": "unless-stopped" if on else "no"}})
        await self._engine.call(f"containers/{container}/update", "POST", data=body)

    async def logs(self, container: str, tail: int) -> list[str]:
        try:
            return [line.text async for line in self.output(container, tail=tail, follow=False)] if tail else []
        except DockerRefused as error:
            if error.engine_status == 404:
                return []
            raise

    async def output(
        self, container: str, *, tail: int, since: float = 0.0, follow: bool = True
    ) -> AsyncGenerator[Printed, None]:
        params = {"stdout": "1", "stderr": "1", "timestamps": "1", "follow": str(int(follow)), "tail": str(tail)}
        if since:
            params["since"] = f"{since:.9f}"
        timeout = ENDLESS if follow else CALL
        response = await self._engine.open(f"containers/{container}/logs", params=params, timeout=timeout)
        try:
            async for line in read_output(response):
                yield line
        finally:
            response.close()

    async def events(self) -> AsyncIterator[Event]:
        filters = {**json.loads(self._filters), "type": ["container"], "event": list(_ACTIONS)}
        await self._forget_ended()
        response = await self._engine.open("events", params={"filters": json.dumps(filters)}, timeout=ENDLESS)
        try:
            while True:
                line = await self._engine.guard(response.content.readline())
                if not line:
                    return
                if (event := _read_event(line)) is not None:
                    yield self._mine(event)
        finally:
            response.close()

    async def _forget_ended(self) -> None:
        """Forget our stops whose exit was missed, before listening to events again: their events will not come."""
        for container, since in list(self._asked.items()):
            seen = await self._inspect(container)
            if seen is None or seen.started_at > since:
                self._asked.pop(container, None)

    async def sample(self, container: str) -> Sample | None:
        params = {"stream": "0", "one-shot": "1"}
        details = await self._engine.call(f"containers/{container}/stats", params=params, missing_ok=True)
        return None if details is None else usage_sample(details)

    def _mine(self, event: Event) -> Event:
        """Return an event, marked if this director asked for the container's exit."""
        asked = event.container in self._asked
        if event.action in {"start", "destroy"}:
            self._asked.pop(event.container, None)
        return msgspec.structs.replace(event, asked=asked)

    async def image(self, reference: str) -> ImageInfo | None:
        details = await self._engine.call(f"images/{reference}/json", missing_ok=True)
        return None if details is None else image_info(details)

    async def images(self, *, sizes: bool = False) -> list[ImageInfo]:
        listed = await self._engine.call(
            "images/json", params={"filters": self._filters, "shared-size": str(int(sizes))}
        )
        return [image_info(item) for item in listed]

    async def used_images(self) -> frozenset[str]:
        listed = await self._engine.call("containers/json", params={"all": "1"})
        return frozenset(str(item["ImageID"]) for item in listed)

    async def remove_image(self, reference: str) -> None:
        await self._engine.call(f"images/{reference}", "DELETE", missing_ok=True)

    async def connect(self, container: str, network: str, alias: str) -> None:
        if not _NETWORK_ID.fullmatch(network):
            await self.ensure_network(network)
        elif await self._engine.call(f"networks/{network}", missing_ok=True) is None:
            message = f"network {network[:12]} is gone, and only its id is known"
            raise DockerRefused(message, "recreate the container, in a network that exists", engine_status=404)
        body = json.dumps({"Container": container, "EndpointConfig": {"Aliases": [alias]}})
        await self._engine.call(f"networks/{network}/connect", "POST", data=body)

    async def ensure_network(self, name: str) -> None:
        if await self._engine.call(f"networks/{name}", missing_ok=True) is not None:
            return
        body = json.dumps({"Name": name, "Driver": "bridge", "CheckDuplicate": True, "Labels": self._labels})
        await self._engine.call("networks/create", "POST", data=body)

    async def own_container(self) -> OwnContainer | None:
        container = own_id()
        if container is None:
            return None
        details = await self._engine.call(f"containers/{container}/json", missing_ok=True)
        self._own = None if details is None else own_container(details)
        return self._own

    async def close(self) -> None:
        await self._engine.close()


def _is_unchanged(known: Container, item: Mapping[str, Any]) -> bool:
    """Return whether a running container is listed with the known facts."""
    if known.state != item["State"] or known.state != "running":
        return False
    status = str(item.get("Status", ""))
    word = "healthy" if "(healthy)" in status else "unhealthy" if "(unhealthy)" in status else "starting"
    same = known.health in {"", word} and known.cut_off_from == cut_off_from(item)
    return same and f"/{known.name}" in item["Names"]


def _read_event(line: bytes) -> Event | None:
    """Return an event of one of our containers; None for others, and for a malformed line."""
    try:
        data = json.loads(line)
        ours = made_by_director((data.get("Actor") or {}).get("Attributes"))
        return event_of(data) if ours else None
    except (ValueError, TypeError, AttributeError) as error:
        logger.warning("docker_event_unreadable", reason=str(error), bytes=len(line))
        return None
