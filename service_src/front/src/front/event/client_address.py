"""The client's address, taken from headers only behind trusted proxies."""

from __future__ import annotations

import ipaddress
import socket
from functools import lru_cache

from band import logger

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_MAX_LENGTH = 64
_MAX_HOPS = 32
_MAX_TOLD = 16
"""Networks that are warned of; each once."""


class ClientAddresses:
    """Determines the client's address from the peer's, `X-Real-IP` and `X-Forwarded-For`.

    Headers count only if the peer is a trusted proxy, so nobody else can forge an address.
    """

    def __init__(self, trusted: tuple[Network, ...]) -> None:
        self._trusted = trusted
        self._is_trusted = lru_cache(maxsize=4096)(self._look_up)
        self._told: set[str] = set()

    def find(self, peer: str, real_ip: str | None, forwarded_for: str | None) -> str:
        """Return the address in its usual spelling (IPv4-mapped IPv6 as IPv4); empty when there is none."""
        if not (real_ip or forwarded_for):
            return normal(peer)
        if self._is_trusted(peer):
            claimed = normal(real_ip) if real_ip else self._nearest_stranger(forwarded_for or "")
            if claimed:
                return claimed
        else:
            self._tell(peer)
        return normal(peer)

    def trusts(self, peer: str) -> bool:
        """Return whether the peer is one of our proxies."""
        return self._is_trusted(peer)

    def _tell(self, peer: str) -> None:
        """Warn of a possible proxy in a private network that is not trusted: all visitors would have its address."""
        address = parse(peer)
        if address is None or not address.is_private:
            return
        network = str(ipaddress.ip_network((address, 24 if address.version == 4 else 64), strict=False))
        if network not in self._told and len(self._told) < _MAX_TOLD:
            self._told.add(network)
            logger.warning(
                "proxy_not_trusted", network=network, hint="its X-Real-IP and X-Forwarded-For are ignored; "
                "TRUSTED_PROXIES lists the proxies to trust",
            )  # fmt: skip

    def bound_key(self, address: str) -> str:
        """Return the key under which connections of an address are counted: IPv4 itself, the /64 of IPv6.

        Empty for a trusted proxy, which stands for many clients, and for text that is not an address.
        """
        if not address or self._is_trusted(address):
            return ""
        if ":" not in address:
            return address
        found = parse(address)
        if found is None or found.version == 4:
            return address
        return str(ipaddress.ip_network((int(found), 64), strict=False).network_address)

    def _nearest_stranger(self, chain: str) -> str:
        """Return the last address of the chain that no trusted proxy has; the first one when all are trusted."""
        found = ""
        for part in reversed(chain.split(",")[-_MAX_HOPS:]):
            address = normal(part.strip())
            if not address:
                break
            found = address
            if not self._is_trusted(address):
                break
        return found

    def _look_up(self, text: str) -> bool:
        address = parse(text)
        return address is not None and any(
            address.version == network.version and address in network for network in self._trusted
        )


def parse(text: str) -> Address | None:
    """Parse an address; None if it is not one. IPv4-mapped IPv6 becomes IPv4, a zone (`%eth0`) is dropped."""
    if len(text) > _MAX_LENGTH:
        return None
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


def is_plain_v4(text: str) -> bool:
    """Return whether a text is an IPv4 address in its only usual spelling: four decimal numbers without leading zeros.

    The C library takes a tenth of the time of `IPv4Address`, and most addresses are of this kind.
    """
    try:
        socket.inet_pton(socket.AF_INET, text)
    except (OSError, ValueError):  # ValueError: a NUL, half of a surrogate pair
        return False
    return True


def normal(text: str) -> str:
    """Return the usual spelling of an address; empty when the text is not an address."""
    return _normal(text) if len(text) <= _MAX_LENGTH else ""


@lru_cache(maxsize=8192)
def _normal(text: str) -> str:
    if is_plain_v4(text):
        return text
    address = parse(text)
    return "" if address is None else str(address)
