"""Limits on what clients may hold: connections, WebSockets and bytes, per process and per address.

Beyond a limit a connection is shed: the one that has been idle or unfinished for longest or, for bytes, the one that
has held most for longest. An ordinary request comes in one piece and holds nothing, so it is hardly ever shed.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, Protocol

from band import logger

MAX_LEAVING: Final = 256
"""Closed connections whose last response is still being sent; beyond it the oldest is cut off."""
KERNEL_IN_BYTES: Final = 64 * 1024
KERNEL_OUT_BYTES: Final = 32 * 1024
"""Socket buffers of one connection, in and out. By default the kernel allows up to 6 MB, which counts as the
container's memory. On a stalled connection they count as held."""
MAX_UNREAD_BYTES: Final = 16 * 1024
"""Bytes of responses that are buffered in addition, until the client reads."""
MAX_AT_ONCE: Final = 8
"""Requests or messages of one connection that are processed before other connections get a turn."""
STALLED_SECONDS: Final = 30.0
"""How long a client may leave responses unread."""
MIN_WAIT_SECONDS: Final = 1.0
"""A connection that has waited for less is not shed."""
MIN_WEBSOCKET_WAIT_SECONDS: Final = 60.0
_RELIEF: Final = 7 / 8
"""The share of a limit that remains after shedding, so that not every byte costs a scan of all connections."""
_LOG_EVERY_SECONDS: Final = 60.0


class Limits(NamedTuple):
    """The limits of one process, named as the settings, of which each worker has its share."""

    connections: int
    connections_per_address: int
    websockets: int
    websockets_per_address: int
    held_bytes: int
    held_bytes_per_address: int


class Guest(Protocol):
    """A connection, from the point of view of limits."""

    address: str
    """The key of the limits per address; empty for a trusted proxy, which stands for many clients."""
    held: int
    """Approximate bytes that are held for it, as last reported."""
    held_since: float
    """When it began to hold any, by the loop's clock."""

    @property
    def waits_since(self) -> float | None:
        """When it became idle, or began an incomplete request; None while a request is in progress."""

    def shed(self) -> None:
        """Release everything held, with a 503 or a clean close if possible."""

    def check_timeouts(self, now: float) -> None:
        """Close when the client is silent or slow."""

    def finish(self) -> None:
        """Close as soon as all requests are answered."""

    def abort(self) -> None:
        """Close now."""


class Pool:
    """Guests of one kind, limited in total and per address."""

    def __init__(self, kind: str, limits: tuple[int, int], min_wait: float, refusals: Counter[str]) -> None:
        self._kind = kind
        self._most, self._most_per_address = limits
        self._min_wait = min_wait
        self._refusals = refusals
        self._by_address: dict[str, set[Guest]] = {}
        self.guests: set[Guest] = set()

    def admit(self, guest: Guest, now: float) -> bool:
        """Admit a guest, in place of another one if need be; returns False when none can be shed."""
        own = self._by_address.get(guest.address)
        if own is not None and len(own) >= self._most_per_address:
            self._refusals[f"{self._kind}_per_address"] += 1
            if not self._replace_one(own, now):
                return False
        if len(self.guests) >= self._most:
            self._refusals[self._kind] += 1
            if not self._replace_one(self.guests, now):
                return False
        self.guests.add(guest)
        if guest.address:
            self._by_address.setdefault(guest.address, set()).add(guest)
        return True

    def of(self, address: str) -> set[Guest]:
        """Return those of one address."""
        return self._by_address.get(address, set())

    def drop(self, guest: Guest) -> None:
        """Stop counting a guest."""
        self.guests.discard(guest)
        own = self._by_address.get(guest.address)
        if own is not None:
            own.discard(guest)
            if not own:
                del self._by_address[guest.address]

    def _replace_one(self, among: Iterable[Guest], now: float) -> bool:
        longest, since = None, now - self._min_wait
        for guest in among:
            waits_since = guest.waits_since
            if waits_since is not None and waits_since <= since:
                longest, since = guest, waits_since
        if longest is None:
            return False
        longest.shed()
        self.drop(longest)
        return True


class Bounds:
    """All guests of this process, and what they hold together."""

    def __init__(self, limits: Limits, key_of: Callable[[str], str]) -> None:
        """`key_of` returns the key under which a client's address is counted."""
        self.key_of = key_of
        self.refusals: Counter[str] = Counter(dict.fromkeys(Limits._fields, 0))
        """How often each limit was reached: its name in the settings, without `max_` -> count."""
        self.held = 0
        self.emptied = asyncio.Event()
        """Set whenever the last guest is gone."""
        self._limits = limits
        self._held_by_address: Counter[str] = Counter()
        self._leaving: dict[Guest, None] = {}
        self._logged = Counter[str]()
        self._logged_at = -_LOG_EVERY_SECONDS
        self.connections = Pool(
            "connections", (limits.connections, limits.connections_per_address), MIN_WAIT_SECONDS, self.refusals
        )
        self.websockets = Pool(
            "websockets",
            (limits.websockets, limits.websockets_per_address),
            MIN_WEBSOCKET_WAIT_SECONDS,
            self.refusals,
        )

    def guests(self) -> list[Guest]:
        """Return all of them, those that leave included."""
        return [*self.connections.guests, *self.websockets.guests, *self._leaving]

    def leave(self, guest: Guest) -> None:
        """Move a guest to those that are closed and still being written to."""
        self.hold(guest, 0)
        self.connections.drop(guest)
        self.websockets.drop(guest)
        if guest not in self._leaving:
            self._leaving[guest] = None
            if len(self._leaving) > MAX_LEAVING:
                oldest = next(iter(self._leaving))
                del self._leaving[oldest]
                oldest.abort()

    def forget(self, guest: Guest) -> None:
        """Forget a guest whose connection is gone."""
        self.hold(guest, 0)
        self.connections.drop(guest)
        self.websockets.drop(guest)
        self._leaving.pop(guest, None)
        if not (self.connections.guests or self.websockets.guests or self._leaving):
            self.emptied.set()

    def hold(self, guest: Guest, held: int) -> None:
        """Record the bytes held for a guest; beyond a limit, those that hold most are shed."""
        more = held - guest.held
        if not more:
            return
        now = asyncio.get_running_loop().time()
        if not guest.held:
            guest.held_since = now
        guest.held = held
        self.held += more
        address = guest.address
        if address:
            self._held_by_address[address] += more
            if self._held_by_address[address] <= 0:
                del self._held_by_address[address]
        if more < 0:
            return
        if address and self._held_by_address[address] > self._limits.held_bytes_per_address:
            self.refusals["held_bytes_per_address"] += 1
            own = [*self.connections.of(address), *self.websockets.of(address)]
            self._relieve(own, now, self._held_by_address[address], self._limits.held_bytes_per_address)
        if self.held > self._limits.held_bytes:
            self.refusals["held_bytes"] += 1
            self._relieve([*self.connections.guests, *self.websockets.guests], now, self.held, self._limits.held_bytes)

    def _relieve(self, guests: list[Guest], now: float, held: int, most: int) -> None:
        """Shed those that held most for longest, by bytes times seconds."""
        guests.sort(key=lambda guest: guest.held * (now - guest.held_since), reverse=True)
        for guest in guests:
            if held <= most * _RELIEF:
                return
            held -= guest.held
            if guest.held:
                guest.shed()
                self.hold(guest, 0)

    def log_refusals(self) -> None:
        """Log at most once a minute which limits were reached, and how often; never by whom."""
        now = time.monotonic()
        new = self.refusals - self._logged
        if new and now - self._logged_at >= _LOG_EVERY_SECONDS:
            self._logged_at, self._logged = now, Counter(self.refusals)
            logger.warning("connections_refused", bounds=dict(new), hint="docs/front.md, Limits per visitor")


def accepted(transport: asyncio.Transport) -> str:
    """Limit the write buffer of a new connection; returns the peer's address, empty if not known."""
    transport.set_write_buffer_limits(MAX_UNREAD_BYTES)
    found = transport.get_extra_info("peername")
    return str(found[0]) if isinstance(found, tuple) else ""


def kept_outside(transport: asyncio.Transport, *, paused: bool, unread: bool) -> int:
    """Return the bytes held besides requests: by the kernel while reading is `paused`, and of responses.

    With `unread`, responses that the client has not read count; right after a write that would mean nothing.
    """
    size = transport.get_write_buffer_size() if unread else 0
    return size + (KERNEL_OUT_BYTES if size else 0) + (KERNEL_IN_BYTES if paused else 0)
