"""The whole director in a process of its own, over a real Redis, with an engine and services that exist in memory only.

`python fake_director.py` with the director's own environment; FAKE_SERVICES=100 begins with so many services running,
FAKE_REAL=front with a container of that name whose answers somebody else gives, FAKE_PLATFORM=hash as if a director of
other settings had made them. FAKE_PAUSE is the pause after a wrong token, FAKE_IDLE the time that a connection may be
idle, both in seconds.
Services of this engine answer `__status` and a few methods over RPC; each prints its environment, secrets included,
into its log, one with the variable CRASH ends with exit code 3, and the method `die` ends one later; one with
SLOW takes a second to stop, one with MUTE never answers its status; while one with DEAF is replaced or stopped the
engine does not list its containers for a second.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from typing import Any

import msgspec

from band import loop, start_server, worker
from band.redis import RedisAddress, RedisLink
from band.service import connection
from band.telemetry.logs import configure_logs
from director.api import throttle
from director.app import Director, server_settings
from director.engine.docker_json import Placement, container_config, observed
from director.engine.interface import LABEL_NAMESPACE, Container, Event, ImageInfo, OwnContainer, Printed, Sample
from director.errors import BuildFailed, DockerAway, DockerRefused
from director.settings import DirectorSettings
from director.state.desired import Spec

METHODS = ("blab", "dead_letters", "delete_dead_letters", "echo", "fail", "replay_dead_letters", "silent", "trace")


class FakeEngine:
    """An engine whose containers are entries of a dictionary; what runs among them answers over Redis."""

    def __init__(self, settings: DirectorSettings) -> None:
        self.namespace = settings.namespace
        self.details: dict[str, dict[str, Any]] = {}
        self.tags: dict[str, ImageInfo] = {settings.base_image: ImageInfo(id="sha256:" + "b" * 64)}
        self.asked: dict[str, int] = {}
        self._deaf_until = 0.0
        self.real = set((os.environ.get("FAKE_REAL") or "").split())
        self._dsn = settings.redis_dsn.reveal()
        self._link = RedisLink("fake-services", on_message=self._on_message)
        self._events: asyncio.Queue[Event] = asyncio.Queue()

    async def answer(self) -> None:
        """Connect, and let what runs already be heard."""
        await self._link.subscribe("fake-services", *self._played())
        self._link.start(RedisAddress.parse(self._dsn))

    def _played(self) -> set[str]:
        return {item.service for item in self._all() if item.state == "running"} - self.real

    def _all(self) -> list[Container]:
        return [observed(item) for item in self.details.values()]

    def _count(self, what: str) -> None:
        self.asked[what] = self.asked.get(what, 0) + 1

    def _find(self, container: str) -> dict[str, Any] | None:
        named = (item for item in self.details.values() if item["Name"] == f"/{container}")
        return self.details.get(container) or next(named, None)

    async def ping(self) -> str:
        return "fake"

    async def containers(self, known: Any = ()) -> list[Container]:
        self._count("containers")
        if time.time() < self._deaf_until:
            raise DockerAway("the Docker Engine did not answer in time")
        return self._all()

    async def inspect(self, container: str) -> Container | None:
        self._count("inspect")
        found = self._find(container)
        return observed(found) if found else None

    async def used_ports(self) -> set[int]:
        return {port for item in self._all() for port in item.ports}

    async def closed_ports(self, ports: Collection[int]) -> set[int]:
        return set()

    async def port_holder(self, port: int) -> str:
        return next((f"service {item.service}" for item in self._all() if port in item.ports), "")

    async def create(self, name: str, config: Mapping[str, Any]) -> str:
        if self._find(name):
            raise DockerRefused("the name is taken", engine_status=409)
        container = secrets.token_hex(32)
        self.details[container] = {
            "Id": container, "Name": f"/{name}", "Created": _clock(), "State": {"Status": "created"},
            "Config": dict(config), "HostConfig": config["HostConfig"], "RestartCount": 0,
        }  # fmt: skip
        return container

    async def start(self, container: str) -> None:
        details = self.details[container]
        details["State"] = {"Status": "running", "StartedAt": _clock(), "Health": {"Status": "healthy"}}
        details["Started"] = int(time.time() * 1000) + 1
        seen = observed(details)
        self._tell("start", seen)
        if "CRASH" in seen.env:
            self._end(details, 3)
        elif seen.service not in self.real:
            await self._link.subscribe(seen.service)

    async def stop(self, container: str, timeout: float) -> None:
        if container not in self.details:
            return
        if "SLOW" in observed(self.details[container]).env:
            await asyncio.sleep(1)
        self._end(self.details[container], 0, asked=True)
        self._deafen(container)

    def _deafen(self, container: str) -> None:
        if "DEAF" in observed(self.details[container]).env:
            self._deaf_until = time.time() + 1

    def _end(self, details: dict[str, Any], code: int, *, asked: bool = False) -> None:
        details["State"] = {"Status": "exited", "ExitCode": code, "FinishedAt": _clock()}
        seen = observed(details)
        if not [item for item in self._all() if item.service == seen.service and item.state == "running"]:
            self._link.unsubscribe(seen.service)
        self._tell("die", seen, code, asked=asked)

    async def remove(self, container: str) -> None:
        if container in self.details:
            await self.stop(container, 0)
            self.details.pop(container, None)

    async def rename(self, container: str, name: str) -> None:
        self.details[container]["Name"] = f"/{name}"
        self._deafen(container)

    async def set_restart_policy(self, container: str, *, on: bool) -> None:
        host = self.details[container]["HostConfig"]
        self.details[container]["HostConfig"] = {**host, "RestartPolicy": {"Name": "unless-stopped" if on else "no"}}

    async def logs(self, container: str, tail: int) -> list[str]:
        self._count("logs")
        env = observed(self.details[container]).env
        printed = "\n".join(f"{key}={value}" for key, value in env.items())
        return printed.replace("\\n", "\n").split("\n")[-tail:]  # a program prints a key as it read it

    async def output(
        self, container: str, *, tail: int, since: float = 0.0, follow: bool = True
    ) -> AsyncGenerator[Printed, None]:
        for line in await self.logs(container, tail):
            yield Printed(time.time(), "stdout", line)

    async def events(self) -> AsyncIterator[Event]:
        while True:
            yield await self._events.get()

    def _tell(self, action: str, seen: Container, code: int | None = None, *, asked: bool = False) -> None:
        self._events.put_nowait(Event(action, seen.id, seen.service, code, time.time(), asked=asked, name=seen.name))

    async def sample(self, container: str) -> Sample | None:
        self._count("sample")
        if os.environ.get("FAKE_ODD_SAMPLES"):  # what nobody thought of
            raise ValueError("odd sample")
        return Sample(at=time.time(), cpu_seconds=time.process_time(), memory=50_000_000, memory_limit=367_001_600)

    async def image(self, reference: str) -> ImageInfo | None:
        return self.tags.get(reference)

    async def images(self, *, sizes: bool = False) -> list[ImageInfo]:
        return [item for item in self.tags.values() if item.labels]

    async def used_images(self) -> frozenset[str]:
        return frozenset()

    async def remove_image(self, reference: str) -> None:
        self.tags.pop(reference, None)

    async def connect(self, container: str, network: str, alias: str) -> None:
        return

    async def ensure_network(self, name: str) -> None:
        return

    async def own_container(self) -> OwnContainer | None:
        return None

    async def close(self) -> None:
        await self._link.close()

    def _on_message(self, channel: str, payload: bytes) -> None:
        message = msgspec.json.decode(payload)
        to, method, sender = message["method"].split(":")
        if "id" not in message or method == "silent" or (method == "__status" and "MUTE" in self._env_of(to)):
            return
        reply: dict[str, Any] = {"jsonrpc": "2.0", "id": message["id"], "from": to, "to": sender}
        if method == "die":
            self._die(to, int(message["params"].get("code", 3)))
        if method == "__status":
            reply["result"] = {"type__": "data", "statusCode": 200, "data": self._status(to)}
        elif method == "__metrics":
            reply["result"] = {} if "NO_METRICS" in self._env_of(to) else "# TYPE band_calls_total counter\n"
        elif method == "blab":
            reply["result"] = {"env": self._env_of(to), "text": f"it is {self._env_of(to)}"}
        elif method == "blurt":
            reply["error"] = {"code": -32000, "message": "Server error", "data": {"message": str(self._env_of(to))}}
        elif method == "fail":
            reply["error"] = {"code": -32000, "message": "Server error", "data": {"message": "bang"}}
        elif method in METHODS:
            reply["result"] = {"letters": [], "count": 0} if method == "dead_letters" else message["params"]
        else:
            reply["error"] = {"code": -32601, "message": "Method not found"}
        self._link.publish(sender, msgspec.json.encode(reply))

    def _env_of(self, service: str) -> dict[str, str]:
        return next((item.env for item in self._all() if item.service == service and item.state == "running"), {})

    def _die(self, service: str, code: int) -> None:
        """End what runs of a service, as its process would end itself; this engine does not restart it."""
        for item in self._all():
            if item.service == service and item.state == "running":
                self._end(self.details[item.id], code)

    def _status(self, service: str) -> dict[str, Any]:
        alive = [item for item in self.details.values() if item["State"]["Status"] == "running"]
        started = max((item["Started"] for item in alive if observed(item).service == service), default=0)
        facts = {"status": "ok", "source": "fake.mmdb", "build_date": "2026-11-01", "age_days": 23.5}
        row = {"method": "enrich", "role": "enricher", "options": {"keys": ["in.gen.track"], "props": {"ip": "td.ip"}}}
        if alive and "BLAB" in self._env_of(service):  # one that says all it knows wherever it can
            said = str(self._env_of(service))
            facts = {**facts, "status": "degraded", "source": said, "warning": said, "reason": said}
            row = {**row, "options": {**row["options"], "alias": said}}
        return {
            "name": service, "app_started": started, "app_uptime": 1, "app_state": "running", "register": [row],
            "instance": "f0e1d2c3",  # as services of ours have
            "methods": list(METHODS), "health": {"status": facts["status"], "checks": {"database": facts}},
            "said": str(self._env_of(service)) if alive else "",
        }  # fmt: skip


class FakeBuilder:
    """Builds by saying so; a context that holds `FAIL BUILD` fails, one with `SLOW BUILD` takes a minute."""

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine

    async def build(self, request: Any, context: bytes, log: Any) -> None:
        log("#1 [1/1] FROM nothing")
        if b"SLOW BUILD" in context:
            await asyncio.sleep(60)
        if b"FAIL BUILD" in context:
            raise BuildFailed(f"building {request.tag} failed", "see the step's last log lines", log=["no"])
        digest = f"sha256:{secrets.token_hex(32)}"
        labels = dict(request.labels)
        self._engine.tags[request.tag] = ImageInfo(
            id=digest, tags=[request.tag], labels=labels, size=1000, created=time.time()
        )

    def close(self) -> None:
        return


async def populate(engine: FakeEngine, count: int) -> None:
    """Have `count` services run, and the real ones, as an earlier life of the director would have left them."""
    for number, service in enumerate([*(f"svc{number:03}" for number in range(count)), *sorted(engine.real)]):
        image, platform = f"{engine.namespace}/{service}:0", os.environ.get("FAKE_PLATFORM") or ""
        spec = Spec(name=service, image=image, network=engine.namespace, platform=platform)
        engine.tags[image] = ImageInfo(id=f"sha256:{number:064}")
        placement = Placement(namespace=engine.namespace, ports={20_000 + number: 8080}, env={}, memory="350m")
        name = spec.name if engine.namespace == "rockstat" else f"{engine.namespace}-{spec.name}"
        await engine.start(await engine.create(name, container_config(spec, placement)))
    assert all(item.labels[LABEL_NAMESPACE] == engine.namespace for item in engine._all())


def _clock() -> str:
    now = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e9):09d}Z"


def main() -> None:
    """Run until SIGTERM."""
    settings = DirectorSettings.read(os.environ)
    throttle.PAUSE_SECONDS = float(os.environ.get("FAKE_PAUSE") or throttle.PAUSE_SECONDS)
    connection.IDLE_SECONDS = float(os.environ.get("FAKE_IDLE") or connection.IDLE_SECONDS)
    configure_logs(settings.log_level, as_json=False)
    engine = FakeEngine(settings)
    fake: Any = engine
    director = Director(settings, fake, None)
    director.images.builder = FakeBuilder(engine)  # type: ignore[assignment]
    loop.run_until_complete(populate(engine, int(os.environ.get("FAKE_SERVICES") or 0)))
    worker(engine.answer)
    director.install()
    start_server(**server_settings(settings))


if __name__ == "__main__":
    main()
