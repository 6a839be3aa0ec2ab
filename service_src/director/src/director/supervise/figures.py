"""Figures for `band doctor` about the host, Redis and the listeners."""

from __future__ import annotations

import ctypes
import shutil
import time
from collections.abc import Awaitable, Collection, Iterable
from typing import Any, TypeVar

import msgspec

from band import RedisError, RedisReplyError, logger
from band.platform import EVENTS_STREAM
from director.engine.interface import Container
from director.state.event_stream import service_of
from director.state.store import Store, pairs, stream_order, text

T = TypeVar("T")
_UNSYNCHRONIZED = 5
"""What adjtimex(2) returns where nothing keeps the clock right (`TIME_ERROR`)."""
_TIMEX_BYTES = 512
"""More than `struct timex` has on any machine; all zeros: only ask."""


class Disk(msgspec.Struct, frozen=True):
    """The disk of Docker's images and volumes."""

    used_percent: float
    free_bytes: int


class OpenPort(msgspec.Struct, frozen=True):
    """A port of one of our containers that is published beyond loopback."""

    service: str
    address: str
    port: int


class RedisFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What Redis says of its memory and its file; `maxmemory` 0: no limit."""

    maxmemory_policy: str
    maxmemory: int
    used_memory: int
    append_only: bool
    clock_ahead_seconds: float


class GroupFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A listener group's backlog: events not delivered, events not acknowledged, the age of the oldest.

    `service`: a service of that name runs.
    """

    name: str
    service: bool
    waiting: int
    pending: int
    oldest_seconds: float


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """All figures; `time` is this host's clock in seconds since 1970.

    `namespace` is the director's: the platform's own containers have it in their names.

    `redis` and `groups` are null if Redis is unavailable or refuses, `clock_synchronized` if the kernel does not know.
    """

    namespace: str
    time: float
    clock_synchronized: bool | None
    disk: Disk
    open_ports: list[OpenPort]
    redis: RedisFigures | None
    groups: list[GroupFigures] | None


async def measure(store: Store, containers: Iterable[Container], running: Collection[str], namespace: str) -> Figures:
    """Return the figures; `running` are the services that run, `namespace` is the director's."""
    usage = shutil.disk_usage("/")  # in a container that is the disk that Docker keeps everything on
    return Figures(
        namespace=namespace,
        time=time.time(),
        clock_synchronized=_synchronized(),
        disk=Disk(round(100 * usage.used / usage.total, 1), usage.free),
        open_ports=[
            OpenPort(item.service, address, port)
            for item in containers
            if item.alive
            for port, address in sorted(item.open_ports.items())
        ],
        redis=await _known(_redis(store)),
        groups=await _known(_groups(store, running)),
    )


def _synchronized() -> bool | None:
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _UNSYNCHRONIZED


async def _known(part: Awaitable[T]) -> T | None:
    try:
        return await part
    except RedisError as error:
        logger.warning("figures_unreadable", reason=str(error))
        return None


async def _redis(store: Store) -> RedisFigures:
    facts = {}
    for section in ("memory", "persistence"):
        lines = text(await store.command("INFO", section)).splitlines()
        facts.update(dict(line.partition(":")[::2] for line in lines))
    seconds, micros = await store.command("TIME")
    ahead = int(seconds) + int(micros) / 1e6 - time.time()
    return RedisFigures(
        maxmemory_policy=facts.get("maxmemory_policy", "noeviction"),
        maxmemory=int(facts.get("maxmemory", 0)),
        used_memory=int(facts.get("used_memory", 0)),
        append_only=facts.get("aof_enabled") == "1",
        clock_ahead_seconds=round(ahead, 3),
    )


async def _groups(store: Store, running: Collection[str]) -> list[GroupFigures]:
    try:
        known = [dict(pairs(item)) for item in await store.command("XINFO", "GROUPS", EVENTS_STREAM) or ()]
    except RedisReplyError:  # there is no stream yet
        return []
    return sorted([await _group(store, facts, running) for facts in known], key=lambda group: group.name)


async def _group(store: Store, facts: dict[str, Any], running: Collection[str]) -> GroupFigures:
    name, pending = text(facts["name"]), int(facts["pending"])
    # Redis knows no lag after some deletions; a group that is behind is then known by the entry after its last one.
    following = await store.command(
        "XRANGE", EVENTS_STREAM, f"({text(facts['last-delivered-id'])}", "+", "COUNT", "1"
    )  # fmt: skip
    oldest = [text(following[0][0])] if following else []
    if pending and (first := (await store.command("XPENDING", EVENTS_STREAM, name))[1]) is not None:
        oldest.append(text(first))  # it is None when the last one was acknowledged meanwhile
    began = min((stream_order(entry)[0] / 1000 for entry in oldest), default=time.time())
    return GroupFigures(
        name=name,
        service=service_of(name) in running,
        waiting=int(facts.get("lag") or len(following)),
        pending=pending,
        oldest_seconds=round(max(0.0, time.time() - began), 1),
    )
