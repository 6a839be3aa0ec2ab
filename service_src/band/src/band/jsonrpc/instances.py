"""Presence: the running instances of each service on our framework.

Every instance keeps its name in the sorted set ``band:instances:<service>`` with its expiry time, and announces on the
channel ``band:presence`` when it starts and stops. So a caller knows that a peer is one of ours (it understands batches
and responds on the channel of the caller's instance) and how many replicas share the work. Services of the original
platform are not listed, and are called as in the original.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any, Final

from band.background import run_forever
from band.constants import INSTANCE_SEPARATOR
from band.errors import RedisError, RedisReplyError, RedisUnavailable
from band.redis.link import RedisLink

CHANNEL: Final = "band:presence"
"""The channel on which instances of services say that they come and go."""
KEY: Final = "band:instances:{service}"
"""The key of a service's sorted set: instance → the time until which it counts, in seconds since 1970."""
REFRESH: Final = 3.0
"""Seconds between two heartbeats, and between two lookups of the called services."""
LIFETIME: Final = 10.0
"""Seconds without a heartbeat after which an instance counts as gone."""
FORGET_SECONDS: Final = 60.0
"""Seconds after which an uncalled service without known instances is forgotten."""
MAX_WITHOUT_INSTANCES: Final = 100
"""The maximum number of such services; those called longest ago are dropped first."""


def instance_channel(service: str, instance: str) -> str:
    """Return the channel of one instance of a service."""
    return f"{service}{INSTANCE_SEPARATOR}{instance}"


class Presence:
    """Announces this instance, and knows the instances of the services that it calls."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._known: dict[str, list[str]] = {}
        self._called: dict[str, float] = {}
        """Services that were called without a known instance → time of the last call, latest last."""
        self._fetching: set[str] = set()
        self._changed: set[str] = set()
        self._left = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = itertools.count()
        self._shown = False
        self.service = ""
        self.instance = ""
        self.channel = ""
        """This instance's own channel, for responses of our services."""
        self.refused = ""
        """Why Redis refused this instance's last heartbeat; empty if it did not."""

    # --- looking

    def pick(self, service: str) -> str | None:
        """Return an instance of ``service`` to call, round-robin; None if none is known (yet)."""
        instances = self._known.get(service)
        if instances:
            return instances[0] if len(instances) == 1 else instances[next(self._turn) % len(instances)]
        self._miss(service, instances)
        return None

    def knows(self, service: str) -> bool:
        """Return whether instances of ``service`` are known; starts a lookup if it is a new name."""
        instances = self._known.get(service)
        if not instances:
            self._miss(service, instances)
        return bool(instances)

    def replicas(self) -> list[str]:
        """Return the instances that share this service's work, sorted, including this one until it leaves."""
        known = self._known.get(self.service) or []
        if self._left:
            return [other for other in known if other != self.instance]
        return known if self.instance in known else sorted([*known, self.instance])

    @property
    def alone(self) -> bool:
        """Whether no other instance of this service is known."""
        return all(instance == self.instance for instance in self.replicas())

    def forget(self, service: str, instance: str) -> None:
        """Remove an instance that no longer listens, and trigger lookups by everybody."""
        instances = self._known.get(service)
        if instances and instance in instances:
            self._known[service] = [other for other in instances if other != instance]
            self._link.publish(CHANNEL, service.encode())

    def on_change(self, data: bytes) -> None:
        """Look up a service that announced a change on :data:`CHANNEL`."""
        service = data.decode("utf-8", "replace")
        if service in self._known:
            self._look(service)

    # --- showing

    def name(self, service: str, instance: str) -> None:
        """Set this instance's identity."""
        self.service, self.instance, self.channel = service, instance, instance_channel(service, instance)

    async def run(self) -> None:
        """Announce this instance until cancelled, and refresh the known instances of others."""
        service = self.service
        self._known.setdefault(service, [])
        self._left = self._shown = False
        self.refused = ""
        await run_forever("presence", self._refresh, pause_seconds=REFRESH)

    async def _refresh(self) -> None:
        if self._left:
            return
        try:
            await self._link.ready(60)
            await self._show()
            for name in list(self._known):
                await self._fetch(name)
        except RedisUnavailable:
            self._shown = False  # Redis may have lost it: announce again
        self._drop_unused()

    async def leave(self) -> None:
        """Remove this instance, so that callers use others at once."""
        self._left = True
        try:
            await self._link.command("ZREM", KEY.format(service=self.service), self.instance, timeout=1.0)
            self._say()
        except RedisError:
            return  # it expires by itself

    async def _show(self) -> None:
        key = KEY.format(service=self.service)
        now = time.time()
        try:
            await asyncio.gather(
                self._link.command("ZADD", key, now + LIFETIME, self.instance),
                self._link.command("ZREMRANGEBYSCORE", key, "-inf", now),
                self._link.command("EXPIRE", key, int(LIFETIME * 2)),
            )
        except RedisReplyError as error:  # full, read-only, or no permission: others are looked up nevertheless
            self.refused, self._shown = str(error), False
            return
        self.refused = ""
        if not self._shown:
            self._say()
            self._shown = True

    def _say(self) -> None:
        self._link.publish(CHANNEL, self.service.encode())

    def _miss(self, service: str, instances: list[str] | None) -> None:
        """Record a call of a service without known instances; look them up if it is a new name."""
        self._called.pop(service, None)
        self._called[service] = time.monotonic()
        if len(self._called) > MAX_WITHOUT_INSTANCES:
            self._drop(next(iter(self._called)))
        if instances is None:
            self._look(service)

    def _drop_unused(self) -> None:
        """Drop names without known instances, except recently called ones."""
        long_ago = time.monotonic() - FORGET_SECONDS
        for name in [name for name, at in self._called.items() if at < long_ago]:
            self._drop(name)
        for name in self._known.keys() - self._called.keys():
            self._drop(name)

    def _drop(self, name: str) -> None:
        self._called.pop(name, None)
        if not self._known.get(name) and name != self.service:
            self._known.pop(name, None)

    def _look(self, service: str) -> None:
        if service in self._fetching:
            self._changed.add(service)  # the current lookup may predate the change
            return
        if not self._link.connected:
            return
        self._fetching.add(service)
        task = asyncio.get_running_loop().create_task(self._fetch_quietly(service))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fetch_quietly(self, service: str) -> None:
        try:
            await self._fetch(service)
            while service in self._changed:
                self._changed.discard(service)
                await self._fetch(service)
        except RedisError:
            self._known.setdefault(service, [])
        finally:
            self._changed.discard(service)
            self._fetching.discard(service)

    async def _fetch(self, service: str) -> None:
        key = KEY.format(service=service)
        try:
            found: list[Any] = await self._link.command("ZRANGEBYSCORE", key, time.time(), "+inf")
        except RedisReplyError:  # another type of key, or no permission: call it as in the original
            found = []
        named = sorted(instance.decode("utf-8", "replace") for instance in found)
        self._known[service] = await self._listening(service, named) if named else []

    async def _listening(self, service: str, instances: list[str]) -> list[str]:
        """Return those that are subscribed: a killed one did not leave, but Redis knows that it is gone."""
        try:
            channels = [instance_channel(service, instance) for instance in instances]
            counts = (await self._link.command("PUBSUB", "NUMSUB", *channels))[1::2]
        except RedisReplyError:  # no permission: rely on the expiry
            return instances
        return [instance for instance, count in zip(instances, counts, strict=True) if count]
