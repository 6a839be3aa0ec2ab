"""A connection to Redis that reconnects automatically.

One task supervises it: connect, sign in, resubscribe, wait until it is lost, back off, start again. There is no other
loop, so nothing can spin while Redis is unavailable (the original's reader did). Commands and messages go through
:class:`band.redis.connection.Connection`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import hiredis

from band.backoff import Backoff
from band.errors import RedisError, RedisReplyError, RedisUnavailable
from band.redis.address import RedisAddress
from band.redis.connection import Connection, OnReply
from band.redis.in_memory import InMemoryConnection
from band.redis.key_invalidation import KeyInvalidation
from band.tasks import wait_until_set
from band.telemetry.logs import logger

OnMessage = Callable[[str, bytes], None]

CONNECT_TIMEOUT: Final = 3.0
COMMAND_TIMEOUT: Final = 5.0
WATCH_INTERVAL: Final = 1.0
STEADY_AFTER: Final = 5.0
"""Seconds after which a connection counts as stable and resets the backoff."""
OUTBOX_SECONDS: Final = 30.0
OUTBOX_MESSAGES: Final = 20_000


class RedisLink:
    """A supervised connection for commands and, if ``on_message`` is given, for subscriptions.

    Args:
        name: under which Redis lists it.
        on_message: gets the channel (str) and the payload (bytes) of each message.
    """

    def __init__(self, name: str = "band", on_message: OnMessage | None = None) -> None:
        self.name = name
        self.reconnects = 0
        self.dropped = 0
        self.last_error = "the service has not started"
        self.keys = KeyInvalidation()
        self._on_message = on_message
        self._address: RedisAddress | None = None
        self._wire: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._ready: asyncio.Event | None = None
        self._channels: dict[str, asyncio.Future[None] | None] = {}
        self._outbox: deque[tuple[float, tuple[Any, ...], OnReply | None]] = deque()
        self._closing = False
        self._was_connected = False

    # --- life cycle

    def start(self, address: RedisAddress) -> None:
        """Start connecting to ``address``; returns at once. Must be called in the running loop."""
        self._address = address
        self._closing = False
        self._ready = asyncio.Event()
        self.last_error = "not connected yet"
        self._task = asyncio.get_running_loop().create_task(self._supervise(), name=f"redis-{self.name}")

    async def close(self) -> None:
        """Write queued commands and disconnect."""
        self._closing = True
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.close()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    @property
    def connected(self) -> bool:
        """Whether commands can be sent now."""
        return self._wire is not None

    @property
    def address(self) -> RedisAddress | None:
        """The address; None before the start."""
        return self._address

    async def ready(self, timeout: float) -> None:
        """Wait until there is a connection.

        Raises:
            RedisUnavailable: there is none after ``timeout`` seconds.
        """
        if self._wire is not None:
            return
        if self._ready is None or not await wait_until_set(self._ready, timeout):
            raise self._unavailable()

    # --- commands

    async def command(self, *parts: Any, timeout: float = COMMAND_TIMEOUT) -> Any:
        """Send one command and return its reply (bytes, int, list, dict or None).

        Raises:
            RedisReplyError: Redis refused it.
            RedisUnavailable: there is no connection, it was lost, or Redis did not respond within ``timeout`` seconds.
        """
        return await self.ask(*parts, timeout=timeout)

    def ask(self, *parts: Any, timeout: float = COMMAND_TIMEOUT) -> asyncio.Future[Any]:
        """Send one command like :meth:`command`, but return the future at once, so that many commands share one write.

        Raises:
            RedisUnavailable: there is no connection.
        """
        return self._wire_now().ask(*parts, timeout=timeout)

    def send(self, *parts: Any, on_reply: OnReply, timeout: float = COMMAND_TIMEOUT) -> None:
        """Send one command; ``on_reply`` gets its reply, or an exception as a value, in the same turn of the loop.

        Raises:
            RedisUnavailable: there is no connection.
        """
        self._wire_now().send(parts, on_reply, asyncio.get_running_loop().time() + timeout)

    def send_packed(self, packed: bytes, count: int, on_reply: OnReply, *, timeout: float = COMMAND_TIMEOUT) -> None:
        """Send ``count`` encoded commands; ``on_reply`` gets each reply, in order.

        Raises:
            RedisUnavailable: there is no connection.
        """
        self._wire_now().send_packed(packed, count, on_reply, asyncio.get_running_loop().time() + timeout)

    def publish(self, channel: str, payload: bytes, on_reply: OnReply | None = None, *, keep: bool = False) -> bool:
        """Publish a message; ``on_reply`` gets the number of receivers, or an exception as a value.

        With ``keep``, a message that cannot be sent now waits at most 30 s for the connection (limited in number).
        Returns whether it was sent or queued.
        """
        parts = ("PUBLISH", channel, payload)
        wire = self._wire
        now = asyncio.get_running_loop().time()
        if wire is not None:
            try:
                wire.send(parts, on_reply, now + COMMAND_TIMEOUT)
                return True
            except RedisUnavailable as error:
                self.last_error = str(error)
        if keep:
            while self._outbox and self._outbox[0][0] <= now:
                self._outbox.popleft()
                self.dropped += 1
            if len(self._outbox) < OUTBOX_MESSAGES:
                self._outbox.append((now + OUTBOX_SECONDS, parts, on_reply))
                return True
        self.dropped += 1
        return False

    def flush(self) -> None:
        """Send published messages now, not at the end of this turn of the loop."""
        if self._wire is not None:
            self._wire.flush()

    async def subscribe(self, *channels: str) -> None:
        """Receive the messages of ``channels`` from now on, and again after every reconnect."""
        for channel in channels:
            self._channels.setdefault(channel, None)
        if self._wire is not None:
            await self._send_subscribe(self._wire, channels)

    def unsubscribe(self, *channels: str) -> None:
        """Receive no more messages of ``channels``."""
        for channel in channels:
            waiting = self._channels.pop(channel, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(None)
        if self._wire is not None and channels:
            self._wire.send_unanswered(("UNSUBSCRIBE", *channels))

    # --- supervision

    async def _supervise(self) -> None:
        backoff = Backoff()
        loop = asyncio.get_running_loop()
        while not self._closing:
            wire = None
            try:
                wire = await self._open()
                since = loop.time()
                await self._attach(wire)
                reason = await self._watch(wire)
                if loop.time() - since > STEADY_AFTER:
                    backoff.reset()
            except TimeoutError as error:
                reason = str(error) or "Redis did not answer in time"
            except (OSError, RedisError) as error:
                reason = str(error) or type(error).__name__
            except Exception as error:  # noqa: BLE001 - a link that gave up would cut the service off
                reason = f"{type(error).__name__}: {error}"
                logger.exception("redis_link_failed", connection=self.name, reason=reason)
            finally:
                self._detach()
                if wire is not None:
                    wire.abort("given up")
            if self._closing:
                return
            self.last_error = reason
            delay = backoff.next()
            # Every time at first, then once a minute, to keep the log readable.
            if backoff.attempts <= 3 or backoff.attempts % 12 == 0:
                logger.warning(
                    "redis_connection_lost",
                    formerly="redis_away",
                    connection=self.name,
                    address=str(self._address),
                    reason=reason,
                    attempt=backoff.attempts,
                    retry_in_s=round(delay, 2),
                )
            await asyncio.sleep(delay)

    async def _open(self) -> Connection:
        address = self._address
        if address is None:
            raise self._unavailable()
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_TIMEOUT):
            if address.memory:
                wire: Connection = InMemoryConnection(loop, self._push, address.memory)
            elif address.path:
                _, wire = await loop.create_unix_connection(lambda: Connection(loop, self._push), address.path)
            else:
                context = ssl.create_default_context() if address.tls else None
                _, wire = await loop.create_connection(
                    lambda: Connection(loop, self._push), address.host, address.port, ssl=context
                )
            try:
                await self._enter(wire, address)
            except BaseException:
                wire.abort("the handshake failed")
                raise
        return wire

    async def _enter(self, wire: Connection, address: RedisAddress) -> None:
        hello: list[Any] = ["HELLO", 3]
        if address.password or address.username:
            hello += ["AUTH", address.username or "default", address.password]
        label = "".join(char if "!" <= char <= "~" else "-" for char in self.name)
        await wire.ask(*hello, "SETNAME", label or "band", timeout=CONNECT_TIMEOUT)
        if address.db:
            await wire.ask("SELECT", address.db, timeout=CONNECT_TIMEOUT)
        await wire.ask("PING", timeout=CONNECT_TIMEOUT)  # fails while Redis still loads its file

    async def _attach(self, wire: Connection) -> None:
        subscribed: set[str] = set()
        while missing := self._channels.keys() - subscribed:  # channels may change while Redis confirms
            await self._send_subscribe(wire, tuple(missing))
            subscribed |= missing
        if gone := subscribed - self._channels.keys():
            wire.send_unanswered(("UNSUBSCRIBE", *gone))
        if self._was_connected:
            self.reconnects += 1
        if self.last_error != "not connected yet":
            logger.info("redis_reconnected", formerly="redis_back", connection=self.name, address=str(self._address))
        self._was_connected = True
        self._wire = wire
        self.keys.begin(wire)
        self._send_outbox(wire)
        if self._ready is not None:
            self._ready.set()

    def _detach(self) -> None:
        self._wire = None
        self.keys.end()
        if self._ready is not None:
            self._ready.clear()

    async def _send_subscribe(self, wire: Connection, channels: tuple[str, ...]) -> None:
        loop = asyncio.get_running_loop()
        waiting = []
        for channel in channels:
            future = loop.create_future()
            self._channels[channel] = future
            waiting.append(future)
        wire.send_unanswered(("SUBSCRIBE", *channels))
        confirmed = asyncio.gather(*waiting)
        ends: list[asyncio.Future[Any]] = [confirmed, wire.lost]
        await asyncio.wait(ends, timeout=CONNECT_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        if not confirmed.done():
            confirmed.cancel()
            why = wire.lost.result() if wire.lost.done() else "Redis did not answer in time"
            raise RedisUnavailable(f"Redis did not subscribe to {', '.join(channels)}: {why}")

    def _send_outbox(self, wire: Connection) -> None:
        now = asyncio.get_running_loop().time()
        while self._outbox:
            expires, parts, on_reply = self._outbox.popleft()
            if expires > now:
                wire.send(parts, on_reply, now + COMMAND_TIMEOUT)
            else:
                self.dropped += 1

    async def _watch(self, wire: Connection) -> str:
        """Return why the connection ended. Pings reveal a silent peer (SIGSTOP, a dead cable)."""
        loop = asyncio.get_running_loop()
        while not wire.lost.done():
            await asyncio.wait([wire.lost], timeout=WATCH_INTERVAL)
            if wire.lost.done():
                break
            now = loop.time()
            if wire.overdue(now):
                wire.abort("Redis did not answer in time")
                break
            wire.send(("PING",), None, now + COMMAND_TIMEOUT)
        return wire.lost.result()

    def _push(self, push: list[Any]) -> None:
        kind = push[0]
        if kind == b"message":
            if self._on_message is not None:
                self._on_message(push[1].decode(), push[2])
        elif kind == b"subscribe":
            future = self._channels.get(push[1].decode())
            if future is not None and not future.done():
                future.set_result(None)
        elif kind == b"invalidate":
            self.keys.take(push[1])

    def _wire_now(self) -> Connection:
        if self._wire is None:
            raise self._unavailable()
        return self._wire

    def _unavailable(self) -> RedisUnavailable:
        where = f" at {self._address}" if self._address else ""
        return RedisUnavailable(f"There is no connection to Redis{where}: {self.last_error}")


def reply_error(reply: Any) -> RedisError | None:
    """Return the error in a reply given to ``on_reply``, or None if it is a result."""
    if isinstance(reply, hiredis.ReplyError):
        return RedisReplyError(str(reply))
    return reply if isinstance(reply, RedisError) else None
