"""Enriching one event: other services' answers, the fingerprint, and what is stored of the visitor."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from band.constants import ENRICH
from band.errors import RedisError
from band.jsonio import decode
from band.jsonrpc.client import Scatter
from band.privacy import objected
from front.attendance import Attendance
from front.enrichment import EnrichPlan
from front.fingerprint import Fingerprint, fpid
from front.message import KEY_PREFIX, Message
from front.trace import Trace

_TRACK = f"{KEY_PREFIX}.track."


class Scatterer(Protocol):
    """The part of band's `rpc` that enriching needs."""

    async def scatter(
        self, channel: str, method: str, params: dict[str, Any], *, expect: Any, timeout: float
    ) -> Scatter:
        """Ask several services at once."""


class Asker(Protocol):
    """The part of band's `link` that reading needs."""

    @property
    def connected(self) -> bool:
        """Whether commands go through now."""

    def ask(self, *parts: Any, timeout: float = ...) -> asyncio.Future[Any]:
        """Send one command; the future has its reply."""


class Enricher:
    """Adds enrichments to the `data` of a message, in place. Never raises, never outlasts its deadline (seconds)."""

    def __init__(
        self,
        rpc: Scatterer,
        link: Asker,
        attendance: Attendance,
        *,
        timeout: float,
        stored: bool = True,
        fingerprint: Fingerprint | None = fpid,
    ) -> None:
        self._rpc = rpc
        self._link = link
        self._attendance = attendance
        self._timeout = timeout
        self._stored = stored
        self._fingerprint = fingerprint

    async def enrich(self, message: Message, plan: EnrichPlan, trace: Trace | None = None) -> frozenset[str] | set[str]:
        """Enrich one message; the services that stayed silent. Overwrites what the client sent under the same names."""
        key: str = message["key"]
        tracked = key.startswith(_TRACK)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        reading = self._read_stored(message["uid"]) if tracked and self._stored else None
        missing = await self._ask_services(message, plan, loop, trace or Trace(0))
        data = message["data"]
        if tracked and self._fingerprint is not None:
            td = message.get("td") or {}
            ip, user_agent = td.get("ip"), td.get("ua")
            if ip and user_agent and not objected(message):
                data["fpid"] = self._fingerprint(ip, user_agent)
        if reading is not None:
            stored = await _by(reading, deadline, loop)
            if stored:
                data["stored"] = stored
        return missing

    async def _ask_services(
        self, message: Message, plan: EnrichPlan, loop: asyncio.AbstractEventLoop, trace: Trace
    ) -> frozenset[str] | set[str]:
        expected = plan.expected(message["key"])
        if not expected:
            return expected
        attendance = self._attendance
        waited = expected - attendance.absent if attendance.absent else expected
        if not waited:
            return expected
        params = plan.params(message)
        answers = await self._rpc.scatter(ENRICH, ENRICH, params, expect=waited, timeout=self._timeout)
        if self._link.connected:
            attendance.note(waited - answers.missing, answers.missing, params, loop.time())
        message["data"].update(answers.results)
        return answers.missing

    def _read_stored(self, uid: Any) -> asyncio.Future[Any] | None:
        try:
            return self._link.ask("HGETALL", f"s:{uid}", timeout=self._timeout + 2)
        except RedisError:
            return None


async def _by(reading: asyncio.Future[Any], deadline: float, loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
    """What is stored, as far as Redis tells it before the deadline. One value that is no JSON spoils all."""
    timer = None if reading.done() else loop.call_at(deadline, _give_up, reading)
    try:
        pairs = await reading
        return {name.decode(): decode(value) for name, value in pairs.items()} if pairs else {}
    except (RedisError, ValueError, RecursionError):
        return {}
    finally:
        if timer is not None:
            timer.cancel()


def _give_up(reading: asyncio.Future[Any]) -> None:
    if not reading.done():
        reading.set_result(None)
