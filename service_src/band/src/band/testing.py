"""For tests of services: call a handler, deliver events, stand in for a peer, stop the clock, read the logs.

No Redis, no network: the bus and the stream of events are in this process, and a listener runs the same code as on a
real Redis: it acknowledges, retries, rejects, makes dead letters and replays them.

::

    from band import testing
    from weekday.handlers import service

    async def test_weekday():
        async with testing.running(subject=service) as weekday:
            added = await weekday.enrich({"key": "in.gen.track.page"})
            assert added["weekday"]

            await weekday.append({"key": "in.gen.track.page"})
            await weekday.settled()
            assert await weekday.dead_letters() == []
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import msgspec
from structlog.testing import capture_logs

from band import config, json_codec
from band.calls.middleware import is_under
from band.constants import EVENTS_STREAM, ROLE_ENRICHER, ROLE_LISTENER
from band.redis import in_memory
from band.registry import Exposed
from band.responses import from_wire
from band.service.config import ServiceConfig
from band.service.lifecycle import Service, service
from band.stream.processor import ListenerCall
from band.telemetry.logs import ensure_logs

__all__ = ["Bench", "Clock", "capture_logs", "freeze", "imported", "make_event", "running"]

PATIENCE: Final = 10.0
"""Seconds until a test gives up waiting."""
_LOOK_SECONDS: Final = 0.005

_benches: dict[str, list[Bench]] = {}
"""Those that run now, by the name of their bus."""


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


class Clock:
    """The clock of a test while it is frozen."""

    def __init__(self, traveller: Any) -> None:
        self._traveller = traveller

    def advance(self, seconds: float) -> None:
        """Move the clock forward: what is due by then is delivered; ``Bench.settled`` waits for it."""
        self._traveller.shift(timedelta(seconds=seconds))
        for bench in [one for benches in _benches.values() for one in benches]:
            if bench.service.listener is not None:
                bench.service.listener.wake()


@contextlib.contextmanager
def freeze(at: datetime | str | float | None = None) -> Iterator[Clock]:
    """Stop the clock of the process at a time: ``time.time()``, ``datetime.now()`` and the like.

    Timeouts and ``asyncio.sleep`` still run, because they use another clock.

    Args:
        at: a string as in ``2026-11-27T09:30`` (UTC if it has no zone), or seconds since 1970. Default: now.

    Raises:
        ModuleNotFoundError: the package ``time-machine`` is missing.
    """
    try:
        import time_machine
    except ModuleNotFoundError:
        raise ModuleNotFoundError("testing.freeze needs another package: pip install time-machine") from None
    moment = datetime.fromisoformat(at) if isinstance(at, str) else time.time() if at is None else at
    if isinstance(moment, datetime) and moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    with time_machine.travel(moment, tick=False) as traveller:
        yield Clock(traveller)


class Bench:
    """A service under test, on a message bus inside this process: its own, or that of another bench."""

    def __init__(self, subject: Service, bus: str) -> None:
        self.service = subject
        self._bus = bus
        self._peers: list[Service] = []
        self._caller: Service | None = None

    async def call(self, method: str, /, **params: Any) -> Any:
        """Call a method as another service would; typed data is unwrapped.

        Raises:
            RpcRemoteError: what the caller would get.
        """
        caller = self._caller = self._caller or await self._start(Service(), "bench")
        return from_wire(await caller.rpc.call(self.service.config.name, method, params))

    async def enrich(self, event: dict[str, Any]) -> Any:
        """Pass an event's ``props`` to the enricher, as front would; return None if it does not want such an event."""
        for exposed in self.service.registry.with_role(ROLE_ENRICHER):
            if is_under(event.get("key"), exposed.options.get("keys", [])):
                return await self.call(exposed.name, **_props(exposed, event))
        return None

    async def listen(self, *events: dict[str, Any]) -> None:
        """Pass events to the listener as the stream would: one per call, or all as one batch.

        Raises:
            Exception: what the listener raises; from the stream it would be delivered again.
        """
        for exposed in self.service.registry.with_role(ROLE_LISTENER):
            call = ListenerCall(exposed, middlewares=self.service.registry.middlewares)
            for given in [list(events)] if exposed.batch else [[event] for event in events]:
                await call.give(given)

    async def append(self, *events: dict[str, Any]) -> list[str]:
        """Append events to the stream, as front does with accepted ones, and return their stream ids.

        Every listener on the bus gets them. :meth:`settled` waits until they are done.
        """
        link = self.service.link
        return [
            (await link.command("XADD", EVENTS_STREAM, "*", "event", json_codec.encode(event))).decode()
            for event in events
        ]

    async def settled(self, timeout: float = PATIENCE) -> None:
        """Wait until no listener on the bus has anything left to do.

        Then each event is acknowledged, is a dead letter, or waits for its next delivery (:class:`band.Retry`).

        Raises:
            TimeoutError: one is still busy after ``timeout`` seconds; the message names it.
        """
        deadline = time.monotonic() + timeout
        while busy := [name for bench in _benches[self._bus] async for name in bench.at_work()]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"still busy after {timeout:g} s: {', '.join(busy)}")
            await asyncio.sleep(_LOOK_SECONDS)

    async def at_work(self) -> AsyncIterator[str]:
        """Yield the service's name with what its listener has left to do; nothing if that is nothing."""
        listener = self.service.listener
        if listener is None:
            return
        name = self.service.config.name
        link = self.service.link
        newest = (await link.command("XINFO", "STREAM", EVENTS_STREAM))[b"last-generated-id"]
        for group in await link.command("XINFO", "GROUPS", EVENTS_STREAM):
            if group[b"name"] == name.encode():
                unread, pending = group[b"last-delivered-id"] != newest, group[b"pending"] - listener.delayed
                if unread or pending or listener.due:
                    yield f"{name} ({pending} in progress{', more to read' if unread else ''}{', due' * listener.due})"

    async def dead_letters(self) -> list[dict[str, Any]]:
        """Return the service's dead letters, oldest first: ``event``, ``reason``, ``stream_id`` and more."""
        letters = (await self.call("dead_letters", limit=1000))["letters"]
        return list(reversed(letters))

    async def replay_dead_letters(self, **params: Any) -> dict[str, Any]:
        """Replay dead letters as an operator does (``ids``, ``limit``), and return ``replayed`` and why it stopped."""
        answer: dict[str, Any] = await self.call("replay_dead_letters", **params)
        return answer

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
        """Stop the service and its stand-ins."""
        for subject in [*reversed(self._peers), self.service]:
            await subject.stop()
        _benches[self._bus].remove(self)
        if not _benches[self._bus]:
            del _benches[self._bus]
            in_memory.forget(self._bus)

    async def start(self, service_config: ServiceConfig) -> None:
        """Start the service, and wait until its listener gets what is appended from now on."""
        _benches.setdefault(self._bus, []).append(self)
        await self.service.start(service_config)
        await self.service.link.ready(5)
        deadline = time.monotonic() + PATIENCE
        while self.service.listener is not None and not self.service.listener.joined:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the listener of {service_config.name} did not start; see the log")
            await asyncio.sleep(_LOOK_SECONDS)


@contextlib.asynccontextmanager
async def running(
    module: str | None = None,
    *,
    subject: Service | None = None,
    name: str = "subject",
    beside: Bench | None = None,
    **config: Any,
) -> AsyncIterator[Bench]:
    """Run a service for the duration of the block.

    Its listener's attempts follow each other without a pause; delays of ``Retry(after=…)`` are kept: see `freeze`.

    Args:
        module: a module to import first, so that its functions are exposed (``"weekday.handlers"``).
        subject: the service. Default: the process's own, to which ``from band import expose`` belongs.
        name: its name for calls.
        beside: the bench of another service: both share a bus, can call each other, and get the same events.
        config: further fields of :class:`band.service.config.ServiceConfig`.
    """
    ensure_logs()  # structlog's own defaults render a traceback in seconds
    if module:
        importlib.import_module(module)
    bus = beside._bus if beside is not None else secrets.token_hex(4)  # noqa: SLF001 - its own
    bench = Bench(subject or service, bus)
    given = {"host": "127.0.0.1", "port": 0, "redis_dsn": f"memory://{bus}", **config}
    with _without_pauses(bench.service):
        try:
            await bench.start(ServiceConfig(name=name, **given))
            yield bench
        finally:
            await bench.stop()


@contextlib.contextmanager
def _without_pauses(subject: Service) -> Iterator[None]:
    """Remove the pauses between attempts: a test should not wait for a minute and a half."""
    listeners = subject.registry.with_role(ROLE_LISTENER)
    for exposed in listeners:
        subject.registry.add(msgspec.structs.replace(exposed, backoff=0.0, backoff_max=0.0))
    try:
        yield
    finally:
        for exposed in listeners:
            subject.registry.add(exposed)


@contextlib.contextmanager
def imported(module: str, folder: str | Path = ".", **env: str) -> Iterator[ModuleType]:
    """Import a fresh copy of a module, as a process that starts in ``folder`` does, for the duration of the block.

    Until then ``band.settings`` are those of the folder's ``config.yaml``. What the module makes, such as its
    ``Service()``, is the block's own, so that a test can have other settings than its neighbours.

    Args:
        module: the module that reads settings (``"visits.handlers"``); its own imports are not repeated.
        folder: has ``config.yaml``. Default: the working directory.
        env: variables to add to the environment from which ``config.yaml`` is rendered.

    Raises:
        SettingsError: the folder's files cannot be read as settings.
    """
    from band import settings

    variables = {**config.environ, **env}
    wanted = config.with_defaults(config.read_settings(Path(folder), variables), variables)
    earlier, known = dict(settings), sys.modules.pop(module, None)
    try:
        _replace(settings, wanted)
        yield importlib.import_module(module)
    finally:
        _replace(settings, earlier)
        sys.modules.pop(module, None)
        if known is not None:
            parent, _, name = module.rpartition(".")
            sys.modules[module] = known
            if parent:
                setattr(sys.modules[parent], name, known)


def _replace(settings: config.Settings, values: dict[str, Any]) -> None:
    settings.clear()
    settings.update(values)


def _props(exposed: Exposed, event: dict[str, Any]) -> dict[str, Any]:
    return dict(_found(exposed.options.get("props") or {}, event))


def _found(props: dict[str, str], event: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, path in props.items():
        value: Any = event
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            yield name, value
