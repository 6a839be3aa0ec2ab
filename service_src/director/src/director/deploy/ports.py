"""The pool of host ports: gives one that nobody has, and takes it back."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection

from director.errors import Conflict

QUARANTINE = 60.0
"""Seconds for which a port is avoided after Docker found it taken by somebody that we cannot see."""


def is_bindable(port: int, address: str = "127.0.0.1") -> bool:
    """Tell whether a TCP port can be bound here. Inside a container this sees its own network only."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


class PortPool:
    """Ports `first`..`last`. A port is free if no container has it, nobody holds it, and it can be bound.

    What containers have is asked anew at every `take`: a port comes back by itself when its container is gone.
    """

    def __init__(self, first: int, last: int, bindable: Callable[[int], bool] = is_bindable) -> None:
        self._range = range(first, last + 1)
        self._bindable = bindable
        self._held: set[int] = set()
        self._bad_until: dict[int, float] = {}
        self._next = first

    def take(self, used: Collection[int], now: float) -> int:
        """Return a free port and hold it until `release`; `used` are the host ports of all containers.

        Raises:
            Conflict: the pool is exhausted.
        """
        for port in self._candidates():
            if port in used or port in self._held or self._bad_until.get(port, 0) > now or not self._bindable(port):
                continue
            self._held.add(port)
            self._next = port + 1
            return port
        raise Conflict(
            f"no free port between {self._range.start} and {self._range.stop - 1}",
            "remove services with /rm, or widen BAND_PORTS",
        )

    def release(self, port: int) -> None:
        """Give a port back: its container is seen now (and has it), or is gone."""
        self._held.discard(port)

    def reject(self, port: int, now: float) -> None:
        """Give back a port that Docker could not bind, and avoid it for a while."""
        self._held.discard(port)
        self._bad_until[port] = now + QUARANTINE

    def _candidates(self) -> list[int]:
        # Round robin: a port that was just given back rests as long as possible, so that late clients meet nobody else.
        start = self._next if self._next in self._range else self._range.start
        return [*range(start, self._range.stop), *range(self._range.start, start)]
