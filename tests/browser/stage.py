"""The director's page on a stage: the real director and page, a real Redis, and services that play their parts.

Run as a program with the director's environment. The test tells it over the Redis channel `stage` what happens next:
one JSON object a message, `{"do": "print", "name": "front", "text": "…"}` and so on (see `Stage.do`).
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec

sys.path.insert(0, str(Path(__file__).parents[2] / "service_src" / "director" / "tests"))

from fake_director import METHODS, FakeBuilder, FakeEngine

from band import loop, start_server, worker
from band.redis import RedisAddress, RedisLink
from band.telemetry.logs import configure_logs
from director.app import Director, server_settings
from director.engine.docker_json import Placement, container_config, observed
from director.engine.interface import ImageInfo, Printed, Sample
from director.settings import DirectorSettings
from director.state.desired import Limits, Spec

MIB = 1024 * 1024
CAST: dict[str, dict[str, Any]] = {
    "front": {"pos": "1x1", "title": "Front - accepts events", "memory": 61, "port": 10001, "up": 93_000},
    "mmgeo": {"pos": "2x1", "title": "Location by IP address (MaxMind, DB-IP)", "memory": 74, "role": "enricher",
              "data": {"source": "DB-IP City Lite", "build_date": "2026-11-01", "age_days": 22.6}, "up": 93_004},
    "sxgeo": {"pos": "2x2", "title": "Location by IP address (Sypex Geo)", "memory": 58, "role": "enricher",
              "data": {"source": "Sypex Geo City", "build_date": "2026-06-14", "age_days": 162.9,
                       "warning": "the database is older than 60 days"}, "status": "degraded", "up": 92_400},
    "uaparser": {"pos": "2x3", "title": "Device and browser (User-Agent)", "memory": 49, "role": "enricher",
                 "up": 5_400},
    "send_mixpanel": {"pos": "3x3", "title": "Delivery to Mixpanel", "memory": 52, "role": "listener", "up": 93_002},
}  # fmt: skip


class Stage(FakeEngine):
    """An engine whose services have faces, outputs and answers of their own."""

    def __init__(self, settings: DirectorSettings) -> None:
        super().__init__(settings)
        self.printed: dict[str, list[Printed]] = {}
        self.letters: list[dict[str, Any]] = []
        self.calls: list[list[Any]] = []
        self.trace: dict[str, Any] = {"outcome": "unknown"}
        self.build_pause = 0.0
        self._come = asyncio.Event()
        self._orders = RedisLink("stage", on_message=self._on_order)

    async def open(self) -> None:
        """Let the cast begin, and listen to the test."""
        await self.answer()
        await self._orders.subscribe("stage")
        self._orders.start(RedisAddress.parse(self._dsn))

    async def play(self, name: str) -> None:
        """Have a service of the cast run, as an earlier life of the director would have left it."""
        part = CAST[name]
        spec = Spec(
            name=name, image=f"{self.namespace}/{name}:4f1c2a9be07d{len(name):04x}", network=self.namespace,
            limits=Limits(memory="350m"),
        )  # fmt: skip
        placement = Placement(
            namespace=self.namespace, ports={part.get("port", 8900 + len(self.details)): 8080}, env={}, memory="350m"
        )
        config = dict(container_config(spec, placement))
        config["Labels"] = {**config["Labels"], "band.pos": part["pos"], "band.title": part["title"]}
        key = await self.create(name if self.namespace == "rockstat" else f"{self.namespace}-{name}", config)
        await self.start(key)
        started = time.time() - part["up"]
        self.details[key]["State"]["StartedAt"] = time.strftime("%Y-%m-%dT%H:%M:%S.000000000Z", time.gmtime(started))
        self.tags[spec.image] = ImageInfo(
            id="sha256:" + f"{len(name):064x}", tags=[spec.image], size=180 * MIB, created=started,
            labels={"band.managed": "true", "band.namespace": self.namespace, "band.service": name},
        )  # fmt: skip

    async def sample(self, container: str) -> Sample | None:
        seen = observed(self.details[container])
        part = CAST.get(seen.service, {})
        share = {"front": 0.038, "mmgeo": 0.011, "sxgeo": 0.009, "uaparser": 0.014}.get(seen.service, 0.004)
        return Sample(
            at=time.time(), cpu_seconds=time.time() * share, memory=part.get("memory", 46) * MIB, memory_limit=350 * MIB
        )

    async def output(
        self, container: str, *, tail: int, since: float = 0.0, follow: bool = True
    ) -> AsyncGenerator[Printed, None]:
        """Follow what a service printed, as the engine's log does."""
        name = observed(self.details[container]).service
        at = max(0, len(self.printed.get(name, [])) - tail)
        while container in self.details:
            lines = self.printed.get(name, [])
            for line in lines[at:]:
                if line.at > since:
                    yield line
            at = len(lines)
            self._come.clear()
            await self._come.wait()

    async def keep_running(self, container: str, **_how: Any) -> None:
        return

    async def logs(self, container: str, tail: int) -> list[str]:
        name = observed(self.details[container]).service
        return [line.text for line in self.printed.get(name, [])][-tail:]

    def _on_order(self, _channel: str, payload: bytes) -> None:
        self.do(msgspec.json.decode(payload))

    def do(self, order: dict[str, Any]) -> None:
        """Carry out what the test says: `print`, `crash`, `letters`, `trace`, `build_pause`, `health`."""
        match order:
            case {"do": "print", "name": name, "text": text}:
                at = order.get("at") or time.time()
                for line in text if isinstance(text, list) else [text]:
                    self.printed.setdefault(name, []).append(Printed(at, order.get("stream", "stdout"), line))
                    at += 0.001
                self._come.set()
            case {"do": "crash", "name": name, "code": code}:
                for details in list(self.details.values()):
                    if observed(details).service == name:
                        self._end(details, code)
            case {"do": "letters", "letters": letters}:
                self.letters = letters
            case {"do": "trace", "trace": trace}:
                self.trace = trace
            case {"do": "build_pause", "seconds": seconds}:
                self.build_pause = seconds
            case {"do": "health", "name": name, "status": status}:
                CAST.setdefault(name, {})["status"] = status

    def _on_message(self, channel: str, payload: bytes) -> None:
        message = msgspec.json.decode(payload)
        method = message["method"].split(":")[1]
        if method in {"dead_letters", "replay_dead_letters", "delete_dead_letters", "trace"} and "id" in message:
            to, _, sender = message["method"].split(":")
            self.calls.append([method, message["params"]])
            result = getattr(self, f"_{method}")(message["params"])
            reply = {"jsonrpc": "2.0", "id": message["id"], "from": to, "to": sender, "result": result}
            self._link.publish(sender, msgspec.json.encode(reply))
        else:
            super()._on_message(channel, payload)

    def _dead_letters(self, _params: dict[str, Any]) -> Any:
        return {"count": len(self.letters), "letters": self.letters}

    def _replay_dead_letters(self, params: dict[str, Any]) -> Any:
        before = len(self.letters)
        self._without(params.get("ids", ""))
        return {"started": True, "letters": before - len(self.letters)}

    def _delete_dead_letters(self, params: dict[str, Any]) -> Any:
        before = len(self.letters)
        self._without(params.get("ids", ""))
        return {"deleted": before - len(self.letters)}

    def _trace(self, _params: dict[str, Any]) -> Any:
        return self.trace

    def _without(self, ids: str) -> None:
        self.letters = [letter for letter in self.letters if ids and letter["stream_id"] not in ids.split(",")]

    def _status(self, service: str) -> dict[str, Any]:
        found = super()._status(service)
        part = CAST.get(service, {})
        data = part.get("data")
        status = part.get("status", "ok")
        checks = {"redis": {"status": "ok"}, **({"database": {"status": status, **data}} if data else {})}
        keys = {"keys": ["in.gen.track"]} if part.get("role") == "enricher" else {}
        row = {"method": "enrich" if keys else "take", "role": part.get("role"), "options": keys}
        rows = [row] if part.get("role") else []
        said = {"methods": [*METHODS], "schemas": SCHEMAS} if service == "send_mixpanel" else {"methods": [*METHODS]}
        return {**found, "register": rows, **said, "health": {"status": status, "checks": checks}}


SCHEMAS: dict[str, Any] = {
    "methods": {
        "echo": {"description": "Return what it is given.", "params": {"$ref": "#/components/schemas/EchoParams"}},
        "broadcast": {"description": "Send events to Mixpanel.", "role": "listener"},
    },
    "components": {
        "EchoParams": {
            "type": "object",
            "properties": {
                "limit": {"type": "integer", "minimum": 1, "maximum": 9, "default": 3},
                "order": {"enum": ["up", "down"]},
                "deep": {"type": "boolean", "default": False},
                "where": {"type": "object"},
            },
            "required": ["limit"],
        }
    },
}


class SlowBuilder(FakeBuilder):
    """Builds step by step, as long as the test says."""

    def __init__(self, engine: Stage) -> None:
        super().__init__(engine)
        self._stage = engine

    async def build(self, request: Any, context: bytes, log: Any) -> None:
        steps = ["FROM rockstat/band-base-py", "COPY src/ /opt/src/", "RUN pip install /opt/src"]
        for number, step in enumerate(steps, 1):
            log(f"#{number + 4} [{number}/{len(steps)}] {step}")
            log(f"#{number + 4} 0.{number}21 <b>step</b> {number} says \x1b[31mhello\x1b[0m")
            await asyncio.sleep(self._stage.build_pause / len(steps))
        await super().build(request, context, log)


async def populate(stage: Stage) -> None:
    """Have those run that STAGE_CAST names (all of them unless it is set)."""
    for name in os.environ.get("STAGE_CAST", ",".join(CAST)).split(","):
        if name:
            await stage.play(name)


def main() -> None:
    """Run until SIGTERM."""
    settings = DirectorSettings.read(os.environ)
    configure_logs(settings.log_level, as_json=False)
    stage = Stage(settings)
    fake: Any = stage
    director = Director(settings, fake, None)
    director.images.builder = SlowBuilder(stage)
    loop.run_until_complete(populate(stage))
    worker(stage.open)
    director.install()
    start_server(**server_settings(settings))


if __name__ == "__main__":
    main()
