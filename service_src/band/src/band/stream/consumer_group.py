"""What a consumer asks of Redis: its group's commands on the stream ``events``, and what their answers mean.

Reading blocks a connection, so it has one of its own; what acknowledges goes over the service's other one and need not
wait behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from band.constants import DEAD_LETTERS, EVENTS_STREAM
from band.errors import DecodingError, RedisReplyError
from band.json_codec import decode_loosely
from band.redis.link import RedisLink
from band.telemetry.logs import logger

TAKEN: Final = "events:taken:{group}"
"""Stream of what a group acknowledged: fields ``ids`` (comma-joined) and ``ms`` (how long it took)."""
RETRIES: Final = "events:retries:{group}"
"""Hash of the entries that wait for another delivery: id → when it is due (milliseconds since 1970), attempts made."""
LISTENER: Final = "events:listener:{group}"
"""Hash of what a listener remembers: ``began`` (the id behind which its group began) and its last ``replay``."""
_RETRIES_KEPT_SECONDS: Final = 2 * 86_400
"""A field that is left behind (a process died between two commands) goes with the hash, when nothing is retried."""
TAKEN_KEPT: Final = 10_000
TAKEN_IDS_KEPT: Final = 200_000
"""Ids that all these notes hold together, about: 10,000 notes of 2,000 ids would be 350 MB of Redis' memory."""
_HOLD_MOST: Final = 1000
_RELEASED_IDLE_MS: Final = 3_600_000
_FORGET_CONSUMERS_MS: Final = 3_600_000


class Delivery(msgspec.Struct, frozen=True):
    """One entry of the stream: its id, and the event or None when the entry is not readable."""

    stream_id: str
    event: dict[str, Any] | None
    raw: bytes


def read_entries(entries: Iterable[Any]) -> list[Delivery]:
    """Return the deliveries in what XREADGROUP, XAUTOCLAIM or XRANGE answered; deleted entries are left out."""
    found = []
    for stream_id, fields in entries:
        if not fields:
            continue
        named = dict(zip(fields[::2], fields[1::2], strict=False))
        raw = named.get(b"event", b"")
        try:
            event = decode_loosely(raw)
        except DecodingError:
            event = None
        found.append(Delivery(stream_id.decode(), event if isinstance(event, dict) else None, raw))
    return found


class Delay(NamedTuple):
    """When an entry is to be delivered again, in milliseconds since 1970, and how many attempts were made."""

    due_ms: int
    attempts: int


class StreamGroup:
    """The group ``name`` as its consumer ``consumer`` uses it. Every method may raise RedisError."""

    def __init__(self, name: str, consumer: str, reader: RedisLink, commands: RedisLink) -> None:
        self.name = name
        self.consumer = consumer
        self._reader = reader
        self._commands = commands
        self._ids_of_a_note = 1.0

    async def ensure(self, start: str) -> bool:
        """Make the group where it is missing, beginning behind ``start``; returns whether it was missing."""
        try:
            await self._reader.command("XGROUP", "CREATE", EVENTS_STREAM, self.name, start, "MKSTREAM")
        except RedisReplyError as error:
            if error.code != "BUSYGROUP":
                raise
            return False
        return True

    def note_beginning(self, stream_id: str) -> None:
        """Note behind which entry the group began: a trace says of older ones that the listener never got them."""
        self._commands.ask("HSETNX", LISTENER.format(group=self.name), "began", stream_id).add_done_callback(_ignore)

    async def position(self) -> str:
        """The id of the newest entry that the group was given, or begins behind."""
        for row in await self._reader.command("XINFO", "GROUPS", EVENTS_STREAM):
            if row[b"name"] == self.name.encode():  # others may have made groups with any bytes for a name
                return str(row[b"last-delivered-id"].decode())
        return "0-0"

    async def newest(self) -> str:
        """The id of the newest entry that the stream ever had; ``0-0`` when there is no stream."""
        try:
            facts = await self._reader.command("XINFO", "STREAM", EVENTS_STREAM)
        except RedisReplyError:
            return "0-0"
        return str(facts[b"last-generated-id"].decode())

    async def read(self, after: str, block_ms: int | None, count: int) -> tuple[list[Delivery], list[bytes]]:
        """Return the next deliveries, and the ids of those that were trimmed from the stream meanwhile."""
        block: tuple[Any, ...] = () if block_ms is None else ("BLOCK", block_ms)
        reply = await self._reader.command(
            "XREADGROUP", "GROUP", self.name, self.consumer, "COUNT", count, *block, "STREAMS", EVENTS_STREAM, after,
            timeout=(block_ms or 0) / 1000 + 5,
        )  # fmt: skip
        entries = next(iter(reply.values())) if reply else []
        return read_entries(entries), [stream_id for stream_id, fields in entries if not fields]

    async def claim(self, idle_ms: int, count: int, cursor: str = "0") -> tuple[list[Delivery], int, str]:
        """Take over what other consumers hold and show no sign of; how many of it were trimmed; where to go on.

        The place to go on from is ``0-0`` when all was looked at.
        """
        reply = await self._reader.command(
            "XAUTOCLAIM", EVENTS_STREAM, self.name, self.consumer, idle_ms, cursor, "COUNT", count
        )
        return read_entries(reply[1]), len(reply[2]) if len(reply) > 2 else 0, reply[0].decode()

    async def tries(self, after: str, count: int) -> dict[str, int]:
        """How often each of the oldest entries behind ``after`` that this consumer holds was delivered."""
        rows = await self._reader.command("XPENDING", EVENTS_STREAM, self.name, f"({after}", "+", count, self.consumer)
        return {row[0].decode(): int(row[3]) for row in rows}

    async def delay(self, delays: Mapping[str, Delay]) -> None:
        """Keep entries pending until they are due, and note that for the next life.

        The counter of deliveries begins again: it tells how often the process died over an entry.
        """
        fields = [part for one, delay in delays.items() for part in (one, f"{delay.due_ms} {delay.attempts}")]
        noted = self._commands.ask("HSET", self._retries, *fields)
        self._commands.ask("EXPIRE", self._retries, _RETRIES_KEPT_SECONDS).add_done_callback(_ignore)
        held = self.hold_again(list(delays))
        results = await asyncio.gather(held, noted, return_exceptions=True)
        if isinstance(results[0], BaseException):
            raise results[0]  # what a full Redis did not note is still delivered later by this process

    async def hold_again(self, ids: Sequence[str]) -> None:
        """Keep entries as this consumer's own, as if they had not been delivered yet."""
        for some in _portions(ids):
            await self._commands.command(
                "XCLAIM", EVENTS_STREAM, self.name, self.consumer, 0, *some, "RETRYCOUNT", 0, "JUSTID"
            )

    async def delays(self, ids: Sequence[str]) -> dict[str, Delay]:
        """Return what an earlier life noted of entries that it delayed."""
        try:
            notes = await self._reader.command("HMGET", self._retries, *ids)
        except RedisReplyError as error:  # the Redis user predates this key: deliver its events at once
            logger.warning("retries_not_read", group=self.name, reason=str(error))
            return {}
        found = {}
        for stream_id, noted in zip(ids, notes, strict=True):
            if noted is not None:
                due_ms, attempts = noted.split()
                found[stream_id] = Delay(int(due_ms), int(attempts))
        return found

    def forget_delays(self, ids: Sequence[str]) -> None:
        """Remove the notes of entries that are done with; what fails is harmless."""
        self._commands.ask("HDEL", self._retries, *ids).add_done_callback(_ignore)

    async def fetch(self, ids: Sequence[str]) -> tuple[list[Delivery], list[str]]:
        """Return entries by id, and the ids of those that are not in the stream any more."""
        rows = await asyncio.gather(*(self._commands.ask("XRANGE", EVENTS_STREAM, one, one) for one in ids))
        found = read_entries(entry for row in rows for entry in row)
        there = {delivery.stream_id for delivery in found}
        return found, [one for one in ids if one not in there]

    @property
    def _retries(self) -> str:
        return RETRIES.format(group=self.name)

    async def acknowledge(self, ids: Sequence[str | bytes], took_ms: float | None = None) -> None:
        """Acknowledge; with ``took_ms`` the taking is noted for whoever traces an event, in the same write."""
        acknowledged = self._commands.ask("XACK", EVENTS_STREAM, self.name, *ids)
        if took_ms is not None:
            noted = self.note(ids, took_ms)
            results = await asyncio.gather(acknowledged, noted, return_exceptions=True)
            if isinstance(results[0], BaseException):
                raise results[0]
            return  # a note that a full Redis refused is no reason to deliver again
        await acknowledged

    def note(self, ids: Sequence[str | bytes], took_ms: float) -> asyncio.Future[Any]:
        """Note for whoever traces an event that these were taken."""
        return self._commands.ask(
            "XADD", TAKEN.format(group=self.name), "MAXLEN", "~", self._notes_kept(len(ids)), "*",
            "ids", ",".join(str(one) for one in ids), "ms", f"{took_ms:.1f}",
        )  # fmt: skip

    def _notes_kept(self, ids: int) -> int:
        """How many notes may stay, by what they have lately held: one large batch does not cost all small ones."""
        self._ids_of_a_note += (ids - self._ids_of_a_note) / 20
        return max(100, min(TAKEN_KEPT, int(TAKEN_IDS_KEPT / self._ids_of_a_note)))

    async def dead_letter(self, deliveries: Sequence[Delivery], reason: str) -> None:
        """Put events that cannot be delivered into the dead letters, then acknowledge them."""
        stream = DEAD_LETTERS.format(name=self.name)
        await asyncio.gather(
            *(
                self._commands.ask(
                    "XADD", stream, "*", "event", delivery.raw, "reason", reason, "stream_id", delivery.stream_id
                )
                for delivery in deliveries
            )
        )
        await self.acknowledge([delivery.stream_id for delivery in deliveries])
        logger.error(
            "events_dead_lettered",
            formerly="events_given_up",
            group=self.name,
            count=len(deliveries),
            stream=stream,
            reason=reason,
        )

    async def extend_lease(self, ids: Sequence[str]) -> set[str]:
        """Show that these are still worked on, so that nobody claims them; returns those that are still pending."""
        pending: set[str] = set()
        for some in _portions(ids):
            claimed = await self._commands.command(
                "XCLAIM", EVENTS_STREAM, self.name, self.consumer, 0, *some, "JUSTID"
            )
            pending.update(one.decode() for one in claimed)
        return pending

    async def release(self, ids: Sequence[str]) -> None:
        """Let others claim these at once: this consumer ends before it handled them."""
        for some in _portions(ids):
            await self._commands.command(
                "XCLAIM", EVENTS_STREAM, self.name, self.consumer, 0, *some, "IDLE", _RELEASED_IDLE_MS, "JUSTID"
            )

    async def forget_consumers(self) -> None:
        """Remove consumers that hold nothing and were not seen for an hour: each new container has a new name."""
        try:
            rows = await self._reader.command("XINFO", "CONSUMERS", EVENTS_STREAM, self.name)
            for row in rows:
                name = row[b"name"]
                if name != self.consumer.encode() and not row[b"pending"] and row[b"idle"] > _FORGET_CONSUMERS_MS:
                    await self._reader.command("XGROUP", "DELCONSUMER", EVENTS_STREAM, self.name, name)
        except RedisReplyError as error:
            logger.warning(
                "stale_consumer_cleanup_failed", formerly="consumers_not_forgotten", group=self.name, reason=str(error)
            )


def _portions(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield some at a time: not all in one command, since Redis does nothing else meanwhile."""
    for begin in range(0, len(ids), _HOLD_MOST):
        yield ids[begin : begin + _HOLD_MOST]


def _ignore(reply: asyncio.Future[Any]) -> None:
    """Take what a command ended with, so that asyncio does not complain of an exception that nobody asked for."""
    if not reply.cancelled():
        reply.exception()
