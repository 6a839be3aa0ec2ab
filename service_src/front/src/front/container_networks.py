"""The networks of this container, from the kernel's routing tables.

A published port is reached through the container's gateway, by Docker's user-space proxy or a rule of the host that
sets its own address. So connections from the gateway come from the host, including a proxy there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from front.event.client_address import Network

_CONTAINER_MARKS: Final = (Path("/.dockerenv"), Path("/run/.containerenv"))
_PROC: Final = Path("/proc/net")
_LINK_LOCAL: Final = ipaddress.ip_network("fe80::/10")
_ANY_MASK: Final = "00000000"


class Surroundings(NamedTuple):
    """The gateways of a container, and the networks that it is attached to, each without repetition."""

    gateways: tuple[Network, ...] = ()
    attached: tuple[Network, ...] = ()


def surroundings(proc: Path = _PROC, marks: Iterable[Path] = _CONTAINER_MARKS) -> Surroundings:
    """Return the networks of this container; none outside a container, where the gateway leads to everybody."""
    if not any(mark.exists() for mark in marks):
        return Surroundings()
    routes = [*_routes_v4(_lines(proc / "route")[1:]), *_routes_v6(_lines(proc / "ipv6_route"))]
    gateways = dict.fromkeys(gateway for _, gateway in routes if gateway is not None)
    attached = dict.fromkeys(network for network, gateway in routes if gateway is None)
    return Surroundings(tuple(gateways), tuple(attached))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except OSError:  # the kernel has no IPv6
        return []


def _routes_v4(lines: Iterable[str]) -> Iterator[tuple[Network, Network | None]]:
    """Yield (network, None) of an attached network, and (network, gateway) of the default route."""
    for line in lines:
        _, target, gateway, _, _, _, _, mask, *_ = line.split()
        if mask == _ANY_MASK:
            yield ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network(_address_v4(gateway))
        elif gateway == _ANY_MASK:
            yield ipaddress.ip_network(f"{_address_v4(target)}/{_address_v4(mask)}"), None


def _address_v4(text: str) -> str:
    return str(ipaddress.IPv4Address(bytes.fromhex(text)[::-1]))


def _routes_v6(lines: Iterable[str]) -> Iterator[tuple[Network, Network | None]]:
    for line in lines:
        target, length, _, _, gateway, _, _, _, _, interface = line.split()
        if interface == "lo" or int(length, 16) == 128:  # 128: addresses of our own, and of groups
            continue
        network = ipaddress.IPv6Network((bytes.fromhex(target), int(length, 16)))
        if int(gateway, 16):
            if network.prefixlen == 0:
                yield network, ipaddress.IPv6Network(bytes.fromhex(gateway))
        elif network.prefixlen and not network.is_multicast and not network.overlaps(_LINK_LOCAL):
            yield network, None
