"""For tests of services: call a handler, feed an event, stand in for a peer, read the logs. No Redis, no network.

::

    from band import testing

    async def test_weekday():
        async with testing.running("weekday.handlers") as weekday:
            added = await weekday.enrich({"key": "in.gen.track.page"})
            assert added["weekday"]
"""

from __future__ import annotations

import contextlib
import importlib
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from structlog.testing import capture_logs

from band.constants import ROLE_ENRICHER, ROLE_LISTENER
from band.registry import Exposed
from band.responses import from_wire
from band.service.config import ServiceConfig
from band.service.lifecycle import Service, service
from band.stream.processor import ListenerCall

__all__ = ["Bench", "capture_logs", "make_event", "running"]


def make_event(key: str = "in.gen.track.page", **parts: Any) -> dict[str, Any]:
    """Return an event as front makes it (wire protocol, section 4.1); ``parts`` replace or add fields."""
    _, _, service_name, *rest = [*key.split("."), "", ""][:4]
    event = {
        "key": key,
        "channel": "http",
        "service": service_name,
        "name": rest[0] if rest else "",
        "projectId": 0,
        "uid": "6410748586712844288",
        "td": {"ip": "2.125.160.216", "ua": "Mozilla/5.0 (X11; Linux x86_64) Chrome/120.0.0.0 Safari/537.36"},
        "data": {},
        "id": "7530741854237622272",
        "time": 1795468772451,
    }
    return {**event, **parts}


class Bench:
    """A service under test, on a bus of its own inside this process."""

    def __init__(self, subject: Service, bus: str) -> None:
        self.service = subject
        self._bus = bus
        self._peers: list[Service] = []
        self._caller: Service | None = None

    async def call(self, method: str, **params: Any) -> Any:
        """Call a method as another service would; typed data unwrapped.

        Raises:
            RpcRemoteError: what the caller would get.
        """
        caller = self._caller = self._caller or await self._start(Service(), "bench")
        return from_wire(await caller.rpc.call(self.service.config.name, method, params))

    async def enrich(self, event: dict[str, Any]) -> Any:
        """Give an event to the enricher as front would: its ``props`` looked up; None when it wants no such event."""
        for exposed in self.service.registry.with_role(ROLE_ENRICHER):
            if _wants(exposed, str(event.get("key", ""))):
                return await self.call(exposed.name, **_props(exposed, event))
        return None

    async def listen(self, *events: dict[str, Any]) -> None:
        """Give events to the listener as the stream would: one a call, or all as one batch.

        Raises:
            Exception: what the listener raises; from the stream it would be delivered again.
        """
        for exposed in self.service.registry.with_role(ROLE_LISTENER):
            call = ListenerCall(exposed, middlewares=self.service.registry.middlewares)
            for given in [list(events)] if exposed.batch else [[event] for event in events]:
                await call.give(given)

    async def peer(self, name: str, **methods: Callable[..., Any]) -> Service:
        """Stand in for the service ``name``: each method is a function of the call's parameters."""
        peer = Service()
        for method, func in methods.items():
            peer.expose(name=method)(func)
        return await self._start(peer, name)

    async def _start(self, subject: Service, name: str) -> Service:
        self._peers.append(subject)
        await subject.start(ServiceConfig(name=name, host="127.0.0.1", port=0, redis_dsn=f"memory://{self._bus}"))
        await subject.link.ready(5)
        return subject

    async def stop(self) -> None:
        """Stop the service and everybody who stood in."""
        for subject in [*reversed(self._peers), self.service]:
            await subject.stop()


@contextlib.asynccontextmanager
async def running(
    module: str | None = None, *, subject: Service | None = None, name: str = "subject", **config: Any
) -> AsyncIterator[Bench]:
    """Run a service for the length of the block.

    Args:
        module: what to import first, so that its functions are exposed (``"weekday.handlers"``).
        subject: the service; default: the one that ``from band import expose`` adds to.
        name: its name, for calls of it.
        config: further fields of :class:`band.service.config.ServiceConfig`.
    """
    if module:
        importlib.import_module(module)
    bench = Bench(subject or service, secrets.token_hex(4))
    given = {"host": "127.0.0.1", "port": 0, "redis_dsn": f"memory://{bench._bus}", **config}  # noqa: SLF001 - its own
    try:
        await bench.service.start(ServiceConfig(name=name, **given))
        await bench.service.link.ready(5)
        yield bench
    finally:
        await bench.stop()


def _wants(exposed: Exposed, key: str) -> bool:
    return any(
        prefix == "*" or key == prefix or key.startswith(f"{prefix}.") for prefix in exposed.options.get("keys", [])
    )


def _props(exposed: Exposed, event: dict[str, Any]) -> dict[str, Any]:
    return dict(_found(exposed.options.get("props") or {}, event))


def _found(props: dict[str, str], event: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, path in props.items():
        value: Any = event
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            yield name, value
