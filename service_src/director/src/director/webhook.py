"""The webhook: POSTs of JSON objects about services, retried with backoff, never awaited.

The URL may contain a secret (chat services put a token into the path), so it is in no log line and no error.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Literal

import aiohttp
import msgspec

from band import logger
from band.platform import Backoff, run_forever

Happened = Literal[
    "service_crashed", "service_rolled_back", "service_recovered", "service_failing", "service_degraded",
    "dead_letters", "stream_alarm", "journal_alarm", "redis_alarm", "alarm_over", "no_events", "events_resumed",
]  # fmt: skip
SENTENCES: Mapping[Happened, str] = {
    "service_crashed": "{service} crashed: {reason}",
    "service_rolled_back": "{service} was rolled back from {from} to {to}: {reason}",
    "service_recovered": "{service} recovered: it {reason}",
    "service_failing": "{service} is failing: {reason}",
    "service_degraded": "{service} is degraded: {reason}",
    "dead_letters": "dead letters of {service}: {count}, {new} of them new; GET /dead_letters/{service} shows them",
    "stream_alarm": "the stream of events is nearly full: {reason}",
    "journal_alarm": "front's journal is in use or unavailable: {reason}",
    "redis_alarm": "Redis is at risk: {reason}",
    "alarm_over": "the alarm about front's {alarm} is over",
    "no_events": "no events received for {minutes} minutes",
    "events_resumed": "events are arriving again",
}
"""The sentences for `text`, which chat programs show."""
WAITING = 100
"""Messages that wait at most; then the oldest is dropped."""
TIMEOUT = 10.0
FIRST_DELAY = 1.0
LONGEST_DELAY = 300.0
ATTEMPTS = 8
"""With delays of up to 1, 2, 4 … 64 s: a message that fails for a minute or two is dropped."""


class Webhook:
    """Sends to one address, one message after another; without an address it is silent."""

    def __init__(self, url: str | None, namespace: str, *, first_delay: float = FIRST_DELAY) -> None:
        self._url = url
        self._namespace = namespace
        self._first_delay = first_delay
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(WAITING)
        self.sent = 0
        self.dropped = 0

    @property
    def on(self) -> bool:
        return self._url is not None

    def tell(self, event: Happened, service: str, **facts: Any) -> None:
        """Queue a message; returns at once. `facts` must not contain secrets: they leave the host."""
        if self._url is None:
            return
        if self._queue.full():
            lost = self._queue.get_nowait()
            self._drop(lost, "too many wait")
        text = f"{self._namespace}: {SENTENCES[event].format_map(defaultdict(str, service=service, **facts))}"
        head = {"event": event, "service": service, "namespace": self._namespace, "at": time.time(), "text": text}
        self._queue.put_nowait({**head, **facts})

    async def run(self) -> None:
        if self._url is None:
            return
        timeout = aiohttp.ClientTimeout(total=TIMEOUT)
        async with aiohttp.ClientSession(timeout=timeout, trust_env=True) as session:
            await run_forever("webhook", lambda: self._next(session))

    async def _next(self, session: aiohttp.ClientSession) -> None:
        await self._deliver(session, await self._queue.get())

    async def _deliver(self, session: aiohttp.ClientSession, message: dict[str, Any]) -> None:
        backoff, reason = Backoff(self._first_delay, LONGEST_DELAY), ""
        for attempt in range(1, ATTEMPTS + 1):
            status, reason = await self._post(session, message)
            if 200 <= status < 300:
                self.sent += 1
                logger.info("webhook_sent", happened=message["event"], service=message["service"], attempt=attempt)
                return
            if 300 <= status < 500 and status not in {408, 425, 429}:
                break  # it was understood and is not wanted
            if attempt < ATTEMPTS:
                await asyncio.sleep(backoff.next())
        self._drop(message, reason)

    async def _post(self, session: aiohttp.ClientSession, message: dict[str, Any]) -> tuple[int, str]:
        """Return the status of the response (0 without one) and a description."""
        body, headers = msgspec.json.encode(message), {"Content-Type": "application/json"}
        try:
            async with session.post(self._url or "", data=body, headers=headers, allow_redirects=False) as answer:
                return answer.status, f"answered {answer.status}"
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
            return 0, type(error).__name__  # its text may name the address

    def _drop(self, message: dict[str, Any], reason: str) -> None:
        self.dropped += 1
        logger.warning("webhook_dropped", happened=message["event"], service=message["service"], reason=reason)
