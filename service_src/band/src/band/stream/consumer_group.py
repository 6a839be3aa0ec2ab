"""A consumer group's commands on the stream ``events``, and their replies.

Reads block a connection, so they have their own; acknowledgements use the service's other one and need not wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from band.constants import DEAD_LETTERS, EVENTS_STREAM
from band.errors import DecodingError, RedisReplyError
from band.json_codec import decode_loosely
from band.redis.link import RedisLink
from band.telemetry.logs import logger, writable

TAKEN: Final = "events:taken:{group}"
"""Stream of acknowledgements of a group: fields ``ids`` (comma-joined) and ``ms`` (how long processing took)."""
RETRIES: Final = "events:retries:{group}"
"""Hash of the entries that wait for redelivery: id → when it is due (milliseconds since 1970), attempts made."""
LISTENER: Final = "events:listener:{group}"
"""Hash of a listener's state: ``began`` (the id after which its group started) and its last ``replay``."""
_RETRIES_KEPT_SECONDS: Final = 2 * 86_400
"""Expiry of the hash, for fields left behind by a process that died between two commands."""
TAKEN_KEPT: Final = 10_000
TAKEN_IDS_KEPT: Final = 200_000
"""Approximate number of ids in all these records: 10,000 records of 2,000 ids would be 350 MB in Redis."""
_HOLD_MOST: Final = 1000
_RELEASED_IDLE_MS: Final = 3_600_000
_FORGET_CONSUMERS_MS: Final = 3_600_000


class Delivery(msgspec.Struct, frozen=True):
    """One entry of the stream: its id, and the event, or None if it is unreadable."""

    stream_id: str
    event: dict[str, Any] | None
    raw: bytes


def read_entries(entries: Iterable[Any]) -> list[Delivery]:
    """Return the deliveries in a reply of XREADGROUP, XAUTOCLAIM or XRANGE, without deleted entries."""
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
        """Create the group, starting after ``start``, unless it exists; returns whether it was created."""
        try:
            await self._reader.command("XGROUP", "CREATE", EVENTS_STREAM, self.name, start, "MKSTREAM")
        except RedisReplyError as error:
            if error.code != "BUSYGROUP":
                raise
            return False
        return True

    def note_beginning(self, stream_id: str) -> None:
        """Record after which entry the group started: traces show that the listener never got older ones."""
        self._commands.ask("HSETNX", LISTENER.format(group=self.name), "began", stream_id).add_done_callback(_ignore)

    async def position(self) -> str:
        """Return the id of the group's last delivered entry, or of its start."""
        for row in await self._reader.command("XINFO", "GROUPS", EVENTS_STREAM):
            if row[b"name"] == self.name.encode():  # names of other groups may be any bytes
                return str(row[b"last-delivered-id"].decode())
        return "0-0"

    async def newest(self) -> str:
        """Return the id of the newest entry that the stream ever had; ``0-0`` if there is no stream."""
        try:
            facts = await self._reader.command("XINFO", "STREAM", EVENTS_STREAM)
        except RedisReplyError:
            return "0-0"
        return str(facts[b"last-generated-id"].decode())

    async def read(self, after: str, block_ms: int | None, count: int) -> tuple[list[Delivery], list[bytes]]:
        """Return the next deliveries, and the ids of those that have been trimmed."""
        block: tuple[Any, ...] = () if block_ms is None else ("BLOCK", block_ms)
        reply = await self._reader.command(
            "XREADGROUP", "GROUP", self.name, self.consumer, "COUNT", count, *block, "STREAMS", EVENTS_STREAM, after,
            timeout=(block_ms or 0) / 1000 + 5,
        )  # fmt: skip
        entries = next(iter(reply.values())) if reply else []
        return read_entries(entries), [stream_id for stream_id, fields in entries if not fields]

    async def claim(self, idle_ms: int, count: int, cursor: str = "0") -> tuple[list[Delivery], int, str]:
        """Take over entries of inactive consumers; returns them, the number of trimmed ones, and the next cursor.

        The cursor is ``0-0`` at the end.
        """
        reply = await self._reader.command(
            "XAUTOCLAIM", EVENTS_STREAM, self.name, self.consumer, idle_ms, cursor, "COUNT", count
        )
        return read_entries(reply[1]), len(reply[2]) if len(reply) > 2 else 0, reply[0].decode()

    async def tries(self, after: str, count: int) -> dict[str, int]:
        """Return the delivery counts of this consumer's oldest pending entries after ``after``."""
        rows = await self._reader.command("XPENDING", EVENTS_STREAM, self.name, f"({after}", "+", count, self.consumer)
        return {row[0].decode(): int(row[3]) for row in rows}

    async def delay(self, delays: Mapping[str, Delay]) -> None:
        """Keep entries pending until they are due, and store that for a restart.

        The delivery count is reset: it shows how often the process died over an entry.
        """
        fields = [part for one, delay in delays.items() for part in (one, f"{delay.due_ms} {delay.attempts}")]
        noted = self._commands.ask("HSET", self._retries, *fields)
        self._commands.ask("EXPIRE", self._retries, _RETRIES_KEPT_SECONDS).add_done_callback(_ignore)
        # If a full Redis refuses the record, this process still delivers later.
        await _first_of(self.hold_again(list(delays)), noted)

    async def delays(self, ids: Sequence[str]) -> dict[str, Delay]:
        """Return the stored delays of entries."""
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
        """Remove the stored delays of finished entries; a failure is harmless."""
        self._commands.ask("HDEL", self._retries, *ids).add_done_callback(_ignore)

    async def fetch(self, ids: Sequence[str]) -> tuple[list[Delivery], list[str]]:
        """Return entries by id, and the ids of those that are no longer in the stream."""
        rows = await asyncio.gather(*(self._commands.ask("XRANGE", EVENTS_STREAM, one, one) for one in ids))
        found = read_entries(entry for row in rows for entry in row)
        there = {delivery.stream_id for delivery in found}
        return found, [one for one in ids if one not in there]

    @property
    def _retries(self) -> str:
        return RETRIES.format(group=self.name)

    async def acknowledge(self, ids: Sequence[str | bytes], took_ms: float | None = None) -> None:
        """Acknowledge entries; with ``took_ms``, also record it for traces, in the same write."""
        acknowledged = self._commands.ask("XACK", EVENTS_STREAM, self.name, *ids)
        if took_ms is None:
            await acknowledged
        else:  # a refused record is no reason for redelivery
            await _first_of(acknowledged, self.note(ids, took_ms))

    def note(self, ids: Sequence[str | bytes], took_ms: float) -> asyncio.Future[Any]:
        """Record for traces that these were acknowledged."""
        return self._commands.ask(
            "XADD", TAKEN.format(group=self.name), "MAXLEN", "~", self._notes_kept(len(ids)), "*",
            "ids", ",".join(str(one) for one in ids), "ms", f"{took_ms:.1f}",
        )  # fmt: skip

    def _notes_kept(self, ids: int) -> int:
        """Return how many records to keep, by their recent size: one large batch does not displace all small ones."""
        self._ids_of_a_note += (ids - self._ids_of_a_note) / 20
        return max(100, min(TAKEN_KEPT, int(TAKEN_IDS_KEPT / self._ids_of_a_note)))

    async def dead_letter(self, deliveries: Sequence[Delivery], reason: str) -> None:
        """Put events that cannot be delivered into the dead letters, then acknowledge them."""
        stream = DEAD_LETTERS.format(name=self.name)
        reason = writable(reason)
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
        """Extend the lease of entries in progress, so that nobody claims them; returns those still pending."""
        return await self._claim_own(ids)

    async def release(self, ids: Sequence[str], *, crashed: bool) -> None:
        """Let others claim these at once: this consumer stops before it handled them, because of them or not."""
        await self._claim_own(ids, "IDLE", _RELEASED_IDLE_MS, *(() if crashed else ("RETRYCOUNT", 0)))

    async def hold_again(self, ids: Sequence[str]) -> None:
        """Keep entries pending for this consumer, with a delivery count of 0."""
        await self._claim_own(ids, "RETRYCOUNT", 0)

    async def _claim_own(self, ids: Sequence[str], *options: Any) -> set[str]:
        """Claim entries of this consumer again, in portions: one command for all would block Redis."""
        pending: set[str] = set()
        for begin in range(0, len(ids), _HOLD_MOST):
            some = ids[begin : begin + _HOLD_MOST]
            claimed = await self._commands.command(
                "XCLAIM", EVENTS_STREAM, self.name, self.consumer, 0, *some, *options, "JUSTID"
            )
            pending.update(one.decode() for one in claimed)
        return pending

    async def forget_consumers(self) -> None:
        """Remove consumers without pending entries inactive for an hour: each new container has a new name."""
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


async def _first_of(first: Awaitable[object], second: Awaitable[object]) -> None:
    """Wait for both; raise what the first raised, and ignore the second's error."""
    failed = (await asyncio.gather(first, second, return_exceptions=True))[0]
    if isinstance(failed, BaseException):
        raise failed


def _ignore(reply: asyncio.Future[Any]) -> None:
    """Retrieve a command's exception, so that asyncio does not log it as never retrieved."""
    if not reply.cancelled():
        reply.exception()
