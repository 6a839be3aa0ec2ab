"""Who runs now, of our own kind: the instances of each service.

Every instance keeps its name in the sorted set ``band:instances:<service>`` with the time until which it counts, and
says on the channel ``band:presence`` when it comes and goes. From that a caller knows that a peer is one of ours (it
understands batches and answers to a channel of the caller's instance) and how many replicas share the work; services
of the original platform are not there, and are spoken to as they always were.
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
"""Seconds between two signs of life, and between two looks at the services that are called."""
LIFETIME: Final = 10.0
"""Seconds after which an instance that gave no sign counts as gone."""
FORGET_SECONDS: Final = 60.0
"""A service of which no instance of ours is known, and that nobody called for so long, is forgotten."""
MAX_WITHOUT_INSTANCES: Final = 100
"""Of such services so many are remembered; those called longest ago go first."""

SEPARATOR: Final = INSTANCE_SEPARATOR
"""Between service and instance in the name of an instance's own channel."""


def instance_channel(service: str, instance: str) -> str:
    """Return the channel on which one instance of a service is spoken to."""
    return f"{service}{SEPARATOR}{instance}"


class Presence:
    """Shows this instance to the others, and remembers the instances of the services that it calls."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._known: dict[str, list[str]] = {}
        self._called: dict[str, float] = {}
        """Services that were called without a known instance → when, the latest at the end."""
        self._fetching: set[str] = set()
        self._changed: set[str] = set()
        self._left = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = itertools.count()
        self._shown = False
        self.service = ""
        self.instance = ""
        self.refused = ""
        """Why Redis refused this instance's last sign of life; empty when it took it."""

    # --- looking

    def pick(self, service: str) -> str | None:
        """Return an instance of ``service`` to call, in turn; None when none of ours is known (yet)."""
        instances = self._known.get(service)
        if instances:
            return instances[0] if len(instances) == 1 else instances[next(self._turn) % len(instances)]
        self._miss(service, instances)
        return None

    def knows(self, service: str) -> bool:
        """Tell whether instances of ours are known for ``service``; looks for them when it was never asked."""
        instances = self._known.get(service)
        if not instances:
            self._miss(service, instances)
        return bool(instances)

    def replicas(self) -> list[str]:
        """Return the instances of this service that share its work, sorted: this one among them until it leaves."""
        known = self._known.get(self.service) or []
        if self._left:
            return [other for other in known if other != self.instance]
        return known if self.instance in known else sorted([*known, self.instance])

    @property
    def alone(self) -> bool:
        """Whether no other instance of this service is known."""
        return all(instance == self.instance for instance in self.replicas())

    def forget(self, service: str, instance: str) -> None:
        """Take an instance that does not listen any more out of what is known, and have everybody look again."""
        instances = self._known.get(service)
        if instances and instance in instances:
            self._known[service] = [other for other in instances if other != instance]
            self._link.publish(CHANNEL, service.encode())

    def on_change(self, data: bytes) -> None:
        """Look again at a service that said on :data:`CHANNEL` that it changed."""
        service = data.decode("utf-8", "replace")
        if service in self._known:
            self._look(service)

    # --- showing

    async def run(self, service: str, instance: str) -> None:
        """Show this instance until cancelled, and keep what is known of others fresh."""
        self.service, self.instance = service, instance
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
            self._shown = False  # it may have come back empty: say it again
        self._drop_unused()

    async def leave(self) -> None:
        """Take this instance out, so that callers turn to others at once."""
        self._left = True
        try:
            await self._link.command("ZREM", KEY.format(service=self.service), self.instance, timeout=1.0)
            self._say()
        except RedisError:
            return  # its time runs out by itself

    async def _show(self) -> None:
        key = KEY.format(service=self.service)
        now = time.time()
        try:
            await asyncio.gather(
                self._link.command("ZADD", key, now + LIFETIME, self.instance),
                self._link.command("ZREMRANGEBYSCORE", key, "-inf", now),
                self._link.command("EXPIRE", key, int(LIFETIME * 2)),
            )
        except RedisReplyError as error:  # full, read-only, or no right to: others are looked at all the same
            self.refused, self._shown = str(error), False
            return
        self.refused = ""
        if not self._shown:
            self._say()
            self._shown = True

    def _say(self) -> None:
        self._link.publish(CHANNEL, self.service.encode())

    def _miss(self, service: str, instances: list[str] | None) -> None:
        """Note that a service without known instances was called; look for them when it is a new name."""
        self._called.pop(service, None)
        self._called[service] = time.monotonic()
        if len(self._called) > MAX_WITHOUT_INSTANCES:
            self._drop(next(iter(self._called)))
        if instances is None:
            self._look(service)

    def _drop_unused(self) -> None:
        """Forget names that are no services of ours (any more), but for those that are called just now."""
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
            self._changed.add(service)  # what is being fetched may be from before the change
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
        except RedisReplyError:  # somebody wrote something else there, or it may not be read: spoken to plainly
            found = []
        named = sorted(instance.decode("utf-8", "replace") for instance in found)
        self._known[service] = await self._listening(service, named) if named else []

    async def _listening(self, service: str, instances: list[str]) -> list[str]:
        """Return those that are subscribed: one that was killed said no farewell, but Redis knows that it is gone."""
        try:
            channels = [instance_channel(service, instance) for instance in instances]
            counts = (await self._link.command("PUBSUB", "NUMSUB", *channels))[1::2]
        except RedisReplyError:  # a Redis user that may not ask: the time limit alone has to do
            return instances
        return [instance for instance, count in zip(instances, counts, strict=True) if count]
