"""Rate limit wrong tokens per address, with growing delay, and log them now and then. The right one never waits."""

from __future__ import annotations

import asyncio
import ipaddress
import math
import time
from collections.abc import Callable

from band import logger
from director.errors import TooManyGuesses

FREE = 5
"""Wrong tokens of one address that get a response at once: a typing mistake should not cost time."""
PAUSE_SECONDS = 1.0
"""Seconds between responses to further ones from the same address."""
MAX_WAIT_SECONDS = 10.0
"""Whoever would wait for longer is refused at once."""
MAX_ADDRESSES, MAX_WAITING = 1024, 256
"""Limits: addresses remembered, beyond which new ones count as one, and guesses waiting for a response."""
LOG_SECONDS = 10.0
_OTHERS = "others"


class TokenThrottle:
    """Counts wrong tokens and delays their responses. Callers with the right token are not affected.

    Each address has a next free moment; each guess waits for it and moves it on by a pause.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._free_at: dict[str, float] = {}
        self._waiting = 0
        self._logged_at = float("-inf")
        self._unlogged = 0

    async def wrong(self, address: str | None) -> None:
        """Count a wrong token and wait until the response may be sent.

        Raises:
            TooManyGuesses: too many of this address, or of all addresses, are already waiting.
        """
        wait = self._take_turn(_network(address))
        self._log(address)
        if wait > MAX_WAIT_SECONDS or (wait and self._waiting >= MAX_WAITING):
            seconds = math.ceil(min(wait, MAX_WAIT_SECONDS + PAUSE_SECONDS))
            raise TooManyGuesses("too many wrong tokens from your address", f"try again in {seconds} s", seconds)
        if wait:
            self._waiting += 1
            try:
                await asyncio.sleep(wait)
            finally:
                self._waiting -= 1

    def _take_turn(self, network: str) -> float:
        """Reserve a turn for a guess and return the seconds until it."""
        now = self._clock()
        rested = now - FREE * PAUSE_SECONDS
        if network not in self._free_at and len(self._free_at) >= MAX_ADDRESSES:
            self._free_at = {key: at for key, at in self._free_at.items() if at > rested}
            if len(self._free_at) >= MAX_ADDRESSES:
                network = _OTHERS
        free_at = max(rested, self._free_at.get(network, rested)) + PAUSE_SECONDS
        wait = max(0.0, free_at - now)
        if wait <= MAX_WAIT_SECONDS:
            self._free_at[network] = free_at
        return wait

    def _log(self, address: str | None) -> None:
        self._unlogged += 1
        if self._clock() - self._logged_at >= LOG_SECONDS:
            logger.warning("token_wrong", address=address, tries=self._unlogged)
            self._logged_at, self._unlogged = self._clock(), 0


def _network(address: str | None) -> str:
    """Return what an address counts as: itself, or the /64 that one IPv6 host commonly has for itself."""
    try:
        parsed = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return address or ""
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
