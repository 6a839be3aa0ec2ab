"""A steady load of real HTTP events with ids of their own, and the memory of what became of each."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from dataclasses import dataclass, field

import aiohttp

ANSWER_WITHIN_S = 15.0
UA = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"


@dataclass
class Sent:
    """One event: which one of which visitor, when it was answered and how; `event_id` when it was accepted."""

    user: int
    number: int
    at: float
    status: int = 0
    event_id: str = ""
    took: float = 0.0


@dataclass
class Load:
    """`users` visitors who each send an event, wait for the answer, and go on: `rate` a second, of `pad` bytes more."""

    front: str
    users: int
    rate: float
    first_user: int = 1_000_000_000
    pad: int = 300
    own_addresses: bool = False
    """Whether each visitor comes from an address of its own, as a trusted proxy before front tells it."""
    sent: list[Sent] = field(default_factory=list)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        """Whether it was told to end."""
        return self._stop.is_set()

    def begin(self) -> None:
        """Start to send."""
        self._tasks = [asyncio.create_task(self._visit(self.first_user + index)) for index in range(self.users)]

    async def end(self) -> None:
        """Send no more; returns when every answer is there."""
        self._stop.set()
        await asyncio.gather(*self._tasks)

    def accepted(self) -> list[Sent]:
        """The events that were answered with 200, in the order of the answers."""
        return [one for one in self.sent if one.status == 200]

    async def _visit(self, user: int) -> None:
        pause = self.users / self.rate
        number = 0
        await asyncio.sleep(pause * (user - self.first_user) / self.users)
        # One connection each, as a browser has it.
        timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1), timeout=timeout) as session:
            due = time.monotonic()
            while not self._stop.is_set():
                number += 1
                self.sent.append(await self._send(session, user, number))
                due = max(due + pause, time.monotonic())
                await asyncio.sleep(due - time.monotonic())

    async def _send(self, session: aiohttp.ClientSession, user: int, number: int) -> Sent:
        body = {"uid": str(user), "chaos": {"user": user, "number": number}, "pad": "x" * self.pad}
        headers = {"User-Agent": UA}
        if self.own_addresses:
            headers["X-Real-IP"] = f"203.0.113.{user % 250 + 1}"
        begun = time.monotonic()
        one = Sent(user, number, 0.0)
        try:
            async with session.post(f"{self.front}/track/chaos.json", json=body, headers=headers) as answer:
                one.status = answer.status
                if answer.status == 200:
                    one.event_id = (await answer.json(content_type=None))["id"]
        except (aiohttp.ClientError, TimeoutError, OSError):
            one.status = 0  # nobody knows: it was not accepted, and may arrive all the same
        one.at = time.monotonic()
        one.took = one.at - begun
        return one


async def send_packed(front: str, size: int, total: int, connections: int) -> set[str]:
    """Send events of `size` bytes, packed to next to nothing, until `total` bytes are accepted; returns their ids."""
    body = gzip.compress(json.dumps({"pad": "x" * size}).encode())
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    ids: set[str] = set()

    async def send(session: aiohttp.ClientSession) -> None:
        while len(ids) * size < total:
            async with session.post(f"{front}/track/flood.json", data=body, headers=headers) as answer:
                if answer.status == 200:
                    ids.add((await answer.json(content_type=None))["id"])

    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(send(session))
    return ids
